package cli_test

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	places "ferry/internal/content"
)

// walkBlobs visits the blobs of a bundle that are no manifests.
func walkBlobs(t *testing.T, file string, visit func(ocispec.Descriptor)) {
	t.Helper()
	b, err := bundle.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, d := range b.Contents().Blobs() {
		if b.Contents().Node(d.Digest) == nil {
			visit(d)
		}
	}
}

func contents(t *testing.T, file string, d ocispec.Descriptor) []byte {
	t.Helper()
	b, err := bundle.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	raw, err := places.ReadAll(t.Context(), b, d, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
