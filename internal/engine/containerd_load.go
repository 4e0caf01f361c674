package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	diffv1 "github.com/containerd/containerd/api/services/diff/v1"
	imagesv1 "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/types"
	contentapi "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/rootfs"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"ferry/internal/content"
)

// The labels that containerd, its CRI and its peers read.
const (
	labelPinned       = "io.cri-containerd.pinned"
	labelSource       = "containerd.io/distribution.source."
	labelGC           = "containerd.io/gc.ref.content."
	labelSnapshot     = "containerd.io/gc.ref.snapshot."
	labelUncompressed = "containerd.io/uncompressed"
)

// Name is what an image is called, and the index or manifest that stands there.
type Name struct {
	Name   string
	Target ocispec.Descriptor
}

// Image is an image for one containerd: of one platform.
type Image struct {
	// Names are the full names it gets, first the one that it is known by.
	Names []Name
	// Registry and Repository say where it came from.
	Registry, Repository string
	Top                  ocispec.Descriptor
	// Nodes are the manifest, first, and the indexes above it, from below.
	Nodes    []*content.Node
	Platform ocispec.Platform
}

// LoadOptions are how images are taken in.
type LoadOptions struct {
	Pin  bool
	Jobs int
	// NoUnpack leaves the layers as they are: the first container unpacks them.
	NoUnpack bool
	// Sent is told of bytes on their way, Note of what is worth knowing, Failed
	// of an image that could not be loaded, by its place in the list. They may
	// be called by several goroutines at once; nil is nobody.
	Sent   func(bytes int64)
	Note   func(string)
	Failed func(image int, err error)
}

// leaseTime is how long containerd keeps what an interrupted load left for
// the next one.
const leaseTime = 24 * time.Hour

// Load sends the blobs that containerd lacks, unpacks the images and then
// names them. What it has is not sent again. Images fail one by one; the error
// is one that ended all of it.
func (c *Containerd) Load(ctx context.Context, src content.Source, all []Image, opts LoadOptions) error {
	lease, err := c.leases.Create(inNamespace(ctx), leases.WithRandomID(), leases.WithExpiration(leaseTime))
	if err != nil {
		return c.failed("lease content", err)
	}
	run, end := context.WithCancelCause(leases.WithLease(inNamespace(ctx), lease.ID))
	defer end(nil)
	s := newSending(c, src, lease, all, opts)
	s.end = end
	u := &unpacking{sending: s, snapshots: c.snapshots(), slots: make(chan struct{}, s.jobs())}
	u.images(run, all)
	c.loaded.Store(true)
	if ctx.Err() == nil {
		// What was sent belongs to the images by now, or may go.
		_ = c.leases.Delete(inNamespace(ctx), lease)
	}
	return context.Cause(run)
}

// unpacking makes of layers what containers start from, each as soon as it
// and those below it are there.
type unpacking struct {
	*sending
	snapshots snapshots.Snapshotter
	slots     chan struct{} // as many as unpack at once
	chains    flights
}

func (u *unpacking) images(ctx context.Context, all []Image) {
	var wg sync.WaitGroup
	wg.Go(func() { u.work(ctx) })
	for k, img := range all {
		wg.Go(func() {
			err := u.image(ctx, img)
			if err == nil || u.opts.Failed == nil {
				return
			}
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			u.opts.Failed(k, err)
		})
	}
	wg.Wait()
}

// image loads one image: blobs, snapshots, manifests from below, names. So no
// name ever leads to something that is not there.
func (u *unpacking) image(ctx context.Context, img Image) error {
	manifest := img.Nodes[0]
	if !u.opts.NoUnpack {
		if err := u.unpack(ctx, manifest); err != nil {
			return err
		}
	}
	for _, d := range manifest.Children() {
		if err := u.arrived(ctx, d.Digest); err != nil {
			return err
		}
	}
	for _, n := range img.Nodes {
		if err := u.once(ctx, n.Desc.Digest); err != nil {
			return err
		}
	}
	if err := u.c.name(ctx, img, u.opts.Pin); err != nil {
		return u.c.failed("name it", err)
	}
	return nil
}

func (u *unpacking) unpack(ctx context.Context, manifest *content.Node) error {
	diffs, err := u.diffs(ctx, manifest)
	if err != nil {
		return err
	}
	for k, layer := range manifest.Layers {
		if err := u.arrived(ctx, layer.Digest); err != nil {
			return err
		}
		chain := diffs[:k+1]
		err := u.chains.do(ctx, identity.ChainID(chain), func() error { return u.apply(ctx, layer, chain) })
		if err != nil {
			return u.c.failed(fmt.Sprintf("unpack layer %s", layer.Digest), err)
		}
	}
	if len(diffs) == 0 {
		return nil
	}
	if err := u.arrived(ctx, manifest.Config.Digest); err != nil {
		return err
	}
	return u.c.label(ctx, manifest.Config.Digest, labelSnapshot+u.c.snapshotter.ID, identity.ChainID(diffs).String())
}

