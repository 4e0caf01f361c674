//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sshd starts Debian's sshd on loopback for root, with a key and a known_hosts
// of its own, and returns the options of ferry and the port.
func (w *world) sshd(lines ...string) (home, port string) {
	w.t.Helper()
	home = w.t.TempDir()
	keys := filepath.Join(home, ".ssh")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		w.t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(freeAddr(w.t))
	w.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys+"/id_ed25519")
	w.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home+"/host")
	config := append([]string{
		"ListenAddress 127.0.0.1", "Port " + port, "HostKey " + home + "/host", "AuthorizedKeysFile " + keys + "/id_ed25519.pub",
		"StrictModes no", "PermitRootLogin prohibit-password", "PidFile none",
	}, lines...)
	w.write(home+"/sshd_config", strings.Join(config, "\n")+"\n")
	b, err := os.ReadFile(home + "/host.pub")
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(keys+"/known_hosts", fmt.Sprintf("[127.0.0.1]:%s %s", port, b))
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", home+"/sshd_config")
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for range 200 {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			_ = conn.Close()
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.env = append(w.env, "HOME="+home, "SSH_AUTH_SOCK=")
	return home, port
}

func (w *world) write(file, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// Through a forwarded socket, only what the node lacks is sent.
func TestLoadBySSH(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	home, port := w.sshd()
	file := w.pack(w.multi.name, w.single.name)
	to := "ssh://root@127.0.0.1:" + port + n.socket
	r := w.load(file, "--to", to)
	if len(r.Targets) != 1 || len(r.Targets[0].Images) != 2 || r.Targets[0].Sent == 0 {
		t.Fatalf("got %+v", r)
	}
	for _, i := range r.Targets[0].Images {
		if i.State != "loaded" {
			t.Errorf("%s: %s %s", i.Name, i.State, i.Error)
		}
	}
	if got := n.kubelet("images", "ls", "-q"); !strings.Contains(got, w.multi.name) {
		t.Errorf("the node has %s", got)
	}
	if again := w.load(file, "--to", to); again.Targets[0].Sent != 0 || again.Targets[0].Images[0].State != "there" {
		t.Errorf("again: %+v", again)
	}
	// A machine that nobody knows gets no bytes, and the other all the same.
	w.write(home+"/.ssh/known_hosts", "")
	_, err := w.try(ferryPath, "load", file, "--to", to, "--to", "containerd:"+n.socket)
	if err == nil || !strings.Contains(err.Error(), "exit status 5") || !strings.Contains(err.Error(), "is not known: its host key is ssh-ed25519 SHA256:") || !strings.Contains(err.Error(), "--host-key-check accept-new") {
		t.Errorf("got %v", err)
	}
	w.ferry("load", file, "--to", to, "--host-key-check", "accept-new")
	w.ferry("load", file, "--to", to, "--host-key-check", "yes")
}

// A node that is reached late is asked what it lacks, like one of this
// machine: what it has of another image is not sent.
func TestLoadBySSHSendsWhatIsLacking(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	_, port := w.sshd()
	to := "ssh://root@127.0.0.1:" + port + n.socket
	first := w.load(w.pack("--platform", "linux/"+runtime.GOARCH, w.multi.name), "--to", to).Targets[0]
	if first.Sent < mib || first.Images[0].Digest != w.multi.desc.Digest.String() {
		t.Errorf("%+v, want upstream's %s", first, w.multi.desc.Digest)
	}
	// The other has its large layer in common with the first.
	both := w.pack(w.multi.name, w.single.name)
	planned := w.load(both, "--to", to, "--dry-run").Targets[0]
	got := w.load(both, "--to", to).Targets[0]
	if planned.Planned != got.Sent || got.Sent == 0 || got.Sent >= mib {
		t.Errorf("planned %d bytes, sent %d, want less than the layer of %d that is there", planned.Planned, got.Sent, mib)
	}
}

// minikube's folder stands in for minikube: the machine that it describes is
// this one, by a real sshd that forwards no sockets, so that the images go as
// a stream into the real ctr.
func TestLoadIntoMinikubeStandInFolder(t *testing.T) {
	w := newWorld(t)
	n := w.startContainerd(t.TempDir())
	home, port := w.sshd("AllowStreamLocalForwarding no", "SetEnv CONTAINERD_ADDRESS="+n.socket)
	w.write(home+"/.minikube/profiles/dev/config.json", `{"Name":"dev","Driver":"qemu2","KubernetesConfig":{"ContainerRuntime":"containerd"},"Nodes":[{"Name":""}]}`)
	w.write(home+"/.minikube/machines/dev/config.json",
		`{"DriverName":"qemu2","Driver":{"IPAddress":"127.0.0.1","SSHUser":"root","SSHPort":`+port+`,"SSHKeyPath":"`+home+`/.ssh/id_ed25519"}}`)
	file := w.pack(w.multi.name, w.single.name)
	r := w.load(file, "--to", "minikube:dev")
	if len(r.Targets) != 1 || r.Targets[0].Name != "dev" {
		t.Fatalf("got %+v", r)
	}
	for _, i := range r.Targets[0].Images {
		if i.State != "loaded" || i.Pin != "pinned" {
			t.Errorf("%s: %s %s %s", i.Name, i.State, i.Pin, i.Error)
		}
	}
	if again := w.load(file, "--to", "minikube:dev"); again.Targets[0].Sent != 0 || again.Targets[0].Images[0].State != "there" {
		t.Errorf("again: %+v", again)
	}
	n.stop()
	if _, err := w.try(ferryPath, "load", file, "--to", "minikube:dev"); err == nil || !strings.Contains(err.Error(), "load into dev") {
		t.Errorf("a dead runtime: got %v", err)
	}
}
