package registry_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferry/internal/registry"
)

// inside is where the private network of these tests lies; everything else
// on loopback stands for the internet.
const inside = "127.0.0.2"

func insideIsPrivate(a netip.Addr) bool { return a == netip.MustParseAddr(inside) }

func readBlob(t *testing.T, r *registry.Repository) error {
	t.Helper()
	rc, err := r.Open(t.Context(), blobDesc, 0)
	if err != nil {
		return err
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err == nil && string(b) != blobText {
		t.Errorf("read %q, want %q", b, blobText)
	}
	return err
}

func TestRedirectGetsNoLogin(t *testing.T) {
	w := newWorld(t)
	w.login(map[string]string{"registry.example.com": "ann:secret"})
	var s seen
	w.serve("cdn.example.com", "127.0.0.1", s.then(whole(blobText)))
	w.serve("registry.example.com", "127.0.0.1", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			wantsBasic("ann:secret")(rw, r)
			return
		}
		redirect("https://cdn.example.com/blob?signature=very-secret")(rw, r)
	}))
	check(t, readBlob(t, w.repo(app)))
	if len(s.all()) != 1 || len(s.logins()) != 0 {
		t.Errorf("the other host got %d requests with logins %q", len(s.all()), s.logins())
	}
}

// The way to a presigned URL is nobody else's business.
func TestRedirectLeavesNoReferer(t *testing.T) {
	w := newWorld(t)
	var s seen
	w.serve("last.example.net", "127.0.0.1", s.then(whole(blobText)))
	w.serve("cdn.example.com", "127.0.0.1", redirect("https://last.example.net/blob"))
	w.serve("registry.example.com", "127.0.0.1", redirect("https://cdn.example.com/blob?signature=very-secret"))
	check(t, readBlob(t, w.repo(app)))
	if got := s.all()[0].Header.Get("Referer"); got != "" {
		t.Errorf("the other host learned %q", got)
	}
}

// A redirect's own wish for a login is not granted either.
func TestRedirectTargetAsksForLogin(t *testing.T) {
	w := newWorld(t)
	w.login(map[string]string{"registry.example.com": "ann:secret"})
	var s seen
	w.serve("cdn.example.com", "127.0.0.1", s.then(wantsBasic("ann:secret")))
	w.serve("registry.example.com", "127.0.0.1", redirect("https://cdn.example.com/blob?signature=very-secret"))
	err := readBlob(t, w.repo(app))
	wantError(t, err, "GET https://cdn.example.com/blob: 401")
	if strings.Contains(err.Error(), "very-secret") || len(s.logins()) != 0 {
		t.Errorf("logins %q, error %v", s.logins(), err)
	}
}

func TestErrorsHoldNoSecretsOfURLs(t *testing.T) {
	w := newWorld(t)
	w.serve("cdn.example.com", "127.0.0.1", http.HandlerFunc(reset))
	w.serve("registry.example.com", "127.0.0.1", redirect("https://cdn.example.com/blob?signature=very-secret#frag"))
	err := readBlob(t, w.repo(app))
	wantError(t, err, "GET https://cdn.example.com/blob: ")
	if strings.Contains(err.Error(), "very-secret") {
		t.Errorf("a secret is in the error: %v", err)
	}
	got := registry.Scrub(`GET "https://u:p@h/x?sig=1": Get "http://h/y?a#b": no`)
	if want := `GET "https://h/x": Get "http://h/y": no`; got != want {
		t.Errorf("scrubbed to %s, want %s", got, want)
	}
}

func TestRedirectMayNotLeaveTLS(t *testing.T) {
	w := newWorld(t)
	var s seen
	w.servePlain("cdn.example.com", "127.0.0.1", s.then(whole(blobText)))
	w.serve("registry.example.com", "127.0.0.1", redirect("http://cdn.example.com/blob"))
	err := readBlob(t, w.repo(app))
	wantError(t, err, "refused", "http://cdn.example.com", "a redirect may not leave HTTPS")
	if len(s.all()) != 0 || len(w.waited) != 0 {
		t.Errorf("%d requests, waited %v", len(s.all()), w.waited)
	}
}

func TestRedirectsEnd(t *testing.T) {
	var n atomic.Int32
	r, _ := at(t, func(w http.ResponseWriter, req *http.Request) {
		redirect(fmt.Sprintf("/again/%d", n.Add(1)))(w, req)
	})
	wantError(t, readBlob(t, r), "it redirected 10 times")
	if n.Load() != 10 {
		t.Errorf("%d requests, want 10", n.Load())
	}
}

