package bundle_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/lock"
	"ferry/internal/transfer"
)

var (
	amd64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = ocispec.Platform{OS: "linux", Architecture: "arm64"}
)

// sample is a lock of two images that share a layer: one for two platforms
// with a referrer, one under a digest alone.
func sample(s *contenttest.Store) lock.Lock {
	shared := s.Layer(contenttest.File{Name: "etc/shared", Body: contenttest.Random(1, 3000)})
	one := s.Image(amd64, contenttest.Config{Entrypoint: []string{"/one"}}, shared,
		s.Layer(contenttest.File{Name: "one", Body: contenttest.Random(2, 70_000)}))
	other := s.Image(arm64, contenttest.Config{Entrypoint: []string{"/one"}}, shared,
		s.LayerZstd(contenttest.File{Name: "one", Body: contenttest.Random(3, 511)}))
	index := s.Index(one, other)
	single := s.DockerImage(amd64, contenttest.Config{}, shared, shared, s.Add(ocispec.MediaTypeImageLayer, nil))
	sig := s.Artifact(&index, "application/vnd.example.signature", s.Add("application/octet-stream", []byte("signed")))
	return lock.Lock{Version: 1, ResolvedAt: moment, Images: []lock.Image{
		image("docker.io/library/one:1.0", index, lock.Referrer{
			Digest: sig.Digest, MediaType: sig.MediaType, Size: sig.Size,
			ArtifactType: "application/vnd.example.signature", Subject: index.Digest,
		}),
		image("quay.io/team/two@"+single.Digest.String(), single),
	}}
}

var moment = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func image(name string, d ocispec.Descriptor, r ...lock.Referrer) lock.Image {
	return lock.Image{
		Name: name, Digest: d.Digest, MediaType: d.MediaType, Size: d.Size,
		Source: lock.Source{Type: lock.Registry}, Referrers: r,
	}
}

