package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/command"
	"ferry/internal/ssh"
)

// engineStandIn stands in for docker or podman with containers that are nodes:
// neither kind, k3d nor minikube runs on the machines that test ferry. It
// answers what the engines answer to these words, taken from their manuals and
// from what kind v0.31 runs, and refuses all others:
//
//	ENGINE ps --all --filter label=LABEL=CLUSTER --format {{.Names}}
//	    a name a line
//	ENGINE container inspect NAME…
//	    a JSON array: Name ("/" before it with docker), Config.Labels, State
//	ENGINE exec --privileged [-i] NAME COMMAND…
//	    what exec says; -i exactly where there is an input
type engineStandIn struct {
	program string
	nodes   map[string]container
	exec    func(ctx context.Context, node string, c command.Command) error
	ran     []string
}

var errContract = errors.New("the stand-in refuses words that are not in the contract")

func (s *engineStandIn) Run(ctx context.Context, c command.Command) error {
	a := c.Argv
	if len(a) == 0 || a[0] != s.program || len(c.Env) > 0 {
		return &command.Error{Argv: a, ExitCode: -1, Err: command.ErrNotInstalled}
	}
	switch {
	case len(a) == 7 && slices.Equal(a[1:4], []string{"ps", "--all", "--filter"}) && slices.Equal(a[5:], []string{"--format", "{{.Names}}"}):
		return s.ps(c, a[4])
	case len(a) > 3 && a[1] == "container" && a[2] == "inspect":
		return s.inspect(c, a[3:])
	case len(a) > 4 && a[1] == "exec" && a[2] == "--privileged":
		rest := a[3:]
		if c.Stdin != nil {
			if rest[0] != "-i" {
				break
			}
			rest = rest[1:]
		}
		if n, ok := s.nodes[rest[0]]; !ok || !n.State.Running {
			return &command.Error{Argv: a, ExitCode: 1, Stderr: "Error response from daemon: No such container: " + rest[0]}
		}
		s.ran = append(s.ran, rest[0]+": "+strings.Join(rest[1:], " "))
		return s.exec(ctx, rest[0], command.Command{Argv: rest[1:], Stdin: c.Stdin, Stdout: c.Stdout})
	}
	return &command.Error{Argv: a, ExitCode: -1, Err: errContract}
}

func (s *engineStandIn) ps(c command.Command, filter string) error {
	label, ok := strings.CutPrefix(filter, "label=")
	if !ok {
		return &command.Error{Argv: c.Argv, ExitCode: -1, Err: errContract}
	}
	key, value, _ := strings.Cut(label, "=")
	for name, n := range s.nodes {
		if n.Config.Labels[key] == value {
			fmt.Fprintln(c.Stdout, name)
		}
	}
	return nil
}

func (s *engineStandIn) inspect(c command.Command, names []string) error {
	var all []container
	for _, name := range names {
		n, ok := s.nodes[name]
		if !ok {
			return &command.Error{Argv: c.Argv, ExitCode: 1, Stderr: "Error: No such container: " + name}
		}
		n.Name = name
		if s.program == "docker" {
			n.Name = "/" + name
		}
		all = append(all, n)
	}
	return json.NewEncoder(c.Stdout).Encode(all)
}

func standInNode(labels ...string) container {
	var c container
	c.Config.Labels = map[string]string{}
	for _, l := range labels {
		key, value, _ := strings.Cut(l, "=")
		c.Config.Labels[key] = value
	}
	c.State.Running, c.State.Status = true, "running"
	return c
}

// ctrStandIn answers what kind and ferry ask of a node, and keeps names.
func ctrStandIn(t *testing.T, got map[string]string) func(context.Context, string, command.Command) error {
	return func(_ context.Context, node string, c command.Command) error {
		switch line := strings.Join(c.Argv, " "); line {
		case "containerd config dump":
			fmt.Fprint(c.Stdout, "version = 2\n[plugins]\n      snapshotter = \"fuse-overlayfs\"\n")
		case "ctr --namespace=k8s.io images import --all-platforms --digests --snapshotter=fuse-overlayfs -":
			b, err := io.ReadAll(c.Stdin)
			if err != nil {
				return err
			}
			got[node] = string(b)
		case "ctr --namespace=k8s.io images ls name==docker.io/library/nginx:1":
			fmt.Fprintln(c.Stdout, "REF TYPE DIGEST SIZE PLATFORMS LABELS")
			if got[node] != "" {
				fmt.Fprintln(c.Stdout, "docker.io/library/nginx:1 application/vnd.oci.image.manifest.v1+json sha256:"+strings.Repeat("a", 64)+" 67.2 MiB linux/amd64 io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned ")
			}
		case "ctr --namespace=k8s.io images label docker.io/library/nginx:1 io.cri-containerd.pinned=pinned":
		default:
			t.Errorf("%s: not in the contract: %s", node, line)
			return errContract
		}
		return nil
	}
}

