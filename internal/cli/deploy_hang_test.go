package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/cli"
	"ferry/internal/content/contenttest"
	"ferry/internal/demo"
)

// fallingServer is an API server that takes one Deployment, and from then on
// is as a test wants it: it lets all questions hang, or is gone.
type fallingServer struct {
	*httptest.Server

	away    time.Duration // how long it hangs; 0 is for ever
	refuses bool

	mu      sync.Mutex
	fell    time.Time
	hung    int
	release chan struct{}
}

func newFallingServer(t *testing.T, away time.Duration, refuses bool) *fallingServer {
	t.Helper()
	s := &fallingServer{away: away, refuses: refuses, release: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		close(s.release)
		s.Close()
	})
	return s
}

// hangs holds a question that comes while the server is down.
func (s *fallingServer) hangs(r *http.Request) bool {
	s.mu.Lock()
	down := !s.fell.IsZero() && (s.away == 0 || time.Since(s.fell) < s.away)
	if down {
		s.hung++
	}
	s.mu.Unlock()
	if down {
		select {
		case <-s.release:
		case <-r.Context().Done():
		}
	}
	return down
}

func (s *fallingServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.hangs(r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	say := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	const ready = `{"metadata":{"name":"web","namespace":"default"},"spec":{"replicas":1},"status":{"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1}}`
	s.mu.Lock()
	applied := !s.fell.IsZero()
	s.mu.Unlock()
	switch {
	case r.URL.Path == "/apis/apps/v1":
		say(map[string]any{"resources": []map[string]any{{"name": "deployments", "kind": "Deployment", "namespaced": true}}})
	case r.URL.Path == "/api/v1/nodes":
		say(map[string]any{"items": []map[string]any{{
			"metadata": map[string]any{"name": "n1"},
			"status": map[string]any{
				"nodeInfo":   map[string]any{"architecture": "amd64", "operatingSystem": "linux"},
				"conditions": []map[string]any{{"type": "Ready", "status": "True"}},
			},
		}}})
	case r.Method == http.MethodPatch:
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
		if r.URL.Query().Get("dryRun") == "" {
			s.fall()
		}
	case applied && strings.HasSuffix(r.URL.Path, "/deployments/web"):
		_, _ = io.WriteString(w, ready)
	default:
		failure(w, http.StatusNotFound, "not found")
	}
}

func (s *fallingServer) fall() {
	s.mu.Lock()
	s.fell = time.Now()
	s.mu.Unlock()
	if s.refuses {
		_ = s.Listener.Close()
		s.Config.SetKeepAlivesEnabled(false)
	}
}

// An API server that lets questions hang while pods are waited for is waited
// for as one that refuses them: as long as for the pods, and no longer.
func TestDeployWhereTheAPIServerFalls(t *testing.T) {
	registry, err := demo.StartRegistry(t.Context(), demo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Close() })
	store := contenttest.NewStore()
	if err := registry.Push(t.Context(), "team/web", "1", store, store.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, contenttest.Config{})); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		away            time.Duration
		refuses         bool
		answer, timeout string
		code            int
		says            []string
	}{
		"it hangs, and comes back": {away: time.Second, answer: "200ms", timeout: "1m", says: []string{"! the API server does not answer: ", "no answer within 200ms; trying again"}},
		"it hangs": {
			answer: "200ms", timeout: "2s", code: 1,
			says: []string{"! the API server does not answer: ", "has not answered for ", "What was applied stays; the same command again goes on from there."},
		},
		"one answer may take longer": {
			answer: "10m", timeout: "2s", code: 1,
			says: []string{"has not answered for ", "What was applied stays; the same command again goes on from there."},
		},
		"it refuses": {
			refuses: true, answer: "200ms", timeout: "2s", code: 1,
			says: []string{"! the API server does not answer: ", "connection refused; trying again", "has not answered for ", "What was applied stays; the same command again goes on from there."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFallingServer(t, tt.away, tt.refuses)
			dir := t.TempDir()
			manifest, config := filepath.Join(dir, "web.yaml"), filepath.Join(dir, "kubeconfig")
			write(t, manifest, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {containers: [{name: web, image: team/web:1}]}}}}`)
			write(t, config, fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: test, clusters: [{name: c, cluster: {server: %q}}], users: [{name: u, user: {}}], contexts: [{name: test, context: {cluster: c, user: u}}]}`, s.URL))
			var out, errs bytes.Buffer
			start := time.Now()
			code := cli.Run(context.WithoutCancel(t.Context()), cli.Version{Version: "test"}, []string{
				"deploy", "-f", manifest, "--registry", registry.Host(), "--kubeconfig", config, "--yes", "--request-timeout", tt.answer, "--timeout", tt.timeout,
			}, &out, &errs)
			took := time.Since(start)
			if code != tt.code {
				t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
			}
			for _, want := range tt.says {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("it does not say %q\n%s", want, errs.String())
				}
			}
			if took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if code == 0 && !strings.Contains(out.String(), "running Deployment default/web, 1 of 1 ready") {
				t.Errorf("got\n%s", out.String())
			}
			if s.mu.Lock(); !tt.refuses && s.hung == 0 {
				t.Error("nothing was asked while it hung")
			}
			s.mu.Unlock()
		})
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
