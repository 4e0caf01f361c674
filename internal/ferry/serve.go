package ferry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/lock"
	"ferry/internal/ref"
)

// ServeResult is a bundle that is being served.
type ServeResult struct {
	// Listen is the address that it is really served on.
	Listen string        `json:"listen"`
	URL    string        `json:"url"`
	File   string        `json:"file"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	Gate   string        `json:"gate"`
	Images []lock.Image  `json:"images"`
}

// ServedRepository is what a registry has under one name.
type ServedRepository struct {
	Name      string // docker.io/library/nginx
	Tags      map[string]digest.Digest
	Manifests map[digest.Digest]ocispec.Descriptor
	Blobs     map[digest.Digest]int64
	Referrers map[digest.Digest][]ocispec.Descriptor
}

// Serving is a bundle, open, as a registry sees it. Its blobs lie in Bundle.
type Serving struct {
	Bundle       *bundle.Bundle
	Repositories []ServedRepository
}

// Serve opens a bundle and says what stands in it under which name. The caller
// answers requests from it, and closes it.
func Serve(ctx context.Context, file string) (*Serving, error) {
	b, err := bundle.Open(file)
	if err != nil {
		return nil, err
	}
	repos, err := repositories(b.Contents(), b.Images(), func(d ocispec.Descriptor) ([]byte, error) {
		return content.ReadAll(ctx, b, d, content.MaxManifest)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serve %s: %w", file, err), b.Close())
	}
	return &Serving{Bundle: b, Repositories: repos}, nil
}

// Result describes s as it is served on an address.
func (s *Serving) Result(listen, url string) *ServeResult {
	b := s.Bundle
	return &ServeResult{
		Listen: listen, URL: url, File: b.Path(), Digest: b.Digest(), Size: b.Size(),
		Gate: b.Seal().Gate, Images: b.Lock().Images,
	}
}

// Close closes the bundle.
func (s *Serving) Close() error { return s.Bundle.Close() }

// repositories sorts what a bundle holds by the names it stands under.
func repositories(c *bundle.Contents, images []lock.Image, manifest func(ocispec.Descriptor) ([]byte, error)) ([]ServedRepository, error) {
	byName := map[string]ServedRepository{}
	for _, img := range images {
		name, err := ref.Parse(img.Name)
		if err != nil {
			return nil, err
		}
		r, ok := byName[name.Repository()]
		if !ok {
			r = newServed(name.Repository())
			byName[r.Name] = r
		}
		// A tag that the lock has twice, with two digests, means the first one,
		// as in index.json.
		if _, taken := r.Tags[name.Tag()]; name.Tag() != "" && !taken {
			r.Tags[name.Tag()] = img.Digest
		}
		if err := r.add(c, img, manifest); err != nil {
			return nil, fmt.Errorf("%s: %w", img.Name, err)
		}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b ServedRepository) int {
		return cmp.Compare(a.Name, b.Name)
	}), nil
}

func newServed(name string) ServedRepository {
	return ServedRepository{
		Name: name, Tags: map[string]digest.Digest{}, Manifests: map[digest.Digest]ocispec.Descriptor{},
		Blobs: map[digest.Digest]int64{}, Referrers: map[digest.Digest][]ocispec.Descriptor{},
	}
}

func (r ServedRepository) add(c *bundle.Contents, img lock.Image, manifest func(ocispec.Descriptor) ([]byte, error)) error {
	c.Reach(img, func(d ocispec.Descriptor) {
		r.Blobs[d.Digest] = d.Size
		if n := c.Node(d.Digest); n != nil {
			r.Manifests[d.Digest] = bare(n.Desc)
		}
	})
	// Upstream's index has no tag here, since not all that it names is. Under
	// its digest it still leads to the platforms that were taken.
	if img.Upstream != nil {
		r.Manifests[img.Upstream.Digest] = img.Upstream.Desc()
	}
	for _, about := range img.Referrers {
		if err := r.refer(c, about, manifest); err != nil {
			return fmt.Errorf("referrer %s: %w", about.Digest, err)
		}
	}
	return nil
}

// refer enters a referrer where clients look for it: under its tag, under its
// subject, or both.
func (r ServedRepository) refer(c *bundle.Contents, about lock.Referrer, manifest func(ocispec.Descriptor) ([]byte, error)) error {
	if _, taken := r.Tags[about.Tag]; about.Tag != "" && !taken {
		r.Tags[about.Tag] = about.Digest
	}
	subject := c.Node(about.Digest).Subject
	if about.Tag != "" && (subject == nil || subject.Digest != about.Subject) {
		return nil
	}
	known := func(d ocispec.Descriptor) bool { return d.Digest == about.Digest }
	if slices.ContainsFunc(r.Referrers[about.Subject], known) {
		return nil
	}
	raw, err := manifest(about.Desc())
	if err != nil {
		return err
	}
	// A list of referrers repeats their annotations.
	var doc struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	d := about.Desc()
	d.ArtifactType, d.Annotations = c.Node(about.Digest).ArtifactType, doc.Annotations
	r.Referrers[about.Subject] = append(r.Referrers[about.Subject], d)
	return nil
}
