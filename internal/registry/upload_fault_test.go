package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferry/internal/registry"
)

// patches answers the first n PATCHes in the registry's place: its bytes are
// taken, and lost.
func (u *uploads) patches(n int64, answer http.HandlerFunc) http.Handler {
	var seen atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch && seen.Add(1) <= n {
			u.mu.Lock()
			u.reqs = append(u.reqs, r.Method)
			u.mu.Unlock()
			_, _ = io.Copy(io.Discard, r.Body)
			answer(w, r)
			return
		}
		u.ServeHTTP(w, r)
	})
}

func (u *uploads) asked(method string) (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, m := range u.reqs {
		if m == method {
			n++
		}
	}
	return n
}

func refuses(code int, word string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"told by the test"}]}`, word)
	}
}

// TestUploadWhoseSessionIsLost is begun anew, in whatever words that is said;
// where it gets lost again and again, an end comes soon.
func TestUploadWhoseSessionIsLost(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		again  bool
	}{
		{404, "BLOB_UPLOAD_UNKNOWN", true},
		{404, "", true},
		{410, "", true},
		{409, "", true},
		{416, "RANGE_INVALID", true},
		{400, "BLOB_UPLOAD_UNKNOWN", true},
		{400, "BLOB_UPLOAD_INVALID", true},
		{400, "SIZE_INVALID", false},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.code), func(t *testing.T) {
			w, u := newWorld(t), newUploads()
			w.serve("registry.example", "127.0.0.1", u.patches(1, refuses(c.status, c.code)))
			s, d, b := bigBlob()
			_, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "", nothing)
			if (err == nil) != c.again || bytes.Equal(u.done[d.Digest], b) != c.again {
				t.Errorf("%v, and %d bytes are there", err, len(u.done[d.Digest]))
			}
		})
	}
	w, u := newWorld(t), newUploads()
	w.serve("registry.example", "127.0.0.1", u.patches(1000, refuses(404, "BLOB_UPLOAD_UNKNOWN")))
	s, d, _ := bigBlob()
	_, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "", nothing)
	if e, ok := errors.AsType[*registry.Error](err); !ok || e.Code != "BLOB_UPLOAD_UNKNOWN" {
		t.Errorf("always lost: %v", err)
	}
	if n := u.asked(http.MethodPost); n != 4 {
		t.Errorf("it was begun %d times, want 4", n)
	}
}

// TestUploadWaitsAsAsked: a registry that is asked too much says when to come
// back. What it wants is done, unless it is too long.
func TestUploadWaitsAsAsked(t *testing.T) {
	for after, ok := range map[string]bool{"37": true, "3600": false} {
		w, u := newWorld(t), newUploads()
		w.serve("registry.example", "127.0.0.1", u.patches(1, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Retry-After", after)
			refuses(http.StatusTooManyRequests, "TOOMANYREQUESTS")(rw, r)
		}))
		s, d, _ := bigBlob()
		_, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "", nothing)
		if (err == nil) != ok {
			t.Errorf("after %s s: %v", after, err)
		}
		if waited := slices.Contains(w.waited, 37*time.Second); waited != ok || !ok && len(w.waited) > 0 {
			t.Errorf("asked to wait %s s, it waited %v", after, w.waited)
		}
		if !ok && (u.asked(http.MethodPatch) != 1 || !strings.Contains(err.Error(), "1h0m0s")) {
			t.Errorf("%d times, and then %v", u.asked(http.MethodPatch), err)
		}
	}
}

// TestMountThatBeginsAnUpload: a registry that does not have the blob there
// may begin an upload at once, which is used.
func TestMountThatBeginsAnUpload(t *testing.T) {
	w, u := newWorld(t), newUploads()
	w.serve("registry.example", "127.0.0.1", u)
	s, d, b := bigBlob()
	mounted, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "library/base", nothing)
	if err != nil || mounted || !bytes.Equal(u.done[d.Digest], b) {
		t.Errorf("mounted: %v, %v, and %d bytes are there", mounted, err, len(u.done[d.Digest]))
	}
	if n := u.asked(http.MethodPost); n != 1 {
		t.Errorf("uploads were begun %d times, want once", n)
	}
}

// TestSourceThatFailsIsNotReadAgain: what is wrong in the bundle stays wrong.
// The registry is told that nothing more will come.
func TestSourceThatFailsIsNotReadAgain(t *testing.T) {
	w, u := newWorld(t), newUploads()
	w.serve("registry.example", "127.0.0.1", u)
	s, d, _ := bigBlob()
	_, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, spoiled{s}, "", nothing)
	if !errors.Is(err, errWrong) {
		t.Errorf("got %v, want the source's error", err)
	}
	if len(w.waited) > 0 || u.asked(http.MethodPatch) > 1 || u.asked(http.MethodDelete) != 1 {
		t.Errorf("it waited %v, and asked %q", w.waited, u.reqs)
	}
}

// TestUploadLocationThatClaimsTLS: behind a proxy that says so, a registry in
// plain HTTP names its own port with https. Where that leads to another port
// there is an end, not a try without one.
func TestUploadLocationThatClaimsTLS(t *testing.T) {
	s, d, b := bigBlob()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	other.Config.ErrorLog = quietLog()
	for _, own := range []bool{true, false} {
		u := newUploads()
		server := httptest.NewServer(u)
		server.Config.ErrorLog = quietLog()
		u.location = strings.Replace(server.URL, "http:", "https:", 1)
		if !own {
			u.location = strings.Replace(other.URL, "http:", "https:", 1)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := newWorld(t).repo(strings.TrimPrefix(server.URL, "http://")+"/team/web").PushBlob(ctx, d, s, "", nothing)
		cancel()
		server.Close()
		if errors.Is(err, context.DeadlineExceeded) || (err == nil) != own || own && !bytes.Equal(u.done[d.Digest], b) {
			t.Errorf("own port %v: %v", own, err)
		}
		if !own {
			wantHint(t, err, "sends ferry on to "+strings.Replace(other.URL, "http:", "https:", 1)+", which speaks plain HTTP")
		}
	}
}

// TestUploadSentWhereNothingIs: the hint speaks of the registry that named the
// other host, since that one was not asked for.
func TestUploadSentWhereNothingIs(t *testing.T) {
	w := newWorld(t)
	u := newUploads()
	u.location = "https://127.0.0.1:1"
	w.serve("registry.example", "127.0.0.1", u)
	s, d, _ := bigBlob()
	_, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "", nothing)
	wantHint(t, err, "registry.example sends ferry on to 127.0.0.1:1", "X-Forwarded-Proto")
}

// TestPlainHTTPToTLS: --plain-http for a registry that speaks TLS.
func TestPlainHTTPToTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	server.Config.ErrorLog = quietLog()
	addr := strings.TrimPrefix(server.URL, "https://")
	w := newWorld(t)
	w.opts.PlainHTTP = []string{addr}
	s, d, _ := bigBlob()
	_, err := w.repo(addr+"/team/web").PushBlob(t.Context(), d, s, "", nothing)
	wantHint(t, err, "leave --plain-http "+addr+" out")
}
