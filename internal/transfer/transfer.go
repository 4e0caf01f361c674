// Package transfer moves content between places: in parallel, each blob once,
// hashed while it flows, gone on with where it was interrupted, and with
// errors that say which side failed.
//
// What is moved and in which order is decided elsewhere.
package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
	"ferry/internal/progress"
)

// bufferSize is how much of a stream is read at a time, at most. Measured:
// smaller ones cost the kernel more calls, larger ones its cache.
const bufferSize = 2 << 20

// Origin is a source with a name that people know it by.
type Origin struct {
	Name   string
	Source content.Source
	// Near says that the bytes are here already, so that taking them counts
	// as reused and not as fetched.
	Near bool
}

// Job is one blob and the places that may have it, the best one first.
type Job struct {
	Desc ocispec.Descriptor
	From []Origin
}

// Options say how to copy. The zero value is right.
type Options struct {
	// Jobs is how many blobs move at once; 0 means 4.
	Jobs int
	// Tries is how often one blob is begun or gone on with, when its stream
	// breaks without having moved; 0 means 6.
	Tries int
	// Stall is for how long a stream may bring next to nothing before it is
	// given up and asked for again; 0 means 30 s.
	Stall time.Duration
	// Wait waits between tries; nil waits by the clock.
	Wait func(ctx context.Context, d time.Duration) error
	// Progress hears of bytes, blobs and retries.
	Progress progress.Func
}

// Stats say what a copy did, in bytes.
type Stats struct {
	Fetched int64 // that came from afar
	Reused  int64 // that were here already: a prefix, an earlier bundle
}

// Error says which blob did not arrive, and which side is to blame.
type Error struct {
	Desc ocispec.Descriptor
	Side string // "source" or "destination"
	Name string // of the place, where known
	Err  error
}

