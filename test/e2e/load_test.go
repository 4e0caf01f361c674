//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// node is a containerd with a store of its own.
type node struct {
	w      *world
	socket string
	path   string // where its programs are looked for
	config string
	cmd    *exec.Cmd
	log    string
}

// The two that can be had: what Debian ships, and what test/cluster builds from
// containerd's module.
const (
	debianNode = "1.6"
	newerNode  = "2"
)

// builtContainerd is the folder of containerd 2, its shim and ctr.
var builtContainerd = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "-C", "../cluster", "run", "./cmd/testcluster", "build", "containerd").Output()
	return strings.TrimSpace(string(out)), err
})

// config16 is the same as containerdConfig in test/bench/load.go, in another
// module: what is mended in one has to be in the other.
const config16 = `version = 2
root = %q
state = %q
[grpc]
  address = %q
[ttrpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
`

const config2 = `version = 3
root = %q
state = %q
[grpc]
  address = %q
[ttrpc]
  address = %q
[plugins.'io.containerd.nri.v1.nri']
  disable = true
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
`

// startContainerd starts Debian's containerd with its store in root.
func (w *world) startContainerd(root string) *node { return w.startVersion(debianNode, root) }

func (w *world) startVersion(version, root string) *node {
	w.t.Helper()
	dir := w.t.TempDir()
	n := &node{w: w, socket: filepath.Join(dir, "c.sock"), path: os.Getenv("PATH"), config: filepath.Join(dir, "config.toml"), log: filepath.Join(dir, "log")}
	form := config16
	if version == newerNode {
		built, err := builtContainerd()
		if err != nil {
			w.t.Fatalf("build containerd: %v", err)
		}
		form, n.path = config2, built+":"+n.path
	}
	text := fmt.Sprintf(form, root, filepath.Join(dir, "state"), n.socket, n.socket+".ttrpc")
	if err := os.WriteFile(n.config, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(n.stop)
	n.start()
	return n
}

// start starts it, for the first time or again.
func (n *node) start() {
	n.w.t.Helper()
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.w.t.Fatal(err)
	}
	defer out.Close()
	n.cmd = exec.Command("/usr/bin/env", "PATH="+n.path, "containerd", "-c", n.config)
	n.cmd.Stdout, n.cmd.Stderr = out, out
	if err := n.cmd.Start(); err != nil {
		n.w.t.Fatal(err)
	}
	for range 400 {
		if _, err := n.ctr("version"); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	n.w.t.Fatalf("containerd does not answer:\n%s", readFile(n.w.t, n.log))
}

// ctr is containerd's own client, in the namespace of the kubelet.
func (n *node) ctr(args ...string) (string, error) {
	return n.w.try(append([]string{"/usr/bin/env", "PATH=" + n.path, "ctr", "-a", n.socket, "-n", "k8s.io"}, args...)...)
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
	out, err := n.ctr(args...)
	if err != nil {
		n.w.t.Fatal(err)
	}
	return out
}

// loaded is the answer of ferry load in JSON.
type loaded struct {
	Targets []struct {
		Name    string
		Sent    int64 `json:"sentBytes"`
		Planned int64 `json:"plannedBytes"`
		Images  []struct{ Name, Digest, State, Pin, As, Error string }
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
	for version, pin := range map[string]string{
		// Debian's keeps the label and does not report it.
		debianNode: "pinned, though this runtime's CRI does not report it",
		newerNode:  "pinned",
	} {
		t.Run(version, func(t *testing.T) { loadIntoContainerd(t, version, pin) })
	}
}

func loadIntoContainerd(t *testing.T, version, pin string) {
	w := newWorld(t)
	n := w.startVersion(version, t.TempDir())
	file := w.pack(w.multi.name, w.single.name)
	l := w.load(file, "--to", "containerd:"+n.socket)
	for _, img := range l.Targets[0].Images {
		if img.State != "loaded" || !strings.Contains(img.As, "the CRI finds it") {
			t.Errorf("%+v", img)
		}
		if img.Pin != pin {
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
	if left := n.kubelet("leases", "ls", "-q"); strings.TrimSpace(left) != "" {
		t.Errorf("leases are left: %s", left)
	}
}

// TestLoadOnePlatform: of a bundle of one platform, upstream's index stands
// under the tag, and both digests can be asked for.
func TestLoadOnePlatform(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	l := w.load(w.pack(w.multi.name, "--platform", "linux/"+runtime.GOARCH), "--to", "containerd:"+n.socket)
	if img := l.Targets[0].Images[0]; img.State != "loaded" || img.Digest != w.multi.desc.Digest.String() {
		t.Errorf("%+v, want upstream's %s", img, w.multi.desc.Digest)
	}
	repository := w.multi.name[:strings.LastIndexByte(w.multi.name, ':')]
	for k, name := range []string{w.multi.name, repository + "@" + w.multi.desc.Digest.String(), repository + "@" + w.platform(w.multi).String()} {
		if got := n.kubelet("run", "--rm", name, fmt.Sprintf("one-%d", k)); got != greeting {
			t.Errorf("%s printed %q", name, got)
		}
	}
}

// tarred is a tar of one made-up file, between head and the zeros at its end.
type tarred struct {
	head []byte
	body io.ReaderAt
	size int64 // of the file
}

func (a tarred) ReadAt(p []byte, at int64) (int, error) {
	end := int64(len(a.head)) + a.size
	for k := range p {
		p[k] = 0
	}
	if at < end && at+int64(len(p)) > int64(len(a.head)) {
		from := max(at, int64(len(a.head)))
		to := min(at+int64(len(p)), end)
		if _, err := a.body.ReadAt(p[from-at:to-at], from-int64(len(a.head))); err != nil {
			return 0, err
		}
	}
	if at < int64(len(a.head)) {
		copy(p, a.head[at:])
	}
	return len(p), nil
}

// made packs an image of layers of one made-up file each.
func (w *world) made(sizes ...int64) (file string, layers []layer) {
	w.t.Helper()
	for k, size := range sizes {
		var head bytes.Buffer
		if err := tar.NewWriter(&head).WriteHeader(&tar.Header{Name: fmt.Sprint("made", k), Mode: 0o644, Size: size, Format: tar.FormatUSTAR}); err != nil {
			w.t.Fatal(err)
		}
		a := tarred{head: head.Bytes(), body: newNoise(w.t, uint64(k+7)), size: size}
		layers = append(layers, layer{bytes: a, size: int64(head.Len()) + size + 1024})
	}
	s := newStreamer(w.t, layers...).serve(w.t)
	file = filepath.Join(w.t.TempDir(), "made.tar")
	w.ferry("pack", "--to", file, "--plain-http", strings.Split(s.name, "/")[0], s.name)
	return file, layers
}

// halfway waits until containerd is being sent a layer.
func (n *node) halfway() {
	n.w.t.Helper()
	for range 2000 {
		if out, err := n.ctr("content", "active"); err == nil && strings.Contains(out, "ferry-") && strings.Contains(out, "MB") {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	n.w.t.Fatal("nothing is being sent")
}

// TestLoadKilled kills load halfway through a layer; the same command goes on
// from there, and sends only the rest.
func TestLoadKilled(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	const size = 200 * mib
	file, _ := w.made(size)
	cmd := exec.Command(ferryPath, "load", file, "--to", "containerd:"+n.socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.halfway()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if list := n.kubelet("images", "ls", "-q"); strings.Contains(list, "made") {
		t.Errorf("a name for what is not there: %s", list)
	}
	rest := w.load(file, "--to", "containerd:"+n.socket).Targets[0]
	if rest.Images[0].State != "loaded" || rest.Sent >= size || rest.Sent == 0 {
		t.Errorf("%+v, want less than %d bytes sent", rest, size)
	}
	// What can run is loaded after any kill.
	file = w.pack(w.multi.name, w.single.name)
	for _, after := range []time.Duration{30, 60, 100, 150} {
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

// TestLoadWhileContainerdCollects: a layer that is there and belongs to no
// image is not collected while the rest is on its way.
func TestLoadWhileContainerdCollects(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	file, layers := w.made(mib, 200*mib)
	there := filepath.Join(t.TempDir(), "layer")
	b, err := io.ReadAll(layers[0].reader())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(there, b, 0o644); err != nil {
		t.Fatal(err)
	}
	orphan := layers[0].hash(t).String()
	w.run("sh", "-c", `ctr -a "$1" -n k8s.io content ingest --expected-digest "$2" before < "$3"`, "sh", n.socket, orphan, there)
	r := startFerry(t, "load", file, "--to", "containerd:"+n.socket)
	n.halfway()
	n.kubelet("leases", "create", "--id", "collect")
	n.kubelet("leases", "delete", "--sync", "collect")
	r.wait(t).wants(t, 0)
	if !strings.Contains(n.kubelet("content", "ls", "-q"), orphan) {
		t.Error("the layer was collected")
	}
}

// TestLoadTwiceAtOnce: two loads of one bundle into one containerd, while its
// own client imports it too.
func TestLoadTwiceAtOnce(t *testing.T) {
	w := newWorld(t)
	n := w.startVersion(newerNode, t.TempDir())
	file := w.pack(w.multi.name, w.single.name)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := w.try(ferryPath, "load", file, "--to", "containerd:"+n.socket); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		if _, err := n.ctr("images", "import", file); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	if got := n.kubelet("run", "--rm", w.multi.name, "at-once"); got != greeting {
		t.Errorf("printed %q", got)
	}
	if again := w.load(file, "--to", "containerd:"+n.socket); again.Targets[0].Sent != 0 {
		t.Errorf("something was missing: %+v", again.Targets[0])
	}
}

// TestLoadBesideOneThatStandsStill: another load of the same layer is waited
// for, and not for ever.
func TestLoadBesideOneThatStandsStill(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	file, layers := w.made(20 * mib)
	d := layers[0].hash(t).String()
	other := exec.Command("ctr", "-a", n.socket, "-n", "k8s.io", "content", "ingest", "--expected-digest", d, "ferry-"+d)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	if _, err := io.CopyN(in, layers[0].reader(), 5*mib); err != nil {
		t.Fatal(err)
	}
	n.halfway()
	r := startFerry(t, "load", file, "--to", "containerd:"+n.socket)
	r.wait(t).wants(t, 0)
	if l := w.load(file, "--to", "containerd:"+n.socket).Targets[0]; l.Images[0].State != "there" {
		t.Errorf("%+v", l)
	}
}

// TestLoadNoUnpack: the layers are sent and left as they are; the kubelet's
// question finds the image, the first container unpacks it, and a load without
// the flag does.
func TestLoadNoUnpack(t *testing.T) {
	for _, version := range []string{debianNode, newerNode} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t)
			n := w.startVersion(version, t.TempDir())
			file, to := w.pack(w.multi.name), "containerd:"+n.socket
			first := w.load(file, "--to", to, "--no-unpack").Targets[0].Images[0]
			if first.State != "loaded" || !strings.Contains(first.As, "not unpacked, the CRI finds it") {
				t.Errorf("%+v", first)
			}
			if list := n.kubelet("snapshots", "ls"); strings.Contains(list, "sha256:") {
				t.Errorf("it was unpacked:\n%s", list)
			}
			if again := w.load(file, "--to", to, "--no-unpack").Targets[0]; again.Images[0].State != "there" || again.Sent != 0 {
				t.Errorf("again: %+v", again)
			}
			if unpacked := w.load(file, "--to", to).Targets[0]; unpacked.Images[0].State != "loaded" || unpacked.Sent != 0 {
				t.Errorf("unpacked: %+v", unpacked)
			}
			if got := n.kubelet("run", "--rm", w.multi.name, "unpacked"); got != greeting {
				t.Errorf("printed %q", got)
			}
		})
	}
}

// TestLoadReplaces: another image has the name. It is said, and replaced.
func TestLoadReplaces(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	w.load(w.pack(w.multi.name, w.single.name), "--to", "containerd:"+n.socket)
	n.kubelet("images", "tag", "--force", w.single.name, w.multi.name)
	out := w.ferry("load", w.pack(w.multi.name), "--to", "containerd:"+n.socket)
	if want := "instead of " + w.single.desc.Digest.String()[:19]; !strings.Contains(out, want) {
		t.Errorf("no %q in %s", want, out)
	}
	if list := n.kubelet("images", "ls", "name=="+w.multi.name); !strings.Contains(list, w.multi.desc.Digest.String()) {
		t.Errorf("it was not replaced: %s", list)
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
	for _, more := range [][]string{nil, {"--no-unpack"}} {
		_, err := w.try(append([]string{ferryPath, "load", file, "--to", "containerd:" + n.socket}, more...)...)
		if err == nil || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), "exit status 1") {
			t.Fatalf("%q: %v, want exit 1 and no space left", more, err)
		}
		if list := n.kubelet("images", "ls", "-q"); strings.Contains(list, "e2e/multi") {
			t.Errorf("%q: a name for what is not there: %s", more, list)
		}
	}
}

// TestLoadWhenContainerdDies: the runtime ends halfway. ferry does not wait
// for it, says which one went away, and goes on when it is back.
func TestLoadWhenContainerdDies(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	file, _ := w.made(200 * mib)
	r := startFerry(t, "load", file, "--to", "containerd:"+n.socket)
	n.halfway()
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
	r.wait(t).wants(t, 1, `load .*made:1 into containerd at `+n.socket, "went away")
	n.start()
	if l := w.load(file, "--to", "containerd:"+n.socket); l.Targets[0].Images[0].State != "loaded" {
		t.Errorf("%+v", l)
	}
	n.stop()
	ferryEnds(t, "load", file, "--to", "containerd:"+n.socket).wants(t, 1, "containerd at "+n.socket)
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

// TestLoadIntoPodmanKilled kills load while podman is at work. The same command
// finishes.
func TestLoadIntoPodmanKilled(t *testing.T) {
	w := newWorld(t)
	file := w.pack(w.multi.name, w.single.name)
	kills := 0
	for _, after := range []time.Duration{100, 200, 300, 450} {
		w.podman("rmi", "-a", "-f")
		cmd := exec.Command(ferryPath, "load", file, "--to", "podman", "-q")
		cmd.Env = append(os.Environ(), w.env...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after * time.Millisecond)
		_ = cmd.Process.Kill()
		if cmd.Wait() != nil {
			kills++
		}
		for _, img := range w.load(file, "--to", "podman").Targets[0].Images {
			if img.State != "loaded" && img.State != "there" {
				t.Errorf("after a kill at %d ms: %+v", after, img)
			}
		}
		for _, img := range []image{w.multi, w.single} {
			if got := w.podman("run", "--rm", img.name); got != greeting {
				t.Errorf("%s printed %q", img.name, got)
			}
		}
	}
	if kills == 0 {
		t.Error("no kill hit")
	}
	t.Logf("%d kills", kills)
}

// TestLoadIntoPodmanFullDisk: podman's disk is too small. What podman says is
// told, and no image is named loaded that does not run; with room, the same
// command finishes.
func TestLoadIntoPodmanFullDisk(t *testing.T) {
	w := newWorld(t)
	file, _ := w.made(8*mib, 4*mib)
	root := smallDisk(t, "8m")
	w.env = podmanEnvIn(t, root)
	ended := w.ends("load", file, "--to", "podman")
	ended.wants(t, 1, "load .*made:1 into podman: .*no space left on device")
	if list := w.podman("images", "-q", "--no-trunc"); list != "" {
		t.Errorf("podman has an image of what did not fit: %s", list)
	}
	widen(t, root, "256m")
	if l := w.load(file, "--to", "podman"); l.Targets[0].Images[0].State != "loaded" {
		t.Errorf("with room: %+v", l.Targets[0])
	}
}

// Debian's podman stands in for one whose service is elsewhere: what is first
// in PATH says that it is a client, or does not reach this machine's loopback,
// and hands the rest on to the real one. Digests stay what they are.
func TestLoadIntoRemotePodmanStandIn(t *testing.T) {
	real, err := exec.LookPath("podman")
	if err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"it says so": `case "$*" in
*ServiceIsRemote*) echo true; exit;;
pull*) echo "a client must not be told to pull" >&2; exit 125;;
esac
`,
		"it is seen": `case "$*" in
pull*) echo "pinging container registry: connect: connection refused" >&2; exit 125;;
esac
`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			file := w.pack(w.multi.name, w.single.name)
			bin := t.TempDir()
			script := "#!/bin/sh\n" + script + "exec " + real + " \"$@\"\n"
			if err := os.WriteFile(filepath.Join(bin, "podman"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			w.env = append(w.env, "PATH="+bin+":"+os.Getenv("PATH"))
			l := w.load(file, "--to", "podman")
			for k, img := range []image{w.multi, w.single} {
				if got := l.Targets[0].Images[k]; got.State != "loaded" || got.As != "" || got.Digest != img.desc.Digest.String() {
					t.Errorf("%+v", got)
				}
				if digests := w.podman("image", "inspect", "--format", "{{.RepoDigests}}", img.name); !strings.Contains(digests, img.desc.Digest.String()) {
					t.Errorf("podman knows %s by %s, and not by upstream's %s", img.name, digests, img.desc.Digest)
				}
				if got := w.podman("run", "--rm", img.name); got != greeting {
					t.Errorf("%s printed %q", img.name, got)
				}
			}
			if again := w.load(file, "--to", "podman"); again.Targets[0].Images[0].State != "there" || again.Targets[0].Sent != 0 {
				t.Errorf("again: %+v", again.Targets[0])
			}
		})
	}
}

func TestLoadIntoDocker(t *testing.T) {
	w := newWorld(t)
	w.startDocker(t.TempDir())
	broken := w.pack(w.single.name)
	b := []byte(readFile(t, broken))
	b[len(b)/2] ^= 1
	if err := os.WriteFile(broken, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := w.try(ferryPath, "load", broken, "--to", "docker"); err == nil || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("a damaged bundle: %v, want exit status 4", err)
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
