package ferry

import (
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/lock"
)

// pushOrder is what an image consists of, in the order in which a registry
// takes it: blobs, manifests with children before parents, then what speaks
// about the image. The image's own manifest is the last of manifests.
type pushOrder struct {
	blobs     []ocispec.Descriptor
	manifests []ocispec.Descriptor
	referrers []ocispec.Descriptor
	// tags are cosign's, by the digest of what stands under them.
	tags map[digest.Digest][]string
}

func (o pushOrder) all() []ocispec.Descriptor {
	return append(append(append([]ocispec.Descriptor(nil), o.blobs...), o.manifests...), o.referrers...)
}

// orderOf orders img. Of upstream's index only the digest is pushed, as the
// subject of what speaks about it: its children are missing.
func orderOf(c *bundle.Contents, img lock.Image) pushOrder {
	w := orderWalk{contents: c, seen: map[digest.Digest]bool{}}
	o := pushOrder{tags: map[digest.Digest][]string{}}
	w.down(img.Desc())
	o.manifests, w.manifests = w.manifests, nil
	for _, r := range img.Referrers {
		w.down(r.Desc())
		if r.Tag != "" {
			o.tags[r.Digest] = append(o.tags[r.Digest], r.Tag)
		}
	}
	o.blobs, o.referrers = w.blobs, w.manifests
	return o
}

// evidenceOf is what of img's referrers is evidence that the bundle holds.
func evidenceOf(b *bundle.Bundle, img lock.Image) []ocispec.Descriptor {
	known := map[digest.Digest]bool{}
	for _, r := range b.Seal().Evidence {
		known[r.Digest] = true
	}
	var all []ocispec.Descriptor
	for _, r := range img.Referrers {
		if known[r.Digest] {
			all = append(all, r.Desc())
		}
	}
	return all
}

// orderOfEvidence orders what speaks about img, which is there itself.
func orderOfEvidence(c *bundle.Contents, img lock.Image, evidence []ocispec.Descriptor) pushOrder {
	w := orderWalk{contents: c, seen: map[digest.Digest]bool{}}
	for _, d := range evidence {
		w.down(d)
	}
	return pushOrder{blobs: w.blobs, manifests: []ocispec.Descriptor{img.Desc()}, referrers: w.manifests}
}

type orderWalk struct {
	contents         *bundle.Contents
	seen             map[digest.Digest]bool
	blobs, manifests []ocispec.Descriptor
}

func (w *orderWalk) down(d ocispec.Descriptor) {
	if w.seen[d.Digest] {
		return
	}
	w.seen[d.Digest] = true
	n := w.contents.Node(d.Digest)
	if n == nil {
		w.blobs = append(w.blobs, ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
		return
	}
	for _, child := range n.Children() {
		w.down(child)
	}
	w.manifests = append(w.manifests, n.Desc)
}
