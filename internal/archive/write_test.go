package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/archive"
	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/ref"
)

const (
	appName   = "docker.io/team/app:1"
	otherName = "quay.io/team/other:2"
)

// entryOf is an image of a store under a name. Of an index, a docker-archive
// gets the first.
func entryOf(t testing.TB, s *contenttest.Store, name string, top ocispec.Descriptor) archive.Entry {
	t.Helper()
	repository, _, _ := strings.Cut(name, ":")
	e := archive.Entry{Name: name, DigestName: repository + "@" + top.Digest.String(), Top: top}
	var walk func(d ocispec.Descriptor)
	walk = func(d ocispec.Descriptor) {
		n := nodeOf(t, s, d)
		for _, m := range n.Manifests {
			walk(m)
		}
		if n.Config != nil {
			e.Blobs = append(e.Blobs, n.Children()...)
			if e.Manifest == nil {
				e.Manifest = n
			}
		}
		e.Blobs = append(e.Blobs, d)
	}
	walk(top)
	return e
}

func nodeOf(t testing.TB, s *contenttest.Store, d ocispec.Descriptor) *content.Node {
	t.Helper()
	b, ok := s.Get(d.Digest)
	if !ok {
		t.Fatalf("%s is not in the store", d.Digest)
	}
	n, err := content.Parse(d, b)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// twoImages share a layer; the first is for two platforms.
func twoImages(t testing.TB) (*contenttest.Store, []archive.Entry) {
	t.Helper()
	s := contenttest.NewStore()
	shared := s.Layer(contenttest.File{Name: "shared", Body: contenttest.Random(1, 3000)})
	app := s.Index(
		s.Image(platform("amd64"), contenttest.Config{}, shared, s.Layer(contenttest.File{Name: "app"})),
		s.Image(platform("arm64"), contenttest.Config{}, shared, s.LayerZstd(contenttest.File{Name: "app", Body: []byte("arm64")})),
	)
	other := s.Image(platform("amd64"), contenttest.Config{}, shared, s.LayerPlain(contenttest.File{Name: "other"}))
	return s, []archive.Entry{entryOf(t, s, appName, app), entryOf(t, s, otherName, other)}
}

// writer is WriteDocker or WriteOCI.
type writer func(context.Context, io.Writer, content.Source, []archive.Entry, func(int64)) error

var writers = map[ref.Transport]writer{ref.DockerArchive: archive.WriteDocker, ref.OCIArchive: archive.WriteOCI}

func written(t testing.TB, write writer, src content.Source, entries []archive.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(t.Context(), &b, src, entries, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tarNames are the names of a tar's entries, in order, with their sizes.
func tarNames(t testing.TB, b []byte) (all []string, files map[string][]byte) {
	t.Helper()
	files = map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o644 || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
			t.Errorf("%s says when, by whom and for whom it was made: %+v", h.Name, h)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h.Name)
		files[h.Name] = body
	}
}

// TestWriteOCI: what is written is read back, under names and digests that it
// came with, all platforms, every blob once.
func TestWriteOCI(t *testing.T) {
	s, entries := twoImages(t)
	b := written(t, archive.WriteOCI, s, entries)
	all, files := tarNames(t, b)
	if len(files) != len(all) {
		t.Errorf("something stands in it twice: %q", all)
	}
	if all[0] != "oci-layout" || all[len(all)-1] != "index.json" {
		t.Errorf("the order is %q", all)
	}
	for d, body := range s.All() {
		if !bytes.Equal(files[blobPath(d)], body) {
			t.Errorf("%s is not in it as it was", d)
		}
	}
	var idx ocispec.Index
	if err := json.Unmarshal(files["index.json"], &idx); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range idx.Manifests {
		if m.Platform != nil || m.MediaType == "" {
			t.Errorf("%+v", m)
		}
		got = append(got, m.Annotations[refName]+" "+m.Annotations[imageName]+" "+m.Digest.String())
	}
	same(t, got, []string{
		appName + " " + appName + " " + entries[0].Top.Digest.String(),
		" " + entries[0].DigestName + " " + entries[0].Top.Digest.String(),
		otherName + " " + otherName + " " + entries[1].Top.Digest.String(),
		" " + entries[1].DigestName + " " + entries[1].Top.Digest.String(),
	})
	a := open(t, write(t, b), ref.OCIArchive)
	if err := readAll(t, a); err != nil {
		t.Error(err)
	}
}

// TestWriteDocker: one platform an image, its layers as they are, and the
// config that is the image's ID.
func TestWriteDocker(t *testing.T) {
	s, entries := twoImages(t)
	b := written(t, archive.WriteDocker, s, entries)
	all, files := tarNames(t, b)
	if len(files) != len(all) || all[len(all)-1] != "manifest.json" {
		t.Errorf("%q", all)
	}
	want := map[string]bool{"manifest.json": true}
	for _, e := range entries {
		for _, d := range e.Manifest.Children() {
			want[blobPath(d.Digest)] = true
		}
	}
	for name := range files {
		if !want[name] {
			t.Errorf("%s is in it, of another platform", name)
		}
	}
	if len(files) != len(want) {
		t.Errorf("%d files, want %d", len(files), len(want))
	}
	a := open(t, write(t, b), ref.DockerArchive)
	var got []string
	for _, img := range a.Images() {
		m, err := content.ReadAll(t.Context(), a, img.Desc, content.MaxManifest)
		if err != nil {
			t.Fatal(err)
		}
		n, err := content.Parse(img.Desc, m)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, img.Name+" "+n.Config.Digest.String())
	}
	same(t, got, []string{
		appName + " " + entries[0].Manifest.Config.Digest.String(),
		otherName + " " + entries[1].Manifest.Config.Digest.String(),
	})
}

