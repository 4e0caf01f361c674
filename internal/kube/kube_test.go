package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/diagnose"
	"ferry/internal/kube"
)

// standIn is a stand-in for an API server: it answers what it was told, by
// path, and notes what it was asked.
type standIn struct {
	*httptest.Server

	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	asked   []string
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{answers: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+r.URL.String())
		answer := s.answers[r.URL.Path]
		s.mu.Unlock()
		if answer == nil {
			status(http.StatusNotFound, "NotFound", "not found")(w, r)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// on answers GET path with v as JSON.
func (s *standIn) on(path string, v any) {
	s.handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	})
}

func (s *standIn) handle(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = h
}

func (s *standIn) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

func status(code int, reason, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":%q}`, code, reason, message)
	}
}

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q}}]
users: [{name: u, user: {token: s3cret-token}}]
contexts:
- {name: test, context: {cluster: c, user: u, namespace: shop}}
- {name: other, context: {cluster: c, user: u}}
current-context: test
`

func (s *standIn) open(t *testing.T, o kube.Options) *kube.Client {
	t.Helper()
	o.Kubeconfig = filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(o.Kubeconfig, fmt.Appendf(nil, kubeconfig, s.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := kube.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// list is a page of a list.
func list(items ...any) map[string]any {
	if items == nil {
		items = []any{}
	}
	return map[string]any{"kind": "List", "apiVersion": "v1", "metadata": map[string]any{}, "items": items}
}

type obj = map[string]any

// failing is a pod of namespace shop whose container waits for its image.
func failing(name string) obj {
	return obj{
		"metadata": obj{"name": name, "namespace": "shop", "uid": "uid-" + name, "creationTimestamp": "2026-01-02T03:04:05Z"},
		"spec": obj{
			"nodeName": "n1", "serviceAccountName": "default",
			"imagePullSecrets": []obj{{"name": "regcred"}},
			"containers":       []obj{{"name": "web", "image": "nginx", "imagePullPolicy": "Always"}},
		},
		"status": obj{
			"phase": "Pending",
			"containerStatuses": []obj{{
				"name": "web", "state": obj{"waiting": obj{"reason": "ImagePullBackOff", "message": "Back-off pulling image \"nginx\""}},
			}},
		},
	}
}

func running(name string) obj {
	p := failing(name)
	p["status"] = obj{"phase": "Running", "containerStatuses": []obj{{
		"name": "web", "ready": true, "imageID": "sha256:1", "state": obj{"running": obj{"startedAt": "2026-01-02T03:04:05Z"}},
	}}}
	return p
}

func pulled(pod string) obj {
	return obj{
		"metadata":       obj{"name": pod + ".1", "namespace": "shop", "creationTimestamp": "2026-01-02T03:04:05Z"},
		"involvedObject": obj{"kind": "Pod", "namespace": "shop", "name": pod, "uid": "uid-" + pod, "fieldPath": "spec.containers{web}"},
		"reason":         "Failed", "message": "Failed to pull image \"nginx\": no such host", "type": "Warning", "count": 12,
		"firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:08:05Z", "eventTime": nil,
	}
}

// shop makes the stand-in a small cluster where one pod fails.
func (s *standIn) shop() {
	s.on("/api/v1/namespaces/shop/pods", list(failing("web-1"), running("db-0")))
	s.on("/api/v1/namespaces/shop/events", list(pulled("web-1")))
	s.on("/api/v1/nodes", list(obj{
		"metadata": obj{"name": "n1"},
		"status": obj{
			"nodeInfo":   obj{"architecture": "arm64", "operatingSystem": "linux", "containerRuntimeVersion": "containerd://2.2.3"},
			"conditions": []obj{{"type": "Ready", "status": "True"}},
			"images":     []obj{{"names": []string{"docker.io/library/nginx:latest", "docker.io/library/other:1"}}},
		},
	}))
	s.on("/api/v1/namespaces/shop/secrets/regcred", obj{
		"metadata": obj{"name": "regcred"}, "type": "kubernetes.io/dockerconfigjson",
		"data": obj{".dockerconfigjson": []byte(`{"auths":{"quay.io":{"auth":"dXNlcjpodW50ZXIy"}}}`)},
	})
	s.on("/api/v1/namespaces/shop/serviceaccounts/default", obj{"imagePullSecrets": []obj{{"name": "regcred"}}})
}

func facts(t *testing.T, c *kube.Client, scope diagnose.Scope) *diagnose.Facts {
	t.Helper()
	f, err := c.Facts(t.Context(), scope)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var inShop = diagnose.Scope{Namespace: "shop"}

func TestFacts(t *testing.T) {
	s := newStandIn(t)
	s.shop()
	c := s.open(t, kube.Options{})
	if p := c.Place(); p.Namespace != "shop" || p.Context != "test" || p.Server != s.URL {
		t.Errorf("place: %+v", p)
	}
	f := facts(t, c, inShop)
	if len(f.Unseen) > 0 {
		t.Errorf("unseen: %+v", f.Unseen)
	}
	if f.Seen != (diagnose.Seen{Pods: 2, Fine: 1}) || len(f.Pods) != 1 || len(f.Images) != 1 {
		t.Fatalf("seen %+v, %d pods, images %q", f.Seen, len(f.Pods), f.Images)
	}
	p := f.Pods[0]
	if len(p.Events) != 1 || p.Events[0].Count != 12 || p.Events[0].Container != "web" {
		t.Errorf("events: %+v", p.Events)
	}
	if w := f.Workloads[0]; w.Object != p.Object() || w.Desired != 1 || w.Ready != 0 || w.Template[0].Policy != "Always" {
		t.Errorf("workload: %+v", w)
	}
	n := f.Nodes[0]
	if n.Platform() != "linux/arm64" || len(n.Images) != 1 || n.Listed != 1 {
		t.Errorf("node: %+v", n)
	}
	if f.Secrets[0].Hosts[0] != "quay.io" || f.Accounts[0].Secrets[0] != "regcred" {
		t.Errorf("secrets %+v, accounts %+v", f.Secrets, f.Accounts)
	}
	if text := fmt.Sprintf("%v %+v %#v", f, f, f); strings.Contains(text, "hunter2") || strings.Contains(text, "dXNlcjpodW50ZXIy") {
		t.Error("the facts print a password")
	}
}

// A namespace without pods is looked at, one that is not there is an error, and
// one that may not be looked at is as one without pods.
func TestFactsOfAnEmptyNamespace(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"empty":     {says: ""},
		"missing":   {status(http.StatusNotFound, "NotFound", `namespaces "shop" not found`), `namespaces "shop" not found`},
		"forbidden": {status(http.StatusForbidden, "Forbidden", "may not"), ""},
		"no answer": {func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			s.shop()
			s.on("/api/v1/namespaces/shop/pods", list())
			s.on("/api/v1/namespaces/shop", obj{"kind": "Namespace"})
			if test.answer != nil {
				s.handle("/api/v1/namespaces/shop", test.answer)
			}
			c := s.open(t, kube.Options{})
			_, err := c.Facts(t.Context(), inShop)
			_, rerr := c.Running(t.Context(), "shop")
			for _, err := range []error{err, rerr} {
				if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
					t.Errorf("%v, want %q", err, test.says)
				}
			}
		})
	}
}

// Nothing but GET is ever sent: doctor reads.
func TestReadsOnly(t *testing.T) {
	s := newStandIn(t)
	s.shop()
	facts(t, s.open(t, kube.Options{}), inShop)
	for _, r := range s.requests() {
		if !strings.HasPrefix(r, "GET ") {
			t.Errorf("sent: %s", r)
		}
	}
}

func TestForbiddenKinds(t *testing.T) {
	for _, path := range []string{
		"/api/v1/namespaces/shop/events", "/api/v1/nodes", "/api/v1/namespaces/shop/secrets/regcred",
		"/api/v1/namespaces/shop/serviceaccounts/default",
	} {
		t.Run(path, func(t *testing.T) {
			s := newStandIn(t)
			s.shop()
			s.handle(path, status(http.StatusForbidden, "Forbidden", "may not"))
			f := facts(t, s.open(t, kube.Options{}), inShop)
			if len(f.Pods) != 1 || len(f.Unseen) != 1 || f.Unseen[0].Lacks == "" || f.Unseen[0].Why != "may not" {
				t.Errorf("pods %d, unseen %+v", len(f.Pods), f.Unseen)
			}
		})
	}
}

func TestForbiddenPods(t *testing.T) {
	s := newStandIn(t)
	s.handle("/api/v1/namespaces/shop/pods", status(http.StatusForbidden, "Forbidden", "pods is forbidden"))
	_, err := s.open(t, kube.Options{}).Facts(t.Context(), inShop)
	var e *kube.Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "pods in shop") || !strings.Contains(err.Error(), s.URL) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(e.Hint(), "docs/rbac/doctor.yaml") {
		t.Errorf("hint: %s", e.Hint())
	}
}

// A server that hangs ends the first look within the timeout, and is not asked
// for all the rest, each of which would hang as long.
func TestHang(t *testing.T) {
	s := newStandIn(t)
	s.shop()
	hang := make(chan struct{})
	defer close(hang)
	s.handle("/api/v1/namespaces/shop/pods", func(http.ResponseWriter, *http.Request) { <-hang })
	start := time.Now()
	_, err := s.open(t, kube.Options{Timeout: 50 * time.Millisecond}).Facts(t.Context(), inShop)
	var slow *kube.SlowError
	if !errors.As(err, &slow) || time.Since(start) > 5*time.Second {
		t.Fatalf("after %v: %v", time.Since(start), err)
	}

	s.shop()
	for _, p := range []string{"/api/v1/nodes", "/api/v1/namespaces/shop/events", "/api/v1/namespaces/shop/secrets/regcred"} {
		s.handle(p, func(http.ResponseWriter, *http.Request) { <-hang })
	}
	f := facts(t, s.open(t, kube.Options{Timeout: 50 * time.Millisecond}), inShop)
	if len(f.Pods) != 1 || len(f.Unseen) != 3 {
		t.Errorf("pods %d, unseen %+v", len(f.Pods), f.Unseen)
	}
}

// A body that stalls in the middle is a server that hangs, too.
func TestHangWithinBody(t *testing.T) {
	s := newStandIn(t)
	hang := make(chan struct{})
	defer close(hang)
	s.handle("/api/v1/namespaces/shop/pods", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"items":[`)
		w.(http.Flusher).Flush()
		<-hang
	})
	_, err := s.open(t, kube.Options{Timeout: 50 * time.Millisecond}).Facts(t.Context(), inShop)
	var slow *kube.SlowError
	if !errors.As(err, &slow) {
		t.Fatalf("got %v", err)
	}
}

