package bundle_test

import (
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/content/contenttest/suite"
	"ferry/internal/lock"
)

// TestConformance runs what every sink and source has to do on the writer of
// a bundle, and on the bundle that comes of it.
func TestConformance(t *testing.T) {
	s := suite.NewSample()
	l := lock.Lock{Version: 1, ResolvedAt: moment, Images: []lock.Image{
		image("docker.io/library/sample:1", s.Index, lock.Referrer{
			Digest: s.Referrer.Digest, MediaType: s.Referrer.MediaType, Size: s.Referrer.Size, Subject: s.Index.Digest,
		}),
	}}
	suite.Sink(t, s, func(t *testing.T, _ []ocispec.Descriptor) suite.Place {
		path := filepath.Join(t.TempDir(), "b.tar")
		w := create(t, path, expand(t, s.Store, l))
		return suite.Place{Sink: w, Source: func(t *testing.T) content.Source {
			if err := w.Finish(); err != nil {
				t.Fatal(err)
			}
			b, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = b.Close() })
			return b
		}}
	})
}
