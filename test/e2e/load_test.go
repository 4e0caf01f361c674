//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// node is a containerd with a store of its own.
type node struct {
	w           *world
	socket, ctr string
	cmd         *exec.Cmd
	log         string
}

// startContainerd starts Debian's containerd; test/cluster tries the newer
// one, which it builds.
func (w *world) startContainerd(root string) *node {
	w.t.Helper()
	dir := w.t.TempDir()
	n := &node{w: w, socket: filepath.Join(dir, "c.sock"), ctr: "ctr", log: filepath.Join(dir, "log")}
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\n[grpc]\n  address = %q\n[ttrpc]\n  address = %q\n"+
		"[plugins.\"io.containerd.grpc.v1.cri\"]\n  restrict_oom_score_adj = true\n  stream_server_address = \"127.0.0.1\"\n",
		root, filepath.Join(dir, "state"), n.socket, n.socket+".ttrpc")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	out, err := os.Create(n.log)
	if err != nil {
		w.t.Fatal(err)
	}
	defer out.Close()
	n.cmd = exec.Command("containerd", "-c", config)
	n.cmd.Stdout, n.cmd.Stderr = out, out
	if err := n.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(n.stop)
	for range 200 {
		if _, err := w.try("ctr", "-a", n.socket, "version"); err == nil {
			return n
		}
		time.Sleep(50 * time.Millisecond)
	}
	b, _ := os.ReadFile(n.log)
	w.t.Fatalf("containerd does not answer:\n%s", b)
	return nil
}

func (n *node) stop() {
	if n.cmd.ProcessState != nil {
		return
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = n.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = n.cmd.Process.Kill()
		<-done
	}
}

func (n *node) kubelet(args ...string) string {
	n.w.t.Helper()
	return n.w.run(append([]string{"ctr", "-a", n.socket, "-n", "k8s.io"}, args...)...)
}

// loaded is the answer of ferry load in JSON.
type loaded struct {
	Targets []struct {
		Name   string
		Sent   int64 `json:"sentBytes"`
		Images []struct{ Name, Digest, State, Pin, As, Error string }
	}
}

