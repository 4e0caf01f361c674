//go:build e2e

package scanner_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// aCluster is a real Kubernetes on a real node, as test/cluster runs it.
type aCluster struct {
	t          *testing.T
	Kubeconfig string `json:"kubeconfig"`
	Programs   string `json:"programs"`
	Gateway    string `json:"gateway"`
	Nodes      []struct{ Name, Socket, Folder string }
}

// upCluster starts one; containerd is "" for the newest, or "1.6".
func upCluster(t *testing.T, containerd string) *aCluster {
	t.Helper()
	c := &aCluster{t: t}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"-C", "../../test/cluster", "run", "./cmd/testcluster", "up"}, strings.Fields(containerd)...)...)
	// The harness is built with the flags that it is built with everywhere.
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CGO_ENABLED=") && !strings.HasPrefix(e, "GOFLAGS=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Stderr = os.Stderr
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if errIn != nil || errOut != nil {
		t.Fatal(errIn, errOut)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // it ends when nobody holds its input any more
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, c); err != nil || len(c.Nodes) == 0 {
		t.Fatalf("%v in %s", err, line)
	}
	return c
}

func (c *aCluster) kubectl(args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(c.Programs, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (c *aCluster) runs(name, image string) {
	c.t.Helper()
	c.kubectl("create", "deployment", name, "--image="+image)
	c.kubectl("rollout", "status", "deploy/"+name, "--timeout=120s")
}

// registry is Debian's, where the node and this machine reach it over HTTP.
func (c *aCluster) registry() (host string, stop func()) {
	c.t.Helper()
	l, err := net.Listen("tcp", c.Gateway+":0")
	if err != nil {
		c.t.Fatal(err)
	}
	host = l.Addr().String()
	_ = l.Close()
	dir := c.t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", dir, host)
	certs := filepath.Join(c.Nodes[0].Folder, "certs.d", host)
	for _, err := range []error{
		os.WriteFile(config, []byte(text), 0o600), os.MkdirAll(certs, 0o755),
		os.WriteFile(filepath.Join(certs, "hosts.toml"), []byte(fmt.Sprintf("server = \"http://%[1]s\"\n\n[host.\"http://%[1]s\"]\n", host)), 0o600),
	} {
		if err != nil {
			c.t.Fatal(err)
		}
	}
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	c.t.Cleanup(stop)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		r, err := http.Get("http://" + host + "/v2/")
		if err == nil {
			_ = r.Body.Close()
			return host, stop
		}
		if time.Now().After(end) {
			c.t.Fatal(err)
		}
	}
}

// sleeper is a program that an image runs, and that does nothing.
func sleeper(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.test/sleeper\n\ngo 1.26\n", "main.go": "package main\n\nimport \"time\"\n\nfunc main() { time.Sleep(time.Hour) }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", "sleeper", ".")
	c.Dir, c.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "sleeper"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// mirrors makes the node ask a registry for what it names as of a host outside,
// by the files of ferry mirror-config.
func (c *aCluster) mirrors(w *gateWorld, registry, outside string) {
	c.t.Helper()
	w.ferry(0, "mirror-config", "--registry", registry, "--plain-http", "--host", outside, "--for", "containerd", "--to", "node")
	if err := os.CopyFS(filepath.Join(c.Nodes[0].Folder, "certs.d"), os.DirFS(w.path("node/etc/containerd/certs.d"))); err != nil {
		c.t.Fatal(err)
	}
}

// TestScanOfACluster scans what really runs: an image that was loaded into the
// node from a bundle, and one that the node pulled from a registry. What has
// become known since the bundle was sealed is told with the workloads that it
// stands in; an image that nobody has is said to be one of which nothing is
// known.
func TestScanOfACluster(t *testing.T) {
	for _, containerd := range []string{"", "1.6"} {
		t.Run("containerd "+cmp.Or(containerd, "2"), func(t *testing.T) { scanCluster(t, containerd) })
	}
}

func scanCluster(t *testing.T, containerd string) {
	w, c := newGateWorld(t), upCluster(t, containerd)
	w.env = append(w.env, "KUBECONFIG="+c.Kubeconfig)
	w.program = sleeper(t)
	host, stop := c.registry()
	pulled := host + "/team/pulled:1.0"
	w.image("app.tar", "quay.io/acme/app:1.0", "zlib1g=1:1.2.13", "bash=5.2")
	w.image("pulled.tar", pulled, "curl=7.88.0")
	w.write("ferry.policy.yaml", gatePolicy)
	known := []fact{{"CVE-2026-1", "zlib1g", "1:1.2.14", "low", false}}
	w.database("one.tar", known...)
	w.ferry(0, "db", "import", "one.tar")
	w.says(w.ferry(1, "scan", "--cluster"), "nothing runs in default")
	w.ferry(0, "pack", "app.tar", "--to", "release.tar")
	w.ferry(0, "load", "release.tar", "--to", "containerd:"+c.Nodes[0].Socket)
	w.ferry(0, "pack", "pulled.tar", "--to", "pulled.bundle.tar")
	w.ferry(0, "push", "pulled.bundle.tar", "--to", host, "--plain-http", host)
	c.runs("app", "quay.io/acme/app:1.0")
	c.runs("pulled", pulled)
	c.runs("again", pulled)

	cluster := []string{"scan", "--cluster", "--plain-http", host}
	w.says(w.ferry(0, append(cluster, "release.tar")...),
		"quay.io/acme/app:1.0", "in Deployment default/app", "CVE-2026-1", "in Deployment default/again, Deployment default/pulled", "1 finding")
	w.says(w.ferry(0, append(cluster, "--new-since", "release.tar")...), "0 new since release.tar was sealed", "nothing new", "1 were known then", "it is not in release.tar")

	// A name of outside, pulled from a registry inside: it is found there, and
	// nowhere else.
	const outside = "nowhere.test:5000"
	w.image("mirrored.tar", outside+"/acme/mirrored:1.0", "zlib1g=1:1.2.13")
	w.ferry(0, "pack", "mirrored.tar", "--to", "mirrored.bundle.tar")
	w.ferry(0, "push", "mirrored.bundle.tar", "--to", host+"/deep/mirror", "--plain-http", host)
	c.mirrors(w, host+"/deep/mirror", outside)
	c.runs("mirrored", outside+"/acme/mirrored:1.0")
	w.says(w.ferry(1, append(cluster, "release.tar")...), "scan "+outside+"/acme/mirrored:1.0", "Nothing is known about 1 of 3 images")
	w.says(w.ferry(0, append(cluster, "release.tar", "--registry", host+"/deep/mirror")...), outside+"/acme/mirrored:1.0", "in Deployment default/mirrored", "2 findings")
	c.kubectl("delete", "deployment", "mirrored", "--cascade=foreground")

	time.Sleep(1100 * time.Millisecond) // a database's date has whole seconds
	w.database("two.tar", append(known, fact{"CVE-2026-2", "bash", "5.3", "medium", true}, fact{"CVE-2026-3", "curl", "7.88.1", "high", false})...)
	w.ferry(0, "db", "import", "two.tar")
	since := slices.Concat(cluster, []string{"--new-since", "release.tar"})
	out := w.ferry(3, append(since, "--fail-on", "high")...)
	w.says(out, "2 new since release.tar was sealed", "1 known exploited, in Deployment default/again, Deployment default/app, Deployment default/pulled", "CVE-2026-2", "CVE-2026-3")
	if strings.Contains(out, "CVE-2026-1") {
		t.Errorf("what was known is shown as new:\n%s", out)
	}

	// The registry is gone, and nothing of it is kept.
	stop()
	if err := os.RemoveAll(filepath.Join(w.cache, "ferry", "packed")); err != nil {
		t.Fatal(err)
	}
	out = w.ferry(1, since...)
	w.says(out, "CVE-2026-2", "1 new since release.tar", pulled, "Nothing is known about 1 of 2 images: that is not the same as no vulnerabilities")
	if strings.Contains(out, "nothing new") {
		t.Errorf("an image that nobody has is said to be fine:\n%s", out)
	}
	w.says(w.ferry(1, cluster...), "Nothing is known about 2 of 2 images")
}