// diffs are the digests that the layers have unpacked, by the config.
func (u *unpacking) diffs(ctx context.Context, manifest *content.Node) ([]digest.Digest, error) {
	b, err := content.ReadAll(ctx, u.src, *manifest.Config, content.MaxConfig)
	if err != nil {
		u.end(err)
		return nil, err
	}
	var config ocispec.Image
	if err := json.Unmarshal(b, &config); err != nil {
		return nil, fmt.Errorf("the config %s is not one of an image: %w", manifest.Config.Digest, err)
	}
	if n := len(config.RootFS.DiffIDs); n != len(manifest.Layers) {
		return nil, fmt.Errorf("the config %s speaks of %d layers, the manifest of %d", manifest.Config.Digest, n, len(manifest.Layers))
	}
	return config.RootFS.DiffIDs, nil
}

// apply unpacks a layer on those below it.
func (u *unpacking) apply(ctx context.Context, layer ocispec.Descriptor, chain []digest.Digest) error {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	diffID := chain[len(chain)-1]
	l := rootfs.Layer{Blob: layer, Diff: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID}}
	if _, err := rootfs.ApplyLayer(ctx, l, chain[:len(chain)-1:len(chain)-1], u.snapshots, applier{u.c.diff}); err != nil {
		return err
	}
	return u.c.label(ctx, layer.Digest, labelUncompressed, diffID.String())
}

// applier has containerd unpack a layer.
type applier struct{ diffv1.DiffClient }

func (a applier) Apply(ctx context.Context, d ocispec.Descriptor, mounts []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	r, err := a.DiffClient.Apply(ctx, &diffv1.ApplyRequest{Diff: wire(d), Mounts: mount.ToProto(mounts)})
	if err != nil {
		return ocispec.Descriptor{}, errgrpc.ToNative(err)
	}
	return ocispec.Descriptor{
		MediaType: r.Applied.GetMediaType(), Digest: digest.Digest(r.Applied.GetDigest()), Size: r.Applied.GetSize(),
	}, nil
}

// wire is d as containerd's API writes it.
func wire(d ocispec.Descriptor) *types.Descriptor {
	return &types.Descriptor{MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size}
}

// label puts one label on a blob.
func (c *Containerd) label(ctx context.Context, d digest.Digest, key, value string) error {
	info := contentapi.Info{Digest: d, Labels: map[string]string{key: value}}
	if _, err := c.content.Update(ctx, info, "labels."+key); err != nil {
		return c.failed(fmt.Sprintf("label %s", d), err)
	}
	return nil
}

// name makes the image known under all its names, pinned if asked for.
func (c *Containerd) name(ctx context.Context, img Image, pin bool) error {
	for _, name := range img.Names {
		record := &imagesv1.Image{Name: name.Name, Target: wire(name.Target), Labels: map[string]string{}}
		fields := []string{"target"}
		if pin {
			record.Labels[labelPinned] = "pinned"
			fields = append(fields, "labels."+labelPinned)
		}
		_, err := c.images.Create(ctx, &imagesv1.CreateImageRequest{Image: record})
		if errdefs.IsAlreadyExists(errgrpc.ToNative(err)) {
			c.renamed.Store(true)
			_, err = c.images.Update(ctx, &imagesv1.UpdateImageRequest{
				Image: record, UpdateMask: &fieldmaskpb.FieldMask{Paths: fields},
			})
		}
		if err != nil {
			return errgrpc.ToNative(err)
		}
	}
	return nil
}

// flights are pieces of work that several want and one does.
type flights struct {
	mu  sync.Mutex
	all map[digest.Digest]*flight
}

type flight struct {
	done chan struct{}
	err  error
}

// of returns the flight of a digest, and whether it is a new one.
func (f *flights) of(d digest.Digest) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[digest.Digest]*flight{}
	}
	if old := f.all[d]; old != nil {
		return old, false
	}
	f.all[d] = &flight{done: make(chan struct{})}
	return f.all[d], true
}

// do has the first caller of a digest do the work; the others wait for it.
func (f *flights) do(ctx context.Context, d digest.Digest, work func() error) error {
	w, first := f.of(d)
	if first {
		w.err = work()
		close(w.done)
		return w.err
	}
	return w.wait(ctx)
}

func (w *flight) wait(ctx context.Context) error {
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
