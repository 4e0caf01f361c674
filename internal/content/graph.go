package content

import (
	"encoding/json"
	"fmt"
	"mime"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The Docker media types that stand beside the OCI ones.
const (
	DockerManifest      = "application/vnd.docker.distribution.manifest.v2+json"
	DockerManifestList  = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig        = "application/vnd.docker.container.image.v1+json"
	DockerLayerGzip     = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	DockerSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	DockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// IsIndex says whether mediaType is that of an image index or manifest list.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == DockerManifestList
}

// IsManifest says whether mediaType is that of an image manifest.
func IsManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == DockerManifest
}

// IsImageConfig says whether mediaType is that of a container image's config,
// and not of some other artifact's.
func IsImageConfig(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageConfig || mediaType == DockerConfig
}

// Node is a manifest or an index with what it names.
type Node struct {
	Desc ocispec.Descriptor
	// Manifests are an index's children.
	Manifests []ocispec.Descriptor
	// Config and Layers are a manifest's; Config is nil for an index.
	Config *ocispec.Descriptor
	Layers []ocispec.Descriptor
	// Subject is what this one refers to, if it is a referrer.
	Subject *ocispec.Descriptor
	// ArtifactType says what a referrer is.
	ArtifactType string
}

// document is the union of the fields of a manifest and an index that ferry
// reads. Anything else in them travels as bytes and needs no understanding.
type document struct {
	specs.Versioned
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
}

// Parse reads a manifest or an index that was already checked against desc.
func Parse(desc ocispec.Descriptor, b []byte) (*Node, error) {
	var doc document
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%s is not JSON: %w", desc.Digest, err)
	}
	if doc.MediaType != "" && doc.MediaType != desc.MediaType {
		return nil, fmt.Errorf("%s calls itself %q but was announced as %q", desc.Digest, doc.MediaType, desc.MediaType)
	}
	n := &Node{Desc: desc, Subject: doc.Subject, ArtifactType: doc.ArtifactType}
	switch {
	case IsIndex(desc.MediaType):
		if doc.Config != nil || doc.Layers != nil {
			return nil, fmt.Errorf("%s is announced as an index but is a manifest", desc.Digest)
		}
		n.Manifests = doc.Manifests
	case IsManifest(desc.MediaType):
		if doc.Config == nil || doc.Manifests != nil {
			return nil, fmt.Errorf("%s is announced as a manifest but has no config", desc.Digest)
		}
		n.Config, n.Layers = doc.Config, doc.Layers
		if n.ArtifactType == "" {
			n.ArtifactType = doc.Config.MediaType
		}
	default:
		return nil, unsupported(desc)
	}
	return n, n.check()
}

func unsupported(desc ocispec.Descriptor) error {
	switch desc.MediaType {
	case DockerSchema1, DockerSchema1Signed:
		return fmt.Errorf("%s is a Docker schema 1 manifest, which containerd and podman no longer run: push the image again with a current tool", desc.Digest)
	}
	if t, _, err := mime.ParseMediaType(desc.MediaType); err == nil && t == "text/html" {
		return fmt.Errorf("%s is a web page, not a manifest: something between here and the registry answered in its place", desc.Digest)
	}
	return fmt.Errorf("%s has media type %q, which is neither an image manifest nor an index", desc.Digest, desc.MediaType)
}

// check refuses children that could not be carried or would be read as
// something else than their bytes.
func (n *Node) check() error {
	for _, d := range n.Children() {
		if err := Supported(d.Digest); err != nil {
			return fmt.Errorf("%s names a child: %w", n.Desc.Digest, err)
		}
		if d.Size < 0 {
			return fmt.Errorf("%s names a child of %d bytes: %s", n.Desc.Digest, d.Size, d.Digest)
		}
		if d.Digest == n.Desc.Digest {
			return fmt.Errorf("%s names itself as its child", n.Desc.Digest)
		}
	}
	return nil
}

// Children returns all that n names: manifests, or config and layers.
func (n *Node) Children() []ocispec.Descriptor {
	all := append([]ocispec.Descriptor(nil), n.Manifests...)
	if n.Config != nil {
		all = append(all, *n.Config)
	}
	return append(all, n.Layers...)
}
