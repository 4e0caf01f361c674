// Package ferry holds the verbs: what ferry does for a person, one file each.
// A verb takes a request, gathers facts, decides in a pure function, acts, and
// returns a result. It prints nothing and knows no flags.
package ferry

import (
	"context"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/progress"
	"ferry/internal/ref"
)

// Repository is a repository of a registry, as far as pack needs it.
type Repository interface {
	content.Source
	// Fetch returns the manifest or index under a tag or digest, checked.
	Fetch(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error)
	// Referrers returns what speaks about subject.
	Referrers(ctx context.Context, subject ocispec.Descriptor) ([]content.Referrer, error)
}

// Engine is a container engine on this machine.
type Engine interface {
	// Save writes the named images as a docker-archive.
	Save(ctx context.Context, names []string, w io.Writer) error
	// Claim returns the digest that the engine says a name had upstream; ""
	// where it says none.
	Claim(ctx context.Context, name string) (digest.Digest, error)
}

// World is what the verbs need of the world outside. The command line fills
// it with the real thing; tests with what they need.
type World struct {
	Repository func(ref.Name) (Repository, error)
	// Engine is the engine behind a transport: docker-daemon or
	// containers-storage.
	Engine   func(ref.Transport) Engine
	Now      func() time.Time
	Progress progress.Func
}
