// Package lock is the list of what a bundle holds, by digest: which image a
// name meant at which moment, and where it came from. The content part of a
// bundle is a function of its lock alone.
package lock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/ref"
)

// Version is the version of the lock's form.
const Version = 1

// MaxSize is the largest lock that ferry reads, in bytes.
const MaxSize = 16 << 20

// MediaType is the media type of a lock inside a bundle.
const MediaType = "application/vnd.ferry.lock.v1+json"

// Lock names images by digest.
type Lock struct {
	Version int `json:"version"`
	// ResolvedAt is when the names were looked up.
	ResolvedAt time.Time `json:"resolvedAt"`
	// Platforms are the ones that were asked for; none means all there are.
	Platforms []string `json:"platforms,omitempty"`
	Images    []Image  `json:"images"`
}

// Image is one name and what stood under it.
type Image struct {
	// Name is a full name with a tag or a digest: docker.io/library/nginx:1.27.
	Name string `json:"name"`
	// The descriptor of what stands under the name in the bundle.
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
	// Platforms are those of the images inside.
	Platforms []string `json:"platforms,omitempty"`
	// Upstream is the index that the name had upstream where only some of
	// its platforms were taken. Signatures are usually on it.
	Upstream *Descriptor `json:"upstream,omitempty"`
	Source   Source      `json:"source"`
	// Referrers speak about this image: signatures, SBOMs, attestations.
	Referrers []Referrer `json:"referrers,omitempty"`
}

// Source types.
const (
	Registry = "registry" // from a registry, byte for byte
	Local    = "local"    // from an engine or an archive, whose export made the manifest anew
)

// Source says where an image came from. It never holds a path of the machine.
type Source struct {
	Type string `json:"source"`
	// Kind is the transport of a local source: docker-archive, oci-archive,
	// oci, docker-daemon or containers-storage.
	Kind string `json:"kind,omitempty"`
	// Exported is the digest of the manifest as it was exported. A fact.
	Exported digest.Digest `json:"exported,omitempty"`
	// Claimed is the upstream digest that the engine says the image had.
	// Nothing in the bundle proves it.
	Claimed digest.Digest `json:"claimed,omitempty"`
}

// Descriptor is a digest with what is needed to read it.
type Descriptor struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
}

// Referrer is an artifact about an image.
type Referrer struct {
	Digest       digest.Digest `json:"digest"`
	MediaType    string        `json:"mediaType"`
	Size         int64         `json:"size"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Subject      digest.Digest `json:"subject"`
	// Tag is the tag that cosign keeps it under, where it is found by tag.
	Tag string `json:"tag,omitempty"`
}

// Desc returns the OCI descriptor of d.
func (d Descriptor) Desc() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// Desc returns the OCI descriptor of what stands under the name.
func (i Image) Desc() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: i.MediaType, Digest: i.Digest, Size: i.Size}
}

// Desc returns the OCI descriptor of r.
func (r Referrer) Desc() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: r.MediaType, Digest: r.Digest, Size: r.Size, ArtifactType: r.ArtifactType}
}

// Encode writes l in its one form: the same lock is always the same bytes.
func (l Lock) Encode() ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	l.ResolvedAt = l.ResolvedAt.UTC().Truncate(time.Second)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(l); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Decode reads a lock and refuses one that is not in the form Encode writes,
// so that nothing can hide in it.
func Decode(r io.Reader) (Lock, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return Lock{}, err
	}
	if len(b) > MaxSize {
		return Lock{}, &content.TooLargeError{What: "the lock", Size: int64(len(b)), Limit: MaxSize}
	}
	var l Lock
	if err := json.Unmarshal(b, &l); err != nil {
		return Lock{}, fmt.Errorf("the lock is not JSON: %w", err)
	}
	if l.Version != Version {
		return Lock{}, fmt.Errorf("the lock has version %d; this ferry knows version %d", l.Version, Version)
	}
	again, err := l.Encode()
	if err != nil {
		return Lock{}, err
	}
	if !bytes.Equal(again, b) {
		return Lock{}, fmt.Errorf("the lock is not in the form that ferry writes: it was edited or damaged")
	}
	return l, nil
}

// check holds for every lock that is written or read.
func (l Lock) check() error {
	if len(l.Images) == 0 {
		return fmt.Errorf("the lock names no image")
	}
	seen := map[string]bool{}
	for _, img := range l.Images {
		if seen[img.Name] {
			return fmt.Errorf("the lock names %q twice", img.Name)
		}
		seen[img.Name] = true
		if err := img.check(); err != nil {
			return fmt.Errorf("the lock's image %q: %w", img.Name, err)
		}
	}
	for _, p := range l.Platforms {
		if _, err := content.ParsePlatform(p); err != nil {
			return err
		}
	}
	return nil
}

func (i Image) check() error {
	n, err := ref.Parse(i.Name)
	if err != nil {
		return err
	}
	if n.String() != i.Name {
		return fmt.Errorf("is not a full name; that would be %q", n.String())
	}
	if n.Digest() != "" && i.Upstream == nil && n.Digest() != i.Digest {
		return fmt.Errorf("has digest %s", i.Digest)
	}
	if err := i.Source.check(); err != nil {
		return err
	}
	all := []Descriptor{{i.Digest, i.MediaType, i.Size}}
	if i.Upstream != nil {
		all = append(all, *i.Upstream)
	}
	for _, r := range i.Referrers {
		all = append(all, Descriptor{r.Digest, r.MediaType, r.Size})
		if err := r.check(); err != nil {
			return err
		}
	}
	for _, d := range all {
		if err := content.Supported(d.Digest); err != nil {
			return err
		}
		if d.Size <= 0 || d.Size > content.MaxManifest {
			return &content.TooLargeError{What: d.Digest.String(), Size: d.Size, Limit: content.MaxManifest}
		}
	}
	return nil
}

func (s Source) check() error {
	if s.Type != Registry && s.Type != Local {
		return fmt.Errorf("comes from %q, which is neither %q nor %q", s.Type, Registry, Local)
	}
	for _, d := range []digest.Digest{s.Exported, s.Claimed} {
		if d == "" {
			continue
		}
		if err := content.Supported(d); err != nil {
			return err
		}
	}
	return nil
}

// check holds the tag to the form that cosign gives it, since it will stand in
// the path of a request.
func (r Referrer) check() error {
	if err := content.Supported(r.Subject); err != nil {
		return err
	}
	if r.Tag == "" {
		return nil
	}
	of := r.Subject.Algorithm().String() + "-" + r.Subject.Encoded()
	for _, kind := range []string{".sig", ".att", ".sbom"} {
		if r.Tag == of+kind {
			return nil
		}
	}
	return fmt.Errorf("has a referrer with the tag %q, which is not one of cosign's for %s", r.Tag, r.Subject)
}
