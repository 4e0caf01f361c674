package ferry

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
)

// DamagedBlobError says that a bundle, opened as a whole one, has other bytes
// than its lock says when they are read to be sent.
type DamagedBlobError struct {
	Path string
	Blob digest.Digest
	Err  error
}

func (e *DamagedBlobError) Error() string {
	return fmt.Sprintf("%s is damaged, or was changed while it was read: blob %v", e.Path, e.Err)
}

func (e *DamagedBlobError) Unwrap() error { return e.Err }

// verified is a bundle whose readers check what they read, and fail before
// they give out the last byte of what is wrong.
type verified struct{ *bundle.Bundle }

// Open returns the bytes of desc from offset on; those before it are read and
// hashed first, so that the end says something about all of them.
func (v verified) Open(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := v.Bundle.Open(ctx, desc, 0)
	if err != nil {
		return nil, v.damaged(desc, err)
	}
	c := &checking{ReadCloser: r, v: v, desc: desc, hash: desc.Digest.Algorithm().Hash()}
	if _, err := io.CopyN(io.Discard, c, offset); err != nil {
		return nil, errors.Join(v.damaged(desc, err), r.Close())
	}
	return c, nil
}

func (v verified) damaged(desc ocispec.Descriptor, err error) error {
	if d, ok := errors.AsType[*DamagedBlobError](err); ok {
		return d
	}
	return &DamagedBlobError{Path: v.Path(), Blob: desc.Digest, Err: err}
}

// checking hashes what passes through it.
type checking struct {
	io.ReadCloser
	v    verified
	desc ocispec.Descriptor
	hash hash.Hash
	pos  int64
}

func (c *checking) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.hash.Write(p[:n])
	c.pos += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, c.v.damaged(c.desc, err)
	}
	if c.pos > c.desc.Size || errors.Is(err, io.EOF) && c.pos < c.desc.Size {
		return 0, c.v.damaged(c.desc, &content.DigestError{Want: c.desc.Digest, Size: c.desc.Size, Read: c.pos})
	}
	if c.pos == c.desc.Size {
		if got := digest.NewDigest(c.desc.Digest.Algorithm(), c.hash); got != c.desc.Digest {
			return 0, c.v.damaged(c.desc, &content.DigestError{Want: c.desc.Digest, Got: got, Size: c.desc.Size, Read: c.pos})
		}
	}
	return n, err
}
