package scanner

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/scan"
)

// LimitError says that something is larger than what is looked into.
type LimitError struct {
	What  string
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: the limit is %d, and what is beyond it is not looked into", e.What, e.Limit)
}

// layers are the unpacked layers of a bundle. Each is unpacked once, however
// many images have it, and goes when the last of them is done.
type layers struct {
	source *bundle.Bundle
	dir    string
	limits scan.Limits

	mu  sync.Mutex
	all map[digest.Digest]*unpacked
}

// unpacked is one of them.
type unpacked struct {
	once  sync.Once
	users int
	path  string
	diff  digest.Digest // of the tar
	files int           // entries of it
	err   error
}

// newLayers counts which layers the images need.
func newLayers(b *bundle.Bundle, dir string, l scan.Limits, images []*listing) *layers {
	all := &layers{source: b, dir: dir, limits: l, all: map[digest.Digest]*unpacked{}}
	for _, img := range images {
		for _, d := range img.layers() {
			if all.all[d] == nil {
				all.all[d] = &unpacked{}
			}
			all.all[d].users++
		}
	}
	return all
}

// get unpacks a layer, if that was not done yet.
func (l *layers) get(ctx context.Context, d ocispec.Descriptor) (*unpacked, error) {
	l.mu.Lock()
	u := l.all[d.Digest]
	l.mu.Unlock()
	u.once.Do(func() {
		u.path = filepath.Join(l.dir, d.Digest.Algorithm().String()+"-"+d.Digest.Encoded())
		u.err = l.unpack(ctx, d, u)
	})
	return u, u.err
}

// done says that an image needs its layers no more.
func (l *layers) done(of []digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range of {
		u := l.all[d]
		if u.users--; u.users == 0 && u.path != "" {
			_ = os.Remove(u.path)
		}
	}
}

// unpack reads a layer once from end to end, checks its digest and its limits
// on the way, and writes down what it unpacks to. A tiny layer may expand
// without end.
func (l *layers) unpack(ctx context.Context, d ocispec.Descriptor, u *unpacked) (err error) {
	r, err := l.source.Open(ctx, d, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.OpenFile(u.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(u.path)
		}
	}()
	h, diff := d.Digest.Algorithm().Hash(), digest.SHA256.Digester()
	raw := &counting{r: io.TeeReader(interruptible{ctx, r}, h)}
	plain, closePlain, err := decompress(bufio.NewReaderSize(raw, 1<<20))
	if err != nil {
		return err
	}
	defer closePlain()
	w := bufio.NewWriterSize(io.MultiWriter(f, diff.Hash()), 1<<20)
	if u.files, err = l.walk(io.TeeReader(plain, w)); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	// What stands behind the compressed tar counts for the digest too.
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return err
	}
	if got := digest.NewDigest(d.Digest.Algorithm(), h); got != d.Digest {
		return &content.DigestError{Want: d.Digest, Size: d.Size, Read: raw.n}
	}
	u.diff = diff.Digest()
	return nil
}

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// walk reads a tar to its end, and counts. What it reads and what its headers
// promise may both be no larger than the limit: holes of sparse files are
// bytes too, for whoever reads such a file.
func (l *layers) walk(plain io.Reader) (files int, err error) {
	in := &bounded{r: plain, left: l.limits.Unpacked, limit: l.limits.Unpacked}
	tr, promised := tar.NewReader(in), int64(0)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if limit, ok := errors.AsType[*LimitError](err); ok {
			return files, limit
		}
		if isFull(err) {
			return files, err
		}
		if err != nil {
			return files, fmt.Errorf("it is no whole tar: %w", err)
		}
		if files++; files > l.limits.Files {
			return files, &LimitError{What: "files in one image", Limit: int64(l.limits.Files)}
		}
		if promised += h.Size; promised > l.limits.Unpacked || promised < 0 {
			return files, in.over()
		}
	}
	_, err = io.Copy(io.Discard, in)
	return files, err
}

// bounded fails when more comes than may.
type bounded struct {
	r           io.Reader
	left, limit int64
}

func (b *bounded) over() error {
	return &LimitError{What: "bytes in one layer, unpacked", Limit: b.limit}
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, b.over()
	}
	return n, err
}

// decompress looks at the first bytes: media types are not to be relied on.
// What some runtimes unpack and others take as it lies is neither: it could be
// one image here and another there.
func decompress(r *bufio.Reader) (io.Reader, func(), error) {
	head, err := r.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch packed := content.Packed(head); packed {
	case "":
		return r, func() {}, nil
	case "gzip":
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	case "zstd":
		if !bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")) {
			return nil, nil, errors.New("it begins with a zstd frame that is skipped: some runtimes unpack it and some do not, so it is not looked into")
		}
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	default:
		return nil, nil, fmt.Errorf("it begins as %s does: some runtimes unpack that and some do not, so it is not looked into", packed)
	}
}