// A public registry may not make ferry a tool against its own network.
func TestPublicRegistryMayNotPointInside(t *testing.T) {
	for _, c := range []struct {
		name    string
		at      string // where the registry lies
		targets string // where the blob lies
		refused bool
	}{
		{"public to public", "127.0.0.1", "127.0.0.3", false},
		{"private to private", inside, inside, false},
		{"private to public", inside, "127.0.0.1", false},
		{"public to private", "127.0.0.1", inside, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.opts.Private = insideIsPrivate
			var s seen
			w.serve("store.example.net", c.targets, s.then(whole(blobText)))
			w.serve("registry.example.com", c.at, redirect("https://store.example.net/blob"))
			err := readBlob(t, w.repo(app))
			if !c.refused {
				check(t, err)
				return
			}
			wantError(t, err, "refused", inside, "a registry at a public address may not send ferry to a private one")
			wantHint(t, err, "ask who runs registry.example.com")
			if len(s.all()) != 0 || len(w.waited) != 0 {
				t.Errorf("%d requests, waited %v", len(s.all()), w.waited)
			}
		})
	}
}

// A name that is public when it is looked at and private when it is dialled.
func TestNameThatMovesInside(t *testing.T) {
	w := newWorld(t)
	w.opts.Private = insideIsPrivate
	var public, private seen
	w.serve("store.example.net", inside, private.then(whole(blobText)))
	moved := w.locate("store.example.net:443")
	w.serve("store.example.net", "127.0.0.3", public.then(http.HandlerFunc(reset)))
	w.serve("registry.example.com", "127.0.0.1", redirect("https://store.example.net/blob"))
	// The first connection breaks; by the second the name has moved.
	w.opts.OnRetry = func(string, error, time.Duration) { w.put("store.example.net:443", moved) }
	err := readBlob(t, w.repo(app))
	if len(public.all()) != 1 {
		t.Errorf("%d requests to the public address", len(public.all()))
	}
	wantError(t, err, "refused", inside)
	if len(private.all()) != 0 {
		t.Error("the private host was reached")
	}
}

func TestTokenServerInside(t *testing.T) {
	w := newWorld(t)
	w.opts.Private = insideIsPrivate
	k := &tokens{uses: 9, left: map[string]int{}}
	w.serve("auth.example.com", inside, http.HandlerFunc(k.server))
	w.serve("registry.example.com", "127.0.0.1", k.registry("https://auth.example.com/token"))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantError(t, err, "refused", inside)
	if len(k.logins()) != 0 {
		t.Error("the token server was asked")
	}
}

// proxy passes CONNECT on, as far as it knows the names.
func (w *world) proxy() *url.URL {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		up, err := net.Dial("tcp", w.locate(r.Host))
		if err != nil {
			http.Error(rw, "no such place", http.StatusBadGateway)
			return
		}
		defer up.Close()
		rw.WriteHeader(http.StatusOK)
		down, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer down.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(up, down)
			up.Close()
		}()
		_, _ = io.Copy(down, up)
		down.Close()
		<-done
	}))
	w.t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	check(w.t, err)
	return u
}

func TestThroughProxy(t *testing.T) {
	w := newWorld(t)
	// The proxy itself lies inside, as proxies do; that is no concern.
	w.opts.Private = func(netip.Addr) bool { return true }
	proxy := w.proxy()
	w.opts.Proxy = func(*http.Request) (*url.URL, error) { return proxy, nil }
	w.serve("cdn.example.com", "127.0.0.1", whole(blobText))
	var to string
	w.serve("registry.example.com", "127.0.0.1", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		redirect(to)(rw, r)
	}))
	r := w.repo(app)
	to = "https://cdn.example.com/blob"
	check(t, readBlob(t, r))
	// Names are the proxy's to look up; addresses can be judged here.
	for _, to = range []string{"https://127.0.0.1/blob", "https://localhost/blob", "https://[::1]:8443/x"} {
		wantError(t, readBlob(t, r), "refused", "may not send ferry to a private one")
	}
}

func TestProxyThatIsDown(t *testing.T) {
	w := newWorld(t)
	l := listen(t, "127.0.0.1")
	addr := l.Addr().String()
	l.Close()
	w.opts.Proxy = func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: addr}, nil }
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantError(t, err, "through proxy "+addr, "connection refused")
	wantHint(t, err, addr, "HTTPS_PROXY", "NO_PROXY")
}

func TestUnknownAuthority(t *testing.T) {
	w := newWorld(t)
	w.serve("registry.example.com", "127.0.0.1", http.HandlerFunc(manifest))
	w.opts.CAFiles = nil
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantError(t, err, "unknown authority")
	wantHint(t, err, "--ca-file FILE")
	if len(w.waited) != 0 {
		t.Errorf("waited %v for what does not heal", w.waited)
	}
}

func TestCertificateForAnother(t *testing.T) {
	w := newWorld(t)
	s := w.serve("other.example.com", "127.0.0.1", http.HandlerFunc(manifest))
	w.put("registry.example.com:443", s.Listener.Addr().String())
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantHint(t, err, "the certificate is not for registry.example.com")
}

func TestPlainHTTP(t *testing.T) {
	w := newWorld(t)
	s := w.servePlain("registry.example.com", "127.0.0.1", http.HandlerFunc(manifest))
	w.put("registry.example.com:443", s.Listener.Addr().String())
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantError(t, err, "HTTP response to HTTPS client")
	wantHint(t, err, "--plain-http registry.example.com")
	if len(w.waited) != 0 {
		t.Errorf("waited %v for what does not heal", w.waited)
	}
	w.opts.PlainHTTP = []string{"registry.example.com"}
	_, _, err = w.repo(app).Fetch(t.Context(), "1.0")
	check(t, err)
}