func TestKindStandIn(t *testing.T) {
	for _, program := range []string{"docker", "podman"} {
		got := map[string]string{}
		s := &engineStandIn{program: program, exec: ctrStandIn(t, got), nodes: map[string]container{
			"dev-control-plane":          standInNode("io.x-k8s.kind.cluster=dev", "io.x-k8s.kind.role=control-plane"),
			"dev-worker":                 standInNode("io.x-k8s.kind.cluster=dev", "io.x-k8s.kind.role=worker"),
			"dev-external-load-balancer": standInNode("io.x-k8s.kind.cluster=dev", "io.x-k8s.kind.role=external-load-balancer"),
			"other-control-plane":        standInNode("io.x-k8s.kind.cluster=other", "io.x-k8s.kind.role=control-plane"),
		}}
		e := Engines{Local: s, Programs: []string{"docker", "podman"}}
		nodes, err := e.Kind(t.Context(), "dev")
		if err != nil || len(nodes) != 2 || nodes[0].Name != "dev-control-plane" || nodes[1].Name != "dev-worker" {
			t.Fatalf("%s: got %v, %v", program, nodes, err)
		}
		const name = "docker.io/library/nginx:1"
		for _, n := range nodes {
			if _, err := n.Look(t.Context(), name); !errors.Is(err, ErrNoImage) {
				t.Errorf("before: got %v", err)
			}
			if err := n.Import(t.Context(), strings.NewReader("the archive")); err != nil {
				t.Fatal(err)
			}
			if err := n.Pin(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			h, err := n.Look(t.Context(), name)
			if err != nil || h.Name != name || h.Platform != "linux/amd64" || !h.Pinned || len(h.Digests) != 1 {
				t.Errorf("after: got %+v, %v", h, err)
			}
			if got[n.Name] != "the archive" {
				t.Errorf("%s got %q", n.Name, got[n.Name])
			}
		}
		if _, err := e.Kind(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "no kind cluster is called kind here") {
			t.Errorf("got %v", err)
		}
		stopped := standInNode("io.x-k8s.kind.cluster=dev")
		stopped.State.Running, stopped.State.Status = false, "exited"
		s.nodes["dev-worker"] = stopped
		_, err = e.Kind(t.Context(), "dev")
		var none *NotFoundError
		if !errors.As(err, &none) || none.Error() != "node dev-worker of kind cluster dev is exited" || none.Next != "Start it: "+program+" start dev-worker" {
			t.Errorf("got %v", err)
		}
	}
	if _, err := (Engines{Local: &engineStandIn{}, Programs: []string{"docker", "podman"}}).Kind(t.Context(), ""); err == nil || !errors.Is(err, command.ErrNotInstalled) {
		t.Errorf("without an engine: got %v", err)
	}
}

func TestK3dStandIn(t *testing.T) {
	s := &engineStandIn{program: "docker", nodes: map[string]container{
		"k3d-dev-server-0": standInNode("k3d.cluster=dev", "k3d.role=server"),
		"k3d-dev-agent-0":  standInNode("k3d.cluster=dev", "k3d.role=agent"),
		"k3d-dev-serverlb": standInNode("k3d.cluster=dev", "k3d.role=loadbalancer"),
		"k3d-registry":     standInNode("k3d.cluster=dev", "k3d.role=registry"),
	}, exec: func(_ context.Context, _ string, c command.Command) error {
		if line := strings.Join(c.Argv, " "); line != "ctr --address=/run/k3s/containerd/containerd.sock --namespace=k8s.io images import --all-platforms --digests -" {
			t.Errorf("not in the contract: %s", line)
			return errContract
		}
		return nil
	}}
	nodes, err := (Engines{Local: s, Programs: []string{"docker"}}).K3d(t.Context(), "dev")
	if err != nil || len(nodes) != 2 || nodes[0].Name != "k3d-dev-agent-0" {
		t.Fatalf("got %v, %v", nodes, err)
	}
	if err := nodes[0].Import(t.Context(), strings.NewReader("x")); err != nil {
		t.Error(err)
	}
}

// minikubeFolder writes the files that minikube v1.37 keeps, as far as ferry
// reads them, in its own layout.
func minikubeFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), ".minikube")
	for name, text := range files {
		file := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

func TestMinikubeStandInFolder(t *testing.T) {
	home := minikubeFolder(t, map[string]string{
		"profiles/minikube/config.json": `{"Name":"minikube","Driver":"qemu2","KubernetesConfig":{"ContainerRuntime":"containerd"},"Nodes":[{"Name":"","IP":"10.0.2.15","Port":8443}]}`,
		"machines/minikube/config.json": `{"ConfigVersion":3,"DriverName":"qemu2","Driver":{"IPAddress":"127.0.0.1","MachineName":"minikube","SSHUser":"docker","SSHPort":38217,"SSHKeyPath":"/keys/id_rsa","StorePath":"/x"}}`,
		"profiles/two/config.json":      `{"Name":"two","Driver":"kvm2","KubernetesConfig":{"ContainerRuntime":"crio"},"Nodes":[{"Name":""},{"Name":"m02"}]}`,
		"machines/two/config.json":      `{"DriverName":"kvm2","Driver":{"IPAddress":"192.168.39.2","SSHUser":"docker","SSHPort":22}}`,
		"machines/two-m02/config.json":  `{"DriverName":"kvm2","Driver":{"IPAddress":"192.168.39.3","SSHUser":"","SSHPort":22}}`,
		"profiles/vb/config.json":       `{"Name":"vb","VMDriver":"virtualbox","KubernetesConfig":{},"Nodes":[{"Name":"x"}]}`,
		"machines/vb/config.json":       `{"DriverName":"virtualbox","Driver":{"IPAddress":"192.168.59.100","SSHUser":"docker","SSHPort":51234}}`,
		"profiles/off/config.json":      `{"Name":"off","Driver":"vfkit","KubernetesConfig":{"ContainerRuntime":"containerd"},"Nodes":[{"Name":""}]}`,
		"machines/off/config.json":      `{"DriverName":"vfkit","Driver":{"IPAddress":"","SSHUser":"docker","SSHPort":22}}`,
		"profiles/odd/config.json":      `{"Name":"odd","Driver":"kvm2","KubernetesConfig":{"ContainerRuntime":"rkt"},"Nodes":[{"Name":""}]}`,
		"profiles/gone/config.json":     `{"Name":"gone","Driver":"kvm2","KubernetesConfig":{"ContainerRuntime":"docker"},"Nodes":[{"Name":""}]}`,
		"profiles/empty/config.json":    `{"Name":"empty"}`,
		"profiles/bad/config.json":      `<html>`,
	})
	var asked []ssh.Options
	m := Minikube{Home: home, Connect: func(_ context.Context, o ssh.Options) (*ssh.Client, error) {
		asked = append(asked, o)
		return &ssh.Client{}, nil
	}}
	for profile, want := range map[string]struct {
		names   []string
		runtime Runtime
		to      []string
		keys    []string
	}{
		"":    {[]string{"minikube"}, Containerd, []string{"docker@127.0.0.1:38217"}, []string{"/keys/id_rsa"}},
		"two": {[]string{"two", "two-m02"}, CRIO, []string{"docker@192.168.39.2", "docker@192.168.39.3"}, []string{home + "/machines/two/id_rsa", home + "/machines/two-m02/id_rsa"}},
		"vb":  {[]string{"vb"}, Docker, []string{"docker@127.0.0.1:51234"}, []string{home + "/machines/vb/id_rsa"}},
	} {
		asked = nil
		nodes, err := m.Nodes(t.Context(), profile)
		if err != nil || len(nodes) != len(want.names) {
			t.Fatalf("%q: got %v, %v", profile, nodes, err)
		}
		for i, n := range nodes {
			if n.Name != want.names[i] || n.Runtime != want.runtime || n.Kind != KindMinikube || asked[i].String() != want.to[i] || asked[i].KeyFiles[0] != want.keys[i] {
				t.Errorf("%q: node %+v by %+v", profile, n, asked[i])
			}
		}
	}
	for profile, says := range map[string]string{
		"none": "there is no minikube profile none in " + home, "../x": "there is no minikube profile",
		"off": "it has no address", "odd": `its container runtime is none that ferry knows: "rkt"`, "gone": "machines/gone/config.json",
		"empty": "has no nodes", "bad": "is not the expected JSON",
	} {
		if _, err := m.Nodes(t.Context(), profile); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", profile, err, says)
		}
	}
}

