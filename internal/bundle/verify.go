package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
)

// hashBuffer is how much one hashing goroutine reads at a time.
const hashBuffer = 1 << 20

// VerifyOptions say how to verify. The zero value is right.
type VerifyOptions struct {
	// Jobs is how many blobs are hashed at once; 0 means 4.
	Jobs int
	// Digest, if given, has to be the bundle's digest or the SHA-256 of the
	// whole file.
	Digest digest.Digest
	// Advance hears of bytes and blobs that are hashed.
	Advance func(blobs int, bytes int64)
}

// WrongDigestError says that a bundle is whole, but not the one asked for.
type WrongDigestError struct {
	Path      string
	Want, Got digest.Digest
}

func (e *WrongDigestError) Error() string {
	return fmt.Sprintf("%s is whole, but it is not the bundle asked for: it has digest %s, not %s", e.Path, e.Got, e.Want)
}

// Verify checks every byte of the bundle at path: it hashes each blob, builds
// all that is not a blob anew from the lock and the seal, and compares.
func Verify(ctx context.Context, path string, o VerifyOptions) (*Bundle, error) {
	b, err := scan(path)
	if err != nil {
		return nil, err
	}
	if err := b.verify(ctx, o); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Bundle) verify(ctx context.Context, o VerifyOptions) error {
	if err := b.hashBlobs(ctx, o); err != nil {
		return err
	}
	if err := b.read(); err != nil {
		return err
	}
	if err := b.compare(); err != nil {
		return err
	}
	return b.checkDigest(ctx, o.Digest)
}

// hashBlobs hashes every entry that has a digest for a name.
func (b *Bundle) hashBlobs(ctx context.Context, o VerifyOptions) error {
	jobs := o.Jobs
	if jobs <= 0 {
		jobs = 4
	}
	var mu sync.Mutex
	bad := map[int]error{}
	buffers := sync.Pool{New: func() any { b := make([]byte, hashBuffer); return &b }}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i, p := range b.places {
		d, ok := blobDigest(p.name)
		if !ok {
			continue
		}
		g.Go(func() error {
			buf := buffers.Get().(*[]byte)
			defer buffers.Put(buf)
			err := b.hashBlob(ctx, p, d, *buf, o.Advance)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				mu.Lock()
				bad[i] = err
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return b.firstBad(bad)
}

func (b *Bundle) hashBlob(ctx context.Context, p place, d digest.Digest, buf []byte, advance func(int, int64)) error {
	if err := content.Supported(d); err != nil {
		return err
	}
	h := d.Algorithm().Hash()
	r := io.NewSectionReader(b.file, p.offset, p.size)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		if advance != nil {
			advance(0, int64(n))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if advance != nil {
		advance(1, 0)
	}
	if got := digest.NewDigest(d.Algorithm(), h); got != d {
		return fmt.Errorf("its bytes hash to %s", got)
	}
	return nil
}

// firstBad reports the damaged blob that lies first in the file.
func (b *Bundle) firstBad(bad map[int]error) error {
	for i, p := range b.places {
		if err := bad[i]; err != nil {
			return &DamageError{Path: b.path, Entry: p.name, Offset: p.offset, Detail: err.Error(), More: len(bad) - 1}
		}
	}
	return nil
}

// compare builds the layout that lock and seal demand and holds the file
// against it: names, order, sizes, headers, padding, documents, the end.
func (b *Bundle) compare() error {
	t, err := newTail(b.contents, b.seal, b.evidence)
	if err != nil {
		return b.damage(indexName, err.Error())
	}
	want, err := newLayout(b.contents, t)
	if err != nil {
		return b.damage(indexName, err.Error())
	}
	for i, e := range want.entries {
		if i >= len(b.places) {
			return &DamageError{Path: b.path, Entry: e.name, Offset: e.start(), Detail: "is missing"}
		}
		if err := b.compareEntry(e, b.places[i]); err != nil {
			return err
		}
	}
	if len(b.places) > len(want.entries) {
		p := b.places[len(want.entries)]
		return &DamageError{Path: b.path, Entry: p.name, Offset: p.start, Detail: "is in the file, but the lock does not name it"}
	}
	return b.compareEnd(want.size)
}

func (b *Bundle) compareEntry(e entry, p place) error {
	damage := func(offset int64, detail string) error {
		return &DamageError{Path: b.path, Entry: p.name, Offset: offset, Detail: detail}
	}
	switch {
	case p.name != e.name:
		return damage(p.start, "stands where "+e.name+" should")
	case p.size != e.size:
		return damage(p.start, fmt.Sprintf("has %d bytes instead of %d", p.size, e.size))
	case p.offset != e.offset:
		return damage(p.start, "has headers that ferry does not write")
	}
	parts := []struct {
		at   int64
		want []byte
		what string
	}{
		{e.start(), e.header, "its tar header is not the one that ferry writes"},
		{e.offset, e.body, "its bytes do not follow from the lock and the seal"},
		{e.offset + e.size, make([]byte, padded(e.size)-e.size), "the padding behind it is not zero"},
	}
	for _, part := range parts {
		if at, err := b.differs(part.at, part.want); err != nil || at >= 0 {
			return damage(max(at, 0), part.what)
		}
	}
	return nil
}

func (b *Bundle) compareEnd(size int64) error {
	if b.size != size {
		return &DamageError{Path: b.path, Offset: min(b.size, size), Detail: fmt.Sprintf("the file has %d bytes instead of %d", b.size, size)}
	}
	if at, err := b.differs(size-trailerSize, make([]byte, trailerSize)); err != nil || at >= 0 {
		return &DamageError{Path: b.path, Offset: max(at, 0), Detail: "the end of the tar is not zero"}
	}
	return nil
}

// differs returns the first offset at which the file is not want; -1 if none.
func (b *Bundle) differs(at int64, want []byte) (int64, error) {
	got := make([]byte, len(want))
	if _, err := b.file.ReadAt(got, at); err != nil {
		return at, err
	}
	if bytes.Equal(got, want) {
		return -1, nil
	}
	for i := range got {
		if got[i] != want[i] {
			return at + int64(i), nil
		}
	}
	return -1, nil
}

// checkDigest compares with the digest that someone expects. The bundle's own
// digest costs nothing; the file's SHA-256 is tried when that one differs.
func (b *Bundle) checkDigest(ctx context.Context, want digest.Digest) error {
	if want == "" || want == b.Digest() {
		return nil
	}
	h := sha256.New()
	r := &ctxReader{ctx: ctx, r: io.NewSectionReader(b.file, 0, b.size)}
	if _, err := io.CopyBuffer(h, r, make([]byte, hashBuffer)); err != nil {
		return err
	}
	if want == digest.NewDigest(digest.SHA256, h) {
		return nil
	}
	return &WrongDigestError{Path: b.path, Want: want, Got: b.Digest()}
}

// ctxReader ends a long read when ctx does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
