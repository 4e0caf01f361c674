package ferry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/policy"
)

// platformImage is an image on one platform, as a policy judges it.
type platformImage struct {
	policy.Image
	desc   ocispec.Descriptor
	layers []ocispec.Descriptor
}

// key names what is scanned once.
func (i platformImage) key() string { return keyOf(i.Digest, i.Platform) }

func keyOf(d digest.Digest, platform string) string { return d.String() + " " + platform }

// found adds what a scan found.
func (i *platformImage) found(s Scanned) {
	if i.Failed != "" {
		return
	}
	i.Distribution, i.Packages, i.Findings, i.Failed = s.Distribution, s.Packages, s.Findings, s.Failed
}

func facts(images []platformImage) []policy.Image {
	all := make([]policy.Image, len(images))
	for i := range images {
		all[i] = images[i].Image
	}
	return all
}

// platformImages are all images of a bundle, one for each name and platform,
// with what their configs say. What holds no image is one that failed: a gate
// does not pass over what it does not understand.
func platformImages(ctx context.Context, b *bundle.Bundle) ([]platformImage, error) {
	var all []platformImage
	for _, img := range b.Lock().Images {
		if n := b.Contents().Node(img.Digest); n != nil && isDatabase(n) {
			continue
		}
		w := imageWalk{ctx: ctx, bundle: b, name: img.Name, seen: map[digest.Digest]bool{}}
		if err := w.down(img.Desc(), nil); err != nil {
			return nil, fmt.Errorf("%s: %w", img.Name, err)
		}
		if len(w.found) == 0 {
			w.found = append(w.found, platformImage{
				desc: img.Desc(), Image: policy.Image{Name: img.Name, Digest: img.Digest, Failed: "there is no container image in it that could be scanned"},
			})
		}
		w.attached = true
		for _, r := range img.Referrers {
			if err := w.down(r.Desc(), nil); err != nil {
				return nil, fmt.Errorf("%s: %w", img.Name, err)
			}
		}
		all = append(all, w.found...)
	}
	return all, nil
}

type imageWalk struct {
	ctx    context.Context
	bundle *bundle.Bundle
	name   string
	seen   map[digest.Digest]bool
	found  []platformImage
	// attached is set below referrers.
	attached bool
}

func (w *imageWalk) down(d ocispec.Descriptor, p *ocispec.Platform) error {
	n := w.bundle.Contents().Node(d.Digest)
	if n == nil || w.seen[d.Digest] {
		return nil
	}
	w.seen[d.Digest] = true
	for _, m := range n.Manifests {
		if err := w.down(m, m.Platform); err != nil {
			return err
		}
	}
	if n.Config == nil || isAttestation(p, n) || w.attached && !runs(n) {
		return nil
	}
	i, err := w.image(n)
	w.found = append(w.found, i)
	return err
}

// isAttestation says whether n is what build tools store beside images as one
// more manifest of an index. Only what it consists of counts, beside its
// platform: whoever could mark an image so would get it past the gate.
func isAttestation(p *ocispec.Platform, n *content.Node) bool {
	statement := func(l ocispec.Descriptor) bool { return l.MediaType == "application/vnd.in-toto+json" }
	other := slices.ContainsFunc(n.Layers, func(l ocispec.Descriptor) bool { return !statement(l) })
	return p != nil && p.OS == "unknown" && len(n.Layers) > 0 && !other
}

// runs says whether n is an image that a node would run. Signatures have an
// image's config too, and no layer of files; an image that stands as somebody's
// referrer gets a tag inside like any other.
func runs(n *content.Node) bool {
	return content.IsImageConfig(n.Config.MediaType) && slices.ContainsFunc(n.Layers, func(l ocispec.Descriptor) bool {
		return strings.HasPrefix(l.MediaType, "application/vnd.oci.image.layer.") || strings.HasPrefix(l.MediaType, "application/vnd.docker.image.rootfs.")
	})
}

// image reads the config of n. A manifest without a container's config is
// somebody's artifact; it stands under an image's name, so it counts.
func (w *imageWalk) image(n *content.Node) (platformImage, error) {
	i := platformImage{desc: n.Desc, layers: n.Layers}
	i.desc.Annotations, i.desc.Platform = nil, nil
	i.Name, i.Digest = w.name, n.Desc.Digest
	if !content.IsImageConfig(n.Config.MediaType) {
		i.Failed = fmt.Sprintf("it is no container image, but a %q: it cannot be scanned", n.ArtifactType)
		return i, nil
	}
	raw, err := content.ReadAll(w.ctx, w.bundle, *n.Config, content.MaxConfig)
	if err != nil {
		return i, err
	}
	var config ocispec.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		i.Failed = "its config is not JSON: " + err.Error()
		return i, nil //nolint:nilerr // an image that cannot be read is a finding, and no reason to look at no other
	}
	i.Platform = content.FormatPlatform(&config.Platform)
	i.User, i.Labels = config.Config.User, config.Config.Labels
	if config.Created != nil {
		i.Created = *config.Created
	}
	return i, nil
}

// layerNumbers says which layer of its image a digest is, from 1 on.
func layerNumbers(images []platformImage) map[digest.Digest]int {
	numbers := map[digest.Digest]int{}
	for _, i := range images {
		for n, l := range i.layers {
			if numbers[l.Digest] == 0 {
				numbers[l.Digest] = n + 1
			}
		}
	}
	return numbers
}
