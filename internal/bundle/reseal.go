package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// resealSuffix is what a bundle is called while it gets another tail.
const resealSuffix = ".resealed"

// stream copies the bytes of an entry from its source, hashed as they pass.
func stream(f *os.File, e entry) error {
	r, err := e.source.Open(context.Background(), ocispec.Descriptor{Digest: e.digest, Size: e.size}, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	h := e.digest.Algorithm().Hash()
	// One byte more than promised is enough to see that more would come.
	n, err := io.Copy(io.NewOffsetWriter(f, e.offset), io.TeeReader(io.LimitReader(r, e.size), h))
	if err != nil {
		return err
	}
	if more, _ := io.CopyN(io.Discard, r, 1); n != e.size || more > 0 {
		return &content.DigestError{Want: e.digest, Size: e.size, Read: n + more}
	}
	if got := digest.NewDigest(e.digest.Algorithm(), h); got != e.digest {
		return &content.DigestError{Want: e.digest, Got: got, Size: e.size, Read: n}
	}
	return nil
}

// Reseal gives the bundle at path another seal, with the evidence that it
// names, whose bytes are read from src. The content stays as it is, byte for
// byte. The new file is written beside and takes the name at once, so that
// whatever happens there stands either the old bundle or the new one.
// It returns the new digest and size.
func Reseal(ctx context.Context, path string, s Seal, src content.Source) (digest.Digest, int64, error) {
	j, err := openJournal(path + journalSuffix)
	if err != nil {
		return "", 0, err
	}
	// The journal of an interrupted pack is not ours to take away.
	info, err := os.Stat(j.path)
	empty := err == nil && info.Size() == 0
	l, err := reseal(ctx, path, s, src)
	err = errors.Join(err, j.close(empty))
	if err != nil {
		return "", 0, fmt.Errorf("seal %s anew: %w", path, err)
	}
	return digest.FromBytes(l.index), l.size, nil
}

func reseal(ctx context.Context, path string, s Seal, src content.Source) (*layout, error) {
	b, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	l, err := lay(ctx, b.contents, s, src)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path+resealSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	err = l.rewrite(ctx, f, b.file)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close(), b.file.Close())
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return l, syncDir(filepath.Dir(path))
}

// copyStep is how much is copied before it is asked whether to go on.
const copyStep = 64 << 20

// rewrite writes l to f, with the content that from has.
func (l *layout) rewrite(ctx context.Context, f, from *os.File) error {
	if err := reserve(f, l.size); err != nil {
		return &SpaceError{Path: f.Name(), Need: l.size, Err: err}
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for at := int64(0); at < l.contentEnd; at += copyStep {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Between two files the kernel copies, or lets them share the blocks.
		if _, err := io.CopyN(f, from, min(copyStep, l.contentEnd-at)); err != nil {
			return err
		}
	}
	for _, e := range l.entries {
		if e.start() < l.contentEnd {
			continue
		}
		if err := frame(f, e); err != nil {
			return fmt.Errorf("write %s: %w", e.name, err)
		}
	}
	return end(f, l.size)
}
