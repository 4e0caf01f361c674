package registry_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"ferry/internal/content"
	"ferry/internal/credential"
	"ferry/internal/ref"
	"ferry/internal/registry"
)

func parsed(t *testing.T, s string) ref.Name {
	t.Helper()
	n, err := ref.Parse(s)
	check(t, err)
	return n
}

func TestWay(t *testing.T) {
	w := newWorld(t)
	w.serve("registry.test", "127.0.0.1", http.HandlerFunc(manifest))
	r := w.client().Reach(t.Context(), parsed(t, "registry.test/a:1"))
	if !r.Connect.Done() || !r.Greet.Done() || r.Host != "registry.test" || r.PlainHTTP {
		t.Errorf("%+v", r)
	}
}

func TestWayEndsWhereItFails(t *testing.T) {
	w := newWorld(t)
	plain := w.servePlain("plain.test", "127.0.0.1", http.HandlerFunc(manifest))
	w.put("plain.test:443", plain.Listener.Addr().String())
	w.serve("other.test", "127.0.0.1", http.HandlerFunc(manifest))
	closed := listen(t, "127.0.0.1")
	closed.Close()
	w.put("closed.test:443", closed.Addr().String())
	w.mu.Lock()
	w.at["wrong.test:443"] = w.at["other.test:443"]
	w.mu.Unlock()
	c := w.client()

	if r := c.Reach(t.Context(), parsed(t, "plain.test/a:1")); !r.PlainHTTP || r.Greet.Why() == "" {
		t.Errorf("plain HTTP: %+v", r)
	}
	if r := c.Reach(t.Context(), parsed(t, "closed.test/a:1")); r.Connect.Why() != "connect: connection refused" || r.Greet.Took != 0 {
		t.Errorf("closed port: %+v, why %q", r, r.Connect.Why())
	}
	if r := c.Reach(t.Context(), parsed(t, "wrong.test/a:1")); !strings.Contains(r.Greet.Why(), "other.test") {
		t.Errorf("another's certificate: %q", r.Greet.Why())
	}
	if r := c.Reach(t.Context(), parsed(t, "no-such-name.invalid/a:1")); r.Resolve.Why() == "" || r.Connect.Took != 0 {
		t.Errorf("no such name: %+v", r)
	}
}

// A server that takes the connection and says nothing costs no more than Stall.
func TestWayHangs(t *testing.T) {
	w := newWorld(t)
	l := listen(t, "127.0.0.1")
	defer l.Close()
	w.put("silent.test:443", l.Addr().String())
	w.opts.Stall = 50 * time.Millisecond
	start := time.Now()
	r := w.client().Reach(t.Context(), parsed(t, "silent.test/a:1"))
	if !strings.Contains(r.Greet.Why(), "no answer within") || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %q", time.Since(start), r.Greet.Why())
	}
}

func TestWayThroughProxy(t *testing.T) {
	w := newWorld(t)
	w.opts.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://user:secret@proxy.test:3128") }
	r := w.client().Reach(t.Context(), parsed(t, "registry.test/a:1"))
	if r.Proxy != "proxy.test:3128" || r.Connect.Took != 0 {
		t.Errorf("%+v", r)
	}
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	w.serve("registry.test", "127.0.0.1", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path + "?" + r.URL.RawQuery {
		case "/v2/team/web/tags/list?n=1000":
			rw.Header().Set("Link", `</v2/team/web/tags/list?n=1000&last=b>; rel="next"`)
			_, _ = rw.Write([]byte(`{"name":"team/web","tags":["a","b"]}`))
		case "/v2/team/web/tags/list?n=1000&last=b":
			_, _ = rw.Write([]byte(`{"name":"team/web","tags":["c"]}`))
		case "/v2/team/endless/tags/list?n=1000":
			rw.Header().Set("Link", `</v2/team/endless/tags/list?n=1000>; rel="next"`)
			_, _ = rw.Write([]byte(`{"tags":["x"]}`))
		case "/v2/team/away/tags/list?n=1000":
			rw.Header().Set("Link", `<https://elsewhere.test/v2/team/away/tags/list>; rel="next"`)
			_, _ = rw.Write([]byte(`{"tags":["x"]}`))
		default:
			status(http.StatusNotFound, `{"errors":[{"code":"NAME_UNKNOWN"}]}`)(rw, r)
		}
	}))
	c := w.client()
	tags, err := repoOf(t, c, "registry.test/team/web").Tags(t.Context(), 5000)
	check(t, err)
	if strings.Join(tags, " ") != "a b c" {
		t.Errorf("tags %q", tags)
	}
	if tags, err := repoOf(t, c, "registry.test/team/web").Tags(t.Context(), 2000); err != nil || len(tags) != 3 {
		t.Errorf("%q, %v", tags, err)
	}
	if tags, err := repoOf(t, c, "registry.test/team/endless").Tags(t.Context(), 5000); err != nil || len(tags) != 10 {
		t.Errorf("endless: %d, %v", len(tags), err)
	}
	_, err = repoOf(t, c, "registry.test/team/away").Tags(t.Context(), 5000)
	wantError(t, err, "elsewhere")
	_, err = repoOf(t, c, "registry.test/nope").Tags(t.Context(), 5000)
	if !errors.Is(err, content.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	var e *registry.Error
	if !errors.As(err, &e) || e.ErrorCode() != "NAME_UNKNOWN" {
		t.Errorf("code of %v", err)
	}
}

// A login that is handed in takes the place of all files, and goes to its
// registry alone.
func TestHandedLogin(t *testing.T) {
	w := newWorld(t)
	var asked seen
	w.serve("registry.test", "127.0.0.1", asked.then(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "pod" || password != "secret" {
			rw.Header().Set("Www-Authenticate", `Basic realm="x"`)
			status(http.StatusUnauthorized, `{}`)(rw, r)
			return
		}
		manifest(rw, r)
	})))
	w.login(map[string]string{"registry.test": "me:mine"})
	w.opts.Login = func(n ref.Name) (credential.Login, string, bool) {
		return credential.Login{Username: "pod", Password: "secret"}, "secret shop/regcred", n.Registry() == "registry.test"
	}
	if _, _, err := w.repo("registry.test/a").Fetch(t.Context(), "1"); err != nil {
		t.Error(err)
	}
	w.opts.Login = func(ref.Name) (credential.Login, string, bool) { return credential.Login{}, "", false }
	before := len(asked.logins())
	_, _, err := w.repo("registry.test/a").Fetch(t.Context(), "1")
	wantError(t, err, "401")
	if all := asked.logins(); len(all) != before {
		t.Errorf("a login was sent though there is none to send: %q", all[before:])
	}
}

func TestTries(t *testing.T) {
	w := newWorld(t)
	var asked seen
	w.serve("registry.test", "127.0.0.1", asked.then(status(http.StatusServiceUnavailable, "")))
	w.opts.Tries = 1
	_, _, err := w.repo("registry.test/a").Fetch(t.Context(), "1")
	wantError(t, err, "503")
	if n := len(asked.all()); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
