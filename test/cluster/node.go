package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Node is a machine of its own as far as its programs can see: it has its
// own processes, mounts, host name, cgroups, and, in a cluster, network. Its
// first process is the parent of all others: when it is killed, all end.
type Node struct {
	Name string
	// Dir is the node's folder, under the same path inside and outside.
	Dir string
	// Socket is containerd's.
	Socket string
	// IP is the node's address in the cluster; empty for a lone containerd,
	// which has this machine's network.
	IP string
	// Version is containerd's, as it tells it.
	Version string

	slot    *slot
	runtime Runtime
	cgroup  string
	bin     string // of containerd 2.x
	pid     int
	trees   []hierarchy
	proxy   string
	options NodeOptions
}

//go:embed init.sh
var initScript []byte

// A nodeSpec says what a node is to be.
type nodeSpec struct {
	name       string
	runtime    Runtime
	ownNetwork bool
	resolvConf string
	hosts      string
	disk       int64
	proxy      string
}

// newNode makes the namespaces and folders of a node, with nothing in them.
func (s *slot) newNode(ctx context.Context, spec nodeSpec) (*Node, error) {
	n := &Node{
		Name: spec.name, Dir: filepath.Join(s.dir, spec.name), slot: s, runtime: spec.runtime,
		cgroup: s.cgroupPrefix() + spec.name, proxy: spec.proxy,
	}
	n.Socket = filepath.Join(n.Dir, "containerd.sock")
	var err error
	if n.trees, err = hierarchies(); err != nil {
		return nil, err
	}
	if err := makeCgroups(n.trees, n.cgroup); err != nil {
		return nil, err
	}
	if err := n.makeFiles(ctx, spec); err != nil {
		return nil, err
	}
	if n.runtime == V2 {
		if n.bin, err = BuildContainerd(ctx); err != nil {
			return nil, err
		}
	}
	return n, n.startInit(ctx, spec)
}

func (n *Node) makeFiles(ctx context.Context, spec nodeSpec) error {
	for _, dir := range []string{"etc", "lib", "log", "containerd", "certs.d", "cni/net.d"} {
		if err := os.MkdirAll(filepath.Join(n.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	program, err := buildProgram(ctx, "amd64")
	if err != nil {
		return err
	}
	return firstError(
		os.Symlink(filepath.Join(program, "program"), filepath.Join(n.Dir, "pause")),
		os.WriteFile(filepath.Join(n.Dir, "init.sh"), initScript, 0o755),
		os.WriteFile(filepath.Join(n.Dir, "etc/resolv.conf"), []byte(spec.resolvConf), 0o644),
		os.WriteFile(filepath.Join(n.Dir, "etc/hosts"), []byte(spec.hosts), 0o644),
	)
}

// startInit starts the node's first process and waits until it has set the
// node up.
func (n *Node) startInit(ctx context.Context, spec nodeSpec) error {
	cmd := n.slot.command(context.Background(), "/bin/sh", filepath.Join(n.Dir, "init.sh"))
	var v2 string
	if unified(n.trees) {
		v2 = "yes"
	}
	cmd.Env = append(cmd.Env, "NODE_DIR="+n.Dir, "NODE_NAME="+n.Name, "NODE_CGROUP="+n.cgroup,
		"HIERARCHIES="+strings.Join(n.mountpoints(), " "), "NODE_V2="+v2, "NODE_DISK="+strconv.FormatInt(spec.disk, 10))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if spec.ownNetwork {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	}
	log := filepath.Join(n.Dir, "init.log")
	if err := start(cmd, log); err != nil {
		return err
	}
	n.pid = cmd.Process.Pid
	return wait(ctx, 20*time.Second, n.Name+"'s namespaces", func() error {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/ns/mnt", n.pid)); err != nil {
			said, _ := os.ReadFile(log)
			return stop{fmt.Errorf("its first process ended: %s", said)}
		}
		_, err := os.Stat(filepath.Join(n.Dir, "ready"))
		return err
	})
}

func (n *Node) mountpoints() []string {
	var paths []string
	for _, h := range n.trees {
		paths = append(paths, h.path)
	}
	return paths
}

// Command makes a command that runs in the node, among its processes. ctr there
// talks to the node's containerd, in the kubelet's namespace.
func (n *Node) Command(ctx context.Context, argv ...string) *exec.Cmd {
	// A process that enters a namespace of cgroups is still in its old cgroup.
	join := "for h in " + strings.Join(n.mountpoints(), " ") + "; do echo 0 > $h/cgroup.procs; done"
	if unified(n.trees) {
		join = "echo 0 > " + n.trees[0].path + "/init/cgroup.procs"
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if n.bin != "" {
		path = n.bin + ":" + path
	}
	enter := []string{
		"nsenter", "--target", strconv.Itoa(n.pid), "--all", "--",
		"env", n.slot.mark(), "PATH=" + path, "CONTAINERD_ADDRESS=" + n.Socket, "CONTAINERD_NAMESPACE=k8s.io",
		"/bin/sh", "-c", join + `; exec "$@"`, "sh",
	}
	return n.slot.command(ctx, append(enter, argv...)...)
}

// Run runs a command in the node and returns what it printed.
func (n *Node) Run(ctx context.Context, argv ...string) (string, error) {
	return output(n.Command(ctx, argv...))
}

// Start starts a program in the node that runs until Stop, or until the node
// is taken down. It writes to NAME.log in the node's folder.
func (n *Node) Start(name string, argv ...string) error {
	pidFile := filepath.Join(n.Dir, name+".pid")
	wrapped := append([]string{"/bin/sh", "-c", `echo $$ > "$0"; exec "$@"`, pidFile}, argv...)
	return start(n.Command(context.Background(), wrapped...), filepath.Join(n.Dir, name+".log"))
}

// Stop ends a program that Start started.
func (n *Node) Stop(ctx context.Context, name string) error {
	const end = `p=$(cat "$0") || exit 0; kill "$p" || exit 0
for i in $(seq 100); do kill -0 "$p" 2>/dev/null || exit 0; sleep 0.05; done
kill -9 "$p"; sleep 0.1`
	_, err := n.Run(ctx, "/bin/sh", "-c", end, filepath.Join(n.Dir, name+".pid"))
	return err
}

// Kill kills a program that Start started, as a crash would.
func (n *Node) Kill(ctx context.Context, name string) error {
	_, err := n.Run(ctx, "/bin/sh", "-c", `kill -9 "$(cat "$0")"`, filepath.Join(n.Dir, name+".pid"))
	return err
}

// Log returns what a program of the node has written.
func (n *Node) Log(name string) string {
	text, err := os.ReadFile(filepath.Join(n.Dir, name+".log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// stop is an error that waiting longer does not heal.
type stop struct{ error }

func (s stop) Unwrap() error { return s.error }

// wait asks again until there is no error.
func wait(ctx context.Context, most time.Duration, what string, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := ask()
		if err == nil {
			return nil
		}
		var final stop
		if errors.As(err, &final) {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w: %w", what, ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// answers asks whether somebody accepts connections at an address.
func answers(network, address string) func() error {
	return func() error {
		c, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	}
}
