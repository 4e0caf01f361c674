package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/policy"
)

// Document is a file that goes into the evidence: its bytes, or where they
// are.
type Document struct {
	MediaType string
	Data      []byte
	Path      string
}

// Artifact is an OCI artifact about a manifest.
type Artifact struct {
	// Desc is of the artifact's manifest, with its artifact type.
	Desc    ocispec.Descriptor
	Subject digest.Digest
}

// Store makes artifacts, and is the content.Source of their bytes.
type Store struct {
	memory map[digest.Digest][]byte
	files  map[digest.Digest]string
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{memory: map[digest.Digest][]byte{}, files: map[digest.Digest]string{}}
}

// SBOM adds an SBOM of subject, and returns the digest of the document too.
func (s *Store) SBOM(subject ocispec.Descriptor, doc Document) (Artifact, digest.Digest, error) {
	layer, err := s.add(doc, MaxSBOM)
	if err != nil {
		return Artifact{}, "", fmt.Errorf("the SBOM of %s: %w", subject.Digest, err)
	}
	a, err := s.artifact(subject, doc.MediaType, layer)
	return a, layer.Digest, err
}

// Report adds a scan report about subject, with the policy and the OpenVEX
// documents that it was judged by, so that an auditor has them all.
func (s *Store) Report(subject ocispec.Descriptor, r Report, policyText []byte, vex [][]byte) (Artifact, error) {
	b, err := r.Encode()
	if err != nil {
		return Artifact{}, err
	}
	layers := []ocispec.Descriptor{s.bytes(ReportMediaType, b), s.bytes(policy.MediaType, policyText)}
	for _, doc := range vex {
		layers = append(layers, s.bytes(policy.VEXMediaType, doc))
	}
	return s.artifact(subject, ReportMediaType, layers...)
}

func (s *Store) artifact(subject ocispec.Descriptor, artifactType string, layers ...ocispec.Descriptor) (Artifact, error) {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: s.bytes(ocispec.MediaTypeEmptyJSON, []byte("{}")), Layers: layers,
		Subject: &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return Artifact{}, err
	}
	d := s.bytes(ocispec.MediaTypeImageManifest, b.Bytes())
	d.ArtifactType = artifactType
	return Artifact{Desc: d, Subject: subject.Digest}, nil
}

func (s *Store) bytes(mediaType string, b []byte) ocispec.Descriptor {
	d := digest.FromBytes(b)
	s.memory[d] = b
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func (s *Store) add(doc Document, limit int64) (ocispec.Descriptor, error) {
	if doc.Path == "" {
		if int64(len(doc.Data)) > limit {
			return ocispec.Descriptor{}, &content.TooLargeError{What: "it", Size: int64(len(doc.Data)), Limit: limit}
		}
		return s.bytes(doc.MediaType, doc.Data), nil
	}
	f, err := os.Open(doc.Path)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer f.Close()
	h := digest.SHA256.Digester()
	n, err := io.Copy(h.Hash(), io.LimitReader(f, limit+1))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if n > limit {
		return ocispec.Descriptor{}, &content.TooLargeError{What: "it", Size: n, Limit: limit}
	}
	s.files[h.Digest()] = doc.Path
	return ocispec.Descriptor{MediaType: doc.MediaType, Digest: h.Digest(), Size: n}, nil
}

// Open returns the bytes of what was added.
func (s *Store) Open(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if b, ok := s.memory[desc.Digest]; ok {
		if offset < 0 || offset > int64(len(b)) {
			return nil, fmt.Errorf("%s has %d bytes; none at %d", desc.Digest, len(b), offset)
		}
		return io.NopCloser(bytes.NewReader(b[offset:])), nil
	}
	path, ok := s.files[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", desc.Digest, content.ErrNotFound)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return f, nil
}
