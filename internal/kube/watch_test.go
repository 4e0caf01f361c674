package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"ferry/internal/kube"
)

// changed runs Changed and says how long it took.
func changed(t *testing.T, c *kube.Client, version string) time.Duration {
	t.Helper()
	f := facts(t, c, inShop)
	f.Version = version
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	start := time.Now()
	if err := c.Changed(ctx, inShop, f); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// watching answers lists from the shop, and watches with the events given.
func (s *standIn) watching(events ...obj) {
	s.handle("/api/v1/namespaces/shop/pods", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "" {
			page := list(failing("web-1"), running("db-0"))
			page["metadata"] = obj{"resourceVersion": "7"}
			_ = json.NewEncoder(w).Encode(page)
			return
		}
		for _, e := range events {
			_ = json.NewEncoder(w).Encode(e)
		}
	})
}

func TestWatchWakes(t *testing.T) {
	for name, events := range map[string][]obj{
		"a pod begins to fail": {{"type": "BOOKMARK", "object": obj{}}, {"type": "MODIFIED", "object": running("db-0")}, {"type": "MODIFIED", "object": failing("db-0")}},
		"a pod that failed":    {{"type": "DELETED", "object": running("web-1")}},
		"too old":              {{"type": "ERROR", "object": obj{"kind": "Status", "code": 410}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn(t)
			s.shop()
			s.watching(events...)
			if d := changed(t, s.open(t, kube.Options{}), "7"); d > 5*time.Second {
				t.Errorf("woke after %v only", d)
			}
			asked := s.requests()
			if last := asked[len(asked)-1]; last != "GET /api/v1/namespaces/shop/pods?allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=300&watch=1" {
				t.Errorf("asked: %s", last)
			}
		})
	}
}

// A watch that is refused, cut or full of what does not matter does not spin:
// the next look comes after a pause.
func TestWatchIsLost(t *testing.T) {
	cut := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"type":"MODIFIED","object":{"metadata":{"na`)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"forbidden": status(http.StatusForbidden, "Forbidden", "may not watch"),
		"cut":       cut,
		"garbage":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn(t)
			s.shop()
			c := s.open(t, kube.Options{})
			f := facts(t, c, inShop)
			f.Version = "7"
			s.handle("/api/v1/namespaces/shop/pods", answer)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if err := c.Changed(ctx, inShop, f); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("no pause: %v", err)
			}
			if n := len(s.requests()); n > 8 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// A server that hung once is asked again at the next look: a watch outlives
// its restart.
func TestWatchOutlivesAHang(t *testing.T) {
	s := newStandIn(t)
	s.shop()
	c := s.open(t, kube.Options{Timeout: 50 * time.Millisecond})
	f := facts(t, c, inShop)
	hang := make(chan struct{})
	s.handle("/api/v1/namespaces/shop/pods", func(http.ResponseWriter, *http.Request) { <-hang })
	if _, err := c.Facts(t.Context(), inShop); err == nil {
		t.Fatal("no error from a server that hangs")
	}
	close(hang)
	s.shop()
	f.Version = "" // as after a look that failed
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_ = c.Changed(ctx, inShop, f)
	if _, err := c.Facts(t.Context(), inShop); err != nil {
		t.Error(err)
	}
}
