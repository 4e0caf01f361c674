package diagnose

import (
	"slices"

	"ferry/internal/ref"
)

// NodeNames are the names under which a node lists image, if it does: with
// its tag, with its digest, and, where somebody stored it so, as it is
// written. An image that is no name has none.
func NodeNames(image string) []string {
	n, err := ref.Parse(image)
	if err != nil {
		return nil
	}
	var all []string
	if n.Tag() != "" {
		all = append(all, n.Repository()+":"+n.Tag())
	}
	if n.Digest() != "" {
		all = append(all, n.WithDigest(n.Digest()))
	}
	if !slices.Contains(all, image) {
		all = append(all, image)
	}
	return all
}
