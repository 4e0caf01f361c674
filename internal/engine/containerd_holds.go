package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	imagesv1 "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Holding is what a containerd says of an image.
type Holding struct {
	// Digest is what stands under the name.
	Digest digest.Digest
	// Complete says that all content for the platform is there, and unpacked;
	// Packed that it is there, and only not unpacked.
	Complete, Packed bool
	// Labelled says that all records have the label that pins them.
	Labelled bool
	// CRI is what the kubelet is told: whether it finds the image, and whether
	// it takes it for pinned. Asked says that it could be asked at all.
	Asked, Found, Pinned bool
	// ID is the image's ID as the kubelet is told: the config's digest.
	ID digest.Digest
}

// Holds asks what stands under all names of img. The error is
// content.ErrNotFound where one of them names nothing.
func (c *Containerd) Holds(ctx context.Context, img Image) (Holding, error) {
	ctx = inNamespace(ctx)
	h := Holding{Labelled: true}
	for _, name := range img.Names {
		r, err := c.images.Get(ctx, &imagesv1.GetImageRequest{Name: name.Name})
		if err != nil {
			return h, notFound(errgrpc.ToNative(err), name.Name)
		}
		stands := digest.Digest(r.Image.GetTarget().GetDigest())
		if h.Digest == "" {
			h.Digest = stands
		}
		h.Labelled = h.Labelled && r.Image.GetLabels()[labelPinned] == "pinned"
		if stands != name.Target.Digest {
			return h, nil
		}
	}
	there, err := c.there(ctx, img)
	if err != nil || !there {
		return h, err
	}
	if h.Complete, err = c.unpacked(ctx, *img.Nodes[0].Config); err != nil {
		return h, err
	}
	h.Packed = !h.Complete
	return h, c.askCRI(ctx, img.Names[0].Name, &h)
}

// there asks for every blob, and for what containerd would run under the name.
func (c *Containerd) there(ctx context.Context, img Image) (bool, error) {
	manifest := img.Nodes[0]
	var want []digest.Digest
	for _, d := range manifest.Children() {
		want = append(want, d.Digest)
	}
	missing, err := c.missing(ctx, want)
	if err != nil || len(missing) > 0 {
		return false, err
	}
	config, err := images.Config(ctx, c.content, img.Top, only(img.Platform))
	if errdefs.IsNotFound(err) || err == nil && config.Digest != manifest.Config.Digest {
		return false, nil
	}
	return err == nil, err
}

// unpacked asks for the unpacked layers of a config.
func (c *Containerd) unpacked(ctx context.Context, config ocispec.Descriptor) (bool, error) {
	diffs, err := images.RootFS(ctx, c.content, config)
	if err != nil || len(diffs) == 0 {
		return err == nil, err
	}
	_, err = c.snapshots().Stat(ctx, identity.ChainID(diffs).String())
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// askAtOnce is how many questions are on their way at once.
const askAtOnce = 8

// missing are those that containerd does not have.
func (c *Containerd) missing(ctx context.Context, all []digest.Digest) ([]digest.Digest, error) {
	var mu sync.Mutex
	var missing []digest.Digest
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(askAtOnce)
	for _, d := range all {
		g.Go(func() error {
			_, err := c.content.Info(ctx, d)
			if !errdefs.IsNotFound(err) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			missing = append(missing, d)
			return nil
		})
	}
	return missing, g.Wait()
}

func only(p ocispec.Platform) platforms.MatchComparer {
	if p.OS == "" {
		return platforms.All
	}
	return platforms.Only(p)
}

// The CRI learns of images by events, a moment later: of a name that is new at
// once with its label, of one that was there by an event of its own.
const (
	foundPatience  = 3 * time.Second
	pinnedPatience = 300 * time.Millisecond
	newPatience    = 40 * time.Millisecond
	askAgain       = 20 * time.Millisecond
)

// askCRI asks as the kubelet does. After a load it asks until the CRI has
// heard of the image.
func (c *Containerd) askCRI(ctx context.Context, name string, h *Holding) error {
	began := time.Now()
	for {
		r, err := c.cri.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: name}})
		if status.Code(err) == codes.Unimplemented {
			return nil // a containerd without its CRI plugin serves no kubelet
		}
		if err != nil {
			return fmt.Errorf("ask its CRI for %s: %w", name, err)
		}
		h.Asked = true
		if r.Image != nil {
			h.Found, h.Pinned, h.ID = true, r.Image.Pinned, digest.Digest(r.Image.Id)
		}
		if !c.ask(h, time.Since(began)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(askAgain):
		}
	}
}

// ask says whether the CRI may still say more.
func (c *Containerd) ask(h *Holding, passed time.Duration) bool {
	if !c.loaded.Load() {
		return false
	}
	if !h.Found {
		return passed < foundPatience
	}
	if h.Pinned == h.Labelled || c.silent.Load() {
		return false
	}
	patience := newPatience
	if c.renamed.Load() {
		patience = pinnedPatience
	}
	if passed > patience {
		c.silent.Store(true)
		return false
	}
	return true
}
