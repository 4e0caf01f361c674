package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"ferry/internal/command"
)

// pinned is the label by which containerd's CRI keeps an image from the
// kubelet's garbage collection.
const pinned = "io.cri-containerd.pinned=pinned"

// ErrNoImage says that a runtime has no image of a name.
var ErrNoImage = errors.New("the runtime has no image of that name")

// Held is what a node's runtime says that it has under a name.
type Held struct {
	// Name is one that the kubelet finds it by.
	Name string
	// ID is the digest of the config; Digests are those of manifests and
	// indexes that the runtime knows it by.
	ID      digest.Digest
	Digests []digest.Digest
	// Platform is os/architecture, several with commas between them; "" where
	// the runtime does not say.
	Platform string
	Pinned   bool
}

// Import streams an image archive into the runtime's own importer; nothing is
// put on the node's disk but what the importer puts there.
func (n *Node) Import(ctx context.Context, r io.Reader) error {
	argv, err := n.importer(ctx)
	if err != nil {
		return err
	}
	return n.Runner.Run(ctx, command.Command{Argv: argv, Stdin: r})
}

// importer is the command that reads an archive from its input.
func (n *Node) importer(ctx context.Context) ([]string, error) {
	switch n.Runtime {
	case Docker:
		return []string{"docker", "load", "--quiet"}, nil
	case CRIO:
		// CRI-O shares podman's storage; podman reads from its input only where
		// it is told so by no -i.
		return []string{"podman", "load", "--quiet"}, nil
	}
	argv := n.ctr("images", "import", "--all-platforms", "--digests")
	if n.Kind == KindKind {
		snapshotter, err := n.snapshotter(ctx)
		if err != nil {
			return nil, err
		}
		argv = append(argv, "--snapshotter="+snapshotter)
	}
	return append(argv, "-"), nil
}

// ctr is containerd's own client, where the kubelet looks.
func (n *Node) ctr(words ...string) []string {
	argv := []string{"ctr"}
	if s := n.Address(); s != socketContainerd {
		argv = append(argv, "--address="+s)
	}
	return append(append(argv, "--namespace=k8s.io"), words...)
}

