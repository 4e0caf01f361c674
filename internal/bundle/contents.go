// Package bundle is the file that crosses the gap: a plain tar that is an OCI
// image layout, written in place while blobs arrive, opened by anyone's tools,
// and checked here to the last byte. docs/bundle-format.md specifies it.
//
// It moves no bytes between places (package transfer does) and decides nothing
// about what belongs into a bundle (the lock says so).
package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/lock"
)

// maxDepth is how deep indexes may be nested inside each other.
const maxDepth = 8

// Contents is what a lock stands for: every blob once, in the order in which
// they lie in the file.
type Contents struct {
	Lock lock.Lock
	// Meta are manifests, indexes and configs, sorted by digest.
	Meta []ocispec.Descriptor
	// Layers are all other blobs, sorted by digest.
	Layers []ocispec.Descriptor

	nodes map[digest.Digest]*content.Node
}

// Expand walks from the lock's images to all that they need. manifest returns
// the checked bytes of a manifest or index.
func Expand(l lock.Lock, manifest func(ocispec.Descriptor) ([]byte, error)) (*Contents, error) {
	w := walk{
		manifest: manifest,
		nodes:    map[digest.Digest]*content.Node{},
		meta:     map[digest.Digest]ocispec.Descriptor{},
		layers:   map[digest.Digest]ocispec.Descriptor{},
	}
	for _, img := range l.Images {
		if err := w.image(img); err != nil {
			return nil, fmt.Errorf("%s: %w", img.Name, err)
		}
	}
	// A blob that is a config here and a layer there lies with the configs.
	for d := range w.meta {
		delete(w.layers, d)
	}
	c := &Contents{Lock: l, Meta: sorted(w.meta), Layers: sorted(w.layers), nodes: w.nodes}
	return c, w.checkSizes()
}

// Blobs returns all of c in file order.
func (c *Contents) Blobs() []ocispec.Descriptor {
	return slices.Concat(c.Meta, c.Layers)
}

// Node returns the parsed manifest or index d; nil where d is neither.
func (c *Contents) Node(d digest.Digest) *content.Node { return c.nodes[d] }

// Reach calls visit for every blob that img needs, each once, the referrers'
// included.
func (c *Contents) Reach(img lock.Image, visit func(ocispec.Descriptor)) {
	seen := map[digest.Digest]bool{}
	var down func(ocispec.Descriptor)
	down = func(d ocispec.Descriptor) {
		if seen[d.Digest] {
			return
		}
		seen[d.Digest] = true
		visit(d)
		if n := c.nodes[d.Digest]; n != nil {
			for _, child := range n.Children() {
				down(child)
			}
		}
	}
	down(img.Desc())
	for _, r := range img.Referrers {
		down(r.Desc())
	}
	if img.Upstream != nil && !seen[img.Upstream.Digest] {
		visit(img.Upstream.Desc())
	}
}

type walk struct {
	manifest     func(ocispec.Descriptor) ([]byte, error)
	nodes        map[digest.Digest]*content.Node
	meta, layers map[digest.Digest]ocispec.Descriptor
	sizes        []ocispec.Descriptor
}

func (w *walk) image(img lock.Image) error {
	if err := w.down(img.Desc(), 0); err != nil {
		return err
	}
	for _, r := range img.Referrers {
		if err := w.down(r.Desc(), 0); err != nil {
			return fmt.Errorf("referrer %s: %w", r.Digest, err)
		}
	}
	if img.Upstream != nil {
		// It travels as evidence; what it names stays upstream.
		w.add(w.meta, img.Upstream.Desc())
	}
	return nil
}

func (w *walk) down(desc ocispec.Descriptor, depth int) error {
	w.add(w.meta, desc)
	if w.nodes[desc.Digest] != nil {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("%s: indexes are nested more than %d deep", desc.Digest, maxDepth)
	}
	b, err := w.manifest(desc)
	if err != nil {
		return err
	}
	n, err := content.Parse(desc, b)
	if err != nil {
		return err
	}
	w.nodes[desc.Digest] = n
	for _, m := range n.Manifests {
		if !content.IsIndex(m.MediaType) && !content.IsManifest(m.MediaType) {
			w.add(w.layers, m)
			continue
		}
		if err := w.down(m, depth+1); err != nil {
			return err
		}
	}
	if n.Config != nil {
		w.add(w.meta, *n.Config)
	}
	for _, l := range n.Layers {
		w.add(w.layers, l)
	}
	return nil
}

// add keeps of a descriptor what a blob is: its own media type, urls and
// annotations belong to whoever names it.
func (w *walk) add(set map[digest.Digest]ocispec.Descriptor, d ocispec.Descriptor) {
	w.sizes = append(w.sizes, d)
	if _, ok := set[d.Digest]; !ok {
		set[d.Digest] = ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	}
}

// checkSizes refuses two sizes for one digest: one of them is a lie, and
// every offset in the file would depend on which was met first.
func (w *walk) checkSizes() error {
	size := map[digest.Digest]int64{}
	for _, d := range w.sizes {
		if s, ok := size[d.Digest]; ok && s != d.Size {
			return fmt.Errorf("%s is said to have %d bytes and also %d bytes", d.Digest, s, d.Size)
		}
		size[d.Digest] = d.Size
	}
	return nil
}

func sorted(set map[digest.Digest]ocispec.Descriptor) []ocispec.Descriptor {
	all := make([]ocispec.Descriptor, 0, len(set))
	for _, d := range set {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b ocispec.Descriptor) int {
		return strings.Compare(a.Digest.String(), b.Digest.String())
	})
	return all
}
