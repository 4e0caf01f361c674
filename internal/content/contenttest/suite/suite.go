// Package suite says, as tests, what a place of content has to do: each
// implementation of content's ports runs the same ones. It is apart from
// contenttest because it imports testing, which no product should link.
package suite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
)

// Sample is one multi-arch image with a referrer, in a store, as every place
// can hold it.
type Sample struct {
	Store *contenttest.Store
	// Index is the image, Referrer an artifact about it.
	Index, Referrer ocispec.Descriptor
	// Blobs are all descriptors in the store, each once.
	Blobs []ocispec.Descriptor
}

// NewSample makes the sample.
func NewSample() Sample {
	s := contenttest.NewStore()
	base := s.Layer(contenttest.File{Name: "base", Body: contenttest.Random(1, 300_000)})
	var images []ocispec.Descriptor
	for i, arch := range []string{"amd64", "arm64"} {
		own := s.Layer(contenttest.File{Name: "arch", Body: contenttest.Random(uint64(2+i), 2_000)})
		p := ocispec.Platform{OS: "linux", Architecture: arch}
		images = append(images, s.Image(p, contenttest.Config{Cmd: []string{"/arch"}}, base, own))
	}
	index := s.Index(images...)
	sig := s.Artifact(&index, "application/vnd.example.signature", s.Add("application/json", []byte(`{"ok":true}`)))
	sample := Sample{Store: s, Index: index, Referrer: sig}
	sample.walk(index, map[digest.Digest]bool{})
	sample.walk(sig, map[digest.Digest]bool{})
	return sample
}

// walk adds desc after everything below it, the order in which a registry
// takes content in.
func (s *Sample) walk(desc ocispec.Descriptor, seen map[digest.Digest]bool) {
	if seen[desc.Digest] {
		return
	}
	seen[desc.Digest] = true
	if content.IsIndex(desc.MediaType) || content.IsManifest(desc.MediaType) {
		b, _ := s.Store.Get(desc.Digest)
		node, err := content.Parse(desc, b)
		if err != nil {
			panic(fmt.Sprintf("suite: the sample is not well made: %v", err))
		}
		for _, d := range node.Children() {
			s.walk(d, seen)
		}
	}
	s.Blobs = append(s.Blobs, desc)
}

// Source checks that src gives out the sample.
func Source(t *testing.T, src content.Source, s Sample) {
	t.Helper()
	t.Run("whole", func(t *testing.T) {
		for _, d := range s.Blobs {
			b, err := content.ReadAll(t.Context(), src, d, d.Size)
			if err != nil {
				t.Errorf("read %s (%s): %v", d.Digest, d.MediaType, err)
			}
			want(t, s, d, 0, b)
		}
	})
	t.Run("from an offset", func(t *testing.T) {
		for _, d := range s.Blobs {
			for _, off := range []int64{1, d.Size / 2, d.Size - 1} {
				want(t, s, d, off, read(t, src, d, off))
			}
		}
	})
	t.Run("several at once", func(t *testing.T) { concurrent(t, src, s) })
	t.Run("not there", func(t *testing.T) {
		b := []byte("nobody holds this")
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(b), Size: int64(len(b))}
		if _, err := content.ReadAll(t.Context(), src, d, d.Size); !errors.Is(err, content.ErrNotFound) {
			t.Errorf("open what is not there: %v; want one that is content.ErrNotFound", err)
		}
	})
}

func concurrent(t *testing.T, src content.Source, s Sample) {
	var wg sync.WaitGroup
	for range 3 {
		for _, d := range s.Blobs {
			wg.Go(func() {
				b, err := content.ReadAll(t.Context(), src, d, d.Size)
				if err != nil {
					t.Errorf("read %s beside others: %v", d.Digest, err)
				}
				want(t, s, d, 0, b)
			})
		}
	}
	wg.Wait()
}

// Place is a sink under test.
type Place struct {
	Sink content.Sink
	// Source gives out what was ingested. It is asked for once, after
	// everything was committed.
	Source func(t *testing.T) content.Source
	// Keeps says that what was written without Commit is there as a prefix
	// at the next Ingest.
	Keeps bool
}

