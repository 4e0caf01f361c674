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

// Target is a repository that images are pushed to.
type Target interface {
	// Lookup says what stands under a tag or digest, with one request.
	Lookup(ctx context.Context, reference string) (ocispec.Descriptor, error)
	HasBlob(ctx context.Context, desc ocispec.Descriptor) (bool, error)
	// PushBlob uploads a blob, or has the registry take it from another of
	// its repositories, if from names one and the registry agrees. src checks
	// the bytes: where its reader fails, nothing is committed.
	PushBlob(ctx context.Context, desc ocispec.Descriptor, src content.Source, from string, advance func(int64)) (mounted bool, err error)
	// PushManifest puts a manifest or index under a tag or its digest.
	PushManifest(ctx context.Context, desc ocispec.Descriptor, b []byte, reference string) error
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
	// Target is a repository to push to; push needs it.
	Target func(ref.Name) (Target, error)
	// Engine is the engine behind a transport: docker-daemon or
	// containers-storage.
	Engine func(ref.Transport) Engine
	// Runtimes are what a target of load leads to: one, or the nodes of a
	// cluster.
	Runtimes func(ctx context.Context, target string) ([]NamedRuntime, error)
	// CacheDir is ferry's own folder for what may be made again.
	CacheDir string
	// CacheLimit is how many bytes the bundles in it may weigh together; 0 is
	// 20 GB.
	CacheLimit int64
	// Given is what commands typed instead of ferry need too.
	Given    Given
	Now      func() time.Time
	Progress progress.Func
	// ScannerVersion names the scanner's code; "" where nothing does, and then
	// nothing that it found is kept for the next scan.
	ScannerVersion string
	// Scanner is asked where there is a gate; nil where there is none.
	Scanner Scanner
	// Databases makes vulnerability databases ready; Fetcher fetches them.
	Databases Databases
	Fetcher   Fetcher
}
