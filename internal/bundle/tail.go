package bundle

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/lock"
	"ferry/internal/ref"
)

// The annotations by which importers find an image's name, and by which
// containerd knows that an entry is no image of its own.
const (
	containerdName    = "io.containerd.image.name"
	containerdSubject = "io.containerd.manifest.subject"
)

// encode writes v in the one form of every JSON document that ferry makes.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

// tail is all that stands behind the content: evidence, the lock and the seal
// as artifacts, and the two documents that importers begin with.
type tail struct {
	blobs map[digest.Digest][]byte
	// streams are blobs of the evidence, which may be large; they are read
	// from source when they are written.
	streams  map[digest.Digest]int64
	source   content.Source
	manifest []byte // manifest.json
	index    []byte // index.json
}

func newTail(c *Contents, s Seal, e *evidence) (*tail, error) {
	lockBytes, err := c.Lock.Encode()
	if err != nil {
		return nil, err
	}
	s.Version, s.Lock = 1, digest.FromBytes(lockBytes)
	sealBytes, err := s.encode()
	if err != nil {
		return nil, err
	}
	t := &tail{blobs: map[digest.Digest][]byte{}, streams: e.blobs, source: e.source}
	for d, b := range e.manifests {
		t.blobs[d] = b
	}
	lockDesc, err := t.artifact(lock.MediaType, lockBytes, nil)
	if err != nil {
		return nil, err
	}
	sealDesc, err := t.artifact(SealMediaType, sealBytes, &lockDesc)
	if err != nil {
		return nil, err
	}
	if t.manifest, err = encode(dockerManifest(c)); err != nil {
		return nil, err
	}
	t.index, err = encode(index(c, s.Evidence, lockDesc, sealDesc))
	return t, err
}

// artifact adds b as an OCI artifact and returns its manifest's descriptor.
func (t *tail) artifact(artifactType string, b []byte, subject *ocispec.Descriptor) (ocispec.Descriptor, error) {
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType,
		Config:       t.add(ocispec.MediaTypeEmptyJSON, []byte("{}")),
		Layers:       []ocispec.Descriptor{t.add(artifactType, b)},
		Subject:      subject,
	}
	mb, err := encode(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return t.add(ocispec.MediaTypeImageManifest, mb), nil
}

func (t *tail) add(mediaType string, b []byte) ocispec.Descriptor {
	d := digest.FromBytes(b)
	t.blobs[d] = b
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

// index is index.json: one entry a tag, under both names that importers look
// for; one a digest, for pods that name the digest; and entries without a
// name for what speaks about an image.
func index(c *Contents, evidence []lock.Referrer, lockDesc, sealDesc ocispec.Descriptor) ocispec.Index {
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	seen := map[string]bool{}
	add := func(d ocispec.Descriptor, key string, annotations map[string]string) {
		if seen[key] {
			return
		}
		seen[key] = true
		d.Annotations = annotations
		idx.Manifests = append(idx.Manifests, d)
	}
	for _, img := range c.Lock.Images {
		if tag := tagName(img.Name); tag != "" {
			add(img.Desc(), tag, map[string]string{ocispec.AnnotationRefName: tag, containerdName: tag})
		}
	}
	for _, img := range c.Lock.Images {
		name := mustParse(img.Name).WithDigest(img.Digest)
		add(img.Desc(), name, map[string]string{containerdName: name})
	}
	for _, img := range c.Lock.Images {
		for _, r := range img.Referrers {
			add(r.Desc(), r.Digest.String(), map[string]string{containerdSubject: r.Subject.String()})
		}
	}
	for _, r := range evidence {
		add(r.Desc(), r.Digest.String(), map[string]string{containerdSubject: r.Subject.String()})
	}
	// The lock and the seal speak about the first image as much as about any
	// other; the annotation keeps importers from taking them for images.
	subject := map[string]string{containerdSubject: c.Lock.Images[0].Digest.String()}
	lockDesc.ArtifactType, sealDesc.ArtifactType = lock.MediaType, SealMediaType
	add(lockDesc, "lock", subject)
	add(sealDesc, "seal", subject)
	return idx
}

// tagName returns repository:tag, or "" for a name that has no tag.
func tagName(name string) string {
	n := mustParse(name)
	if n.Tag() == "" {
		return ""
	}
	return n.Repository() + ":" + n.Tag()
}

// mustParse reads a name from a lock, which refuses names that do not parse.
func mustParse(name string) ref.Name {
	n, err := ref.Parse(name)
	if err != nil {
		panic("a checked lock holds the name " + name)
	}
	return n
}

// dockerImage is an entry of manifest.json, the form that docker load and
// podman load read. It can hold one platform an image.
type dockerImage struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

func dockerManifest(c *Contents) []dockerImage {
	images := []dockerImage{}
	at := map[digest.Digest]int{}
	for _, img := range c.Lock.Images {
		n := c.loadable(img.Desc())
		if n == nil {
			continue
		}
		i, ok := at[n.Desc.Digest]
		if !ok {
			i = len(images)
			at[n.Desc.Digest] = i
			images = append(images, dockerImageOf(n))
		}
		if tag := tagName(img.Name); tag != "" && !slices.Contains(images[i].RepoTags, tag) {
			images[i].RepoTags = append(images[i].RepoTags, tag)
		}
	}
	return images
}

func dockerImageOf(n *content.Node) dockerImage {
	d := dockerImage{Config: blobName(n.Config.Digest), RepoTags: []string{}, Layers: []string{}}
	for _, l := range n.Layers {
		d.Layers = append(d.Layers, blobName(l.Digest))
	}
	return d
}

// loadable picks the one platform that manifest.json shows: linux/amd64 where
// there is one, else the first; nil where desc is no container image.
func (c *Contents) loadable(desc ocispec.Descriptor) *content.Node {
	amd64 := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	var first *content.Node
	var find func(d ocispec.Descriptor) *content.Node
	find = func(d ocispec.Descriptor) *content.Node {
		n := c.nodes[d.Digest]
		if n == nil {
			return nil
		}
		for _, m := range n.Manifests {
			if got := find(m); got != nil {
				return got
			}
		}
		if n.Config == nil || !content.IsImageConfig(n.Config.MediaType) || unknownPlatform(d.Platform) {
			return nil
		}
		if first == nil {
			first = n
		}
		if content.Matches(amd64, d.Platform) {
			return n
		}
		return nil
	}
	if n := find(desc); n != nil {
		return n
	}
	return first
}

// unknownPlatform is how build tools mark attestations that are stored as
// manifests of an index.
func unknownPlatform(p *ocispec.Platform) bool {
	return p != nil && p.OS == "unknown"
}
