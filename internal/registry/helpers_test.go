package registry_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"ferry/internal/ref"
	"ferry/internal/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a small internet on loopback: names with certificates of their own
// authority, and a client that finds them there.
type world struct {
	t    *testing.T
	ca   *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string // file
	mu   sync.Mutex
	at   map[string]string // host:port → address
	opts registry.Options

	retries []string
	waited  []time.Duration
}

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	check(t, err)
	ca, err := x509.ParseCertificate(der)
	check(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	w := &world{t: t, ca: ca, key: key, pem: file, at: map[string]string{}}
	w.opts = registry.Options{
		CAFiles: []string{file},
		Private: func(netip.Addr) bool { return false },
		Proxy:   func(*http.Request) (*url.URL, error) { return nil, nil },
		Wait: func(ctx context.Context, d time.Duration) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.waited = append(w.waited, d)
			return ctx.Err()
		},
		OnRetry: func(host string, err error, _ time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.retries = append(w.retries, host+": "+err.Error())
		},
		Stall: 5 * time.Second,
	}
	return w
}

func (w *world) locate(addr string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if real, ok := w.at[addr]; ok {
		return real
	}
	return addr
}

func (w *world) put(addr, real string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[addr] = real
}

// serve answers for name (port 443) from ip.
func (w *world) serve(name, ip string, h http.Handler) *httptest.Server {
	w.t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = listen(w.t, ip)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{w.certificate(name, ip)}}
	s.Config.ErrorLog = quietLog()
	s.StartTLS()
	w.t.Cleanup(s.Close)
	w.put(name+":443", s.Listener.Addr().String())
	return s
}

// servePlain answers for name (port 80) from ip, without TLS.
func (w *world) servePlain(name, ip string, h http.Handler) *httptest.Server {
	w.t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = listen(w.t, ip)
	s.Start()
	w.t.Cleanup(s.Close)
	w.put(name+":80", s.Listener.Addr().String())
	return s
}

func listen(t *testing.T, ip string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Skipf("this machine has no address %s: %v", ip, err)
	}
	return l
}

func (w *world) certificate(name, ip string) tls.Certificate {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(w.t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, w.ca, &key.PublicKey, w.key)
	check(w.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// login writes a credential file: key → user:password.
func (w *world) login(logins map[string]string) string {
	w.t.Helper()
	auths := map[string]map[string]string{}
	for k, v := range logins {
		auths[k] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(v))}
	}
	return w.file(map[string]any{"auths": auths})
}

func (w *world) file(v any) string {
	w.t.Helper()
	b, err := json.Marshal(v)
	check(w.t, err)
	file := filepath.Join(w.t.TempDir(), "auth.json")
	check(w.t, os.WriteFile(file, b, 0o600))
	w.opts.Files = append(w.opts.Files, file)
	return file
}

func (w *world) client() *registry.Client {
	w.t.Helper()
	c, err := registry.New(registry.LocateWith(w.opts, w.locate))
	check(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) repo(name string) *registry.Repository {
	w.t.Helper()
	return repoOf(w.t, w.client(), name)
}

func repoOf(t *testing.T, c *registry.Client, name string) *registry.Repository {
	t.Helper()
	n, err := ref.Parse(name)
	check(t, err)
	r, err := c.Repository(n)
	check(t, err)
	return r
}

// seen records the requests that a server got.
type seen struct {
	mu   sync.Mutex
	reqs []*http.Request
}

func (s *seen) then(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.reqs = append(s.reqs, r.Clone(context.Background()))
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

func (s *seen) all() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.reqs...)
}

func (s *seen) logins() []string {
	var all []string
	for _, r := range s.all() {
		if a := r.Header.Get("Authorization"); a != "" {
			all = append(all, a)
		}
	}
	return all
}

const emptyManifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
	`"config":{"mediaType":"application/vnd.oci.image.config.v1+json",` +
	`"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`

var manifestDesc = describe(ocispec.MediaTypeImageManifest, emptyManifest)

func describe(mediaType, s string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(s), Size: int64(len(s))}
}

// manifest answers every request with emptyManifest.
func manifest(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	w.Header().Set("Docker-Content-Digest", manifestDesc.Digest.String())
	w.Header().Set("Content-Length", fmt.Sprint(manifestDesc.Size))
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, emptyManifest)
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError checks that err says all of parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

// quietLog drops what a test server says of handshakes that fail on purpose.
func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }
