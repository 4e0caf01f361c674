package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferry/internal/content"
	"ferry/internal/registry"
)

// failing answers the first n requests with h, the others with a manifest.
func failing(n int32, h http.HandlerFunc) (http.HandlerFunc, *atomic.Int32) {
	var count atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		if count.Add(1) <= n {
			h(w, r)
			return
		}
		manifest(w, r)
	}, &count
}

func later(code int, after string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(code)
	}
}

// reset breaks the connection before anything was answered.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

func TestWhatIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		h     http.HandlerFunc
		tries int32
		says  string
	}{
		{"408", status(408, ""), 6, "408"},
		{"429", status(429, ""), 6, "429"},
		{"500", status(500, ""), 6, "500"},
		{"502", status(502, ""), 6, "502"},
		{"503", status(503, ""), 6, "503"},
		{"504", status(504, ""), 6, "504"},
		{"reset", reset, 6, ""},
		{"501", status(501, ""), 1, "501"},
		{"400", status(400, ""), 1, "400"},
		{"404", status(404, ""), 1, "404"},
		{"429 for an hour", later(429, "3600"), 1, "429 Too Many Requests, not before 1h0m0s from now"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, count := failing(100, c.h)
			w := newWorld(t)
			s := w.servePlain("registry.example.com", "127.0.0.1", h)
			w.opts.PlainHTTP = []string{"registry.example.com"}
			defer s.Close()
			_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
			wantError(t, err, c.says)
			if count.Load() != c.tries || len(w.waited) != int(c.tries)-1 || len(w.retries) != len(w.waited) {
				t.Errorf("tried %d times, waited %v, told of %q; want %d tries", count.Load(), w.waited, w.retries, c.tries)
			}
		})
	}
}

