package ferry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/lock"
	"ferry/internal/policy"
	"ferry/internal/ref"
)

// platformImage is an image on one platform, as a policy judges it.
type platformImage struct {
	policy.Image
	desc   ocispec.Descriptor
	layers []ocispec.Descriptor
	// referrerOf is the name of the image that it hangs on, as referrer; ""
	// where it hangs on none.
	referrerOf string
	referrer   lock.Referrer
}

// under is the name in the lock that it came by.
func (i platformImage) under() string { return cmp.Or(i.referrerOf, i.Name) }

// key names what is scanned once.
func (i platformImage) key() string { return keyOf(i.Digest, i.Platform) }

func keyOf(d digest.Digest, platform string) string { return d.String() + " " + platform }

// found adds what a scan found.
func (i *platformImage) found(s Scanned) {
	if i.Failed != "" {
		return
	}
	i.Distribution, i.Packages, i.Findings, i.Failed = s.Distribution, s.Packages, s.Findings, s.Failed
	i.Warnings = s.Warnings
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
		for _, r := range img.Referrers {
			if err := w.referrer(r); err != nil {
				return nil, fmt.Errorf("%s: %w", img.Name, err)
			}
		}
		all = append(all, w.found...)
	}
	return eachOnce(all), nil
}

// eachOnce leaves out what was met before: one referrer may speak about an image
// that has several names.
func eachOnce(images []platformImage) []platformImage {
	seen := map[string]bool{}
	return slices.DeleteFunc(images, func(i platformImage) bool {
		key := i.Name + " " + i.key()
		was := seen[key]
		seen[key] = true
		return was
	})
}

type imageWalk struct {
	ctx    context.Context
	bundle *bundle.Bundle
	// name is what the images below are called.
	name  string
	seen  map[digest.Digest]bool
	found []platformImage
	// of is the image that a referrer hangs on, while one is looked into.
	of   string
	hung lock.Referrer
}

// referrer goes down from what speaks about the image. An image found there
// gets a name inside like any other, and is called by it: its repository, and
// its digest.
func (w *imageWalk) referrer(r lock.Referrer) error {
	name, err := ref.Parse(w.name)
	if err != nil {
		return err
	}
	under := *w
	under.name, under.of, under.hung, under.found = name.Repository()+"@"+r.Digest.String(), w.name, r, nil
	err = under.down(r.Desc(), nil)
	w.found = append(w.found, under.found...)
	return err
}

func (w *imageWalk) down(d ocispec.Descriptor, p *ocispec.Platform) error {
	n := w.bundle.Contents().Node(d.Digest)
	if n == nil || w.seen[d.Digest] {
		return nil
	}
	w.seen[d.Digest] = true
	for _, m := range n.Manifests {
		if w.of == "" && w.bundle.Contents().Node(m.Digest) == nil {
			w.found = append(w.found, w.unknown(m))
			continue
		}
		if err := w.down(m, m.Platform); err != nil {
			return err
		}
	}
	if n.Config == nil {
		return nil
	}
	if w.of != "" || isAttestation(p, n) {
		if runs, err := w.runs(n); err != nil || !runs {
			return err
		}
	}
	i, err := w.image(n)
	w.found = append(w.found, i)
	return err
}

// isAttestation says whether n calls itself what build tools store beside
// images as one more manifest of an index. Whether it is one, its layers say.
func isAttestation(p *ocispec.Platform, n *content.Node) bool {
	statement := func(l ocispec.Descriptor) bool { return l.MediaType == "application/vnd.in-toto+json" }
	other := slices.ContainsFunc(n.Layers, func(l ocispec.Descriptor) bool { return !statement(l) })
	return p != nil && p.OS == "unknown" && len(n.Layers) > 0 && !other
}

// runs says whether a node would run n. It takes a config that could be an
// image's, and a layer of files: signatures have such a config too, and SBOMs
// are stored under a layer's media type. What something calls itself is not
// asked: podman and CRI-O unpack layers of any media type, and containerd
// takes a config of any.
func (w *imageWalk) runs(n *content.Node) (bool, error) {
	could, err := w.couldConfigure(n)
	if err != nil || !could {
		return false, err
	}
	for _, l := range n.Layers {
		if content.IsLayer(l.MediaType) {
			return true, nil
		}
		if files, err := w.holdsFiles(l); err != nil || files {
			return files, err
		}
	}
	return false, nil
}

// couldConfigure says whether a runtime would take the config of n. For the
// tools that make Docker's manifests there is no other kind.
func (w *imageWalk) couldConfigure(n *content.Node) (bool, error) {
	if content.IsImageConfig(n.Config.MediaType) || n.Desc.MediaType == content.DockerManifest {
		return true, nil
	}
	if n.Config.Size > content.MaxConfig {
		return false, nil // a runtime reads no more of it either
	}
	raw, err := content.ReadAll(w.ctx, w.bundle, *n.Config, content.MaxConfig)
	if err != nil {
		return false, err
	}
	var config struct {
		RootFS struct {
			DiffIDs []json.RawMessage `json:"diff_ids"`
		} `json:"rootfs"`
	}
	_ = json.Unmarshal(raw, &config) // what of it can be read counts
	return len(config.RootFS.DiffIDs) > 0, nil
}

func (w *imageWalk) holdsFiles(l ocispec.Descriptor) (bool, error) {
	r, err := w.bundle.Open(w.ctx, l, 0)
	if err != nil {
		return false, err
	}
	defer r.Close()
	return content.HoldsFiles(r)
}

// unknown is what an index names as neither image nor index. What asks no
// media type may still run it.
func (w *imageWalk) unknown(m ocispec.Descriptor) platformImage {
	return platformImage{desc: bare(m), Image: policy.Image{
		Name: w.name, Digest: m.Digest, Platform: content.FormatPlatform(m.Platform),
		Failed: fmt.Sprintf("its index names a %q, which is neither an image nor an index: it cannot be scanned", m.MediaType),
	}}
}

// image reads the config of n. A manifest without a container's config is
// somebody's artifact; it stands under an image's name, so it counts.
func (w *imageWalk) image(n *content.Node) (platformImage, error) {
	i := platformImage{desc: n.Desc, layers: n.Layers}
	i.desc.Annotations, i.desc.Platform = nil, nil
	i.Name, i.Digest, i.referrerOf, i.referrer = w.name, n.Desc.Digest, w.of, w.hung
	if !content.IsImageConfig(n.Config.MediaType) {
		i.Failed = fmt.Sprintf("it is no container image, but a %q: it cannot be scanned", n.ArtifactType)
		if w.of != "" {
			i.Failed = fmt.Sprintf("it calls itself a %q, and a node would run it all the same: it cannot be scanned", n.ArtifactType)
		}
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

// referrersAmong says of the images that are referrers what they hang on.
func referrersAmong(images []platformImage) map[string]string {
	of := map[string]string{}
	for _, i := range images {
		if i.referrerOf != "" {
			of[i.Name] = i.referrerOf
		}
	}
	return of
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
