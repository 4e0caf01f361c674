package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// dockerImage is an entry of a docker-archive's manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// docker makes manifests for the images of a docker-archive.
type docker struct {
	*Archive
	tar *tarball
	// configs and compressed layers that were already read, by entry name.
	configs map[string]config
	hashed  map[string]ocispec.Descriptor
}

type config struct {
	desc     ocispec.Descriptor
	platform ocispec.Platform
	diffIDs  []digest.Digest
}

func (a *Archive) loadDocker() error {
	b, err := a.read("manifest.json", MaxIndex)
	if err != nil {
		return err
	}
	var images []dockerImage
	if err := json.Unmarshal(b, &images); err != nil {
		return fmt.Errorf("manifest.json is not that of a docker-archive: %w", err)
	}
	if len(images) > MaxImages {
		return fmt.Errorf("manifest.json names %d images; ferry reads at most %d", len(images), MaxImages)
	}
	t, ok := a.files.(*tarball)
	if !ok {
		return fmt.Errorf("a docker-archive is a file")
	}
	d := &docker{Archive: a, tar: t, configs: map[string]config{}, hashed: map[string]ocispec.Descriptor{}}
	for i, img := range images {
		if err := d.addImage(img); err != nil {
			return fmt.Errorf("manifest.json: image %d: %w", i+1, incomplete(err))
		}
	}
	return nil
}

// incomplete says what it means that an entry of the tar is not there.
func incomplete(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the archive is incomplete: save the image again", err)
	}
	return err
}

func (d *docker) addImage(img dockerImage) error {
	cfg, err := d.config(img.Config)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if len(cfg.diffIDs) != len(img.Layers) {
		return fmt.Errorf("it has %d layers, but its config speaks of %d", len(img.Layers), len(cfg.diffIDs))
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: cfg.desc, Layers: make([]ocispec.Descriptor, len(img.Layers)),
	}
	for i, name := range img.Layers {
		if m.Layers[i], err = d.layer(name, cfg.diffIDs[i]); err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	desc, err := d.make(m)
	if err != nil {
		return err
	}
	desc.Platform = &cfg.platform
	d.addNamed(desc, img.RepoTags)
	return nil
}

// addNamed adds an image under each of its tags, or once without a name.
func (d *docker) addNamed(desc ocispec.Descriptor, tags []string) {
	found := false
	for _, t := range tags {
		if n := fullName(t); n != "" {
			d.add(n, "", desc)
			found = true
		}
	}
	if !found {
		d.add("", "", desc)
	}
}

// make writes the manifest that the archive does not have. The same config
// and layers are always the same bytes.
func (d *docker) make(m ocispec.Manifest) (ocispec.Descriptor, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	if desc.Size > content.MaxManifest {
		return desc, &content.TooLargeError{What: "its manifest", Size: desc.Size, Limit: content.MaxManifest}
	}
	d.made[desc.Digest] = b
	return desc, nil
}

// config reads an image's config. Its bytes stay as they are, so that the
// image keeps its ID.
func (d *docker) config(name string) (config, error) {
	at, _, err := d.tar.resolve(name)
	if err != nil {
		return config{}, err
	}
	if c, ok := d.configs[at]; ok {
		return c, nil
	}
	b, err := d.read(at, content.MaxConfig)
	if err != nil {
		return config{}, err
	}
	var img ocispec.Image
	if err := json.Unmarshal(b, &img); err != nil {
		return config{}, fmt.Errorf("%q is not an image config: %w", at, err)
	}
	c := config{
		desc:     ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(b), Size: int64(len(b))},
		platform: img.Platform, diffIDs: img.RootFS.DiffIDs,
	}
	if err := namedRight(at, c.desc.Digest); err != nil {
		return config{}, err
	}
	d.configs[at], d.blobs[c.desc.Digest] = c, at
	return c, nil
}

// namedRight holds a file whose name is its digest to it, as every engine
// names configs.
func namedRight(name string, d digest.Digest) error {
	hex := strings.TrimSuffix(path.Base(name), ".json")
	if digest.SHA256.Validate(hex) == nil && hex != d.Encoded() {
		return fmt.Errorf("%q is damaged: its bytes hash to %s", name, d)
	}
	return nil
}

// layer describes a layer as it lies in the archive. For one that is not
// compressed, its digest is what the config says: a claim, which whoever
// copies the layer checks. A compressed one has to be hashed to know.
func (d *docker) layer(name string, diffID digest.Digest) (ocispec.Descriptor, error) {
	if err := content.Supported(diffID); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("the config's %w", err)
	}
	at, e, err := d.tar.resolve(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if l, ok := d.hashed[at]; ok {
		return l, nil
	}
	f := io.NewSectionReader(d.tar.file, e.offset, e.size)
	suffix, err := layerType(f, e.size)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%q %w", at, err)
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer + suffix, Digest: diffID, Size: e.size}
	if suffix == "" {
		return desc, d.place(desc, at)
	}
	if desc.Digest, err = digest.SHA256.FromReader(f); err != nil {
		return desc, fmt.Errorf("read %q: %w", at, reason(err))
	}
	d.hashed[at], d.blobs[desc.Digest] = desc, at
	return desc, nil
}

// place remembers where a layer is claimed to lie. Where two files claim to be the same
// one, either will do: the one that lies is found out when it is copied.
func (d *docker) place(desc ocispec.Descriptor, at string) error {
	was, ok := d.blobs[desc.Digest]
	if !ok {
		d.blobs[desc.Digest] = at
		return nil
	}
	if _, e, err := d.tar.resolve(was); err != nil || e.size != desc.Size {
		return fmt.Errorf("%q and %q claim to be the same, %s, but differ in size", was, at, desc.Digest)
	}
	return nil
}
