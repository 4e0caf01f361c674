package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/progress"
	"ferry/internal/transfer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink keeps what it is given in memory.
type sink struct {
	mu     sync.Mutex
	prefix map[digest.Digest][]byte
	done   map[digest.Digest][]byte
	full   error // returned by writes
}

func newSink() *sink {
	return &sink{prefix: map[digest.Digest][]byte{}, done: map[digest.Digest][]byte{}}
}

func (s *sink) Ingest(_ context.Context, d ocispec.Descriptor) (content.Ingest, error) {
	return &ingest{sink: s, desc: d, buf: bytes.Clone(s.prefix[d.Digest])}, nil
}

type ingest struct {
	sink *sink
	desc ocispec.Descriptor
	buf  []byte
}

func (i *ingest) Write(p []byte) (int, error) {
	if i.sink.full != nil {
		return 0, i.sink.full
	}
	i.buf = append(i.buf, p...)
	return len(p), nil
}
func (i *ingest) Prefix() (io.Reader, int64) { return bytes.NewReader(i.buf), int64(len(i.buf)) }
func (i *ingest) Reset() error               { i.buf = nil; return nil }
func (i *ingest) Close() error               { return nil }
func (i *ingest) Commit() error {
	i.sink.mu.Lock()
	defer i.sink.mu.Unlock()
	i.sink.done[i.desc.Digest] = i.buf
	return nil
}

// source is a place whose streams misbehave as a test wants.
type source struct {
	*contenttest.Store
	mu     sync.Mutex
	opened []int64 // offsets
	reader func(try int, r io.ReadCloser) io.ReadCloser
}

func (s *source) Open(ctx context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	s.mu.Lock()
	try := len(s.opened)
	s.opened = append(s.opened, offset)
	s.mu.Unlock()
	r, err := s.Store.Open(ctx, d, offset)
	if err != nil || s.reader == nil {
		return r, err
	}
	return s.reader(try, r), nil
}

// short breaks after n bytes.
type short struct {
	io.ReadCloser
	n   int
	err error
}

func (s *short) Read(p []byte) (int, error) {
	if s.n <= 0 {
		return 0, s.err
	}
	n, err := s.ReadCloser.Read(p[:min(len(p), s.n)])
	s.n -= n
	return n, err
}

func setup(size int) (*source, ocispec.Descriptor, []byte) {
	body := contenttest.Random(4, size)
	s := contenttest.NewStore()
	return &source{Store: s}, s.Add("application/octet-stream", body), body
}

func noWait(context.Context, time.Duration) error { return nil }

func copyOne(t *testing.T, s content.Source, d ocispec.Descriptor, to content.Sink, o transfer.Options) (transfer.Stats, error, error) {
	t.Helper()
	if o.Wait == nil {
		o.Wait = noWait
	}
	stats, failed, err := transfer.Copy(t.Context(), []transfer.Job{{Desc: d, From: []transfer.Origin{{Name: "upstream", Source: s}}}}, to, o)
	return stats, failed[d.Digest], err
}

func TestBrokenStreamGoesOnWhereItBroke(t *testing.T) {
	s, d, body := setup(100_000)
	s.reader = func(try int, r io.ReadCloser) io.ReadCloser {
		if try < 2 {
			return &short{ReadCloser: r, n: 30_000, err: errors.New("connection reset")}
		}
		return r
	}
	to := newSink()
	var retries int
	o := transfer.Options{Progress: func(e progress.Event) {
		if _, ok := e.(progress.Retry); ok {
			retries++
		}
	}}
	stats, failed, err := copyOne(t, s, d, to, o)
	if failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	if !bytes.Equal(to.done[d.Digest], body) {
		t.Error("wrong bytes arrived")
	}
	if stats.Fetched != int64(len(body)) || retries != 2 {
		t.Errorf("fetched %d bytes of %d with %d retries: some came twice", stats.Fetched, len(body), retries)
	}
	if want := []int64{0, 30_000, 60_000}; len(s.opened) != 3 || s.opened[1] != want[1] || s.opened[2] != want[2] {
		t.Errorf("opened at %v, want %v", s.opened, want)
	}
}

func TestGivesUpOnAStreamThatNeverMoves(t *testing.T) {
	s, d, _ := setup(100_000)
	s.reader = func(_ int, r io.ReadCloser) io.ReadCloser {
		return &short{ReadCloser: r, err: errors.New("connection reset")}
	}
	_, failed, err := copyOne(t, s, d, newSink(), transfer.Options{Tries: 3})
	var e *transfer.Error
	if err != nil || !errors.As(failed, &e) || e.Side != "source" || e.Name != "upstream" {
		t.Fatalf("got %v, %v", failed, err)
	}
	if len(s.opened) != 3 {
		t.Errorf("tried %d times, want 3", len(s.opened))
	}
}

func TestWrongBytesNeverArrive(t *testing.T) {
	s, d, body := setup(100_000)
	wrong := bytes.Clone(body)
	wrong[500] ^= 1
	s.Replace(d.Digest, wrong)
	to := newSink()
	_, failed, err := copyOne(t, s, d, to, transfer.Options{})
	var de *content.DigestError
	if err != nil || !errors.As(failed, &de) || de.Want != d.Digest {
		t.Fatalf("got %v, %v; want a DigestError", failed, err)
	}
	if len(to.done) != 0 {
		t.Error("wrong bytes were committed")
	}
	if len(s.opened) != 2 {
		t.Errorf("asked %d times, want once more than once", len(s.opened))
	}
}