func expand(t *testing.T, s content.Source, l lock.Lock) *bundle.Contents {
	t.Helper()
	c, err := bundle.Expand(l, func(d ocispec.Descriptor) ([]byte, error) {
		return content.ReadAll(t.Context(), s, d, content.MaxManifest)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t *testing.T, path string, c *bundle.Contents) *bundle.Writer {
	t.Helper()
	w, err := bundle.Create(path, c, bundle.Seal{AsOf: moment, Gate: bundle.NotGated})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func jobs(c *bundle.Contents, s content.Source) []transfer.Job {
	var all []transfer.Job
	for _, d := range c.Blobs() {
		all = append(all, transfer.Job{Desc: d, From: []transfer.Origin{{Name: "upstream", Source: s}}})
	}
	return all
}

// write packs l from s into a new file, as the pack verb does.
func write(t *testing.T, s *contenttest.Store, l lock.Lock) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b.tar")
	c := expand(t, s, l)
	w := create(t, path, c)
	_, failed, err := transfer.Copy(t.Context(), jobs(c, s), w, transfer.Options{})
	if err != nil || len(failed) > 0 {
		t.Fatal(err, failed)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWriteThenVerify(t *testing.T) {
	s := contenttest.NewStore()
	l := sample(s)
	path := write(t, s, l)
	b, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if diff := cmp.Diff(l, b.Lock()); diff != "" {
		t.Errorf("the lock inside differs (-put in +came out):\n%s", diff)
	}
	for d, want := range s.All() {
		desc := ocispec.Descriptor{Digest: d, Size: int64(len(want))}
		got, err := content.ReadAll(t.Context(), b, desc, 1<<30)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", d, err)
		}
	}
	leftovers, _ := filepath.Glob(path + "?*")
	if len(leftovers) > 0 {
		t.Errorf("left behind: %v", leftovers)
	}
}

func TestSameLockSameBytes(t *testing.T) {
	s := contenttest.NewStore()
	l := sample(s)
	a, _ := os.ReadFile(write(t, s, l))
	b, _ := os.ReadFile(write(t, s, l))
	if len(a) == 0 || !bytes.Equal(a, b) {
		t.Error("two bundles of one lock differ")
	}
}

func TestEveryEntryIsPlain(t *testing.T) {
	s := contenttest.NewStore()
	f, err := os.Open(write(t, s, sample(s)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Format != tar.FormatUSTAR || h.Mode != 0o644 || h.Uid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s: %+v", h.Name, h)
		}
	}
	if names[0] != "oci-layout" || names[len(names)-1] != "index.json" || names[len(names)-2] != "manifest.json" {
		t.Errorf("order: %v", names)
	}
}

func TestDigestOfAnotherBundle(t *testing.T) {
	s := contenttest.NewStore()
	path := write(t, s, sample(s))
	l := sample(s)
	l.Images = l.Images[:1]
	other, err := bundle.Open(write(t, s, l))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, err = bundle.Verify(t.Context(), path, bundle.VerifyOptions{Digest: other.Digest()})
	var wrong *bundle.WrongDigestError
	if !errors.As(err, &wrong) {
		t.Fatalf("got %v, want a WrongDigestError", err)
	}
	b, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{Digest: wrong.Got})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b2, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{Digest: sha256Of(whole)})
	if err != nil {
		t.Errorf("the file's own SHA-256 is refused: %v", err)
	} else {
		_ = b2.Close()
	}
}

// TestGoesOnInsideABlob stops a pack in the middle of a layer, as a kill does,
// and finishes it: only the rest is asked for.
func TestGoesOnInsideABlob(t *testing.T) {
	s := contenttest.NewStore()
	big := s.Layer(contenttest.File{Name: "big", Body: contenttest.Random(9, 20<<20)})
	img := s.Image(amd64, contenttest.Config{}, big)
	l := lock.Lock{Version: 1, ResolvedAt: moment, Images: []lock.Image{image("docker.io/library/big:1", img)}}
	c := expand(t, s, l)
	path := filepath.Join(t.TempDir(), "b.tar")

	w := create(t, path, c)
	ctx, cancel := context.WithCancel(t.Context())
	cut := &cutting{Source: s, after: 10 << 20, cut: cancel}
	if _, _, err := transfer.Copy(ctx, jobs(c, cut), w, transfer.Options{Jobs: 1}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	_ = w.Close()
	if _, err := os.Stat(path); err == nil {
		t.Fatal("an unfinished bundle has its final name")
	}

	w = create(t, path, c)
	stats, failed, err := transfer.Copy(t.Context(), jobs(c, s), w, transfer.Options{})
	if err != nil || len(failed) > 0 {
		t.Fatal(err, failed)
	}
	if stats.Reused < 8<<20 || stats.Fetched > 13<<20 {
		t.Errorf("fetched %d, reused %d: the first half was fetched again", stats.Fetched, stats.Reused)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	verifyOK(t, path)
}

// TestDoubtsWhatItFinds changes a byte of the partial file between two runs.
// The journal says that the bytes are there; the hash says that they are not.
func TestDoubtsWhatItFinds(t *testing.T) {
	s := contenttest.NewStore()
	big := s.Layer(contenttest.File{Name: "big", Body: contenttest.Random(9, 20<<20)})
	img := s.Image(amd64, contenttest.Config{}, big)
	l := lock.Lock{Version: 1, ResolvedAt: moment, Images: []lock.Image{image("docker.io/library/big:1", img)}}
	c := expand(t, s, l)
	path := filepath.Join(t.TempDir(), "b.tar")
	w := create(t, path, c)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, _ = transfer.Copy(ctx, jobs(c, &cutting{Source: s, after: 10 << 20, cut: cancel}), w, transfer.Options{Jobs: 1})
	_ = w.Close()
	flip(t, path+".partial", 5<<20)

	w = create(t, path, c)
	if _, failed, err := transfer.Copy(t.Context(), jobs(c, s), w, transfer.Options{}); err != nil || len(failed) > 0 {
		t.Fatal(err, failed)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	verifyOK(t, path)
}

// TestFormerContents changes what is wanted between two runs: what the first
// one had completed is used, checked, by the second.
func TestFormerContents(t *testing.T) {
	s := contenttest.NewStore()
	layer := s.Layer(contenttest.File{Name: "a", Body: contenttest.Random(5, 1<<20)})
	first := s.Image(amd64, contenttest.Config{}, layer)
	second := s.Image(amd64, contenttest.Config{Cmd: []string{"new"}}, layer)
	path := filepath.Join(t.TempDir(), "b.tar")
	lockOf := func(d ocispec.Descriptor) lock.Lock {
		return lock.Lock{Version: 1, ResolvedAt: moment, Images: []lock.Image{image("docker.io/library/a:1", d)}}
	}
	c := expand(t, s, lockOf(first))
	w := create(t, path, c)
	if _, _, err := transfer.Copy(t.Context(), jobs(c, s), w, transfer.Options{}); err != nil {
		t.Fatal(err)
	}
	_ = w.Close() // killed before Finish

	c = expand(t, s, lockOf(second))
	w = create(t, path, c)
	if w.Former() == nil {
		t.Fatal("what the first run left is not offered")
	}
	all := jobs(c, s)
	for i := range all {
		all[i].From = append([]transfer.Origin{{Source: w.Former(), Near: true}}, all[i].From...)
	}
	stats, failed, err := transfer.Copy(t.Context(), all, w, transfer.Options{})
	if err != nil || len(failed) > 0 {
		t.Fatal(err, failed)
	}
	if stats.Reused < layer.Size {
		t.Errorf("reused %d bytes, want the layer's %d", stats.Reused, layer.Size)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	verifyOK(t, path)
	leftovers, _ := filepath.Glob(path + "?*")
	if len(leftovers) > 0 {
		t.Errorf("left behind: %v", leftovers)
	}
}

func TestTwoPacksToOneFile(t *testing.T) {
	s := contenttest.NewStore()
	c := expand(t, s, sample(s))
	path := filepath.Join(t.TempDir(), "b.tar")
	create(t, path, c)
	_, err := bundle.Create(path, c, bundle.Seal{AsOf: moment, Gate: bundle.NotGated})
	var busy *bundle.BusyError
	if !errors.As(err, &busy) || busy.Path != path {
		t.Fatalf("got %v, want a BusyError for %s", err, path)
	}
}

func TestDoesNotReplaceWhatIsNoBundle(t *testing.T) {
	s := contenttest.NewStore()
	path := filepath.Join(t.TempDir(), "diary.txt")
	if err := os.WriteFile(path, []byte("dear diary"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Create(path, expand(t, s, sample(s)), bundle.Seal{AsOf: moment, Gate: bundle.NotGated}); err == nil {
		t.Fatal("a file that is no bundle would be replaced")
	}
	if b, _ := os.ReadFile(path); string(b) != "dear diary" {
		t.Errorf("the file holds %q now", b)
	}
}

func TestFinishWantsEveryBlob(t *testing.T) {
	s := contenttest.NewStore()
	c := expand(t, s, sample(s))
	path := filepath.Join(t.TempDir(), "b.tar")
	w := create(t, path, c)
	if _, _, err := transfer.Copy(t.Context(), jobs(c, s)[1:], w, transfer.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err == nil {
		t.Error("a bundle without one of its blobs was finished")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it has its final name")
	}
}

func TestTwoSizesForOneDigest(t *testing.T) {
	s := contenttest.NewStore()
	layer := s.Layer(contenttest.File{Name: "a", Body: []byte("a")})
	lying := layer
	lying.Size++
	l := lock.Lock{Version: 1, ResolvedAt: moment, Images: []lock.Image{
		image("docker.io/library/a:1", s.Image(amd64, contenttest.Config{}, layer)),
		image("docker.io/library/b:1", s.Image(amd64, contenttest.Config{Cmd: []string{"b"}}, lying)),
	}}
	_, err := bundle.Expand(l, func(d ocispec.Descriptor) ([]byte, error) {
		return content.ReadAll(t.Context(), s, d, content.MaxManifest)
	})
	if err == nil {
		t.Error("one digest with two sizes was laid out")
	}
}

// cutting is a source whose streams end the whole run after some bytes.
type cutting struct {
	content.Source
	after int64
	cut   func()
}

func (c *cutting) Open(ctx context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := c.Source.Open(ctx, d, offset)
	return &cutReader{ReadCloser: r, c: c}, err
}

type cutReader struct {
	io.ReadCloser
	c    *cutting
	read int64
}

func (r *cutReader) Read(p []byte) (int, error) {
	if r.read >= r.c.after {
		r.c.cut()
		return 0, errors.New("killed")
	}
	n, err := r.ReadCloser.Read(p)
	r.read += int64(n)
	return n, err
}
