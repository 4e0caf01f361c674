package cli_test

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
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