func TestLoopbackSpeaksEither(t *testing.T) {
	w := newWorld(t)
	var s seen
	plain := httptest.NewServer(s.then(http.HandlerFunc(manifest)))
	defer plain.Close()
	r := w.repo(strings.TrimPrefix(plain.URL, "http://") + "/team/app")
	for range 2 {
		if _, _, err := r.Fetch(t.Context(), "1.0"); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.all()) != 2 {
		t.Errorf("%d requests for two manifests", len(s.all()))
	}
	secure := w.serve("unused.example.com", "127.0.0.1", http.HandlerFunc(manifest))
	_, _, err := w.repo(secure.Listener.Addr().String()+"/team/app").Fetch(t.Context(), "1.0")
	check(t, err)
}

// Whoever once spoke TLS on a loopback port is not believed without it.
func TestLoopbackIsNotDowngraded(t *testing.T) {
	w := newWorld(t)
	l := listen(t, "127.0.0.1")
	addr := l.Addr().String()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(manifest))
	secure.Listener.Close()
	secure.Listener = l
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{w.certificate("x.example.com", "127.0.0.1")}}
	secure.StartTLS()
	r := w.repo(addr + "/team/app")
	_, _, err := r.Fetch(t.Context(), "1.0")
	check(t, err)
	secure.Close()

	l, err = net.Listen("tcp", addr)
	check(t, err)
	var s seen
	plain := httptest.NewUnstartedServer(s.then(http.HandlerFunc(manifest)))
	plain.Listener.Close()
	plain.Listener = l
	plain.Start()
	defer plain.Close()
	_, _, err = r.Fetch(t.Context(), "1.0")
	wantError(t, err, "HTTP response to HTTPS client")
	for _, req := range s.all() {
		if strings.HasPrefix(req.URL.Path, "/v2/") {
			t.Errorf("asked in plain HTTP for %s", req.URL.Path)
		}
	}
}

func TestConnectionsAreShared(t *testing.T) {
	w := newWorld(t)
	var conns atomic.Int32
	remote := map[string]bool{}
	w.serve("registry.example.com", "127.0.0.1", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !remote[r.RemoteAddr] {
			remote[r.RemoteAddr] = true
			conns.Add(1)
		}
		manifest(rw, r)
	}))
	c := w.client()
	for _, name := range []string{"a/b", "c/d", "e/f"} {
		_, _, err := repoOf(t, c, "registry.example.com/"+name).Fetch(t.Context(), "1.0")
		check(t, err)
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections for three repositories", conns.Load())
	}
}

func TestAgent(t *testing.T) {
	w := newWorld(t)
	w.opts.UserAgent = "ferry/1.2.3"
	var s seen
	w.serve("registry.example.com", "127.0.0.1", s.then(http.HandlerFunc(manifest)))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	check(t, err)
	req := s.all()[0]
	if got := req.Header["User-Agent"]; !slices.Equal(got, []string{"ferry/1.2.3"}) {
		t.Errorf("user agent %q", got)
	}
	for _, want := range []string{"oci.image.index", "oci.image.manifest", "manifest.list.v2", "docker.distribution.manifest.v2"} {
		if !strings.Contains(req.Header.Get("Accept"), want) {
			t.Errorf("accepts %q, not %s", req.Header.Get("Accept"), want)
		}
	}
}

func TestReach(t *testing.T) {
	for addr, want := range map[string]string{
		"8.8.8.8": "public", "2606:4700::1111": "public",
		"10.1.2.3": "private", "172.31.0.1": "private", "192.168.1.1": "private", "fd12::1": "private", "100.64.0.1": "private",
		"127.0.0.1": "loopback", "::1": "loopback", "0.0.0.0": "loopback", "0.1.2.3": "loopback", "::": "loopback", "::ffff:127.0.0.1": "loopback",
		"169.254.169.254": "link-local or metadata", "fe80::1%eth0": "link-local or metadata",
		"100.100.100.200": "link-local or metadata", "fd00:ec2::254": "link-local or metadata", "168.63.129.16": "link-local or metadata",
		"64:ff9b::a9fe:a9fe": "link-local or metadata", "2002:7f00:1::": "loopback", "224.0.0.1": "link-local or metadata",
	} {
		if got := registry.ReachOf(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
}

func TestSameSite(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"registry-1.docker.io", "auth.docker.io", true},
		{"registry.gitlab.com", "gitlab.com", true},
		{"ghcr.io", "GHCR.io", true},
		{"localhost", "localhost", true},
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "11.0.0.1", false},
		{"a.github.io", "b.github.io", false},
		{"registry.co.uk", "auth.co.uk", false},
		{"docker.io", "docker.io.example.com", false},
		{"localhost", "auth.localhost", false},
	} {
		if got := registry.SameSite(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}
