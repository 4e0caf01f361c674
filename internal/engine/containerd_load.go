package engine

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	contentapi "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"ferry/internal/content"
)

// The labels that containerd, its CRI and its peers read.
const (
	labelPinned = "io.cri-containerd.pinned"
	labelSource = "containerd.io/distribution.source."
	labelGC     = "containerd.io/gc.ref.content."
)

// Image is an image for one containerd: of one platform.
type Image struct {
	// Names are the full names it gets.
	Names []string
	// Registry and Repository say where it came from.
	Registry, Repository string
	Top                  ocispec.Descriptor
	// Nodes are the manifest, first, and the indexes above it.
	Nodes    []*content.Node
	Platform ocispec.Platform
}

// LoadOptions are how images are taken in.
type LoadOptions struct {
	Pin  bool
	Jobs int
	Sent func(bytes int64)
}

// Load sends the blobs that containerd lacks, names the images and unpacks
// them. What it has is not sent again.
func (c *Containerd) Load(ctx context.Context, src content.Source, all []Image, opts LoadOptions) error {
	ctx, release, err := c.client.WithLease(inNamespace(ctx))
	if err != nil {
		return c.failed("lease content", err)
	}
	// What was sent belongs to the images by now, or may go.
	defer func() { _ = release(context.WithoutCancel(ctx)) }()
	s := &sending{c: c, src: src, opts: opts, once: map[digest.Digest]*sync.Once{}}
	if err := s.blobs(ctx, all); err != nil {
		return err
	}
	for _, img := range all {
		if err := c.name(ctx, img, opts.Pin); err != nil {
			return c.failed("name "+img.Names[0], err)
		}
	}
	for _, img := range all {
		if err := c.unpack(ctx, img); err != nil {
			return c.failed("unpack "+img.Names[0], err)
		}
	}
	return nil
}

// sending brings blobs to containerd, each once.
type sending struct {
	c    *Containerd
	src  content.Source
	opts LoadOptions

	mu   sync.Mutex
	once map[digest.Digest]*sync.Once
}

