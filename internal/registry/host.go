package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/publicsuffix"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// The host that image names mean by docker.io.
const (
	hubName = "docker.io"
	hubHost = "registry-1.docker.io"
)

const (
	maxRedirects   = 10
	maxDial        = 15 * time.Second
	maxHeaderBytes = 1 << 20
)

// host is one registry as the network sees it. All that a registry makes
// ferry do goes through its host: its own requests, redirects and tokens.
type host struct {
	name string // as in image names: docker.io
	addr string // as in URLs: registry-1.docker.io
	opts Options

	direct  *http.Transport
	roots   *x509.CertPool
	proxyMu sync.Mutex
	proxies map[string]*http.Transport

	scheme atomic.Int32 // what is known of how the registry speaks
	spoke  atomic.Bool  // it answered before
	reach  atomic.Int32 // how far inside the registry was found to lie
}

const (
	schemeUnknown int32 = iota
	schemeHTTPS
	schemeHTTP
)

func newHost(name string, opts Options, roots *x509.CertPool) *host {
	h := &host{name: name, addr: name, opts: opts, roots: roots, proxies: map[string]*http.Transport{}}
	if name == hubName {
		h.addr = hubHost
	}
	h.reach.Store(int32(unknown))
	if slices.Contains(opts.PlainHTTP, name) {
		h.scheme.Store(schemeHTTP)
	}
	h.direct = h.transport(nil)
	h.direct.DialContext = h.dial
	return h
}

func (h *host) transport(proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy:                  proxy,
		TLSClientConfig:        &tls.Config{RootCAs: h.roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    min(h.opts.Stall, maxDial),
		ResponseHeaderTimeout:  h.opts.Stall,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
}

// client returns an HTTP client whose every request passes h's guards.
func (h *host) client() *http.Client {
	return &http.Client{Transport: retrying{h}, CheckRedirect: h.checkRedirect}
}

func (h *host) close() {
	h.direct.CloseIdleConnections()
	h.proxyMu.Lock()
	defer h.proxyMu.Unlock()
	for _, t := range h.proxies {
		t.CloseIdleConnections()
	}
}

// url returns the registry's URL for path.
func (h *host) url(path string) string {
	if h.scheme.Load() == schemeHTTP {
		return "http://" + h.addr + path
	}
	return "https://" + h.addr + path
}

// fallBack says whether a request that failed with err is to be repeated in
// plain HTTP: only on loopback, and only where TLS was never spoken.
func (h *host) fallBack(err error) bool {
	if !isSchemeMismatch(err) || !isLoopbackHost(hostname(h.addr)) {
		return false
	}
	return h.scheme.CompareAndSwap(schemeUnknown, schemeHTTP) || h.scheme.Load() == schemeHTTP
}

func hostname(hostport string) string {
	return (&url.URL{Host: hostport}).Hostname()
}

// isSchemeMismatch says whether a server answered a TLS greeting in HTTP.
func isSchemeMismatch(err error) bool {
	if errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	e, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok && string(e.RecordHeader[:]) == "HTTP/"
}

// retrying tries requests again as policy says.
type retrying struct{ h *host }

func (t retrying) RoundTrip(req *http.Request) (*http.Response, error) {
	if s, ok := req.Body.(*sending); ok && s.once {
		return t.h.RoundTrip(req)
	}
	p := &policy{ctx: req.Context(), host: req.URL.Host, opts: t.h.opts}
	if t.h.isOwn(req.URL) {
		p.spoke = &t.h.spoke
	}
	again := retry.Transport{Base: t.h, Policy: func() retry.Policy { return p }}
	return again.RoundTrip(req)
}

// RoundTrip sends one request, if the guards let it pass.
func (h *host) RoundTrip(req *http.Request) (*http.Response, error) {
	proxy, err := h.permit(req)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	if proxy != nil {
		resp, err := h.through(proxy).RoundTrip(req)
		if err != nil {
			return nil, &proxyError{proxy: proxy.Host, err: err}
		}
		return h.answered(resp), nil
	}
	resp, err := h.direct.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	return h.answered(resp), nil
}

func (h *host) permit(req *http.Request) (*url.URL, error) {
	if err := h.guardLogin(req); err != nil {
		return nil, err
	}
	proxy, err := h.opts.Proxy(req)
	if err != nil {
		return nil, fmt.Errorf("choose a proxy for %s: %w", req.URL.Host, err)
	}
	if proxy == nil {
		return nil, nil
	}
	return proxy, h.guardProxied(req)
}

// through returns the transport that goes through proxy. It has no guard on
// what is dialled, since that is the proxy.
func (h *host) through(proxy *url.URL) *http.Transport {
	h.proxyMu.Lock()
	defer h.proxyMu.Unlock()
	key := proxy.String()
	if t, ok := h.proxies[key]; ok {
		return t
	}
	t := h.transport(http.ProxyURL(proxy))
	d := &net.Dialer{Timeout: min(h.opts.Stall, maxDial)}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return d.DialContext(ctx, network, h.opts.locate(addr))
	}
	h.proxies[key] = t
	return t
}