// snapshotter is the one that the node's CRI unpacks into: kind on some file
// systems uses another than ctr does by itself.
func (n *Node) snapshotter(ctx context.Context) (string, error) {
	b, err := ask(ctx, n.Runner, "containerd", "config", "dump")
	if err != nil {
		return "", fmt.Errorf("read containerd's configuration: %w", err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		key, value, ok := strings.Cut(line, "=")
		if name := strings.Trim(strings.TrimSpace(value), `"'`); ok && strings.TrimSpace(key) == "snapshotter" && name != "" {
			return name, nil
		}
	}
	return "overlayfs", nil
}

// Answers asks the runtime's own client on the node whether it can speak with
// the runtime.
func (n *Node) Answers(ctx context.Context) error {
	argv := n.ctr("version")
	switch n.Runtime {
	case Docker:
		argv = []string{"docker", "version"}
	case CRIO:
		argv = []string{"crictl", "--runtime-endpoint", "unix://" + n.Address(), "version"}
	}
	return n.Runner.Run(ctx, command.Command{Argv: argv})
}

// Platform is what the node's kernel says that it is.
func (n *Node) Platform(ctx context.Context) (string, error) {
	b, err := ask(ctx, n.Runner, "uname", "-m")
	if err != nil {
		return "", fmt.Errorf("ask %s for its processor: %w", n.Name, err)
	}
	names := map[string]string{
		"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "arm/v7", "armv6l": "arm/v6",
		"ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64", "i686": "386",
	}
	machine := strings.TrimSpace(string(b))
	if names[machine] == "" {
		return "", fmt.Errorf("%s has a processor that ferry does not know: %q", n.Name, machine)
	}
	return "linux/" + names[machine], nil
}

// ByHand is what a person would type here to load a file of images into n.
func (n *Node) ByHand(file string) [][]string {
	switch n.Kind {
	case KindMinikube:
		return [][]string{{"minikube", "-p", n.Cluster, "image", "load", file}}
	case KindKind:
		return [][]string{{"kind", "load", "image-archive", file, "--name", n.Cluster, "--nodes", n.Name}}
	case KindK3d:
		return [][]string{{"k3d", "image", "import", file, "--cluster", n.Cluster}}
	}
	argv := n.ctr("images", "import")
	switch n.Runtime {
	case Docker:
		argv = []string{"docker", "load", "-i"}
	case CRIO:
		argv = []string{"podman", "load", "-i"}
	}
	if len(n.Shell) == 0 {
		return [][]string{append(argv, file)}
	}
	// scp takes its port by another letter than ssh.
	there := "/tmp/" + filepath.Base(file)
	ssh := slices.DeleteFunc(slices.Clone(n.Shell), func(s string) bool { return s == "sudo" })
	carry := append([]string{"scp"}, ssh[1:len(ssh)-1]...)
	for i, word := range carry {
		if word == "-p" {
			carry[i] = "-P"
		}
	}
	carry = append(carry, file, ssh[len(ssh)-1]+":"+there)
	return [][]string{carry, append(slices.Concat(n.Shell, argv), there)}
}

// Pin keeps an image from the kubelet's garbage collection, where the runtime
// can.
func (n *Node) Pin(ctx context.Context, name string) error {
	if n.Runtime != Containerd {
		return nil
	}
	return n.Runner.Run(ctx, command.Command{Argv: n.ctr("images", "label", name, pinned)})
}

// Look asks the runtime what it has under a name, by the words of the kubelet.
// The error is ErrNoImage where it has none.
func (n *Node) Look(ctx context.Context, name string) (Held, error) {
	switch n.Runtime {
	case Docker:
		return n.lookDocker(ctx, name)
	case CRIO:
		return n.lookCRI(ctx, name)
	}
	return n.lookContainerd(ctx, name)
}

// lookContainerd reads the row that ctr prints of an image, in the namespace
// that the kubelet looks into: REF TYPE DIGEST SIZE UNIT PLATFORMS LABELS.
func (n *Node) lookContainerd(ctx context.Context, name string) (Held, error) {
	b, err := ask(ctx, n.Runner, n.ctr("images", "ls", "name=="+name)...)
	if err != nil {
		return Held{}, fmt.Errorf("ask %s for %s: %w", n.Name, name, err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) < 7 || f[0] != name {
			continue
		}
		d, err := digest.Parse(f[2])
		if err != nil {
			return Held{}, fmt.Errorf("ask %s for %s: what ctr answers is not the expected table: %w", n.Name, name, err)
		}
		return Held{Name: name, Digests: []digest.Digest{d}, Platform: f[5], Pinned: strings.Contains(f[6], pinned)}, nil
	}
	return Held{}, ErrNoImage
}

// lookCRI asks by crictl, which speaks the kubelet's own protocol.
func (n *Node) lookCRI(ctx context.Context, name string) (Held, error) {
	b, err := ask(ctx, n.Runner, "crictl", "--runtime-endpoint", "unix://"+n.Address(), "images", "--output", "json", name)
	if err != nil {
		return Held{}, fmt.Errorf("ask %s for %s: %w", n.Name, name, err)
	}
	var list struct {
		Images []struct {
			ID          string   `json:"id"`
			RepoTags    []string `json:"repoTags"`
			RepoDigests []string `json:"repoDigests"`
			Pinned      bool     `json:"pinned"`
		} `json:"images"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return Held{}, fmt.Errorf("ask %s for %s: what crictl answers is not the expected JSON: %w", n.Name, name, err)
	}
	if len(list.Images) == 0 {
		return Held{}, ErrNoImage
	}
	i := list.Images[0]
	return Held{Name: name, ID: digest.Digest(i.ID), Digests: digests(i.RepoDigests), Pinned: i.Pinned}, nil
}

func (n *Node) lookDocker(ctx context.Context, name string) (Held, error) {
	b, err := ask(ctx, n.Runner, "docker", "image", "inspect", name)
	if err != nil {
		if out, lsErr := ask(ctx, n.Runner, "docker", "image", "ls", "--quiet", "--no-trunc", familiar(name)); lsErr == nil && len(strings.TrimSpace(string(out))) == 0 {
			return Held{}, ErrNoImage
		}
		return Held{}, fmt.Errorf("ask %s for %s: %w", n.Name, name, err)
	}
	var list []struct {
		ID           string `json:"Id"`
		RepoDigests  []string
		Os           string
		Architecture string
	}
	if err := json.Unmarshal(b, &list); err != nil || len(list) != 1 {
		return Held{}, fmt.Errorf("ask %s for %s: what docker answers is not the expected JSON: %w", n.Name, name, err)
	}
	i := list[0]
	return Held{Name: name, ID: digest.Digest(i.ID), Digests: digests(i.RepoDigests), Platform: i.Os + "/" + i.Architecture}, nil
}

// familiar is how docker lists what is its own registry's.
func familiar(name string) string {
	name = strings.TrimPrefix(name, "docker.io/")
	return strings.TrimPrefix(name, "library/")
}

func digests(names []string) []digest.Digest {
	var all []digest.Digest
	for _, s := range names {
		if _, d, ok := strings.Cut(s, "@"); ok {
			all = append(all, digest.Digest(d))
		}
	}
	return all
}