func (w *world) load(args ...string) loaded {
	w.t.Helper()
	var l loaded
	out := w.ferry(append([]string{"load", "-q", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &l); err != nil {
		w.t.Fatalf("%v in %s", err, out)
	}
	return l
}

// TestLoadIntoContainerd is the whole promise: the kubelet's own question
// finds the image, the image runs, and a second load moves nothing.
func TestLoadIntoContainerd(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	file := w.pack(w.multi.name, w.single.name)
	l := w.load(file, "--to", "containerd:"+n.socket)
	for _, img := range l.Targets[0].Images {
		if img.State != "loaded" || !strings.Contains(img.As, "the CRI finds it") {
			t.Errorf("%+v", img)
		}
		// Debian's 1.6 keeps the label and does not report it.
		if img.Pin != "pinned, though this runtime's CRI does not report it" {
			t.Errorf("pin: %q", img.Pin)
		}
	}
	list := n.kubelet("images", "ls")
	for _, img := range []image{w.multi, w.single} {
		repository := img.name[:strings.LastIndexByte(img.name, ':')]
		for _, name := range []string{img.name, repository + "@" + img.desc.Digest.String()} {
			if !strings.Contains(list, name+" ") {
				t.Errorf("no record %s in\n%s", name, list)
			}
		}
		if !strings.Contains(list, img.desc.Digest.String()) || !strings.Contains(list, "io.cri-containerd.pinned=pinned") {
			t.Errorf("%s is not there as it was upstream, pinned:\n%s", img.name, list)
		}
		if got := n.kubelet("run", "--rm", img.name, "load-"+strings.ReplaceAll(filepath.Base(img.name), ":", "-")); got != greeting {
			t.Errorf("%s printed %q, want %q", img.name, got, greeting)
		}
	}
	if labels := n.kubelet("content", "ls"); !strings.Contains(labels, "containerd.io/distribution.source."+w.host+"=e2e/multi") {
		t.Errorf("no source labels in\n%s", labels)
	}
	again := w.load(file, "--to", "containerd:"+n.socket)
	if again.Targets[0].Sent != 0 || again.Targets[0].Images[0].State != "there" {
		t.Errorf("the second load: %+v", again.Targets[0])
	}
}

// TestLoadKilled kills load at several moments; the same command finishes.
func TestLoadKilled(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	file := w.pack(w.multi.name, w.single.name)
	for _, after := range []time.Duration{30, 45, 60, 80, 100, 150} {
		cmd := exec.Command(ferryPath, "load", file, "--to", "containerd:"+n.socket)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	l := w.load(file, "--to", "containerd:"+n.socket)
	for _, img := range l.Targets[0].Images {
		if img.State != "loaded" && img.State != "there" {
			t.Errorf("%+v", img)
		}
	}
	if got := n.kubelet("run", "--rm", w.multi.name, "after-kill"); got != greeting {
		t.Errorf("printed %q", got)
	}
}

// TestLoadIntoAFullDisk: the runtime's disk is too small. ferry says so, and
// names no image that is not there.
func TestLoadIntoAFullDisk(t *testing.T) {
	w := newWorld(t)
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
	n := w.startContainerd(root)
	t.Cleanup(n.stop)
	file := w.pack(w.multi.name)
	_, err := w.try(ferryPath, "load", file, "--to", "containerd:"+n.socket)
	if err == nil || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), "exit status 1") {
		t.Fatalf("%v, want exit 1 and no space left", err)
	}
	if list := n.kubelet("images", "ls", "-q"); strings.Contains(list, "e2e/multi") {
		t.Errorf("a name for what is not there: %s", list)
	}
}

// TestLoadWhenContainerdDies: the runtime ends halfway.
func TestLoadWhenContainerdDies(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	file := w.pack(w.multi.name)
	n.stop()
	_, err := w.try(ferryPath, "load", file, "--to", "containerd:"+n.socket)
	if err == nil || !strings.Contains(err.Error(), "containerd at "+n.socket) {
		t.Fatalf("%v, want the socket named", err)
	}
}

func TestLoadIntoPodman(t *testing.T) {
	w := newWorld(t)
	file := w.pack(w.multi.name, w.single.name)
	w.podman("rmi", "-a", "-f")
	l := w.load(file, "--to", "podman")
	for k, img := range []image{w.multi, w.single} {
		if got := l.Targets[0].Images[k]; got.State != "loaded" || got.Digest != img.desc.Digest.String() {
			t.Errorf("%+v", got)
		}
		if digests := w.podman("image", "inspect", "--format", "{{.RepoDigests}}", img.name); !strings.Contains(digests, img.desc.Digest.String()) {
			t.Errorf("podman knows %s by %s, and not by upstream's %s", img.name, digests, img.desc.Digest)
		}
		if got := w.podman("run", "--rm", img.name); got != greeting {
			t.Errorf("%s printed %q", img.name, got)
		}
	}
	if again := w.load(file, "--to", "podman"); again.Targets[0].Images[0].State != "there" {
		t.Errorf("again: %+v", again.Targets[0])
	}
}

func TestLoadIntoDocker(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	empty := filepath.Join(dir, "daemon.json")
	if err := os.WriteFile(empty, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := "unix://" + filepath.Join(dir, "s")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d := exec.Command("dockerd", "--config-file", empty, "--data-root", filepath.Join(dir, "d"), "--exec-root", filepath.Join(dir, "e"),
		"-H", socket, "-p", filepath.Join(dir, "pid"), "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
		"--storage-driver", "overlay2")
	d.Stdout, d.Stderr = log, log
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup((&node{cmd: d}).stop)
	w.env = append(w.env, "DOCKER_HOST="+socket)
	for k := 0; ; k++ {
		if _, err := w.try("docker", "version"); err == nil {
			break
		} else if k == 100 {
			b, _ := os.ReadFile(log.Name())
			t.Fatalf("dockerd does not answer: %v\n%s", err, b)
		}
		time.Sleep(100 * time.Millisecond)
	}
	file := w.pack(w.multi.name, w.single.name)
	l := w.load(file, "--to", "docker")
	for k, img := range []image{w.multi, w.single} {
		if got := l.Targets[0].Images[k]; got.State != "loaded" || got.Pin != "cannot pin: image GC may remove it" {
			t.Errorf("%+v", got)
		}
		if got := w.run("docker", "run", "--rm", "--network", "none", img.name); got != greeting {
			t.Errorf("%s printed %q", img.name, got)
		}
	}
	if again := w.load(file, "--to", "docker"); again.Targets[0].Images[0].State != "there" || again.Targets[0].Sent != 0 {
		t.Errorf("again: %+v", again.Targets[0])
	}
}

// TestArchivesFromLoad: other tools read what ferry writes.
func TestArchivesFromLoad(t *testing.T) {
	w := newWorld(t)
	file, dir := w.pack(w.multi.name, w.single.name), t.TempDir()
	docker, oci := filepath.Join(dir, "docker.tar"), filepath.Join(dir, "oci.tar")
	w.load(file, "--to", "docker-archive:"+docker, "--to", "oci-archive:"+oci)
	from := "oci-archive:" + oci + ":" + w.multi.name
	sameDigest(t, from, w.skopeo("inspect", "--raw", from), w.multi.desc)
	w.skopeo("copy", "--all", from, "dir:"+filepath.Join(dir, "all"))
	w.podman("rmi", "-a", "-f")
	w.podman("load", "-q", "-i", docker)
	if got := w.podman("run", "--rm", w.single.name); got != greeting {
		t.Errorf("printed %q", got)
	}
}