func TestMoreBytesThanTheManifestSays(t *testing.T) {
	s, d, body := setup(1000)
	s.Replace(d.Digest, append(bytes.Clone(body), 'x'))
	to := newSink()
	_, failed, _ := copyOne(t, s, d, to, transfer.Options{})
	if failed == nil || len(to.done) != 0 {
		t.Errorf("a blob that is too long arrived: %v", failed)
	}
}

func TestPrefixIsHashedNotTrusted(t *testing.T) {
	s, d, body := setup(100_000)
	for name, prefix := range map[string][]byte{
		"a right part":  body[:40_000],
		"a wrong part":  append([]byte("wrong"), body[5:40_000]...),
		"the whole":     body,
		"a wrong whole": append([]byte("wrong"), body[5:]...),
	} {
		t.Run(name, func(t *testing.T) {
			to := newSink()
			to.prefix[d.Digest] = prefix
			if _, failed, err := copyOne(t, s, d, to, transfer.Options{}); failed != nil || err != nil {
				t.Fatal(failed, err)
			}
			if !bytes.Equal(to.done[d.Digest], body) {
				t.Error("wrong bytes were committed")
			}
		})
	}
}

func TestNearPlaceWithWrongBytesIsPassedOver(t *testing.T) {
	s, d, body := setup(10_000)
	near := contenttest.NewStore()
	near.Replace(d.Digest, append([]byte("wrong"), body[5:]...))
	to := newSink()
	job := transfer.Job{Desc: d, From: []transfer.Origin{{Name: "base", Source: near, Near: true}, {Name: "upstream", Source: s}}}
	_, failed, err := transfer.Copy(t.Context(), []transfer.Job{job}, to, transfer.Options{Wait: noWait})
	if err != nil || len(failed) > 0 || !bytes.Equal(to.done[d.Digest], body) {
		t.Fatal(failed, err)
	}
}

// drip brings a byte now and then: a connection that only looks alive.
type drip struct {
	io.ReadCloser
	closed chan struct{}
	once   sync.Once
}

func (d *drip) Read(p []byte) (int, error) {
	select {
	case <-d.closed:
		return 0, errors.New("closed")
	case <-time.After(5 * time.Millisecond):
		return d.ReadCloser.Read(p[:1])
	}
}

func (d *drip) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.ReadCloser.Close()
}

func TestSlowDripIsCutAndAskedAgain(t *testing.T) {
	s, d, body := setup(100_000)
	s.reader = func(try int, r io.ReadCloser) io.ReadCloser {
		if try == 0 {
			return &drip{ReadCloser: r, closed: make(chan struct{})}
		}
		return r
	}
	to := newSink()
	_, failed, err := copyOne(t, s, d, to, transfer.Options{Stall: 100 * time.Millisecond})
	if failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	if !bytes.Equal(to.done[d.Digest], body) || len(s.opened) != 2 || s.opened[1] == 0 {
		t.Errorf("opened at %v; want a second time, behind what had come", s.opened)
	}
}

func TestSinkThatFailsEndsAll(t *testing.T) {
	s, d, _ := setup(10_000)
	to := newSink()
	to.full = errors.New("no space left on device")
	_, _, err := copyOne(t, s, d, to, transfer.Options{})
	var e *transfer.Error
	if !errors.As(err, &e) || e.Side != "destination" || !errors.Is(err, to.full) {
		t.Errorf("got %v, want the destination's error", err)
	}
}

func TestOneBadBlobDoesNotStopTheOthers(t *testing.T) {
	store := contenttest.NewStore()
	var jobs []transfer.Job
	for i := range 20 {
		d := store.Add("application/octet-stream", contenttest.Random(uint64(i), 1000))
		jobs = append(jobs, transfer.Job{Desc: d, From: []transfer.Origin{{Name: "upstream", Source: store}}})
	}
	store.Delete(jobs[3].Desc.Digest)
	to := newSink()
	_, failed, err := transfer.Copy(t.Context(), jobs, to, transfer.Options{Wait: noWait})
	if err != nil || len(failed) != 1 || len(to.done) != 19 || !errors.Is(failed[jobs[3].Desc.Digest], content.ErrNotFound) {
		t.Errorf("%d arrived, failed: %v, %v", len(to.done), failed, err)
	}
}

func TestCancelEndsSoon(t *testing.T) {
	s, d, _ := setup(10_000)
	s.reader = func(_ int, r io.ReadCloser) io.ReadCloser {
		return &short{ReadCloser: r, err: errors.New("reset")}
	}
	ctx, cancel := context.WithCancel(t.Context())
	o := transfer.Options{Wait: func(ctx context.Context, _ time.Duration) error {
		cancel()
		return ctx.Err()
	}}
	_, _, err := transfer.Copy(ctx, []transfer.Job{{Desc: d, From: []transfer.Origin{{Source: s}}}}, newSink(), o)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestEmptyBlob(t *testing.T) {
	s := contenttest.NewStore()
	d := s.Add("application/octet-stream", nil)
	to := newSink()
	if _, failed, err := copyOne(t, s, d, to, transfer.Options{}); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	if _, ok := to.done[d.Digest]; !ok {
		t.Error("an empty blob did not arrive")
	}
}
