package serve_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/serve"
)

// onceServed is a server whose first layer was fetched, and so hashed.
func onceServed(t *testing.T) (*running, diskSample, ocispec.Descriptor) {
	t.Helper()
	s, layers := onDisk(t)
	return served(t, s, layers[0]), s, layers[0]
}

func served(t *testing.T, s diskSample, layer ocispec.Descriptor) *running {
	t.Helper()
	r := start(t, serve.Options{Repositories: s.repos, Blobs: s.disk})
	if got := r.get("GET", blobPath(layer)); got.err != nil || digest.FromString(got.body) != layer.Digest {
		t.Fatalf("%d bytes, %v", len(got.body), got.err)
	}
	r.accesses(1) // its end may come a moment after its last byte
	return r
}

func blobPath(d ocispec.Descriptor) string { return "/v2/library/nginx/blobs/" + d.Digest.String() }

// flip changes the last byte but one of a blob on disk.
func (s diskSample) flip(t *testing.T, d ocispec.Descriptor) {
	t.Helper()
	at := s.disk.at[d.Digest][0] + d.Size - 2
	b := make([]byte, 1)
	if _, err := s.disk.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := s.disk.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func (s diskSample) written(t *testing.T) time.Time {
	t.Helper()
	info, err := s.disk.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// touch gives the file a time at which it was written.
func (s diskSample) touch(t *testing.T, at time.Time) {
	t.Helper()
	if err := os.Chtimes(s.disk.Name(), at, at); err != nil {
		t.Fatal(err)
	}
}

// TestProvenIsTheSame: what was hashed once is sent again in the same bytes,
// whole and in parts.
func TestProvenIsTheSame(t *testing.T) {
	r, _, layer := onceServed(t)
	whole := r.get("GET", blobPath(layer))
	if digest.FromString(whole.body) != layer.Digest || whole.err != nil {
		t.Fatalf("%d bytes, %v", len(whole.body), whole.err)
	}
	for header, want := range map[string]string{
		"bytes=0-0":             whole.body[:1],
		"bytes=70000-":          whole.body[70000:],
		"bytes=-5":              whole.body[len(whole.body)-5:],
		"bytes=100000-900000":   whole.body[100000:900001],
		"bytes=999999-99999999": whole.body[999999:],
	} {
		got := r.get("GET", blobPath(layer), "Range", header)
		if got.StatusCode != http.StatusPartialContent || got.body != want || got.err != nil {
			t.Errorf("%s: %d, %d bytes, want %d, %v", header, got.StatusCode, len(got.body), len(want), got.err)
		}
		if tag := got.Header.Get("Etag"); tag != `"`+layer.Digest.String()+`"` {
			t.Errorf("%s: ETag %s", header, tag)
		}
	}
	parts := r.get("GET", blobPath(layer), "Range", "bytes=0-9,100000-200000")
	if parts.StatusCode != http.StatusPartialContent || !strings.Contains(parts.body, whole.body[100000:200001]) {
		t.Errorf("two ranges: %d, %d bytes", parts.StatusCode, len(parts.body))
	}
	if head := r.get("HEAD", blobPath(layer)); head.ContentLength != layer.Size || head.body != "" {
		t.Errorf("HEAD: %d", head.ContentLength)
	}
	if got := r.get("GET", blobPath(layer), "Range", "bytes=99999999-"); got.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("beyond the end: %d", got.StatusCode)
	}
	var sum int64
	for _, a := range r.accesses(10) {
		sum += a.Bytes
	}
	if got := r.Stats().Bytes; got != sum || sum < 2*layer.Size {
		t.Errorf("%d bytes counted, %d in all accesses", got, sum)
	}
}

// TestProvenUntilWritten: a file that was written to is hashed as before.
func TestProvenUntilWritten(t *testing.T) {
	r, s, layer := onceServed(t)
	at := s.written(t)
	s.flip(t, layer)
	s.touch(t, at.Add(time.Second))
	if got := r.get("GET", blobPath(layer)); got.err == nil {
		t.Error("a blob that was changed arrived whole")
	}
	all := r.accesses(2)
	if _, ok := errors.AsType[*content.DigestError](all[1].Err); !ok {
		t.Errorf("the fault is not told: %+v", all[1])
	}
	s.flip(t, layer) // and back
	for range 2 {
		if got := r.get("GET", blobPath(layer)); digest.FromString(got.body) != layer.Digest {
			t.Errorf("%d bytes, %v", len(got.body), got.err)
		}
	}
}

// TestProvenIsWrittenToMeanwhile: the last bytes of an answer that was begun
// are held back.
func TestProvenIsWrittenToMeanwhile(t *testing.T) {
	s, _ := onDisk(t)
	// The sockets of both sides hold less.
	layer := s.add(t, contenttest.Random(99, 40<<20))
	r := served(t, s, layer)
	resp, err := r.client.Get("http://" + r.host + blobPath(layer))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.touch(t, s.written(t).Add(time.Second))
	got, err := io.Copy(io.Discard, resp.Body)
	if err == nil || got >= layer.Size {
		t.Errorf("all %d bytes came", got)
	}
	all := r.accesses(2)
	if all[1].Err == nil || !strings.Contains(all[1].Err.Error(), "was changed while it was served") {
		t.Errorf("the fault is not told: %+v", all[1])
	}
}

// TestProvenGetsAnotherName: a file may be renamed while it is sent, and the
// answer arrives all the same.
func TestProvenGetsAnotherName(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file is not renamed there")
	}
	s, _ := onDisk(t)
	layer := s.add(t, contenttest.Random(98, 40<<20))
	r := served(t, s, layer)
	resp, err := r.client.Get("http://" + r.host + blobPath(layer))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := os.Rename(s.disk.Name(), s.disk.Name()+".old"); err != nil {
		t.Fatal(err)
	}
	if got, err := digest.FromReader(resp.Body); err != nil || got != layer.Digest {
		t.Errorf("%s, %v", got, err)
	}
}

// TestProvenIsReplaced: under the name stands another file now. What was
// opened is served on.
func TestProvenIsReplaced(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file is not replaced there")
	}
	r, s, layer := onceServed(t)
	if err := os.Remove(s.disk.Name()); err != nil {
		t.Fatal(err)
	}
	if got := r.get("GET", blobPath(layer)); digest.FromString(got.body) != layer.Digest {
		t.Errorf("after its removal: %d bytes, %v", len(got.body), got.err)
	}
	if err := os.WriteFile(s.disk.Name(), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := r.get("GET", blobPath(layer)); digest.FromString(got.body) != layer.Digest {
		t.Errorf("after its replacement: %d bytes, %v", len(got.body), got.err)
	}
}

// TestProvenIsCut: the file is shorter than it was, with no other time.
func TestProvenIsCut(t *testing.T) {
	r, s, layer := onceServed(t)
	at := s.written(t)
	if err := s.disk.Truncate(s.disk.at[layer.Digest][0] + layer.Size/2); err != nil {
		t.Fatal(err)
	}
	s.touch(t, at)
	if got := r.get("GET", blobPath(layer)); got.err == nil {
		t.Errorf("%d bytes arrived as a whole", len(got.body))
	}
}