// Of many questions to a server that hangs, the first few are enough.
func TestHangIsNotAskedAgain(t *testing.T) {
	s := newStandIn(t)
	s.shop()
	hang := make(chan struct{})
	defer close(hang)
	var pods []any
	for i := range 30 {
		p := failing(fmt.Sprintf("web-%d", i))
		p["spec"].(obj)["imagePullSecrets"] = []obj{{"name": fmt.Sprintf("s%d", i)}}
		pods = append(pods, p)
		s.handle(fmt.Sprintf("/api/v1/namespaces/shop/secrets/s%d", i), func(http.ResponseWriter, *http.Request) { <-hang })
	}
	s.on("/api/v1/namespaces/shop/pods", list(pods...))
	f := facts(t, s.open(t, kube.Options{Timeout: 50 * time.Millisecond}), inShop)
	asked := 0
	for _, r := range s.requests() {
		if strings.Contains(r, "/secrets/") {
			asked++
		}
	}
	if asked > 2 || len(f.Pods) != 30 || len(f.Unseen) == 0 {
		t.Errorf("%d secrets were asked for; unseen %d", asked, len(f.Unseen))
	}
}

// An answer without end is read up to the limit.
func TestAnswerWithoutEnd(t *testing.T) {
	s := newStandIn(t)
	s.handle("/api/v1/namespaces/shop/pods", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"items":[`)
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	_, err := s.open(t, kube.Options{Timeout: 10 * time.Minute}).Facts(t.Context(), inShop)
	if err == nil || !strings.Contains(err.Error(), "larger than 64 MB") {
		t.Errorf("got %v", err)
	}
}

func TestPages(t *testing.T) {
	s := newStandIn(t)
	var tokens []string
	s.handle("/api/v1/namespaces/shop/pods", func(w http.ResponseWriter, r *http.Request) {
		token := r.URL.Query().Get("continue")
		tokens = append(tokens, token)
		page := list(running("p" + token))
		next := map[string]string{"": "1", "1": "2"}[token]
		page["metadata"] = obj{"continue": next}
		_ = json.NewEncoder(w).Encode(page)
	})
	f := facts(t, s.open(t, kube.Options{}), inShop)
	if f.Seen.Pods != 3 || strings.Join(tokens, ",") != ",1,2" {
		t.Errorf("%d pods, tokens %q", f.Seen.Pods, tokens)
	}
	if !strings.Contains(s.requests()[0], "limit=500") {
		t.Errorf("asked without a limit: %s", s.requests()[0])
	}
}

// A list that the server compacted away goes on with the token that it offers.
func TestGoneInTheMiddle(t *testing.T) {
	s := newStandIn(t)
	s.handle("/api/v1/namespaces/shop/pods", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("continue") {
		case "":
			page := list(running("a"))
			page["metadata"] = obj{"continue": "old"}
			_ = json.NewEncoder(w).Encode(page)
		case "old":
			w.WriteHeader(http.StatusGone)
			_ = json.NewEncoder(w).Encode(obj{"kind": "Status", "code": 410, "reason": "Expired", "message": "too old", "metadata": obj{"continue": "new"}})
		case "new":
			_ = json.NewEncoder(w).Encode(list(running("b")))
		}
	})
	if f := facts(t, s.open(t, kube.Options{}), inShop); f.Seen.Pods != 2 {
		t.Errorf("%d pods", f.Seen.Pods)
	}
}

// A server that always names one more page does not keep ferry for ever.
func TestEndlessPages(t *testing.T) {
	s := newStandIn(t)
	s.handle("/api/v1/namespaces/shop/pods", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(obj{"items": []any{}, "metadata": obj{"continue": "again"}})
	})
	_, err := s.open(t, kube.Options{}).Facts(t.Context(), inShop)
	if err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
}

func TestGarbage(t *testing.T) {
	for name, body := range map[string]string{
		"empty": "", "html": "<html>", "cut": `{"items":[{"metadata":{"na`, "no list": `{"items":{}}`, "no object": `[]`,
		"deep": strings.Repeat("[", 20000), "wrong type": `{"items":[{"metadata":{"name":7}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			s.handle("/api/v1/namespaces/shop/pods", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
			if _, err := s.open(t, kube.Options{}).Facts(t.Context(), inShop); err == nil {
				t.Error("no error")
			}
		})
	}
}

// The login must not follow a redirect: client-go's transports add it to
// every request. It is sent over TLS alone, so this stand-in speaks it.
func TestRedirectIsRefused(t *testing.T) {
	var stolen, shown string
	thief := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stolen = r.Header.Get("Authorization")
		_ = json.NewEncoder(w).Encode(list())
	}))
	defer thief.Close()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown = r.Header.Get("Authorization")
		http.Redirect(w, r, thief.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "config")
	config := strings.Replace(fmt.Sprintf(kubeconfig, server.URL), "{server:", "{insecure-skip-tls-verify: true, server:", 1)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := kube.Open(kube.Options{Kubeconfig: file})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Facts(t.Context(), inShop)
	if err == nil || stolen != "" || shown != "Bearer s3cret-token" {
		t.Errorf("err %v; the server got %q, the other one %q", err, shown, stolen)
	}
	if strings.Contains(fmt.Sprint(err), "s3cret-token") {
		t.Error("the error holds the token")
	}
}

// Of a pod with thousands of different events the newest are kept.
func TestManyEvents(t *testing.T) {
	s := newStandIn(t)
	s.shop()
	var events []any
	for i := range 3000 {
		e := pulled("web-1")
		e["message"] = fmt.Sprintf("Failed to pull image \"nginx\": %d", i)
		e["lastTimestamp"] = time.Date(2026, 1, 2, 0, 0, i, 0, time.UTC)
		events = append(events, e)
	}
	s.on("/api/v1/namespaces/shop/events", list(events...))
	kept := facts(t, s.open(t, kube.Options{}), inShop).Pods[0].Events
	newest := slices.ContainsFunc(kept, func(e diagnose.Event) bool { return strings.HasSuffix(e.Message, ": 2999") })
	if len(kept) > 40 || !newest {
		t.Errorf("%d events are kept, the newest among them: %v", len(kept), newest)
	}
}

// The kubelet repeats itself, and the API server keeps that as one event or as
// several: it counts as one.
func TestSameEventAgain(t *testing.T) {
	s := newStandIn(t)
	s.shop()
	s.on("/api/v1/namespaces/shop/events", list(pulled("web-1"), pulled("web-1")))
	kept := facts(t, s.open(t, kube.Options{}), inShop).Pods[0].Events
	if len(kept) != 1 || kept[0].Count != 24 {
		t.Errorf("%+v", kept)
	}
}

// Ages are counted by the server's clock.
func TestClocksDiffer(t *testing.T) {
	s := newStandIn(t)
	server := time.Now().Add(-90 * time.Minute)
	for _, path := range []string{"/api/v1/namespaces/shop/pods", "/api/v1/namespaces/shop"} {
		s.handle(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", server.UTC().Format(http.TimeFormat))
			_ = json.NewEncoder(w).Encode(list())
		})
	}
	f := facts(t, s.open(t, kube.Options{}), inShop)
	if d := f.Skew - 90*time.Minute; d.Abs() > 3*time.Second {
		t.Errorf("skew %v", f.Skew)
	}
	if d := f.Now.Sub(server); d.Abs() > 3*time.Second {
		t.Errorf("now %v, the server says %v", f.Now, server)
	}
}

// What is deleted while it is read is no failure.
func TestDeletedMeanwhile(t *testing.T) {
	s := newStandIn(t)
	p := failing("web-1")
	p["metadata"].(obj)["ownerReferences"] = []obj{{"kind": "ReplicaSet", "name": "web-5f", "uid": "gone", "controller": true}}
	s.on("/api/v1/namespaces/shop/pods", list(p))
	s.on("/api/v1/namespaces/shop/events", list())
	s.on("/api/v1/nodes", list())
	f := facts(t, s.open(t, kube.Options{}), inShop)
	if len(f.Unseen) != 0 || len(f.Pods) != 1 {
		t.Fatalf("unseen %+v, pods %d", f.Unseen, len(f.Pods))
	}
	if len(f.Secrets) != 1 || !f.Secrets[0].Missing {
		t.Errorf("secrets %+v", f.Secrets)
	}
}

func TestCancel(t *testing.T) {
	s := newStandIn(t)
	s.shop()
	ctx, cancel := context.WithCancel(t.Context())
	s.handle("/api/v1/nodes", func(http.ResponseWriter, *http.Request) { cancel() })
	if _, err := s.open(t, kube.Options{}).Facts(ctx, inShop); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("HOME", t.TempDir())
	_, err := kube.Open(kube.Options{})
	var e *kube.ConfigError
	if !errors.As(err, &e) || !strings.Contains(err.Error(), os.Getenv("KUBECONFIG")) || e.Hint() == "" {
		t.Errorf("no kubeconfig: %v", err)
	}
	s := newStandIn(t)
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, fmt.Appendf(nil, kubeconfig, s.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = kube.Open(kube.Options{Kubeconfig: file, Context: "nope"})
	if !errors.As(err, &e) || !strings.Contains(err.Error(), `"nope"`) || !strings.Contains(e.Hint(), "other, test") {
		t.Errorf("no such context: %v", err)
	}
	c, err := kube.Open(kube.Options{Kubeconfig: file, Context: "other", Namespace: "mine"})
	if err != nil || c.Place().Namespace != "mine" || c.Place().Context != "other" {
		t.Errorf("%v %+v", err, c.Place())
	}
}

func TestUnreachable(t *testing.T) {
	s := newStandIn(t)
	c := s.open(t, kube.Options{})
	s.Close()
	_, err := c.Facts(t.Context(), inShop)
	var e *kube.Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint(), "Nothing listens") {
		t.Fatalf("%v, hint %q", err, e.Hint())
	}
	for _, part := range []string{s.URL, "context test", "/config"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %s", err, part)
		}
	}
}
