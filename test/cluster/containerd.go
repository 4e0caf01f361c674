package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A Runtime is a version of containerd.
type Runtime string

// The two that can be had: V2 is built from its Go module, Debian is what
// Debian 12 ships.
const (
	V2     Runtime = "containerd-2"
	Debian Runtime = "containerd-1.6"
)

// Runtimes is both, for tests that run on each.
func Runtimes() []Runtime { return []Runtime{V2, Debian} }

// pauseImage is the image of a pod's first container. No registry has it.
const pauseImage = "ferry.test/pause:1"

// Containerd starts a containerd of its own for the test, with an empty store,
// and this machine's network: registries on loopback can be reached. It runs
// containers (ctr run; by the CRI with the host's network) and is gone after
// the test.
func Containerd(t testing.TB, r Runtime) *Node {
	t.Helper()
	n, down, err := StartContainerd(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("containerd's log ends so:\n%s", tail(n.Log("containerd")))
		}
		if err := down(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// StartContainerd is Containerd without a test; down takes it down.
func StartContainerd(ctx context.Context, r Runtime) (n *Node, down func() error, err error) {
	s, err := takeSlot(ctx)
	if err != nil {
		return nil, nil, err
	}
	down = func() error {
		defer s.release()
		return s.clear(context.WithoutCancel(ctx))
	}
	n, err = s.loneContainerd(ctx, r)
	if err != nil {
		return nil, nil, firstError(err, down())
	}
	return n, down, nil
}

func (s *slot) loneContainerd(ctx context.Context, r Runtime) (*Node, error) {
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return nil, err
	}
	n, err := s.newNode(ctx, nodeSpec{name: "node1", runtime: r, hosts: string(hosts)})
	if err != nil {
		return nil, err
	}
	if err := n.configureContainerd(); err != nil {
		return nil, err
	}
	return n, n.StartContainerd(ctx)
}

// StartContainerd starts the node's containerd and waits until it answers.
func (n *Node) StartContainerd(ctx context.Context) error {
	argv := []string{"containerd", "-c", filepath.Join(n.Dir, "containerd.toml")}
	if n.proxy != "" {
		argv = append([]string{"env", "HTTPS_PROXY=" + n.proxy, "NO_PROXY=.test,.io,.internal,10.0.0.0/8"}, argv...)
	}
	if err := n.Start("containerd", argv...); err != nil {
		return err
	}
	err := wait(ctx, 30*time.Second, n.Name+"'s containerd", answers("unix", n.Socket))
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(n.Log("containerd")))
	}
	said, err := n.Run(ctx, "containerd", "--version")
	if f := strings.Fields(said); len(f) > 2 {
		n.Version = strings.TrimPrefix(f[2], "v")
	}
	return err
}

// RestartContainerd starts containerd anew. Pulls in flight outlive their pods
// and share their look-ups: between two resolvers this ends them.
func (n *Node) RestartContainerd(ctx context.Context) error {
	if err := n.Stop(ctx, "containerd"); err != nil {
		return err
	}
	return n.StartContainerd(ctx)
}

// Mirror writes hosts.toml for a registry's host, which containerd reads at
// each pull.
func (n *Node) Mirror(host, hostsToml string) error {
	dir := filepath.Join(n.Dir, "certs.d", host)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(hostsToml), 0o644)
}

func (n *Node) configureContainerd() error {
	config := configV2
	if n.runtime == Debian {
		config = configDebian
	}
	text := strings.NewReplacer("$DIR", n.Dir, "$PAUSE", pauseImage).Replace(config)
	return os.WriteFile(filepath.Join(n.Dir, "containerd.toml"), []byte(text), 0o644)
}

// Root of some virtual machines lacks CAP_SYS_RESOURCE: there a lower
// oom_score_adj (a sandbox asks for -998) makes runc's first process die, so
// it is restricted.
const configV2 = `version = 3
root = "$DIR/containerd"
state = "/run/containerd"
[grpc]
  address = "$DIR/containerd.sock"
[plugins.'io.containerd.nri.v1.nri']
  disable = true
[plugins.'io.containerd.cri.v1.images']
  image_pull_progress_timeout = "20s"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "$PAUSE"
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "$DIR/certs.d"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "$DIR/cni/net.d"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
`

const configDebian = `version = 2
root = "$DIR/containerd"
state = "/run/containerd"
[grpc]
  address = "$DIR/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE"
  image_pull_progress_timeout = "20s"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$DIR/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$DIR/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`
