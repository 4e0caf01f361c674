//go:build e2e

package node

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/command"
)

// containerd starts Debian's containerd with a folder of its own.
func containerd(t *testing.T) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ferry-node-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "containerd.sock")
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n", dir+"/root", dir+"/state", socket)
	if err := os.WriteFile(dir+"/config.toml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("containerd", "--config", dir+"/config.toml", "--log-level", "warn")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for range 200 {
		if exec.Command("ctr", "--address", socket, "version").Run() == nil {
			return socket
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("containerd does not start")
	return ""
}

// archive is what docker save would write: one layer with one file.
func archive(t *testing.T, name string) []byte {
	t.Helper()
	layer := tarOf(t, map[string][]byte{"hello": []byte("hello")})
	config, err := json.Marshal(map[string]any{
		"os": "linux", "architecture": runtime.GOARCH, "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest.FromBytes(layer).String()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	return tarOf(t, map[string][]byte{"layer.tar": layer, "config.json": config, "manifest.json": manifest})
}

func tarOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, body := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// here runs programs on this machine with containerd's address set, as they
// find it on a node.
type here struct{ socket string }

func (h here) Run(ctx context.Context, c command.Command) error {
	c.Env = append(c.Env, "CONTAINERD_ADDRESS="+h.socket)
	return command.Local{}.Run(ctx, c)
}

// The words that kind uses do, with the real ctr and containerd, what the
// stand-in of kind's containers answers.
func TestKindStandInRealContainerd(t *testing.T) {
	socket := containerd(t)
	s := &engineStandIn{program: "docker", nodes: map[string]container{
		"dev-worker": standInNode("io.x-k8s.kind.cluster=dev", "io.x-k8s.kind.role=worker"),
	}, exec: func(ctx context.Context, _ string, c command.Command) error {
		if c.Argv[0] == "containerd" {
			return nil // its configuration says nothing of a snapshotter
		}
		return here{socket}.Run(ctx, c)
	}}
	nodes, err := (Engines{Local: s, Programs: []string{"docker"}}).Kind(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	loads(t, nodes[0])
}

func TestHereRealContainerd(t *testing.T) {
	n := Here(command.Local{}, "", containerd(t))
	if err := n.Find(t.Context()); err != nil || n.Runtime != Containerd {
		t.Fatalf("got %s, %v", n.Runtime, err)
	}
	conn, err := n.Dial(t.Context(), n.Address())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	loads(t, n)
}

func loads(t *testing.T, n *Node) {
	t.Helper()
	const name = "docker.io/library/ferry-e2e:1"
	if _, err := n.Look(t.Context(), name); !errors.Is(err, ErrNoImage) {
		t.Errorf("before: got %v", err)
	}
	if err := n.Import(t.Context(), bytes.NewReader(archive(t, name))); err != nil {
		t.Fatal(err)
	}
	h, err := n.Look(t.Context(), name)
	if err != nil || h.Name != name || h.Platform != "linux/"+runtime.GOARCH || h.Pinned || len(h.Digests) != 1 {
		t.Errorf("loaded: got %+v, %v", h, err)
	}
	if err := n.Pin(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if h, err = n.Look(t.Context(), name); err != nil || !h.Pinned {
		t.Errorf("pinned: got %+v, %v", h, err)
	}
	err = n.Import(t.Context(), strings.NewReader("garbage"))
	if e, ok := errors.AsType[*command.Error](err); !ok || e.Stderr == "" {
		t.Errorf("garbage: got %v", err)
	}
}

// A socket that only root may open is reached by socat's input and output.
func TestThroughSocat(t *testing.T) {
	socket := containerd(t)
	conn, err := dialThrough(t.Context(), command.Local{}, socket)
	if err != nil {
		t.Fatal(err)
	}
	// HTTP/2: what gRPC says first, and the server's settings for an answer.
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 9)
	if _, err := conn.Read(head); err != nil || head[3] != 4 {
		t.Errorf("got %x, %v", head, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	gone, err := through(command.Local{}, socket+"-gone")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Read(head); err == nil || !strings.Contains(err.Error(), "socat") {
		t.Errorf("got %v", err)
	}
	_ = gone.Close()
}
