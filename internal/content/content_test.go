package content_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
)

// endless is a place that sends more than anyone asked for.
type endless struct{ sent int64 }

func (e *endless) Open(context.Context, ocispec.Descriptor, int64) (io.ReadCloser, error) {
	return io.NopCloser(e), nil
}

func (e *endless) Read(p []byte) (int, error) {
	e.sent += int64(len(p))
	return len(p), nil
}

// unopened fails a test that opens it.
type unopened struct{ t *testing.T }

func (u unopened) Open(context.Context, ocispec.Descriptor, int64) (io.ReadCloser, error) {
	u.t.Error("it was opened, although it could not be taken")
	return nil, content.ErrNotFound
}

func TestReadAll(t *testing.T) {
	s := contenttest.NewStore()
	d := s.Add("text/plain", []byte("hello"))
	b, err := content.ReadAll(t.Context(), s, d, 5)
	if err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := content.ReadAll(t.Context(), s, ocispec.Descriptor{Digest: digest.FromString("x"), Size: 1}, 5); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
}

func TestReadAllReadsNothingBeyondTheLimit(t *testing.T) {
	d := digest.FromString("hello")
	for name, desc := range map[string]ocispec.Descriptor{
		"one byte too many":     {Digest: d, Size: 6},
		"a negative size":       {Digest: d, Size: -1},
		"no digest":             {Size: 5},
		"a digest of no kind":   {Digest: "hello", Size: 5},
		"an algorithm too weak": {Digest: "md5:5d41402abc4b2a76b9719d911017c592", Size: 5},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := content.ReadAll(t.Context(), unopened{t}, desc, 5); err == nil {
				t.Error("no error")
			}
		})
	}
	_, err := content.ReadAll(t.Context(), unopened{t}, ocispec.Descriptor{Digest: d, Size: 6}, 5)
	if e, ok := errors.AsType[*content.TooLargeError](err); !ok || e.Size != 6 || e.Limit != 5 {
		t.Errorf("%v", err)
	}
}

func TestReadAllStopsBehindThePromisedSize(t *testing.T) {
	src := &endless{}
	desc := ocispec.Descriptor{Digest: digest.FromString("x"), Size: 10}
	_, err := content.ReadAll(t.Context(), src, desc, 1<<20)
	e, ok := errors.AsType[*content.DigestError](err)
	if !ok || e.Size != 10 || e.Read <= 10 {
		t.Errorf("%v", err)
	}
	if src.sent > 4096 {
		t.Errorf("%d bytes were read of a blob of 10", src.sent)
	}
}

func TestCheck(t *testing.T) {
	good := ocispec.Descriptor{Digest: digest.FromString("hello"), Size: 5}
	if err := content.Check(good, []byte("hello")); err != nil {
		t.Error(err)
	}
	long := ocispec.Descriptor{Digest: digest.SHA512.FromString("hello"), Size: 5}
	if err := content.Check(long, []byte("hello")); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"hullo":  "wrong digest: the bytes hash to " + digest.FromString("hullo").String(),
		"hell":   "wrong size: 4 bytes instead of 5",
		"hello!": "wrong size: 6 bytes instead of 5",
	} {
		err := content.Check(good, []byte(text))
		if _, ok := errors.AsType[*content.DigestError](err); !ok || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), good.Digest.String()) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if err := content.Check(long, []byte("hullo")); err == nil {
		t.Error("wrong bytes under a sha512")
	}
}

func TestSupported(t *testing.T) {
	for d, want := range map[digest.Digest]bool{
		digest.FromString("x"):                 true,
		digest.SHA512.FromString("x"):          true,
		digest.SHA384.FromString("x"):          false,
		"md5:5d41402abc4b2a76b9719d911017c592": false,
		"sha256:abc":                           false,
		"":                                     false,
		"sha256:../../../../../../../../../../../etc/passwd0123456789": false,
		digest.Digest("sha256:" + strings.Repeat("A", 64)):             false,
	} {
		if got := content.Supported(d) == nil; got != want {
			t.Errorf("%q: %v, want %v", d, got, want)
		}
	}
}
