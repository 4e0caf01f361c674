package cluster

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Pods with upstream's names come up from a registry inside that no node
// trusts, below a path, by the files of ferry mirror-config as they are; and
// what is not inside is an answer, not a wait for upstream.
func TestMirrorConfig(t *testing.T) {
	for _, r := range Runtimes() {
		t.Run(string(r), func(t *testing.T) {
			c := Up(t, Options{Containerd: r})
			image, err := WebImage(t.Context(), "amd64", "mirrored")
			if err != nil {
				t.Fatal(err)
			}
			inside := newStore()
			inside.putImage("mirror/deep/team/web:1", image)
			asked := &askedPaths{next: inside}
			host := c.private(t, asked)

			ca, dir := filepath.Join(t.TempDir(), "ca.pem"), t.TempDir()
			if err := os.WriteFile(ca, c.ca.PEM, 0o600); err != nil {
				t.Fatal(err)
			}
			runFerry(t, c.Kubeconfig, "mirror-config", "--registry", host+"/mirror/deep", "--ca-file", ca,
				"--host", "docker.io", "--host", "nowhere.test:5000", "--for", "containerd", "--to", dir).want(t, 0)
			n := c.Nodes[0]
			if out, err := n.Run(t.Context(), "cp", "-r", filepath.Join(dir, "etc/containerd/certs.d"), n.Dir); err != nil {
				t.Fatal(out, err)
			}

			names := []string{"team/web:1", "nowhere.test:5000/team/web:1", "docker.io/team/web@" + image.Digest()}
			for i, name := range names {
				kubectl(t, c, "run", fmt.Sprintf("p%d", i), "--image="+name, "--image-pull-policy=Always")
			}
			kubectl(t, c, "run", "gone", "--image=docker.io/team/gone:1")
			kubectl(t, c, "wait", "--for=condition=Ready", "--timeout=60s", "pod/p0", "pod/p1", "pod/p2")
			if !asked.was("/v2/mirror/deep/team/web/manifests/1") {
				t.Error("the image was not asked for inside")
			}
			err = wait(t.Context(), 30*time.Second, "the event of what is not there", func() error {
				said := kubectl(t, c, "get", "events", "--field-selector=involvedObject.name=gone,reason=Failed", "-o", "jsonpath={.items[*].message}")
				if !strings.Contains(said, "not found") {
					return fmt.Errorf("the kubelet says %q", said)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// want fails the test where ferry ended otherwise.
func (r result) want(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("ferry ended with %d, not %d:\n%s%s", r.code, code, r.stdout, r.stderr)
	}
	return r
}

// private serves a registry by TLS of the cluster's own authority, which no
// node trusts, and returns its host.
func (c *Cluster) private(t *testing.T, h http.Handler) string {
	t.Helper()
	const name = "registry.bank.test"
	c.Resolver.Set(name, Answer{IP: c.Gateway})
	p, err := c.ca.sign(certificate{name: name, server: true, hosts: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	const port = ":5100"
	if err := c.serveAt(c.Gateway+port, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, h); err != nil {
		t.Fatal(err)
	}
	return name + port
}

// askedPaths keeps what a registry was asked for.
type askedPaths struct {
	next  http.Handler
	mu    sync.Mutex
	paths []string
}

func (a *askedPaths) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.paths = append(a.paths, r.URL.Path)
	a.mu.Unlock()
	a.next.ServeHTTP(w, r)
}

func (a *askedPaths) was(path string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.paths {
		if p == path {
			return true
		}
	}
	return false
}
