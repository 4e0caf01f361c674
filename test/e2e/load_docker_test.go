//go:build e2e

package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// docker is a dockerd of Debian's beside a containerd, as Debian runs it, and
// what it was started with.
type docker struct {
	w          *world
	root, exec string
	socket     string
	containerd *node
	cmd        *exec.Cmd
}

// startDocker starts one with its store in root; docker and ferry find it by
// DOCKER_HOST from then on.
func (w *world) startDocker(root string) *docker {
	w.t.Helper()
	dir := w.t.TempDir()
	d := &docker{w: w, root: root, exec: dir, socket: "unix://" + filepath.Join(dir, "s"), containerd: w.startContainerd(w.t.TempDir())}
	w.env = append(w.env, "DOCKER_HOST="+d.socket)
	w.write(filepath.Join(dir, "daemon.json"), "{}")
	w.t.Cleanup(func() {
		(&node{cmd: d.cmd}).stop()
		_ = syscall.Unmount(root, syscall.MNT_DETACH) // what a dockerd that was killed leaves
	})
	d.start()
	return d
}

// start starts it, for the first time or again.
func (d *docker) start() {
	t := d.w.t
	t.Helper()
	log, err := os.OpenFile(filepath.Join(d.exec, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command("dockerd", "--config-file", filepath.Join(d.exec, "daemon.json"), "--data-root", d.root,
		"--exec-root", filepath.Join(d.exec, "e"), "--containerd", d.containerd.socket, "-H", d.socket, "-p", filepath.Join(d.exec, "pid"),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--storage-driver", "overlay2")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err = d.w.try("docker", "version"); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("dockerd does not answer: %v\n%s", err, readFile(t, log.Name()))
}

// kill ends dockerd as a crash would.
func (d *docker) kill() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}

// halfway waits until dockerd has written n bytes of what it is being sent.
func (d *docker) halfway(n int64) {
	d.w.t.Helper()
	for range 2000 {
		if size(d.root) > n {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	d.w.t.Fatal("nothing is being sent")
}

// size is how much there is in a folder while others write to it.
func size(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

// smallDisk is a folder on a disk of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func widen(t *testing.T, dir, size string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
		t.Fatal(err)
	}
}

// starts is startFerry in w's environment.
func (w *world) starts(args ...string) *running {
	w.t.Helper()
	return startFerryIn(w.t, w.env, args...)
}

// ends runs ferry in w's environment until it ends.
func (w *world) ends(args ...string) ended {
	w.t.Helper()
	return w.starts(args...).wait(w.t)
}

// has says whether docker has an image by the name that made gives it.
func (d *docker) has(name string) bool {
	d.w.t.Helper()
	return strings.Contains(d.w.run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}"), name)
}

// TestLoadIntoDockerKilled kills load while docker is at work. The same command
// finishes, and nothing of the first stays in ferry's way.
func TestLoadIntoDockerKilled(t *testing.T) {
	w := newWorld(t)
	d := w.startDocker(t.TempDir())
	file, _ := w.made(200 * mib)
	before := size(d.root)
	r := w.starts("load", file, "--to", "docker")
	d.halfway(before + 20*mib)
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	if d.has("made:1") {
		t.Fatal("the kill came too late to hit")
	}
	if l := w.load(file, "--to", "docker"); l.Targets[0].Images[0].State != "loaded" || !d.has("made:1") {
		t.Errorf("after a kill: %+v", l.Targets[0])
	}
}

// TestLoadWhenDockerDies: dockerd ends halfway. ferry does not wait for it, says
// that it went away, and finishes when it is back.
func TestLoadWhenDockerDies(t *testing.T) {
	w := newWorld(t)
	d := w.startDocker(t.TempDir())
	file, _ := w.made(200 * mib)
	before := size(d.root)
	r := w.starts("load", file, "--to", "docker")
	d.halfway(before + 20*mib)
	d.kill()
	r.wait(t).wants(t, 1, "load .*made:1 into docker: ")
	w.ends("load", file, "--to", "docker").wants(t, 1, "docker")
	d.start()
	if d.has("made:1") {
		t.Error("docker has an image of what did not arrive")
	}
	if l := w.load(file, "--to", "docker"); l.Targets[0].Images[0].State != "loaded" {
		t.Errorf("%+v", l.Targets[0])
	}
}

// TestLoadIntoDockerFullDisk: docker's disk is too small. What docker says is
// told, and no image is named loaded; with room, the same command finishes.
func TestLoadIntoDockerFullDisk(t *testing.T) {
	w := newWorld(t)
	root := smallDisk(t, "24m")
	d := w.startDocker(root)
	file, _ := w.made(40 * mib)
	w.ends("load", file, "--to", "docker").wants(t, 1, "load .*made:1 into docker: .*no space left on device")
	if d.has("made:1") {
		t.Error("docker has an image of what did not fit")
	}
	widen(t, root, "512m")
	if l := w.load(file, "--to", "docker"); l.Targets[0].Images[0].State != "loaded" {
		t.Errorf("with room: %+v", l.Targets[0])
	}
}
