package bundle

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/lock"
)

// evidence is what a seal's evidence consists of.
type evidence struct {
	manifests map[digest.Digest][]byte
	nodes     map[digest.Digest]*content.Node
	blobs     map[digest.Digest]int64 // what the manifests name, with sizes
	source    content.Source
}

// readEvidence reads the manifests that a seal names from src, and holds them
// against what the seal says and against the images they speak about.
func readEvidence(ctx context.Context, c *Contents, named []lock.Referrer, src content.Source) (*evidence, error) {
	e := &evidence{
		manifests: map[digest.Digest][]byte{}, nodes: map[digest.Digest]*content.Node{},
		blobs: map[digest.Digest]int64{}, source: src,
	}
	for _, r := range named {
		if err := e.read(ctx, c, r); err != nil {
			return nil, fmt.Errorf("evidence %s: %w", r.Digest, err)
		}
	}
	for d := range e.manifests {
		delete(e.blobs, d)
	}
	return e, nil
}

func (e *evidence) read(ctx context.Context, c *Contents, r lock.Referrer) error {
	if !content.IsManifest(r.MediaType) {
		return fmt.Errorf("its media type is %q, which is no manifest's", r.MediaType)
	}
	b, err := content.ReadAll(ctx, e.source, r.Desc(), content.MaxManifest)
	if err != nil {
		return err
	}
	n, err := content.Parse(r.Desc(), b)
	if err != nil {
		return err
	}
	switch {
	case n.Subject == nil || n.Subject.Digest != r.Subject:
		return fmt.Errorf("it does not speak about %s, as the seal says", r.Subject)
	case n.ArtifactType != r.ArtifactType:
		return fmt.Errorf("it is a %q, and not a %q, as the seal says", n.ArtifactType, r.ArtifactType)
	case c.nodes[r.Subject] == nil:
		return fmt.Errorf("it speaks about %s, which the bundle does not hold", r.Subject)
	}
	e.manifests[r.Digest], e.nodes[r.Digest] = b, n
	for _, d := range n.Children() {
		if had, ok := e.blobs[d.Digest]; ok && had != d.Size {
			return fmt.Errorf("%s is said to have %d bytes and also %d bytes", d.Digest, had, d.Size)
		}
		e.blobs[d.Digest] = d.Size
	}
	return nil
}

// Images are the lock's images; their referrers are those of the lock and the
// evidence that the bundle holds about them.
func (b *Bundle) Images() []lock.Image {
	about := map[digest.Digest][]lock.Referrer{}
	for _, r := range b.seal.Evidence {
		about[r.Subject] = append(about[r.Subject], r)
	}
	images := make([]lock.Image, 0, len(b.contents.Lock.Images))
	for _, img := range b.contents.Lock.Images {
		own := append([]lock.Referrer(nil), img.Referrers...)
		b.contents.Reach(img, func(d ocispec.Descriptor) {
			for _, r := range about[d.Digest] {
				if !names(own, r.Digest) {
					own = append(own, r)
				}
			}
		})
		img.Referrers = own
		images = append(images, img)
	}
	return images
}

func names(referrers []lock.Referrer, d digest.Digest) bool {
	for _, r := range referrers {
		if r.Digest == d {
			return true
		}
	}
	return false
}