// TestWriteNames: of an image under several names, or one name twice, and of
// one that has only its digest.
func TestWriteNames(t *testing.T) {
	s, entries := twoImages(t)
	again := entries[0]
	again.Name = "docker.io/team/app:latest"
	unnamed := entries[1]
	unnamed.Name = ""
	impostor := entries[1]
	impostor.Name = appName
	list := []archive.Entry{entries[0], again, entries[0], unnamed, impostor}
	_, files := tarNames(t, written(t, archive.WriteDocker, s, list))
	var saved []struct {
		Config   string
		RepoTags []string
	}
	if err := json.Unmarshal(files["manifest.json"], &saved); err != nil {
		t.Fatal(err)
	}
	if len(saved) != 2 || !slices.Equal(saved[0].RepoTags, []string{appName, again.Name}) || saved[1].RepoTags == nil || len(saved[1].RepoTags) != 0 {
		t.Errorf("%+v", saved)
	}
	var idx ocispec.Index
	_, files = tarNames(t, written(t, archive.WriteOCI, s, list))
	if err := json.Unmarshal(files["index.json"], &idx); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range idx.Manifests {
		got = append(got, m.Annotations[imageName]+" "+m.Digest.String())
	}
	app, other := " "+entries[0].Top.Digest.String(), " "+entries[1].Top.Digest.String()
	same(t, got, []string{appName + app, entries[0].DigestName + app, again.Name + app, unnamed.DigestName + other})
	// podman load takes one image under one name.
	alone := entries[0]
	alone.DigestName = ""
	_, files = tarNames(t, written(t, archive.WriteOCI, s, []archive.Entry{alone}))
	if err := json.Unmarshal(files["index.json"], &idx); err != nil || len(idx.Manifests) != 1 {
		t.Errorf("%v, %+v", err, idx.Manifests)
	}
}

// TestWriteNothing: archives of no image are whole all the same.
func TestWriteNothing(t *testing.T) {
	for kind, write_ := range writers {
		b := written(t, write_, contenttest.NewStore(), nil)
		_, files := tarNames(t, b)
		if kind == ref.OCIArchive && !strings.Contains(string(files["index.json"]), `"manifests":[]`) || kind == ref.DockerArchive && string(files["manifest.json"]) != "[]\n" {
			t.Errorf("%s: %q", kind, files)
		}
	}
}

