package cluster

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bank is what a platform team has: a registry outside, a private one inside
// with a password and an authority of its own, a cluster that trusts it, and a
// folder to work in. Both registries go by their names.
type bank struct {
	t        *testing.T
	c        *Cluster
	dir      string
	auth     string // the private registry's password, as auth.json
	upstream *store
	image    Image // is registry.example.com/team/web:1
}

func newBank(t *testing.T, o Options) *bank {
	t.Helper()
	b := &bank{t: t, c: Up(t, o), dir: t.TempDir(), upstream: newStore()}
	var err error
	if b.image, err = WebImage(t.Context(), "amd64", "bank"); err != nil {
		t.Fatal(err)
	}
	b.upstream.putImage("team/web:1", b.image)
	b.auth = fmt.Sprintf(`{"auths":{"registry.bank.internal":{"auth":%q}}}`, base64.StdEncoding.EncodeToString([]byte("bank:right")))
	b.file("auth.json", b.auth)
	b.file("bank-ca.pem", string(b.c.ca.PEM))
	b.file("hosts", "127.0.0.1 localhost\n"+b.c.Gateway+" registry.bank.internal registry.example.com\n")
	b.serve()
	b.trust()
	return b
}

func (b *bank) file(name, text string) {
	b.t.Helper()
	write(b.t, filepath.Join(b.dir, name), text)
}

// run runs what is typed in the bank's folder, on a machine whose /etc/hosts
// has the names of both registries.
func (b *bank) run(typed string) result {
	b.t.Helper()
	bin := b.t.TempDir()
	for name, program := range map[string]string{"ferry": ferry(b.t), "kubectl": b.c.kube("kubectl")} {
		if err := os.Symlink(program, filepath.Join(bin, name)); err != nil {
			b.t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(b.t.Context(), "unshare", "--mount", "--propagation", "private",
		"bash", "-euc", `mount --bind hosts /etc/hosts; eval "$1"`, "bash", typed)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &stdout, &stderr, b.dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+b.c.Kubeconfig, "NO_COLOR=1", "PATH="+bin+":"+os.Getenv("PATH"), "XDG_CACHE_HOME="+bin)
	if strings.HasPrefix(typed, "ferry pack ") {
		// The registry outside has a certificate that its clients know.
		cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+filepath.Join(b.dir, "bank-ca.pem"))
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// answers wants HTTP 200 of both pods of the shop, which have to be on a node,
// and tells it.
func (b *bank) answers(page *story, why, node string) {
	b.t.Helper()
	const pods = "kubectl get pods -n shop -o wide --field-selector=status.phase=Running"
	out := b.run(pods).want(b.t, 0).stdout
	if strings.Count(out, " "+node+" ") != 2 {
		b.t.Errorf("two pods should be on %s:\n%s", node, out)
	}
	page.tell(why, pods, out)
	ips := strings.Fields(kubectl(b.t, b.c, "get", "pods", "-n", "shop", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].status.podIP}"))
	for i, ip := range ips {
		curl := "curl -si http://" + ip + "/"
		r := b.run(curl).want(b.t, 0)
		if !strings.HasPrefix(r.stdout, "HTTP/1.1 200 OK") || !strings.Contains(r.stdout, "hello from ") {
			b.t.Errorf("%s: %s", ip, r.stdout)
		}
		if i == 0 {
			page.tell("", curl, r.stdout)
		}
	}
}

// serve serves both registries by their names: the one outside, and Debian's
// registry as the bank's.
func (b *bank) serve() {
	b.t.Helper()
	p, err := b.c.ca.sign(certificate{name: "registry", server: true, hosts: []string{"registry.bank.internal", "registry.example.com"}})
	if err != nil {
		b.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		b.t.Fatal(err)
	}
	inside := guarded(proxyTo(b.startRegistry()))
	byName := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "registry.example.com" {
			b.upstream.ServeHTTP(w, r)
			return
		}
		inside.ServeHTTP(w, r)
	})
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if err := b.c.serveAt(b.c.Gateway+":443", config, byName); err != nil {
		b.t.Fatal(err)
	}
}

// startRegistry starts Debian's registry, and returns where it listens.
func (b *bank) startRegistry() string {
	b.t.Helper()
	dir, at := b.t.TempDir(), "127.0.0.1:"+freePort(b.t)
	config := filepath.Join(dir, "config.yml")
	write(b.t, config, fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", dir, at))
	var log bytes.Buffer
	cmd := exec.Command("docker-registry", "serve", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if b.t.Failed() {
			b.t.Log(tail(log.String()))
		}
	})
	if err := wait(b.t.Context(), 20*time.Second, "the registry", answers("tcp", at)); err != nil {
		b.t.Fatal(err)
	}
	return at
}

func proxyTo(host string) http.Handler {
	to := &url.URL{Scheme: "http", Host: host}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.SetXForwarded() // else uploads go past the proxy
		r.Out.Host = r.In.Host
	}}
}

// trust makes the nodes find the private registry, and trust its authority.
func (b *bank) trust() {
	b.t.Helper()
	b.c.Resolver.Set("registry.bank.internal", Answer{IP: b.c.Gateway})
	for _, n := range b.c.Nodes {
		ca := filepath.Join(n.Dir, "bank.pem")
		if err := os.WriteFile(ca, b.c.ca.PEM, 0o644); err != nil {
			b.t.Fatal(err)
		}
		const host = "https://registry.bank.internal"
		if err := n.Mirror("registry.bank.internal", fmt.Sprintf("server = %q\nca = %q\n[host.%q]\n  ca = %q\n", host, ca, host, ca)); err != nil {
			b.t.Fatal(err)
		}
	}
}