func TestTryingAgainHelps(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{"503": status(503, ""), "reset": reset} {
		t.Run(name, func(t *testing.T) {
			h, _ := failing(3, h)
			w := newWorld(t)
			w.servePlain("registry.example.com", "127.0.0.1", h)
			w.opts.PlainHTTP = []string{"registry.example.com"}
			_, b, err := w.repo(app).Fetch(t.Context(), "1.0")
			if err != nil || string(b) != emptyManifest {
				t.Fatalf("fetched %q, %v", b, err)
			}
			for i := 1; i < len(w.waited); i++ {
				if w.waited[i] <= w.waited[i-1] {
					t.Errorf("pauses do not grow: %v", w.waited)
				}
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for name, after := range map[string]string{
		"seconds": "37",
		"date":    time.Now().Add(37 * time.Second).UTC().Format(http.TimeFormat),
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := failing(1, later(429, after))
			r, w := at(t, h)
			_, _, err := r.Fetch(t.Context(), "1.0")
			check(t, err)
			if len(w.waited) != 1 || w.waited[0] > 37*time.Second || w.waited[0] < 30*time.Second {
				t.Errorf("waited %v, asked to wait 37s", w.waited)
			}
		})
	}
}

func TestRefusedConnectionIsTriedTwice(t *testing.T) {
	w := newWorld(t)
	s := w.serve("registry.example.com", "127.0.0.1", http.HandlerFunc(manifest))
	s.Close()
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantError(t, err, "connection refused")
	if len(w.waited) != 1 {
		t.Errorf("waited %v; want two tries", w.waited)
	}
	wantHint(t, err, "nothing listens there")
}

// TestRegistryThatIsStartedAgain: one that answered before is waited for.
func TestRegistryThatIsStartedAgain(t *testing.T) {
	w := newWorld(t)
	s := w.serve("registry.example.com", "127.0.0.1", http.HandlerFunc(manifest))
	r := w.repo(app)
	_, _, err := r.Fetch(t.Context(), "1.0")
	check(t, err)
	s.Close()
	_, _, err = r.Fetch(t.Context(), "1.0")
	wantError(t, err, "connection refused")
	if len(w.waited) != 5 {
		t.Errorf("waited %v; want six tries", w.waited)
	}
}

func TestSilenceIsTriedAgain(t *testing.T) {
	h, count := failing(1, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w := newWorld(t)
	w.opts.Stall = 200 * time.Millisecond
	w.servePlain("registry.example.com", "127.0.0.1", h)
	w.opts.PlainHTTP = []string{"registry.example.com"}
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	if err != nil || count.Load() != 2 {
		t.Errorf("%d tries, %v", count.Load(), err)
	}
}

func TestCancelEndsTheTries(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h, count := failing(100, status(503, ""))
	w := newWorld(t)
	w.opts.OnRetry = func(string, error, time.Duration) { cancel() }
	w.serve("registry.example.com", "127.0.0.1", h)
	_, _, err := w.repo(app).Fetch(ctx, "1.0")
	if !errors.Is(err, context.Canceled) || count.Load() != 1 {
		t.Errorf("%d tries, %v", count.Load(), err)
	}
}

func wantHint(t *testing.T, err error, parts ...string) {
	t.Helper()
	e, ok := errors.AsType[*registry.Error](err)
	if !ok {
		t.Fatalf("error %v is no *registry.Error", err)
	}
	for _, p := range parts {
		if !strings.Contains(e.Hint(), p) {
			t.Errorf("hint %q of %q does not say %q", e.Hint(), err, p)
		}
	}
}

func TestErrorsAndHints(t *testing.T) {
	said := func(code, message string) string {
		b, err := json.Marshal(message)
		check(t, err)
		return fmt.Sprintf(`{"errors":[{"code":%q,"message":%s,"detail":{"x":1}}]}`, code, b)
	}
	for _, c := range []struct {
		name     string
		h        http.HandlerFunc
		says     string
		hint     string
		notFound bool
	}{
		{"tag", status(404, said("MANIFEST_UNKNOWN", "manifest unknown")), "manifests/1.0: 404 Not Found (MANIFEST_UNKNOWN: manifest unknown)", "has no tag 1.0", true},
		{"repository", status(404, said("NAME_UNKNOWN", "no such repository")), "NAME_UNKNOWN", "there is no repository registry.example.com/team/app", true},
		{"unauthorized", status(401, said("UNAUTHORIZED", "authentication required")), "401 Unauthorized (UNAUTHORIZED: authentication required)", "podman login registry.example.com", false},
		{"denied", status(403, said("DENIED", "access denied")), "403 Forbidden (DENIED: access denied)", "podman login registry.example.com", false},
		{"filter", answer403, "403 Forbidden (a web page answered)", "HTTPS_PROXY", false},
		{"page without its type", status(403, "<!DOCTYPE html><title>no</title>"), "403 Forbidden (a web page answered)", "open https://registry.example.com/v2/", false},
		{"limited", later(429, "7200"), "not before 2h0m0s", "wait 2h0m0s", false},
		{"own fault", status(500, ""), "500", "fault of its own", false},
		{"proxy login", status(407, ""), "407", "USER:PASSWORD@PROXY", false},
		{"hostile words", status(404, said("X", "a\x1b[2Jb\u202ec")), "(X: a\ufffd[2Jb\ufffdc)", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := at(t, c.h)
			_, _, err := r.Fetch(t.Context(), "1.0")
			wantError(t, err, c.says)
			wantHint(t, err, c.hint)
			if errors.Is(err, content.ErrNotFound) != c.notFound {
				t.Errorf("%v: not found is %v", err, !c.notFound)
			}
		})
	}
}

func answer403(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, "<html>blocked by policy</html>")
}

func TestDeadlineIsNoSilence(t *testing.T) {
	w := newWorld(t)
	w.serve("registry.example.com", "127.0.0.1", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // to return would be an answer
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, _, err := w.repo(app).Fetch(ctx, "1.0")
	if !errors.Is(err, context.DeadlineExceeded) || len(w.retries) != 0 {
		t.Errorf("%v after retries %q", err, w.retries)
	}
}

func TestUnknownNameIsFinal(t *testing.T) {
	for _, c := range []struct {
		notFound bool
		waits    int
	}{{true, 0}, {false, 1}} {
		w := newWorld(t)
		w.opts.Proxy = func(*http.Request) (*url.URL, error) {
			return nil, &net.DNSError{Err: "failed", Name: "registry.example.com", IsNotFound: c.notFound}
		}
		_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
		if len(w.waited) != c.waits {
			t.Errorf("not found %v: waited %v", c.notFound, w.waited)
		}
		if c.notFound {
			wantHint(t, err, "no DNS server knows registry.example.com")
		}
	}
}

// A token server that is not there says nothing about the image.
func TestMissingTokenServerIsNoMissingImage(t *testing.T) {
	w := newWorld(t)
	k := &tokens{left: map[string]int{}}
	w.serve("auth.example.com", "127.0.0.1", status(404, ""))
	w.serve("registry.example.com", "127.0.0.1", k.registry("https://auth.example.com/token"))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantError(t, err, "log in to registry.example.com", "404")
	if errors.Is(err, content.ErrNotFound) {
		t.Errorf("%v counts as not found", err)
	}
}
