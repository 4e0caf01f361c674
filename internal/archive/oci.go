package archive

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/ref"
)

// The annotations that containerd gives the entries of an index.json.
const (
	imageNameAnnotation = "io.containerd.image.name"
	subjectAnnotation   = "io.containerd.manifest.subject"
)

// loadOCI reads the entries of an OCI layout's index.json.
func (a *Archive) loadOCI() error {
	if err := a.checkLayout(); err != nil {
		return err
	}
	b, err := a.read(ocispec.ImageIndexFile, MaxIndex)
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return fmt.Errorf("%q is not an image index: %w", ocispec.ImageIndexFile, err)
	}
	nodes := map[digest.Digest]*content.Node{}
	for i, desc := range index.Manifests {
		if err := a.addEntry(desc, nodes); err != nil {
			return fmt.Errorf("%q: entry %d: %w", ocispec.ImageIndexFile, i+1, err)
		}
	}
	return nil
}

func (a *Archive) checkLayout() error {
	b, err := a.read(ocispec.ImageLayoutFile, 4096)
	if err != nil {
		return err
	}
	var layout ocispec.ImageLayout
	if err := json.Unmarshal(b, &layout); err != nil {
		return fmt.Errorf("%q is not JSON: %w", ocispec.ImageLayoutFile, err)
	}
	if !strings.HasPrefix(layout.Version, "1.") {
		return fmt.Errorf("the OCI layout has version %q; ferry reads version %s", layout.Version, ocispec.ImageLayoutVersion)
	}
	return nil
}

// addEntry takes an entry of index.json for an image, if it is one. Media
// types that nobody knows are to be ignored, says the OCI image spec.
func (a *Archive) addEntry(desc ocispec.Descriptor, nodes map[digest.Digest]*content.Node) error {
	if !content.IsIndex(desc.MediaType) && !content.IsManifest(desc.MediaType) {
		return nil
	}
	if desc.Annotations[subjectAnnotation] != "" {
		return nil
	}
	node, err := a.node(desc, nodes)
	if err != nil {
		return err
	}
	name := entryName(desc.Annotations)
	artifact := node.Config != nil && !content.IsImageConfig(node.Config.MediaType)
	if node.Subject != nil || artifact && name == "" {
		return nil
	}
	if err := nameHolds(name, desc.Digest); err != nil {
		return err
	}
	plain := ocispec.Descriptor{
		MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size,
		ArtifactType: desc.ArtifactType, Platform: desc.Platform,
	}
	a.add(name, desc.Annotations[ocispec.AnnotationRefName], plain)
	return nil
}

// node reads a manifest or index once, however many names it has.
func (a *Archive) node(desc ocispec.Descriptor, nodes map[digest.Digest]*content.Node) (*content.Node, error) {
	if n, ok := nodes[desc.Digest]; ok {
		if n.Desc.Size != desc.Size || n.Desc.MediaType != desc.MediaType {
			return nil, fmt.Errorf("%s was announced in two ways", desc.Digest)
		}
		return n, nil
	}
	if err := content.Supported(desc.Digest); err != nil {
		return nil, err
	}
	b, err := a.read(blobName(desc.Digest), content.MaxManifest)
	if err != nil {
		return nil, incomplete(err)
	}
	if err := content.Check(desc, b); err != nil {
		return nil, fmt.Errorf("%q is damaged: %w", blobName(desc.Digest), err)
	}
	n, err := content.Parse(desc, b)
	if err != nil {
		return nil, err
	}
	nodes[desc.Digest] = n
	return n, nil
}

// entryName is the full name that annotations give, or "".
func entryName(annotations map[string]string) string {
	for _, key := range []string{imageNameAnnotation, ocispec.AnnotationRefName} {
		// A tag alone, which is what the OCI spec means a ref.name to be,
		// does not say of which repository it is one.
		if s := annotations[key]; strings.ContainsAny(s, "/:@") {
			if n := fullName(s); n != "" {
				return n
			}
		}
	}
	return ""
}

// fullName is s as ref writes it, or "" where it is no name.
func fullName(s string) string {
	n, err := ref.Parse(s)
	if err != nil {
		return ""
	}
	return n.String()
}

// nameHolds refuses a name whose digest is another image's.
func nameHolds(name string, d digest.Digest) error {
	if name == "" {
		return nil
	}
	n, err := ref.Parse(name)
	if err != nil {
		return err
	}
	if n.Digest() != "" && n.Digest() != d {
		return fmt.Errorf("the image is named %q, but has digest %s", name, d)
	}
	return nil
}