// TestWriteIsDeterministic: the same images are the same bytes, and all that
// goes out is counted.
func TestWriteIsDeterministic(t *testing.T) {
	for kind, write_ := range writers {
		s, entries := twoImages(t)
		again, entriesAgain := twoImages(t)
		if !bytes.Equal(written(t, write_, s, entries), written(t, write_, again, entriesAgain)) {
			t.Errorf("%s: two runs, two files", kind)
		}
		var counted, want int64
		if err := write_(t.Context(), io.Discard, s, entries, func(n int64) { counted += n }); err != nil {
			t.Fatal(err)
		}
		_, files := tarNames(t, written(t, write_, s, entries))
		for name, body := range files {
			if strings.HasPrefix(name, "blobs/") {
				want += int64(len(body))
			}
		}
		if counted != want {
			t.Errorf("%s: %d bytes counted, %d written", kind, counted, want)
		}
	}
}

// TestWriteSHA512: such names are longer than the oldest form of tar allows.
func TestWriteSHA512(t *testing.T) {
	s := contenttest.NewStore()
	body := contenttest.Layer(contenttest.File{Name: "a"})
	long := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.SHA512.FromBytes(body), Size: int64(len(body))}
	s.Replace(long.Digest, body)
	m := s.Image(platform("amd64"), contenttest.Config{}, s.Layer(contenttest.File{Name: "b"}))
	e := entryOf(t, s, appName, m)
	e.Blobs = append(e.Blobs, long)
	_, files := tarNames(t, written(t, archive.WriteOCI, s, []archive.Entry{e}))
	if !bytes.Equal(files["blobs/sha512/"+long.Digest.Encoded()], body) {
		t.Error("it is not in the archive")
	}
}

// full takes so many bytes and no more, as a disk does.
type full struct{ left int }

var errFull = errors.New("no space left on device")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, errFull
	}
	f.left -= len(p)
	return len(p), nil
}

// TestWriterFails: at whatever byte, the error comes out as it is.
func TestWriterFails(t *testing.T) {
	for kind, write_ := range writers {
		s, entries := twoImages(t)
		whole := len(written(t, write_, s, entries))
		for left := 0; left < whole; left += 511 {
			if err := write_(t.Context(), &full{left}, s, entries, nil); !errors.Is(err, errFull) {
				t.Fatalf("%s: room for %d of %d bytes: %v", kind, left, whole, err)
			}
		}
		if err := write_(t.Context(), &full{whole}, s, entries, nil); err != nil {
			t.Errorf("%s: room for all: %v", kind, err)
		}
	}
}

// lying gives out blobs that are a byte shorter or longer than they say.
type lying struct {
	*contenttest.Store
	by int
}

func (l lying) Open(_ context.Context, d ocispec.Descriptor, _ int64) (io.ReadCloser, error) {
	b, ok := l.Get(d.Digest)
	if !ok {
		return nil, content.ErrNotFound
	}
	if l.by < 0 {
		return io.NopCloser(bytes.NewReader(b[:len(b)+l.by])), nil
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(b), bytes.NewReader(make([]byte, l.by)))), nil
}

// TestSourceFails: what cannot be read whole makes no archive.
func TestSourceFails(t *testing.T) {
	for kind, write_ := range writers {
		s, entries := twoImages(t)
		for _, by := range []int{-1, 1} {
			if err := write_(t.Context(), io.Discard, lying{s, by}, entries, nil); err == nil {
				t.Errorf("%s: blobs that lie by %d bytes", kind, by)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := write_(ended, io.Discard, s, entries, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: after the end: %v", kind, err)
		}
		s.Delete(entries[1].Manifest.Config.Digest)
		if err := write_(t.Context(), io.Discard, s, entries, nil); !errors.Is(err, content.ErrNotFound) {
			t.Errorf("%s: a config is gone: %v", kind, err)
		}
	}
}

// TestCreate: what fails leaves what was there, and nothing beside it.
func TestCreate(t *testing.T) {
	t.Run("without a name", func(t *testing.T) { testCreate(t, archive.Create) })
	t.Run("with a name", func(t *testing.T) { testCreate(t, archive.CreateNamed) })
}

func testCreate(t *testing.T, create func(string, func(io.Writer) error) error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "out.tar")
	fails := func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return errFull
	}
	for _, was := range []string{"", "the last one"} {
		if was != "" {
			if err := create(path, func(w io.Writer) error { _, err := io.WriteString(w, was); return err }); err != nil {
				t.Fatal(err)
			}
		}
		if err := create(path, fails); !errors.Is(err, errFull) {
			t.Errorf("%v", err)
		}
		got, err := os.ReadFile(path)
		if was == "" && !errors.Is(err, os.ErrNotExist) || string(got) != was {
			t.Errorf("%q, %v", got, err)
		}
		left, _ := filepath.Glob(filepath.Join(dir, "*"))
		hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
		if len(left)+len(hidden) > 1 || len(hidden) > 0 {
			t.Errorf("left behind: %q %q", left, hidden)
		}
	}
	none := filepath.Join(dir, "none")
	if err := create(filepath.Join(none, "out.tar"), fails); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "write into "+none+": ") {
		t.Errorf("no folder: %v", err)
	}
	if err := create(dir, fails); err == nil || !strings.Contains(err.Error(), "is a folder: name a file in it") {
		t.Errorf("a folder: %v", err)
	}
}

