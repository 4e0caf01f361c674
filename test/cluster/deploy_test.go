package cluster

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
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

// The bank's journey: packed from a connected registry, verified, pushed into
// a private one with a password and an authority of its own, deployed; then
// upstream is gone, a node is emptied, and the pods run on the other one.
func TestBankStory(t *testing.T) {
	c := Up(t, Options{Nodes: 2})
	image, err := WebImage(t.Context(), "amd64", "bank")
	if err != nil {
		t.Fatal(err)
	}
	store := newStore()
	store.putImage("team/web:1", image)
	upstream := c.Gateway + ":" + freePort(t)
	if err := c.serveAt(upstream, nil, store); err != nil {
		t.Fatal(err)
	}
	inside := c.bank(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	auth := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, inside, base64.StdEncoding.EncodeToString([]byte("bank:right")))
	web := fmt.Sprintf(`# The shop.
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      imagePullSecrets: [{name: bank}]
      containers:
      - name: web
        image: %s/team/web:1 # from outside
`, upstream)
	for name, text := range map[string]string{
		"ca.pem": string(c.ca.PEM), "auth.json": auth, "k8s/web.yaml": web,
		"k8s/first.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: bank, namespace: shop}\n" +
			"type: kubernetes.io/dockerconfigjson\nstringData:\n  .dockerconfigjson: '" + auth + "'\n",
	} {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ferry := func(code int, args ...string) result {
		t.Helper()
		return runFerry(t, c.Kubeconfig, args...).want(t, code)
	}
	ferry(0, "pack", upstream+"/team/web:1", "--plain-http", upstream, "--to", at("release.tar"))
	ferry(0, "verify", at("release.tar"))
	deploy := []string{
		"deploy", "-f", at("k8s"), "--registry", inside + "/mirror", "--bundle", at("release.tar"), "--authfile", at("auth.json"), "--ca-file", at("ca.pem"), "--yes",
	}
	// Nothing was pushed yet: the answer is no, and nothing is applied.
	if r := ferry(3, deploy...); !strings.Contains(r.stdout, "the registry does not have it") {
		t.Errorf("deploy says\n%s%s", r.stdout, r.stderr)
	}
	if out := kubectl(t, c, "get", "namespace", "shop", "--ignore-not-found"); out != "" {
		t.Errorf("a refused plan made %s", out)
	}
	ferry(0, "push", at("release.tar"), "--to", inside+"/mirror", "--authfile", at("auth.json"), "--ca-file", at("ca.pem"))
	ferry(0, append(deploy, "--dry-run")...)
	r := ferry(0, deploy...)
	if !strings.Contains(r.stdout, "running Deployment shop/web, 2 of 2 ready") {
		t.Errorf("deploy says\n%s%s", r.stdout, r.stderr)
	}
	t.Logf("%s", r.stdout)
	if again := ferry(0, deploy...); strings.Contains(again.stdout, "changed ") || strings.Contains(again.stdout, "new ") {
		t.Errorf("a second time it plans\n%s", again.stdout)
	}
	spec := kubectl(t, c, "get", "deploy", "web", "-n", "shop", "-o", "jsonpath={.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].imagePullPolicy}")
	if want := inside + "/mirror/team/web:1@" + image.Digest() + " IfNotPresent"; spec != want {
		t.Errorf("the container has %s, want %s", spec, want)
	}
	c.pagesOf(t, "shop", 2)

	// The gap closes. What ran on the first node comes up on the other.
	store.manifests, store.blobs = map[string]manifest{}, map[string][]byte{}
	kubectl(t, c, "cordon", c.Nodes[0].Name)
	kubectl(t, c, "delete", "pods", "-n", "shop", "--all")
	kubectl(t, c, "rollout", "status", "deploy/web", "-n", "shop", "--timeout=60s")
	if out := kubectl(t, c, "get", "pods", "-n", "shop", "-o", "jsonpath={.items[*].spec.nodeName}"); out != c.Nodes[1].Name+" "+c.Nodes[1].Name {
		t.Errorf("the pods are on %s", out)
	}
	c.pagesOf(t, "shop", 2)

	// Somebody else holds the image now: that is said, and not overwritten.
	kubectl(t, c, "set", "image", "deploy/web", "-n", "shop", "web=example.test/other:1", "--field-manager=somebody")
	if r := ferry(3, deploy...); !strings.Contains(r.stdout, `conflict with "somebody"`) {
		t.Errorf("a conflict: deploy says\n%s%s", r.stdout, r.stderr)
	}
	ferry(0, append(deploy, "--force-conflicts")...)
}

// What deploy cannot do is said before anything is applied; what does not come
// up gets doctor's answer.
func TestDeployFaults(t *testing.T) {
	c := Up(t, Options{})
	store := newStore()
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := WebImage(t.Context(), arch, "faults")
		if err != nil {
			t.Fatal(err)
		}
		store.putImage("team/web:"+arch, image)
	}
	host := c.Gateway + ":" + freePort(t)
	if err := c.serveAt(host, nil, store); err != nil {
		t.Fatal(err)
	}
	if err := c.Nodes[0].Mirror(host, overHTTP(host)); err != nil {
		t.Fatal(err)
	}
	kubectl(t, c, "apply", "-f", "../../docs/rbac/deploy.yaml", "-f", "../../docs/rbac/doctor.yaml", "-f", "testdata/deploy-users.yaml")
	for file, group := range map[string]string{"deployer": "deployers", "onlooker": "onlookers"} {
		if _, err := c.writeUser(file, certificate{name: file, groups: []string{group}}); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	deploy := func(kubeconfig, text string, more ...string) result {
		t.Helper()
		file := filepath.Join(dir, "web.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return runFerry(t, kubeconfig, append([]string{"deploy", "-f", file, "--registry", host, "--plain-http", host, "-n", "limited", "--yes"}, more...)...)
	}
	web := func(name, image string) string {
		return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s}\nspec:\n  selector: {matchLabels: {app: %s}}\n"+
			"  template:\n    metadata: {labels: {app: %s}}\n    spec:\n      containers:\n      - {name: web, image: %q}\n", name, name, name, image)
	}
	nothing := func(what string) {
		t.Helper()
		if out := kubectl(t, c, "get", "all", "-n", "limited", "-o", "name"); out != "" {
			t.Errorf("%s: nothing should be there, and there is %s", what, out)
		}
	}
	says := func(r result, code int, words ...string) {
		t.Helper()
		r.want(t, code)
		for _, w := range words {
			if !strings.Contains(r.stdout+r.stderr, w) {
				t.Errorf("no %q in\n%s%s", w, r.stdout, r.stderr)
			}
		}
	}
	right := web("web", "docker.io/team/web:amd64")
	says(deploy(c.file("onlooker.kubeconfig"), right), 3, "cannot patch resource", "nothing was applied")
	nothing("no permission to patch")
	says(deploy(c.file("deployer.kubeconfig"), web("web", "team/web:arm64")), 3, "it is there for linux/arm64, and nodes that may get it are linux/amd64")
	nothing("another platform")
	says(deploy(c.file("deployer.kubeconfig"), web("web", "team/gone:1")), 3, "the registry does not have it")
	nothing("not inside")
	says(deploy(c.file("deployer.kubeconfig"), strings.Replace(right, "selector:", "replcas: 2\n  selector:", 1)), 3, ".spec.replcas: field not declared in schema")
	nothing("an unknown field")

	// An admission policy that refuses answers at the rehearsal.
	kubectl(t, c, "create", "quota", "none", "-n", "limited", "--hard=count/deployments.apps=0")
	err := wait(t.Context(), 20*time.Second, "the quota", func() error {
		if r := deploy(c.file("deployer.kubeconfig"), right, "--dry-run"); !strings.Contains(r.stdout, "exceeded quota") {
			return fmt.Errorf("deploy says %s", r.stdout)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	nothing("an admission that refuses")
	kubectl(t, c, "delete", "quota", "none", "-n", "limited")

	// With the least permissions it goes well.
	says(deploy(c.file("deployer.kubeconfig"), right), 0, "running Deployment limited/web, 1 of 1 ready")

	// The node loses the way: deploy ends long before its time, with the cause.
	if err := c.Nodes[0].Mirror(host, "server = \"http://127.0.0.1:1\"\n[host.\"http://127.0.0.1:1\"]\n"); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	says(deploy(c.file("deployer.kubeconfig"), web("late", "team/web:amd64"), "--pull-policy", "Always", "--timeout", "4m"), 5,
		"applied, and not up: Deployment limited/late", "connection refused")
	if took := time.Since(started); took > 2*time.Minute {
		t.Errorf("it took %v to say so", took)
	}
}

// pagesOf wants HTTP 200 of every pod of a namespace.
func (c *Cluster) pagesOf(t *testing.T, namespace string, n int) {
	t.Helper()
	ips := strings.Fields(kubectl(t, c, "get", "pods", "-n", namespace, "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].status.podIP}"))
	if len(ips) < n {
		t.Errorf("%d pods run, want %d", len(ips), n)
	}
	for _, ip := range ips {
		get(t, "http://"+ip)
	}
}

// bank is Debian's registry behind TLS of the cluster's authority and the
// password bank:right; all nodes trust the authority for it.
func (c *Cluster) bank(t *testing.T) string {
	t.Helper()
	dir, behind := t.TempDir(), "127.0.0.1:"+freePort(t)
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", dir, behind)
	if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("docker-registry", "serve", filepath.Join(dir, "config.yml"))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	get(t, "http://"+behind+"/v2/")
	to := &url.URL{Scheme: "http", Host: behind}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.SetXForwarded() // else uploads go past the proxy
		r.Out.Host = r.In.Host
	}}
	p, err := c.ca.sign(certificate{name: "registry", server: true, hosts: []string{c.Gateway}})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	host := c.Gateway + ":" + freePort(t)
	if err := c.serveAt(host, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, guarded(http.Handler(proxy))); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		ca := filepath.Join(n.Dir, "bank.pem")
		if err := os.WriteFile(ca, c.ca.PEM, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := n.Mirror(host, fmt.Sprintf("server = \"https://%s\"\nca = %q\n[host.\"https://%s\"]\n  ca = %q\n", host, ca, host, ca)); err != nil {
			t.Fatal(err)
		}
	}
	return host
}
