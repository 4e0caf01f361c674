// Package content holds the ports that places of content speak through, and
// the little that every place needs to know of descriptors: digests that are
// checked while bytes flow, the children a manifest names, platforms.
//
// It is not for any one place: registries, bundles and archives live in
// packages of their own and implement these ports.
package content

import (
	"context"
	_ "crypto/sha256" // the algorithms that Supported promises
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxManifest is the largest manifest or index that ferry reads, in bytes: the
// size that the distribution spec asks every registry to accept.
const MaxManifest = 4 << 20

// MaxConfig is the largest image config that ferry reads into memory.
const MaxConfig = 8 << 20

// ErrNotFound says that a place does not hold what it was asked for.
var ErrNotFound = errors.New("not found")

// Source opens content.
type Source interface {
	// Open returns the bytes of desc from offset to its end. The bytes are
	// whatever the place holds: the caller checks them against the digest.
	Open(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error)
}

// Sink takes content in.
type Sink interface {
	// Ingest opens the place that desc has in the sink. At most one Ingest
	// for a digest is open at a time.
	Ingest(ctx context.Context, desc ocispec.Descriptor) (Ingest, error)
}

// Ingest is the place of one blob in a sink while it is being written.
type Ingest interface {
	// Write appends.
	io.Writer
	// Prefix reads back the bytes that are already there, as an earlier,
	// interrupted run left them. They count only once they are hashed.
	Prefix() (io.Reader, int64)
	// Reset forgets all that was written, to start over.
	Reset() error
	// Commit says that the bytes are complete and their digest was checked.
	Commit() error
	// Close gives the place up; without Commit what was written stays as a
	// prefix for the next run, where the sink can keep it.
	Close() error
}

// DigestError says that bytes are not the ones their descriptor names.
type DigestError struct {
	Want digest.Digest
	Got  digest.Digest // empty when the size alone was wrong
	Size int64         // bytes that should have come
	Read int64         // bytes that came
}

func (e *DigestError) Error() string {
	if e.Read != e.Size {
		return fmt.Sprintf("%s: wrong size: %d bytes instead of %d", e.Want, e.Read, e.Size)
	}
	return fmt.Sprintf("%s: wrong digest: the bytes hash to %s", e.Want, e.Got)
}

// TooLargeError says that something from outside is beyond a stated limit.
type TooLargeError struct {
	What  string
	Size  int64
	Limit int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s is %d bytes; ferry reads at most %d", e.What, e.Size, e.Limit)
}

// Supported says whether ferry can check digests of d's algorithm.
func Supported(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", string(d), err)
	}
	if a := d.Algorithm(); a != digest.SHA256 && a != digest.SHA512 {
		return fmt.Errorf("digest %q: %w", string(d), digest.ErrDigestUnsupported)
	}
	return nil
}

// ReadAll reads desc from src into memory, checked, if it is within limit.
func ReadAll(ctx context.Context, src Source, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if err := Supported(desc.Digest); err != nil {
		return nil, err
	}
	if desc.Size > limit || desc.Size < 0 {
		return nil, &TooLargeError{What: desc.Digest.String(), Size: desc.Size, Limit: limit}
	}
	r, err := src.Open(ctx, desc, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// One byte more than promised is enough to see that more would come.
	b, err := io.ReadAll(io.LimitReader(r, desc.Size+1))
	if err != nil {
		return nil, err
	}
	return b, Check(desc, b)
}

// Check says whether b is what desc names.
func Check(desc ocispec.Descriptor, b []byte) error {
	if int64(len(b)) != desc.Size {
		return &DigestError{Want: desc.Digest, Size: desc.Size, Read: int64(len(b))}
	}
	if got := desc.Digest.Algorithm().FromBytes(b); got != desc.Digest {
		return &DigestError{Want: desc.Digest, Got: got, Size: desc.Size, Read: desc.Size}
	}
	return nil
}

// Referrer is a manifest that speaks about another: a signature, an SBOM.
type Referrer struct {
	Desc ocispec.Descriptor
	// Tag is where it is found by a tag of cosign's, and not by its subject.
	Tag string
}
