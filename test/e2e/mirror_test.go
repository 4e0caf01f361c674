//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// private is the registry behind the gap: TLS by an authority that nobody
// trusts, in front of Debian's registry.
type private struct {
	host, ca string

	mu    sync.Mutex
	asked []string
}

func newPrivate(t *testing.T) *private {
	t.Helper()
	to, err := url.Parse("http://" + registry(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &private{host: freeAddr(t), ca: filepath.Join(dir, "ca.pem")}
	certificate(t, dir)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.SetXForwarded() // else the registry sends uploads past this
		r.Out.Host = r.In.Host
	}}
	server := &http.Server{Addr: p.host, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.Method+" "+r.URL.Path)
		p.mu.Unlock()
		proxy.ServeHTTP(w, r)
	})}
	listener, err := net.Listen("tcp", p.host)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.ServeTLS(listener, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")) }()
	t.Cleanup(func() { _ = server.Close() })
	return p
}

// certificate writes an authority and a certificate of it for 127.0.0.1.
func certificate(t *testing.T, dir string) {
	t.Helper()
	caKey, caCert := sign(t, nil, nil, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the bank's authority"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	key, cert := sign(t, caKey, caCert, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: caCert.Raw}, "cert.pem": {Type: "CERTIFICATE", Bytes: cert.Raw},
		"key.pem": {Type: "EC PRIVATE KEY", Bytes: raw},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func sign(t *testing.T, by *ecdsa.PrivateKey, parent, template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by, parent = key, template
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// was says whether a path was asked for since the last time.
func (p *private) was(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := false
	for _, a := range p.asked {
		found = found || strings.HasSuffix(a, path)
	}
	p.asked = nil
	return found
}

// mirrored pushes a bundle of both images into p and returns the folder with
// the files that nodes need, for registries that do not exist.
func (w *world) mirrored(p *private) string {
	w.t.Helper()
	file := w.pack(w.multi.name, w.single.name)
	w.ferry("push", file, "--to", p.host+"/mirror/deep", "--ca-file", p.ca)
	dir := w.t.TempDir()
	w.ferry("mirror-config", "--registry", p.host+"/mirror/deep", "--ca-file", p.ca, "--host", "docker.io", "--host", "nowhere.invalid:5000", "--to", dir)
	return dir
}

// TestMirrorConfigForPodman: podman, as CRI-O would, pulls upstream's names
// by the registries.conf as it is.
func TestMirrorConfigForPodman(t *testing.T) {
	w := newWorld(t)
	p := newPrivate(t)
	dir := w.mirrored(p)
	home := t.TempDir()
	w.write(home+"/.config/containers/x", "")
	w.run("cp", "-r", filepath.Join(dir, "etc/containers/certs.d"), home+"/.config/containers/")
	w.env = append(w.env, "CONTAINERS_REGISTRIES_CONF="+filepath.Join(dir, "etc/containers/registries.conf.d/50-ferry.conf"),
		"HOME="+home, "HTTPS_PROXY=http://127.0.0.1:1", "NO_PROXY=127.0.0.1")
	for _, name := range []string{"docker.io/e2e/multi:1.0", "nowhere.invalid:5000/e2e/single:2.0", "docker.io/e2e/multi@" + w.multi.desc.Digest.String()} {
		w.podman("pull", "-q", name)
		if got := w.podman("run", "--rm", name); got != greeting {
			t.Errorf("%s printed %q", name, got)
		}
	}
	if !p.was("/v2/mirror/deep/e2e/single/manifests/2.0") {
		t.Error("it was not pulled from inside")
	}
	if _, err := w.try("podman", "pull", "-q", "docker.io/e2e/gone:1"); err == nil || strings.Contains(err.Error(), "docker.io:443") {
		t.Errorf("what is not there: %v", err)
	}
}