// FuzzWrite: whatever images are written, under whatever names, are read back
// with these names and digests, and twice the same bytes.
func FuzzWrite(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{255, 1, 128, 7, 7, 7, 200, 3, 9, 9})
	f.Fuzz(func(t *testing.T, plan []byte) {
		if len(plan) > 64 {
			return
		}
		s := contenttest.NewStore()
		entries := fuzzedEntries(t, s, plan)
		for kind, write_ := range writers {
			b := written(t, write_, s, entries)
			if !bytes.Equal(b, written(t, write_, s, entries)) {
				t.Fatalf("%s: two runs, two files", kind)
			}
			if len(entries) == 0 {
				continue
			}
			readBack(t, kind, b, entries)
		}
	})
}

// fuzzedEntries makes an image of each two bytes: layers, shared or not, an
// index above it or none, a name that may be another's.
func fuzzedEntries(t *testing.T, s *contenttest.Store, plan []byte) []archive.Entry {
	t.Helper()
	var entries []archive.Entry
	for ; len(plan) >= 2; plan = plan[2:] {
		var layers []ocispec.Descriptor
		for k := range int(plan[0] % 5) {
			f := contenttest.File{Name: fmt.Sprint("f", int(plan[1])*k%7), Body: contenttest.Random(uint64(plan[1]%3), int(plan[0])*10)}
			layers = append(layers, []func(...contenttest.File) ocispec.Descriptor{s.Layer, s.LayerPlain, s.LayerZstd}[k%3](f))
		}
		top := s.Image(platform("amd64"), contenttest.Config{Env: []string{fmt.Sprint("N=", plan[1]%5)}}, layers...)
		if plan[0]&0x80 != 0 {
			top = s.Index(top, s.Image(platform("arm64"), contenttest.Config{}, layers...))
		}
		entries = append(entries, entryOf(t, s, fmt.Sprintf("docker.io/fuzz/a%d:%d", plan[0]%4, plan[1]%6), top))
	}
	return entries
}

func readBack(t *testing.T, kind ref.Transport, b []byte, entries []archive.Entry) {
	t.Helper()
	a, err := archive.Open(write(t, b), kind)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	has := map[string]archive.Image{}
	for _, img := range a.Images() {
		if _, err := content.ReadAll(t.Context(), a, img.Desc, content.MaxManifest); err != nil {
			t.Fatalf("%s %s: %v", kind, img.Name, err)
		}
		has[img.Name] = img
	}
	seen := map[string]bool{}
	for _, e := range entries {
		if seen[e.Name] {
			continue // the first has the name
		}
		seen[e.Name] = true
		img, ok := has[e.Name]
		if !ok {
			t.Fatalf("%s: %s is not in it", kind, e.Name)
		}
		if kind == ref.OCIArchive && img.Desc.Digest != e.Top.Digest {
			t.Fatalf("%s is %s, and was %s", e.Name, img.Desc.Digest, e.Top.Digest)
		}
		for _, d := range e.Manifest.Children() {
			if _, err := content.ReadAll(t.Context(), a, d, 1<<20); err != nil {
				t.Fatalf("%s %s: %v", kind, e.Name, err)
			}
		}
	}
}
