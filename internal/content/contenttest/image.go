package contenttest

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// Config is what an image says about how to run it.
type Config struct {
	Entrypoint []string
	Cmd        []string
	Env        []string
	Labels     map[string]string
}

// Image adds an OCI image of layers for p. Its descriptor has p as platform,
// ready to stand in an index.
func (s *Store) Image(p ocispec.Platform, cfg Config, layers ...ocispec.Descriptor) ocispec.Descriptor {
	config := s.config(ocispec.MediaTypeImageConfig, p, cfg, layers)
	return s.manifest(ocispec.MediaTypeImageManifest, p, config, layers)
}

// DockerImage is Image in Docker's media types: gzip layers keep their bytes
// and are called as Docker calls them.
func (s *Store) DockerImage(p ocispec.Platform, cfg Config, layers ...ocispec.Descriptor) ocispec.Descriptor {
	config := s.config(content.DockerConfig, p, cfg, layers)
	docker := make([]ocispec.Descriptor, len(layers))
	for i, l := range layers {
		docker[i] = l
		if l.MediaType == ocispec.MediaTypeImageLayerGzip {
			docker[i].MediaType = content.DockerLayerGzip
		}
	}
	return s.manifest(content.DockerManifest, p, config, docker)
}

// Index adds an OCI index of children.
func (s *Store) Index(children ...ocispec.Descriptor) ocispec.Descriptor {
	return s.index(ocispec.MediaTypeImageIndex, children)
}

// DockerList adds a Docker manifest list of children.
func (s *Store) DockerList(children ...ocispec.Descriptor) ocispec.Descriptor {
	return s.index(content.DockerManifestList, children)
}

// Artifact adds a manifest that is no image, of artifactType and with blobs;
// with a subject it is a referrer. Its descriptor carries the artifact type.
func (s *Store) Artifact(subject *ocispec.Descriptor, artifactType string, blobs ...ocispec.Descriptor) ocispec.Descriptor {
	empty := s.Add(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	if len(blobs) == 0 {
		blobs = []ocispec.Descriptor{empty}
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType, Config: empty, Layers: blobs,
	}
	if subject != nil {
		m.Subject = bare(*subject)
	}
	desc := s.addJSON(m.MediaType, m)
	desc.ArtifactType = artifactType
	return desc
}

func (s *Store) config(mediaType string, p ocispec.Platform, cfg Config, layers []ocispec.Descriptor) ocispec.Descriptor {
	img := ocispec.Image{
		Platform: p,
		Config:   ocispec.ImageConfig{Entrypoint: cfg.Entrypoint, Cmd: cfg.Cmd, Env: cfg.Env, Labels: cfg.Labels},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
	}
	for _, l := range layers {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, s.diffID(l))
	}
	return s.addJSON(mediaType, img)
}

func (s *Store) manifest(mediaType string, p ocispec.Platform, config ocispec.Descriptor, layers []ocispec.Descriptor) ocispec.Descriptor {
	if layers == nil {
		layers = []ocispec.Descriptor{}
	}
	desc := s.addJSON(mediaType, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Config: config, Layers: layers,
	})
	desc.Platform = &p
	return desc
}

func (s *Store) index(mediaType string, children []ocispec.Descriptor) ocispec.Descriptor {
	if children == nil {
		children = []ocispec.Descriptor{}
	}
	return s.addJSON(mediaType, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Manifests: children,
	})
}

func (s *Store) addJSON(mediaType string, v any) ocispec.Descriptor {
	b, err := json.Marshal(v)
	must(err)
	return s.Add(mediaType, b)
}

// bare is d as a subject has it: what is needed to find it, no more.
func bare(d ocispec.Descriptor) *ocispec.Descriptor {
	return &ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}
