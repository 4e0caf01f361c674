package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/archive"
	"ferry/internal/content"
	"ferry/internal/engine"
	"ferry/internal/ferry"
	"ferry/internal/ref"
)

// localPlatform is what containers on this machine are: Linux, in whatever
// machine or virtual machine the engine has.
func localPlatform() ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

// runtimes are what the targets of load lead to.
func runtimes(platform ocispec.Platform) func(context.Context, string) ([]ferry.NamedRuntime, error) {
	return func(ctx context.Context, target string) ([]ferry.NamedRuntime, error) {
		kind, rest, _ := strings.Cut(target, ":")
		switch {
		case target == "podman" || target == "docker":
			return one(openEngine(ctx, kind))
		case kind == "containerd":
			return one(openContainerd(ctx, rest))
		case (kind == "docker-archive" || kind == "oci-archive") && rest != "":
			return one(archiveRuntime(kind, rest, platform), nil)
		case kind == "k3s-dir" && rest != "":
			return one(k3sRuntime(rest), nil)
		}
		return nil, &ferry.UsageError{Text: fmt.Sprintf("--to %s: write podman, docker, containerd[:SOCKET], cluster, minikube[:PROFILE], kind[:CLUSTER], k3d[:CLUSTER], ssh://user@host, k3s-dir:FOLDER, docker-archive:FILE or oci-archive:FILE", target)}
	}
}

func one(n ferry.NamedRuntime, err error) ([]ferry.NamedRuntime, error) {
	if err != nil {
		return nil, err
	}
	return []ferry.NamedRuntime{n}, nil
}

// openContainerd connects to a containerd of this machine.
func openContainerd(ctx context.Context, socket string) (ferry.NamedRuntime, error) {
	if socket == "" {
		socket = engine.Sockets()[0]
		for _, s := range engine.Sockets() {
			if _, err := os.Stat(s); err == nil {
				socket = s
				break
			}
		}
	}
	c, err := engine.OpenContainerd(ctx, socket, engine.LocalSocket(socket))
	return containerdRuntime("containerd at "+socket, c), err
}

// containerdRuntime is a containerd as load sees it.
func containerdRuntime(name string, c *engine.Containerd) ferry.NamedRuntime {
	return ferry.NamedRuntime{Name: name, Kind: "containerd", Runtime: containerdNode{c}, ByHand: func(file string, _ []ferry.LoadImage) [][]string {
		argv := []string{"ctr"}
		if c.Where() != engine.Sockets()[0] {
			argv = append(argv, "--address", c.Where())
		}
		return [][]string{append(argv, "--namespace", engine.Namespace, "images", "import", file)}
	}}
}

type containerdNode struct{ *engine.Containerd }

func (c containerdNode) Load(ctx context.Context, d ferry.Delivery) error {
	var all []engine.Image
	for _, img := range d.Images {
		all = append(all, containerdImage(img))
	}
	return c.Containerd.Load(ctx, d.Source, all, engine.LoadOptions{
		Pin: d.Pin, NoUnpack: d.NoUnpack, Jobs: d.Jobs, Sent: d.Sent, Note: d.Note,
		Failed: func(k int, err error) { d.Failed(d.Images[k], err) },
	})
}

// Sparse: it keeps an index with its own platform alone, as when it pulls.
func (c containerdNode) Sparse() bool { return true }

func (c containerdNode) Lacks(ctx context.Context, images []ferry.LoadImage) (int64, error) {
	var all []engine.Image
	for _, img := range images {
		all = append(all, containerdImage(img))
	}
	return c.Containerd.Lacks(ctx, all)
}

// containerdImage is img under all its names. What the bundle calls it has a
// name of its own where upstream's index stands under the tag.
func containerdImage(img ferry.LoadImage) engine.Image {
	nodes := []*content.Node{img.Manifest}
	for _, parent := range slices.Backward(img.Parents) {
		nodes = append(nodes, parent)
	}
	i := engine.Image{
		Registry: img.Registry, Repository: img.Repository, Top: img.Top, Nodes: nodes, Platform: img.Platform,
	}
	for _, name := range img.Names() {
		i.Names = append(i.Names, engine.Name{Name: name, Target: img.Top})
	}
	if img.Packed.Digest != img.Top.Digest {
		i.Names = append(i.Names, engine.Name{Name: img.PackedName, Target: img.Packed})
		if img.Packed.Digest != img.Manifest.Desc.Digest {
			i.Nodes = append(i.Nodes, img.PackedNode)
		}
	}
	return i
}