// answered notes what resp tells of the registry.
func (h *host) answered(resp *http.Response) *http.Response {
	own := h.isOwn(resp.Request.URL)
	if own {
		h.spoke.Store(true)
	}
	if own && resp.Request.URL.Scheme == "https" {
		h.scheme.CompareAndSwap(schemeUnknown, schemeHTTPS)
	}
	// oras reads the first challenge alone.
	if all := resp.Header["Www-Authenticate"]; len(all) > 1 {
		resp.Header["Www-Authenticate"] = []string{bestChallenge(all)}
	}
	return resp
}

func bestChallenge(all []string) string {
	for _, scheme := range []string{"bearer", "basic"} {
		for _, c := range all {
			if first, _, _ := strings.Cut(c, " "); strings.EqualFold(first, scheme) {
				return c
			}
		}
	}
	return all[0]
}

// isOwn says whether u is on the registry itself, port and all.
func (h *host) isOwn(u *url.URL) bool {
	return withPort(u) == withPort(&url.URL{Scheme: u.Scheme, Host: h.addr})
}

func withPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// guardLogin refuses to show a login to anyone it is not for. oras drops the
// Authorization header when a redirect leaves the registry; what is left are
// token servers, which a registry can name freely.
func (h *host) guardLogin(req *http.Request) error {
	login := req.Header.Get("Authorization")
	if login == "" && !mayHoldLogin(req.Body) {
		return nil
	}
	if req.URL.Scheme != "https" && !h.mayBePlain(req.URL) {
		return h.refuse(req.URL, "a login would be readable on the way, in plain HTTP")
	}
	if h.isOwn(req.URL) {
		return nil
	}
	if strings.HasPrefix(login, "Bearer ") || !sameSite(hostname(h.addr), req.URL.Hostname()) {
		return h.refuse(req.URL, "a login is sent only to hosts of the registry's own domain")
	}
	return nil
}

// mayHoldLogin says whether a request's body may be a login, as that of a
// token request is: all but what an image consists of.
func mayHoldLogin(body io.ReadCloser) bool {
	if body == nil || body == http.NoBody {
		return false
	}
	_, content := body.(*sending)
	return !content
}

func (h *host) mayBePlain(u *url.URL) bool {
	return isLoopbackHost(u.Hostname()) || slices.Contains(h.opts.PlainHTTP, u.Host)
}

// sameSite says whether one owner holds both hosts, as browsers decide it:
// they share the part of the name that can be registered.
func sameSite(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	if _, err := netip.ParseAddr(a); err == nil {
		return false
	}
	sa, errA := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(a))
	sb, errB := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(b))
	return errA == nil && errB == nil && sa == sb
}

// guardProxied checks what can be checked when a proxy looks names up: hosts
// that are addresses already.
func (h *host) guardProxied(req *http.Request) error {
	target, known := literalReach(req.URL.Hostname(), h.opts.Private)
	if h.isOwn(req.URL) {
		if known {
			h.note(target)
		}
		return nil
	}
	if known {
		return h.guardReach(req.URL.Host, target)
	}
	return nil
}

// note remembers the outermost place where the registry was found.
func (h *host) note(r reach) {
	for {
		old := h.reach.Load()
		if old != int32(unknown) && old <= int32(r) {
			return
		}
		if h.reach.CompareAndSwap(old, int32(r)) {
			return
		}
	}
}

func (h *host) guardReach(target string, r reach) error {
	own := max(reach(h.reach.Load()), public)
	if r <= own {
		return nil
	}
	return &RefusedError{Registry: h.name, Target: target, Reason: fmt.Sprintf(
		"a registry at a %s address may not send ferry to a %s one", own, r)}
}

// dial connects and applies guardReach to the very address that is dialled,
// after names are looked up: a name that changes its address does not help.
func (h *host) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	own := h.isOwn(&url.URL{Scheme: "https", Host: addr}) || h.isOwn(&url.URL{Scheme: "http", Host: addr})
	d := &net.Dialer{Timeout: min(h.opts.Stall, maxDial)}
	if !own {
		d.Control = func(_, dialled string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(dialled)
			if err != nil {
				return fmt.Errorf("read dialled address %q: %w", dialled, err)
			}
			return h.guardReach(addr+" at "+ap.Addr().String(), reachOf(ap.Addr(), h.opts.Private))
		}
	}
	conn, err := d.DialContext(ctx, network, h.opts.locate(addr))
	if err == nil && own {
		if ap, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
			h.note(reachOf(ap.Addr(), h.opts.Private))
		}
	}
	return conn, err
}

// checkRedirect runs before each redirect is followed, after oras took the
// login off those that leave the registry.
func (h *host) checkRedirect(req *http.Request, via []*http.Request) error {
	// What led here may be a presigned URL, which is a secret of its host.
	req.Header.Del("Referer")
	if len(via) >= maxRedirects {
		return h.refuse(req.URL, fmt.Sprintf("it redirected %d times", maxRedirects))
	}
	for _, earlier := range via {
		if earlier.URL.Scheme == "https" && req.URL.Scheme != "https" {
			return h.refuse(req.URL, "a redirect may not leave HTTPS")
		}
	}
	return nil
}

func (h *host) refuse(u *url.URL, reason string) error {
	return &RefusedError{Registry: h.name, Target: u.Scheme + "://" + u.Host, Reason: reason}
}

// proxyError says that a request failed on its way through a proxy.
type proxyError struct {
	proxy string
	err   error
}

func (e *proxyError) Error() string { return "through proxy " + e.proxy + ": " + e.err.Error() }
func (e *proxyError) Unwrap() error { return e.err }
