package ferry

// What runtimes are loaded from: a bundle whose blobs are hashed once.

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
)

// proving is a bundle for several runtimes at once. Each blob is hashed once,
// beside its readers, however many they are and however slow; none of them
// gives out its last bytes before the blob has been found whole. A file that is
// changed between the hashing and a reader is the receiver's to find: every
// runtime checks what it takes in by digest.
type proving struct {
	verified

	ctx    context.Context //nolint:containedctx // of the one load that it is made for
	cancel context.CancelFunc
	hashes sync.WaitGroup

	mu     sync.Mutex
	proofs map[digest.Digest]*proof
}

// proof is what became of hashing a blob, once it is done.
type proof struct {
	done chan struct{}
	err  error
}

func newProving(ctx context.Context, b *bundle.Bundle) *proving {
	p := &proving{verified: verified{b}, proofs: map[digest.Digest]*proof{}}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// Close ends the hashing, and returns when the bundle is not read any more.
func (p *proving) Close() {
	p.cancel()
	p.hashes.Wait()
}

// Open returns the bytes of desc from offset on.
func (p *proving) Open(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := p.Bundle.Open(ctx, desc, offset)
	if err != nil {
		return nil, p.damaged(desc, err)
	}
	return &awaiting{ReadCloser: r, ctx: ctx, left: desc.Size - offset, v: p.verified, desc: desc, proof: p.prove(desc)}, nil
}

// prove begins to hash desc, the first time.
func (p *proving) prove(desc ocispec.Descriptor) *proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.proofs[desc.Digest]; w != nil {
		return w
	}
	w := &proof{done: make(chan struct{})}
	p.proofs[desc.Digest] = w
	p.hashes.Go(func() {
		defer close(w.done)
		w.err = p.hash(desc)
	})
	return w
}

func (p *proving) hash(desc ocispec.Descriptor) error {
	r, err := p.verified.Open(p.ctx, desc, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for buf := make([]byte, 256<<10); ; {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if _, err := r.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// awaiting is a reader that keeps its last bytes until its blob is proven.
type awaiting struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // of the one copy that this reader is made for
	left  int64
	v     verified
	desc  ocispec.Descriptor
	proof *proof
}

func (a *awaiting) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, a.v.damaged(a.desc, err)
	}
	if a.left -= int64(n); a.left > 0 && err == nil {
		return n, nil
	}
	if werr := wait(a.ctx, a.proof.done); werr != nil {
		return 0, werr
	}
	if a.proof.err != nil {
		return 0, a.proof.err
	}
	return n, err
}
