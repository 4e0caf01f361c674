package ferry

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// Runtime is a place that runs images, or takes them in for one that does: a
// containerd, podman's or docker's store, a node of a cluster, an archive.
//
// To add one: implement Runtime in the package that speaks with it, and let
// World.Runtimes return it for a target of its own. A connection that has to be
// opened first is opened by Platform, which is asked before all else, so that a
// node that cannot be reached fails alone.
type Runtime interface {
	// Platform is what the runtime runs. Images of other platforms are
	// refused before it is sent a byte. The zero value takes any.
	Platform(ctx context.Context) (ocispec.Platform, error)
	// Holds says what stands under a name. The error is content.ErrNotFound
	// where there is nothing. It is called for several images at once.
	Holds(ctx context.Context, img LoadImage) (Held, error)
	// Load takes images in, and returns when the runtime has them. It is
	// called once for all that are missing. Its error concerns all of them;
	// those that fail alone are told to Delivery.Failed.
	Load(ctx context.Context, d Delivery) error
	// Close gives up what was opened to speak with it.
	Close() error
}

// Lacking is a Runtime that can tell what it would have to be sent. For others
// it is all of the images.
type Lacking interface {
	// Lacks is how many bytes of the images the runtime does not have.
	Lacks(ctx context.Context, images []LoadImage) (int64, error)
}

// Sparse is a Runtime that can be given an index without the images of other
// platforms, as it would itself pull one.
type Sparse interface{ Sparse() bool }

// Late is a Runtime that is reached when its platform is asked for, and then is
// another one.
type Late interface{ Opened() Runtime }

// opened is the runtime behind r.
func opened(r Runtime) Runtime {
	if l, ok := r.(Late); ok {
		return l.Opened()
	}
	return r
}

// Delivery is what a runtime is asked to take in.
type Delivery struct {
	// Bundle is the file that holds the images, for runtimes whose program
	// reads a bundle itself.
	Bundle string
	// Source gives out blobs of the bundle, checked while they are read.
	Source content.Source
	Images []LoadImage
	// Pin asks that garbage collection leaves the images alone.
	Pin bool
	// NoUnpack asks a runtime that can tell the two apart only to keep the
	// layers: they are unpacked when a container first wants them.
	NoUnpack bool
	// Jobs is how many blobs move at once.
	Jobs int
	// Sent is told of bytes that went to the runtime, Failed of an image that
	// could not be loaded while others may be, Note of what those want to know
	// who want to know more. They may be called by several goroutines at once.
	Sent   func(bytes int64)
	Failed func(LoadImage, error)
	Note   func(string)
}

// LoadImage is an image of a bundle as one runtime needs it.
type LoadImage struct {
	// Name is the full name with a tag; "" where the bundle has only the
	// digest.
	Name string
	// DigestName is repository@digest: what a pod may ask for too.
	DigestName string
	// Registry and Repository are the parts of the name: docker.io and
	// library/nginx.
	Registry, Repository string
	// Top is what stands under the name: an index, or Manifest itself. Where
	// the bundle has some platforms only, a sparse runtime gets upstream's index
	// all the same, as if it had pulled it.
	Top ocispec.Descriptor
	// Parents are the indexes that lead from Top to Manifest.
	Parents []*content.Node
	// Packed is what the bundle calls the image: Top, or what was made of it
	// where some platforms only were packed. PackedName is its name by that
	// digest, PackedNode its content.
	Packed     ocispec.Descriptor
	PackedName string
	PackedNode *content.Node
	// Manifest is the image of the runtime's platform.
	Manifest *content.Node
	Platform ocispec.Platform
	// All is the whole graph that the bundle holds of it, of every platform,
	// manifests behind what they name.
	All []ocispec.Descriptor
}

// Names are the names of i that lead to Top.
func (i LoadImage) Names() []string {
	if i.Name == "" {
		return []string{i.DigestName}
	}
	return []string{i.Name, i.DigestName}
}

// Label is what people call i.
func (i LoadImage) Label() string { return i.Names()[0] }

// The ways a runtime answers whether it keeps an image.
const (
	PinYes    = "pinned"
	PinNo     = "not pinned"
	PinCannot = "cannot pin: image GC may remove it" // docker, podman
	PinSilent = "pinned, though this runtime's CRI does not report it"
)

// Held is what a runtime says of a name, asked after the fact.
type Held struct {
	// Digest is what stands under the name; "" where the runtime keeps only
	// configs, as docker does.
	Digest digest.Digest
	// Config is the digest of the config that it would run; "" if unknown.
	Config digest.Digest
	// Complete says that all content is there and would run.
	Complete bool
	// Packed says that all content is there, and would run once it is unpacked.
	Packed bool
	// Pin is one of the Pin constants; "" where it does not apply.
	Pin string
	// As is how the runtime is seen to find it, in words: "k8s.io, as the CRI
	// sees it". For people.
	As string
}

// Is says whether what is held is i, whole.
func (h Held) Is(i LoadImage) bool {
	if !h.Complete {
		return false
	}
	if h.Digest != "" {
		return h.Digest == i.Top.Digest
	}
	return h.Config != "" && i.Manifest.Config != nil && h.Config == i.Manifest.Config.Digest
}

// NamedRuntime is a runtime with what people call it.
type NamedRuntime struct {
	// Name tells it from others: "containerd at /run/…", "node-1".
	Name string
	// Kind is what it is: containerd, podman, docker, a form of archive.
	Kind    string
	Runtime Runtime
	// Whole says that it takes all images at once, as a file does: where one
	// is missing, all are written.
	Whole bool
	// ByHand are the commands that do about the same without ferry.
	ByHand func(bundle string, images []LoadImage) [][]string
}