// Sink checks that a place takes the sample in, and gives it out again. open
// makes a fresh, empty place that is about to receive blobs.
func Sink(t *testing.T, s Sample, open func(t *testing.T, blobs []ocispec.Descriptor) Place) {
	t.Helper()
	t.Run("ingest", func(t *testing.T) {
		p := open(t, s.Blobs)
		for _, d := range s.Blobs {
			ingest(t, p.Sink, s, d)
		}
		Source(t, p.Source(t), s)
	})
	t.Run("start over", func(t *testing.T) {
		p := open(t, s.Blobs)
		for _, d := range s.Blobs {
			startOver(t, p.Sink, s, d)
		}
		Source(t, p.Source(t), s)
	})
	t.Run("give up and come again", func(t *testing.T) {
		p := open(t, s.Blobs)
		for _, d := range s.Blobs {
			comeAgain(t, p, s, d)
		}
		Source(t, p.Source(t), s)
	})
}

func ingest(t *testing.T, sink content.Sink, s Sample, d ocispec.Descriptor) {
	t.Helper()
	b, _ := s.Store.Get(d.Digest)
	in := begin(t, sink, d)
	if _, n := in.Prefix(); n != 0 {
		t.Errorf("%s: a fresh place has a prefix of %d bytes", d.Digest, n)
	}
	write(t, in, b[:len(b)/2])
	write(t, in, b[len(b)/2:])
	finish(t, in)
}

func startOver(t *testing.T, sink content.Sink, s Sample, d ocispec.Descriptor) {
	t.Helper()
	b, _ := s.Store.Get(d.Digest)
	in := begin(t, sink, d)
	write(t, in, bytes.Repeat([]byte{'x'}, len(b)/2+1))
	if err := in.Reset(); err != nil {
		t.Fatalf("reset %s: %v", d.Digest, err)
	}
	write(t, in, b)
	finish(t, in)
}

func comeAgain(t *testing.T, p Place, s Sample, d ocispec.Descriptor) {
	t.Helper()
	b, _ := s.Store.Get(d.Digest)
	in := begin(t, p.Sink, d)
	write(t, in, b[:len(b)/2])
	if err := in.Close(); err != nil {
		t.Fatalf("close %s without commit: %v", d.Digest, err)
	}
	in = begin(t, p.Sink, d)
	r, n := in.Prefix()
	if p.Keeps && n != int64(len(b)/2) {
		t.Errorf("%s: prefix of %d bytes after %d were written", d.Digest, n, len(b)/2)
	}
	if n > 0 {
		got, err := io.ReadAll(io.LimitReader(r, n))
		if err != nil || !bytes.Equal(got, b[:n]) {
			t.Errorf("%s: the prefix is not what was written (%v)", d.Digest, err)
		}
	}
	write(t, in, b[n:])
	finish(t, in)
}

func begin(t *testing.T, sink content.Sink, d ocispec.Descriptor) content.Ingest {
	t.Helper()
	in, err := sink.Ingest(t.Context(), d)
	if err != nil {
		t.Fatalf("ingest %s: %v", d.Digest, err)
	}
	return in
}

func write(t *testing.T, in content.Ingest, b []byte) {
	t.Helper()
	if n, err := in.Write(b); err != nil || n != len(b) {
		t.Fatalf("write: %d of %d bytes, %v", n, len(b), err)
	}
}

func finish(t *testing.T, in content.Ingest) {
	t.Helper()
	if err := in.Commit(); err != nil {
		t.Fatalf("commit: %v", err)
	}
	if err := in.Close(); err != nil {
		t.Fatalf("close after commit: %v", err)
	}
}

func read(t *testing.T, src content.Source, d ocispec.Descriptor, off int64) []byte {
	t.Helper()
	r, err := src.Open(t.Context(), d, off)
	if err != nil {
		t.Errorf("open %s at %d: %v", d.Digest, off, err)
		return nil
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("read %s from %d: %v", d.Digest, off, err)
	}
	return b
}

func want(t *testing.T, s Sample, d ocispec.Descriptor, off int64, got []byte) {
	t.Helper()
	if b, _ := s.Store.Get(d.Digest); !bytes.Equal(got, b[off:]) {
		t.Errorf("%s from %d: %d bytes that are not the %d in the sample", d.Digest, off, len(got), int64(len(b))-off)
	}
}