func TestMinikubeStandInContainer(t *testing.T) {
	home := minikubeFolder(t, map[string]string{
		"profiles/minikube/config.json": `{"Name":"minikube","Driver":"docker","KubernetesConfig":{"ContainerRuntime":"docker"},"Nodes":[{"Name":""}]}`,
	})
	id := "sha256:" + strings.Repeat("b", 64)
	loaded := false
	s := &engineStandIn{program: "docker", nodes: map[string]container{
		"minikube": standInNode("created_by.minikube.sigs.k8s.io=true", "name.minikube.sigs.k8s.io=minikube"),
	}, exec: func(_ context.Context, _ string, c command.Command) error {
		switch line := strings.Join(c.Argv, " "); {
		case line == "docker load --quiet":
			loaded = true
		case line == "docker image inspect docker.io/library/nginx:1" && loaded:
			fmt.Fprintf(c.Stdout, `[{"Id":%q,"RepoDigests":[],"Os":"linux","Architecture":"arm64"}]`, id)
		case line == "docker image inspect docker.io/library/nginx:1":
			return &command.Error{Argv: c.Argv, ExitCode: 1, Stderr: "Error: No such image"}
		case line == "docker image ls --quiet --no-trunc nginx:1":
		default:
			t.Errorf("not in the contract: %s", line)
			return errContract
		}
		return nil
	}}
	m := Minikube{Home: home, Engines: Engines{Local: s, Programs: []string{"docker"}}}
	nodes, err := m.Nodes(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	n := nodes[0]
	if _, err := n.Look(t.Context(), "docker.io/library/nginx:1"); !errors.Is(err, ErrNoImage) {
		t.Errorf("before: got %v", err)
	}
	if err := n.Import(t.Context(), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	h, err := n.Look(t.Context(), "docker.io/library/nginx:1")
	if err != nil || h.ID.String() != id || h.Platform != "linux/arm64" {
		t.Errorf("after: got %+v, %v", h, err)
	}
	s.nodes["minikube"] = standInNode()
	if _, err := m.Nodes(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "is not minikube's") {
		t.Errorf("got %v", err)
	}
}

func TestCRIOStandIn(t *testing.T) {
	s := &engineStandIn{program: "docker", nodes: map[string]container{"n": standInNode()}, exec: func(_ context.Context, _ string, c command.Command) error {
		switch line := strings.Join(c.Argv, " "); line {
		case "podman load --quiet":
		case "crictl --runtime-endpoint unix:///var/run/crio/crio.sock images --output json quay.io/a/b:1":
			fmt.Fprintf(c.Stdout, `{"images":[{"id":"sha256:%064d","repoTags":["quay.io/a/b:1"],"repoDigests":["quay.io/a/b@sha256:%064d"],"pinned":false}]}`, 1, 2)
		default:
			t.Errorf("not in the contract: %s", line)
			return errContract
		}
		return nil
	}}
	n := &Node{Name: "n", Runtime: CRIO, Runner: inContainer{s, "docker", "n"}}
	if err := n.Import(t.Context(), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	h, err := n.Look(t.Context(), "quay.io/a/b:1")
	if err != nil || len(h.Digests) != 1 || !strings.HasSuffix(h.Digests[0].String(), "2") || !strings.HasSuffix(h.ID.String(), "1") {
		t.Errorf("got %+v, %v", h, err)
	}
}

// The stand-in is no help if it takes whatever it is given.
func TestStandInRefusesOtherWords(t *testing.T) {
	s := &engineStandIn{program: "docker", nodes: map[string]container{"n": standInNode()}}
	for _, argv := range [][]string{
		{"docker", "ps"}, {"docker", "exec", "n", "ctr"}, {"docker", "exec", "--privileged", "-i", "n", "ctr"}, {"docker", "cp", "a", "n:/b"}, {"minikube", "image", "load", "x"},
	} {
		if err := s.Run(t.Context(), command.Command{Argv: argv}); err == nil {
			t.Errorf("%q was taken", argv)
		}
	}
}