func (c containerdNode) Holds(ctx context.Context, img ferry.LoadImage) (ferry.Held, error) {
	h, err := c.Containerd.Holds(ctx, containerdImage(img))
	if err != nil {
		return ferry.Held{}, err
	}
	held := ferry.Held{Digest: h.Digest, Complete: h.Complete, Packed: h.Packed, Pin: ferry.PinNo, As: "in " + engine.Namespace}
	if h.Packed {
		held.As += ", not unpacked"
	}
	switch {
	case h.Labelled && (h.Pinned || !h.Asked):
		held.Pin = ferry.PinYes
	case h.Labelled:
		held.Pin = ferry.PinSilent
	}
	if !h.Asked {
		held.As += "; no CRI answers here"
		return held, nil
	}
	switch {
	case !h.Found:
		held.Complete, held.Packed, held.As = false, false, held.As+", but the CRI does not find it"
	case h.ID != img.Manifest.Config.Digest:
		held.Complete, held.Packed, held.As = false, false, held.As+", but the CRI finds another image: "+h.ID.String()
	default:
		held.As += ", the CRI finds it"
	}
	return held, nil
}

func entries(images []ferry.LoadImage) []archive.Entry {
	var all []archive.Entry
	for _, img := range images {
		all = append(all, archive.Entry{Name: img.Name, DigestName: img.DigestName, Top: img.Top, Manifest: img.Manifest, Blobs: img.All})
	}
	return all
}

// archiveRuntime writes a file for tools that want one.
func archiveRuntime(kind, file string, platform ocispec.Platform) ferry.NamedRuntime {
	f := archiveFile{kind: kind, path: file, platform: platform}
	return ferry.NamedRuntime{Name: kind + ":" + file, Kind: kind, Runtime: f, Whole: true}
}

type archiveFile struct {
	kind, path string
	platform   ocispec.Platform
}

// Platform is one for a docker-archive, which holds no more.
func (f archiveFile) Platform(context.Context) (ocispec.Platform, error) {
	if f.kind == "oci-archive" {
		return ocispec.Platform{}, nil
	}
	return f.platform, nil
}

func (archiveFile) Close() error { return nil }

// Load writes the file anew, whatever was in it.
func (f archiveFile) Load(ctx context.Context, d ferry.Delivery) error {
	write := archive.WriteDocker
	if f.kind == "oci-archive" {
		write = archive.WriteOCI
	}
	return archive.Create(f.path, func(w io.Writer) error { return write(ctx, w, d.Source, entries(d.Images), d.Sent) })
}

// Holds reads the file that was written. One that was there before is
// replaced, whatever it holds.
func (f archiveFile) Holds(_ context.Context, img ferry.LoadImage) (ferry.Held, error) {
	a, err := archive.Open(f.path, ref.Transport(f.kind))
	if err != nil {
		return ferry.Held{}, fmt.Errorf("%w: %w", content.ErrNotFound, err)
	}
	defer a.Close()
	for _, has := range a.Images() {
		if has.Name != img.Label() && (img.Name != "" || f.kind == "docker-archive") {
			continue
		}
		if f.kind == "docker-archive" {
			return f.config(a, has)
		}
		return ferry.Held{Digest: has.Desc.Digest, Complete: true}, nil
	}
	return ferry.Held{}, content.ErrNotFound
}

func (f archiveFile) config(a *archive.Archive, has archive.Image) (ferry.Held, error) {
	b, err := content.ReadAll(context.Background(), a, has.Desc, content.MaxManifest)
	if err != nil {
		return ferry.Held{}, err
	}
	n, err := content.Parse(has.Desc, b)
	if err != nil {
		return ferry.Held{}, err
	}
	return ferry.Held{Config: n.Config.Digest, Complete: true}, nil
}