func (e *Error) Error() string {
	at := e.Side
	if e.Name != "" {
		at += " " + e.Name
	}
	return fmt.Sprintf("blob %s: %s: %v", e.Desc.Digest, at, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Copy does all jobs and returns an error for each blob that did not arrive.
// One blob that fails does not keep the others from arriving; err is only for
// what ends everything: the context, or the sink.
func Copy(ctx context.Context, jobs []Job, to content.Sink, o Options) (Stats, map[digest.Digest]error, error) {
	c := &copier{to: to, o: o.withDefaults(), failed: map[digest.Digest]error{}}
	c.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	// The largest first: else one of them would run alone at the end.
	jobs = slices.Clone(jobs)
	slices.SortStableFunc(jobs, func(a, b Job) int { return cmp.Compare(b.Desc.Size, a.Desc.Size) })
	g, working := errgroup.WithContext(ctx)
	g.SetLimit(c.o.Jobs)
	for _, j := range jobs {
		if working.Err() != nil {
			break
		}
		g.Go(func() error { return c.job(working, j) })
	}
	err := g.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return Stats{Fetched: c.fetched.Load(), Reused: c.reused.Load()}, c.failed, err
}

func (o Options) withDefaults() Options {
	o.Jobs = cmp.Or(o.Jobs, 4)
	o.Tries = cmp.Or(o.Tries, 6)
	o.Stall = cmp.Or(o.Stall, 30*time.Second)
	if o.Wait == nil {
		o.Wait = wait
	}
	return o
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

type copier struct {
	to      content.Sink
	o       Options
	buffers sync.Pool

	fetched, reused atomic.Int64

	mu     sync.Mutex
	failed map[digest.Digest]error
}

// job copies one blob. Its own failure is noted; the sink's and the
// context's end everything.
func (c *copier) job(ctx context.Context, j Job) error {
	from, err := c.blob(ctx, j)
	var e *Error
	switch {
	case err == nil:
		c.o.Progress.Emit(progress.Advance{Items: 1})
		c.o.Progress.Emit(progress.Note{Text: fmt.Sprintf("%s  %d bytes from %s", j.Desc.Digest, j.Desc.Size, from)})
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &e) && e.Side == "source":
		c.mu.Lock()
		c.failed[j.Desc.Digest] = err
		c.mu.Unlock()
		return nil
	}
	return err
}

func (c *copier) blob(ctx context.Context, j Job) (from string, err error) {
	if err := content.Supported(j.Desc.Digest); err != nil {
		return "", &Error{Desc: j.Desc, Side: "source", Err: err}
	}
	in, err := c.to.Ingest(ctx, j.Desc)
	if err != nil {
		return "", &Error{Desc: j.Desc, Side: "destination", Err: err}
	}
	b := &blob{copier: c, job: j, in: in}
	err = b.run(ctx)
	if cerr := in.Close(); err == nil && cerr != nil {
		err = &Error{Desc: j.Desc, Side: "destination", Err: cerr}
	}
	return b.came, err
}

// blob is one blob on its way.
type blob struct {
	*copier
	job  Job
	in   content.Ingest
	hash hash.Hash
	pos  int64  // bytes that are in and hashed
	came string // the place that the last bytes are from
}

// sinkError marks what the destination refused.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

func (b *blob) run(ctx context.Context) error {
	if err := b.prefix(); err != nil {
		return b.destination(err)
	}
	if b.pos == b.job.Desc.Size && b.check() == nil {
		b.came = "an interrupted run"
		return b.commit()
	}
	var first error
	for _, o := range b.job.From {
		b.came = o.Name
		err := b.from(ctx, o)
		var se sinkError
		switch {
		case err == nil:
			return b.commit()
		case errors.As(err, &se):
			return b.destination(se.error)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		// A place that is only a short cut is not to blame: the last one is.
		if first == nil || !o.Near {
			first = &Error{Desc: b.job.Desc, Side: "source", Name: o.Name, Err: err}
		}
	}
	if first == nil {
		first = &Error{Desc: b.job.Desc, Side: "source", Err: content.ErrNotFound}
	}
	return first
}

func (b *blob) destination(err error) error {
	return &Error{Desc: b.job.Desc, Side: "destination", Err: err}
}

func (b *blob) commit() error {
	if err := b.in.Commit(); err != nil {
		return b.destination(err)
	}
	return nil
}

// prefix hashes what an earlier run left. Bytes count only from here on.
func (b *blob) prefix() error {
	b.hash = b.job.Desc.Digest.Algorithm().Hash()
	r, n := b.in.Prefix()
	if n == 0 {
		return nil
	}
	buf := b.buffers.Get().(*[]byte)
	defer b.buffers.Put(buf)
	got, err := io.CopyBuffer(b.hash, r, *buf)
	if err == nil && got != n {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return b.reset()
	}
	b.pos = n
	b.reused.Add(n)
	b.o.Progress.Emit(progress.Advance{Bytes: n})
	if n == b.job.Desc.Size && b.check() != nil {
		return b.reset()
	}
	return nil
}

func (b *blob) reset() error {
	b.o.Progress.Emit(progress.Advance{Bytes: -b.pos})
	b.hash.Reset()
	b.pos = 0
	return b.in.Reset()
}

func (b *blob) check() error {
	d := b.job.Desc
	if b.pos != d.Size {
		return &content.DigestError{Want: d.Digest, Size: d.Size, Read: b.pos}
	}
	if got := digest.NewDigest(d.Digest.Algorithm(), b.hash); got != d.Digest {
		return &content.DigestError{Want: d.Digest, Got: got, Size: d.Size, Read: b.pos}
	}
	return nil
}

// from brings the rest of the blob from one place, with retries; wrong bytes
// are given one more chance from the first byte, since a place that was
// interrupted may have mixed two answers.
func (b *blob) from(ctx context.Context, o Origin) error {
	for again := true; ; again = false {
		err := b.stream(ctx, o)
		var wrong *content.DigestError
		if err == nil {
			err = b.check()
		}
		if err == nil || !errors.As(err, &wrong) {
			return err
		}
		if rerr := b.reset(); rerr != nil {
			return sinkError{rerr}
		}
		if !again || o.Near {
			return err
		}
		b.o.Progress.Emit(progress.Retry{What: o.Name, Err: err})
	}
}

// stream goes on from b.pos until all bytes are in. A stream that breaks is
// asked for again from where it broke.
func (b *blob) stream(ctx context.Context, o Origin) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 250 * time.Millisecond
	pause.MaxInterval = 10 * time.Second
	for tries := 0; b.pos < b.job.Desc.Size; {
		before := b.pos
		err := b.read(ctx, o)
		var broken brokenError
		if err == nil || !errors.As(err, &broken) {
			return err
		}
		if b.pos-before > 1<<20 {
			tries = 0
			pause.Reset()
		}
		if tries++; tries >= b.o.Tries {
			return fmt.Errorf("gave up after %d tries: %w", tries, broken.error)
		}
		d := pause.NextBackOff()
		b.o.Progress.Emit(progress.Retry{What: o.Name, Err: broken.error, After: d})
		if err := b.o.Wait(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// brokenError marks a stream that began well and then broke.
type brokenError struct{ error }

func (e brokenError) Unwrap() error { return e.error }

func (b *blob) read(ctx context.Context, o Origin) error {
	r, err := o.Source.Open(ctx, b.job.Desc, b.pos)
	if err != nil {
		return err
	}
	g := guard(r, b.o.Stall)
	defer g.Close()
	buf := b.buffers.Get().(*[]byte)
	defer b.buffers.Put(buf)
	for {
		n, err := g.Read(*buf)
		if n > 0 {
			if werr := b.take(o, (*buf)[:n]); werr != nil {
				return werr
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if b.pos < b.job.Desc.Size {
				return brokenError{io.ErrUnexpectedEOF}
			}
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return brokenError{err}
		}
	}
}

func (b *blob) take(o Origin, p []byte) error {
	if b.pos+int64(len(p)) > b.job.Desc.Size {
		return &content.DigestError{Want: b.job.Desc.Digest, Size: b.job.Desc.Size, Read: b.pos + int64(len(p))}
	}
	if _, err := b.in.Write(p); err != nil {
		return sinkError{err}
	}
	b.hash.Write(p)
	b.pos += int64(len(p))
	if o.Near {
		b.reused.Add(int64(len(p)))
	} else {
		b.fetched.Add(int64(len(p)))
	}
	b.o.Progress.Emit(progress.Advance{Bytes: int64(len(p))})
	return nil
}
