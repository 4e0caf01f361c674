package bundle_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/lock"
	"ferry/internal/transfer"
)

// patience is far more than the small files of a fuzz test may take.
const patience = 20 * time.Second

// FuzzOpen: no file makes Open or Verify panic or hang, each failure is an
// error with the file's name, and what Verify takes is, to the byte, the
// bundle that its own lock, seal and blobs make.
func FuzzOpen(f *testing.F) {
	good := tiny(f)
	f.Add(good)
	f.Add(tinyGated(f))
	f.Add(good[:len(good)-1])
	f.Add(good[:len(good)/2])
	f.Add(append(bytes.Clone(good), make([]byte, 1024)...))
	f.Add(make([]byte, 4096))
	f.Add([]byte("dear reader"))
	f.Add([]byte{})
	// The names and sizes of the tar, its documents, its padding and its end.
	for _, at := range []int{0, 100, 124, 156, 257, 345, 512, 600, len(good) - 1500, len(good) - 3000, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 0x41
		f.Add(bad)
	}
	for _, word := range []string{`"size": `, `"digest": "sha256:`, `"version": 1`, `"manifests": [`, "blobs/sha256/", "index.json"} {
		at := bytes.Index(good, []byte(word))
		if at < 0 {
			f.Fatalf("%q is not in the seed", word)
		}
		bad := bytes.Clone(good)
		bad[at+len(word)] ^= 0x01
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "b.tar")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		opened, openErr := bundle.Open(path)
		if openErr == nil {
			_ = opened.Close()
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		verified, err := bundle.Verify(ctx, path, bundle.VerifyOptions{})
		if ctx.Err() != nil {
			t.Fatalf("%d bytes were not verified in %v", len(b), patience)
		}
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Fatalf("the error does not name the file: %v", err)
			}
			return
		}
		defer verified.Close()
		if openErr != nil {
			t.Fatalf("Verify takes it, Open does not: %v", openErr)
		}
		if again := rewritten(t, verified); !bytes.Equal(again, b) {
			t.Fatalf("Verify takes %d bytes that its lock, seal and blobs do not make", len(b))
		}
	})
}

// tiny is a bundle of one image, with a referrer, as bytes.
func tiny(tb testing.TB) []byte {
	tb.Helper()
	s := contenttest.NewStore()
	img := s.Image(amd64, contenttest.Config{}, s.Add(ocispec.MediaTypeImageLayer, []byte("layer")))
	sig := s.Artifact(&img, "application/vnd.example.signature", s.Add("text/plain", []byte("signed")))
	l := lock.Lock{Version: 1, ResolvedAt: moment, Images: []lock.Image{
		image("docker.io/library/one:1.0", img, lock.Referrer{
			Digest: sig.Digest, MediaType: sig.MediaType, Size: sig.Size,
			ArtifactType: "application/vnd.example.signature", Subject: img.Digest,
		}),
	}}
	return bundleOf(tb, s, l, bundle.Seal{AsOf: moment, Gate: bundle.NotGated})
}

// tinyGated is the same with evidence in its tail.
func tinyGated(tb testing.TB) []byte {
	tb.Helper()
	s := contenttest.NewStore()
	img := s.Image(amd64, contenttest.Config{}, s.Add(ocispec.MediaTypeImageLayer, []byte("layer")))
	l := lock.Lock{Version: 1, ResolvedAt: moment, Images: []lock.Image{image("docker.io/library/one:1.0", img)}}
	return bundleOf(tb, s, l, gated(evidenceOf(s, img, "sbom")))
}

// rewritten makes the bundle anew from what b holds.
func rewritten(t *testing.T, b *bundle.Bundle) []byte {
	t.Helper()
	return bundleOf(t, b, b.Lock(), b.Seal())
}

func bundleOf(tb testing.TB, s content.Source, l lock.Lock, seal bundle.Seal) []byte {
	tb.Helper()
	c, err := bundle.Expand(l, func(d ocispec.Descriptor) ([]byte, error) {
		return content.ReadAll(tb.Context(), s, d, content.MaxManifest)
	})
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "made.tar")
	w, err := bundle.Create(path, c, bundle.Seal{AsOf: moment, Gate: bundle.NotGated})
	if err != nil {
		tb.Fatal(err)
	}
	defer w.Close()
	_, failed, err := transfer.Copy(tb.Context(), jobs(c, s), w, transfer.Options{})
	if err != nil || len(failed) > 0 {
		tb.Fatal(err, failed)
	}
	if err := w.Seal(tb.Context(), seal, s); err != nil {
		tb.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		tb.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
