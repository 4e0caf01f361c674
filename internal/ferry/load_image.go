package ferry

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/lock"
	"ferry/internal/ref"
)

// wantedImage is an image of a bundle with its parsed name.
type wantedImage struct {
	image lock.Image
	name  ref.Name
}

// pickImages are the images of a lock that names ask for, all without names.
func pickImages(all []lock.Image, names []string) ([]wantedImage, error) {
	var images []wantedImage
	for _, img := range all {
		n, err := ref.Parse(img.Name)
		if err != nil {
			return nil, err
		}
		images = append(images, wantedImage{img, n})
	}
	if len(names) == 0 {
		return images, nil
	}
	var picked []wantedImage
	for _, name := range names {
		n, err := ref.Parse(name)
		if err != nil {
			return nil, usage("--image: %v", err)
		}
		w, ok := find(images, n)
		if !ok {
			return nil, usage("--image %s: the bundle holds no such image, but %s", name, listed(images))
		}
		picked = append(picked, w)
	}
	return picked, nil
}

func find(images []wantedImage, n ref.Name) (wantedImage, bool) {
	for _, w := range images {
		if w.image.Name == n.String() || w.name.Repository() == n.Repository() && n.Digest() != "" && n.Digest() == w.image.Digest {
			return w, true
		}
	}
	return wantedImage{}, false
}

func listed(images []wantedImage) string {
	const most = 5
	var names []string
	for _, w := range images {
		if len(names) == most {
			names = append(names, fmt.Sprintf("%d more", len(images)-most))
			break
		}
		names = append(names, w.image.Name)
	}
	return strings.Join(names, ", ")
}

// chooser finds in an index the image of one platform.
type chooser struct {
	ctx      context.Context
	bundle   *bundle.Bundle
	platform ocispec.Platform
	// upstream puts upstream's index under the name where only some of its
	// platforms were packed.
	upstream bool
}

func (c chooser) choose(w wantedImage) (LoadImage, error) {
	node := c.bundle.Contents().Node(w.image.Digest)
	order := orderOf(c.bundle.Contents(), w.image)
	img := LoadImage{
		Registry: w.name.Registry(), Repository: w.name.Path(), Top: w.image.Desc(),
		Packed: w.image.Desc(), PackedName: w.name.WithDigest(w.image.Digest), PackedNode: node,
		All: append(order.blobs, order.manifests...),
	}
	if w.image.Upstream != nil && c.upstream {
		var err error
		if node, err = c.index(w.image.Upstream.Desc()); err != nil {
			return img, err
		}
		img.Top = node.Desc
		img.All = append(img.All, node.Desc)
	}
	img.DigestName = w.name.WithDigest(img.Top.Digest)
	if w.name.Tag() != "" {
		img.Name = w.name.Repository() + ":" + w.name.Tag()
	}
	return img, c.down(&img, node, nil)
}

// index reads an index that is no part of the bundle's images.
func (c chooser) index(d ocispec.Descriptor) (*content.Node, error) {
	b, err := content.ReadAll(c.ctx, verified{c.bundle}, d, content.MaxManifest)
	if err != nil {
		return nil, err
	}
	return content.Parse(d, b)
}

// down walks from a manifest or an index to the image of the platform.
func (c chooser) down(img *LoadImage, n *content.Node, said *ocispec.Platform) error {
	if n.Config != nil {
		return c.settle(img, n, said)
	}
	img.Parents = append(img.Parents, n)
	var have []string
	for _, m := range c.ordered(n.Manifests) {
		child := c.bundle.Contents().Node(m.Digest)
		if child == nil || m.Annotations["vnd.docker.reference.type"] != "" {
			continue
		}
		err := c.down(img, child, m.Platform)
		if err == nil {
			return nil
		}
		p, ok := err.(*PlatformError) //nolint:errorlint // it is made below, unwrapped
		if !ok {
			return err
		}
		have = append(have, p.Have...)
	}
	img.Parents = img.Parents[:len(img.Parents)-1]
	return &PlatformError{Want: []string{content.FormatPlatform(&c.platform)}, Have: have}
}

// ordered puts an exact match, of the variant too, before others.
func (c chooser) ordered(manifests []ocispec.Descriptor) []ocispec.Descriptor {
	i := best(manifests, c.platform)
	if i < 0 {
		return manifests
	}
	all := []ocispec.Descriptor{manifests[i]}
	for k, m := range manifests {
		if k != i {
			all = append(all, m)
		}
	}
	return all
}

// settle takes n if it is of the platform. The config decides, and not what
// an index says of it.
func (c chooser) settle(img *LoadImage, n *content.Node, said *ocispec.Platform) error {
	have, err := c.configPlatform(*n.Config)
	if err != nil {
		return err
	}
	if have == nil {
		have = said
	}
	if c.platform.OS != "" && !content.Matches(c.platform, have) {
		e := &PlatformError{Want: []string{content.FormatPlatform(&c.platform)}}
		if have != nil {
			e.Have = []string{content.FormatPlatform(have)}
		}
		return e
	}
	img.Manifest = n
	if have != nil {
		img.Platform = *have
	}
	return nil
}

func (c chooser) configPlatform(config ocispec.Descriptor) (*ocispec.Platform, error) {
	if !content.IsImageConfig(config.MediaType) {
		return nil, fmt.Errorf("it is no container image: its config is %q", config.MediaType)
	}
	b, err := content.ReadAll(c.ctx, verified{c.bundle}, config, content.MaxConfig)
	if err != nil {
		return nil, err
	}
	var p ocispec.Platform
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("the config %s is not JSON: %w", config.Digest, err)
	}
	if p.OS == "" {
		return nil, nil //nolint:nilnil // it says nothing of its platform
	}
	return &p, nil
}