func (s *sending) blobs(ctx context.Context, all []Image) error {
	g, group := errgroup.WithContext(ctx)
	g.SetLimit(max(s.opts.Jobs, 1))
	for _, img := range all {
		for _, d := range img.Nodes[0].Children() {
			g.Go(func() error { return s.blob(group, d, img, nil) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	// Manifests last: whoever finds one finds all that it names.
	for _, img := range all {
		for _, n := range img.Nodes {
			if err := s.blob(ctx, n.Desc, img, children(n, img)); err != nil {
				return err
			}
		}
	}
	return nil
}

// above says whether d is one of img's manifests.
func above(img Image, d digest.Digest) bool {
	for _, n := range img.Nodes {
		if n.Desc.Digest == d {
			return true
		}
	}
	return false
}

// children are the labels that keep what n names from garbage collection. Of
// an index only what is sent counts: a label for a child that is not there
// would stop nothing and help nobody.
func children(n *content.Node, img Image) map[string]string {
	labels := map[string]string{}
	for i, m := range n.Manifests {
		if above(img, m.Digest) {
			labels[fmt.Sprintf("%sm.%d", labelGC, i)] = m.Digest.String()
		}
	}
	if n.Config != nil {
		labels[labelGC+"config"] = n.Config.Digest.String()
	}
	for i, l := range n.Layers {
		labels[fmt.Sprintf("%sl.%d", labelGC, i)] = l.Digest.String()
	}
	return labels
}

// blob sends d unless it is there, and labels it.
func (s *sending) blob(ctx context.Context, d ocispec.Descriptor, img Image, labels map[string]string) error {
	var err error
	s.first(d.Digest).Do(func() { err = s.send(ctx, d) })
	if err != nil {
		return s.c.failed(fmt.Sprintf("send %s", d.Digest), err)
	}
	if err := s.label(ctx, d.Digest, img, labels); err != nil {
		return s.c.failed(fmt.Sprintf("label %s", d.Digest), err)
	}
	return nil
}

func (s *sending) first(d digest.Digest) *sync.Once {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.once[d] == nil {
		s.once[d] = &sync.Once{}
	}
	return s.once[d]
}

func (s *sending) send(ctx context.Context, d ocispec.Descriptor) error {
	store := s.c.client.ContentStore()
	if _, err := store.Info(ctx, d.Digest); err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	r := &lazy{ctx: ctx, src: s.src, desc: d, sent: s.opts.Sent}
	defer r.Close()
	bare := ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	return contentapi.WriteBlob(ctx, store, "ferry-"+d.Digest.String(), r, bare)
}

// label says where a blob came from, which peers that share images ask for,
// and what it keeps alive.
func (s *sending) label(ctx context.Context, d digest.Digest, img Image, labels map[string]string) error {
	store := s.c.client.ContentStore()
	info, err := store.Info(ctx, d)
	if err != nil {
		return err
	}
	key := labelSource + img.Registry
	want := map[string]string{key: addSource(info.Labels[key], img.Repository)}
	for k, v := range labels {
		want[k] = v
	}
	var fields []string
	for k, v := range want {
		if info.Labels[k] != v {
			fields = append(fields, "labels."+k)
		}
	}
	if len(fields) == 0 {
		return nil
	}
	_, err = store.Update(ctx, contentapi.Info{Digest: d, Labels: want}, fields...)
	return err
}

// lazy opens a blob when its first byte is asked for: of one that containerd
// has from elsewhere, none is.
type lazy struct {
	ctx  context.Context //nolint:containedctx // of the one copy that this reader is made for
	src  content.Source
	desc ocispec.Descriptor
	sent func(int64)

	from int64
	r    io.ReadCloser
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.r == nil {
		r, err := l.src.Open(l.ctx, l.desc, l.from)
		if err != nil {
			return 0, err
		}
		l.r = r
	}
	n, err := l.r.Read(p)
	if l.sent != nil && n > 0 {
		l.sent(int64(n))
	}
	return n, err
}

// Seek is for a copy that goes on where an earlier one stopped.
func (l *lazy) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart {
		return 0, fmt.Errorf("seek in %s: only from its start", l.desc.Digest)
	}
	l.Close()
	l.r, l.from = nil, offset
	return offset, nil
}

// Close closes what was opened.
func (l *lazy) Close() {
	if l.r != nil {
		_ = l.r.Close()
	}
}

// name makes the image known under all its names, pinned if asked for.
func (c *Containerd) name(ctx context.Context, img Image, pin bool) error {
	top := ocispec.Descriptor{MediaType: img.Top.MediaType, Digest: img.Top.Digest, Size: img.Top.Size}
	for _, name := range img.Names {
		record := images.Image{Name: name, Target: top, Labels: map[string]string{}}
		fields := []string{"target"}
		if pin {
			record.Labels[labelPinned] = "pinned"
			fields = append(fields, "labels."+labelPinned)
		}
		store := c.client.ImageService()
		_, err := store.Create(ctx, record)
		if errdefs.IsAlreadyExists(err) {
			_, err = store.Update(ctx, record, fields...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unpack makes of the layers what a container starts from.
func (c *Containerd) unpack(ctx context.Context, img Image) error {
	record, err := c.client.ImageService().Get(ctx, img.Names[0])
	if err != nil {
		return err
	}
	i := containerd.NewImageWithPlatform(c.client, record, only(img.Platform))
	if done, err := i.IsUnpacked(ctx, ""); err == nil && done {
		return nil
	}
	return i.Unpack(ctx, "")
}

func only(p ocispec.Platform) platforms.MatchComparer {
	if p.OS == "" {
		return platforms.All
	}
	return platforms.Only(p)
}

// Holding is what a containerd says of an image.
type Holding struct {
	// Digest is what stands under the name.
	Digest digest.Digest
	// Complete says that all content for the platform is there, and unpacked.
	Complete bool
	// Labelled says that the record has the label that pins it.
	Labelled bool
	// CRI is what the kubelet is told: whether it finds the image, and whether
	// it takes it for pinned. Asked says that it could be asked at all.
	Asked, Found, Pinned bool
	// ID is the image's ID as the kubelet is told.
	ID string
}

// Holds asks what stands under all names of img. The error is
// content.ErrNotFound where one of them names nothing.
func (c *Containerd) Holds(ctx context.Context, img Image) (Holding, error) {
	ctx = inNamespace(ctx)
	var h Holding
	for _, name := range img.Names {
		record, err := c.client.ImageService().Get(ctx, name)
		if err != nil {
			return h, notFound(err, name)
		}
		if h.Digest == "" || record.Target.Digest != img.Top.Digest {
			h.Digest = record.Target.Digest
		}
		h.Labelled = record.Labels[labelPinned] == "pinned"
		if record.Target.Digest != img.Top.Digest {
			return h, nil
		}
	}
	var err error
	if h.Complete, err = c.complete(ctx, img); err != nil || !h.Complete {
		return h, err
	}
	return h, c.askCRI(ctx, img.Names[0], &h)
}

func (c *Containerd) complete(ctx context.Context, img Image) (bool, error) {
	matcher := only(img.Platform)
	_, _, _, missing, err := images.Check(ctx, c.client.ContentStore(), img.Top, matcher)
	if err != nil || len(missing) > 0 {
		return false, err
	}
	record, err := c.client.ImageService().Get(ctx, img.Names[0])
	if err != nil {
		return false, err
	}
	done, err := containerd.NewImageWithPlatform(c.client, record, matcher).IsUnpacked(ctx, "")
	if errdefs.IsNotFound(err) {
		return false, nil // a manifest of the index is not there
	}
	return done, err
}

// The CRI learns of images by events, a moment later.
const (
	foundPatience  = 3 * time.Second
	pinnedPatience = 300 * time.Millisecond
	askAgain       = 20 * time.Millisecond
)

// askCRI asks as the kubelet does, until the CRI has heard of the image.
func (c *Containerd) askCRI(ctx context.Context, name string, h *Holding) error {
	began := time.Now()
	for {
		r, err := runtimeapi.NewImageServiceClient(c.conn).ImageStatus(ctx,
			&runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: name}})
		if status.Code(err) == codes.Unimplemented {
			return nil // a containerd without its CRI plugin serves no kubelet
		}
		if err != nil {
			return fmt.Errorf("ask its CRI for %s: %w", name, err)
		}
		h.Asked = true
		if r.Image != nil {
			h.Found, h.Pinned, h.ID = true, r.Image.Pinned, r.Image.Id
		}
		passed := time.Since(began)
		if h.Found && (h.Pinned == h.Labelled || passed > pinnedPatience) || passed > foundPatience {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(askAgain):
		}
	}
}
