package archive_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/archive"
	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/content/contenttest/suite"
	"ferry/internal/ref"
)

const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// item is an entry of a tar under test; one with a link is a symlink.
type item struct {
	name string
	body []byte
	link string
	kind byte
}

func file(name string, body []byte) item { return item{name: name, body: body, kind: tar.TypeReg} }

func symlink(name, to string) item { return item{name: name, link: to, kind: tar.TypeSymlink} }

func hardlink(name, to string) item         { return item{name: name, link: to, kind: tar.TypeLink} }
func jsonFile(name string, v any) item      { return file(name, encode(v)) }
func directory(name string) item            { return item{name: name, kind: tar.TypeDir} }
func hex(d digest.Digest) string            { return d.Encoded() }
func blobPath(d digest.Digest) string       { return "blobs/sha256/" + d.Encoded() }
func tarOf(items ...item) []byte            { return tarBytes(tar.FormatUnknown, items...) }
func platform(arch string) ocispec.Platform { return ocispec.Platform{OS: "linux", Architecture: arch} }

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func tarBytes(format tar.Format, items ...item) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Typeflag: i.kind, Linkname: i.link, Size: int64(len(i.body)), Mode: 0o444, Format: format}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if _, err := w.Write(i.body); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func write(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string, kind ref.Transport) *archive.Archive {
	t.Helper()
	a, err := archive.Open(path, kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// layout is the entries of an OCI layout that holds all of s.
func layout(s *contenttest.Store, index ...ocispec.Descriptor) []item {
	items := []item{file("oci-layout", []byte(layoutFile))}
	for d, b := range s.All() {
		items = append(items, file(blobPath(d), b))
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.name, b.name) })
	return append(items, jsonFile("index.json", ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: index,
	}))
}

func named(d ocispec.Descriptor, annotations ...string) ocispec.Descriptor {
	d.Annotations = map[string]string{}
	for i := 0; i < len(annotations); i += 2 {
		d.Annotations[annotations[i]] = annotations[i+1]
	}
	return d
}

const (
	refName   = "org.opencontainers.image.ref.name"
	imageName = "io.containerd.image.name"
	subject   = "io.containerd.manifest.subject"
)

// names are what a list of images says, one "NAME DIGEST" each.
func names(images []archive.Image) []string {
	var all []string
	for _, i := range images {
		all = append(all, i.Name+" "+string(i.Desc.Digest))
	}
	return all
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// unpack writes items into a folder.
func unpack(t *testing.T, items []item) string {
	t.Helper()
	dir := t.TempDir()
	for _, i := range items {
		path := filepath.Join(dir, filepath.FromSlash(i.name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, i.body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOCILayoutIsASource(t *testing.T) {
	s := suite.NewSample()
	items := layout(s.Store, named(s.Index, refName, "docker.io/library/app:1"))
	t.Run("tar", func(t *testing.T) {
		a := open(t, write(t, tarOf(items...)), ref.Archive)
		suite.Source(t, a, s)
		if got := a.Images()[0].Kind; got != "oci-archive" {
			t.Errorf("kind %q", got)
		}
	})
	t.Run("folder", func(t *testing.T) {
		a := open(t, unpack(t, items), ref.Archive)
		suite.Source(t, a, s)
		if got := a.Images()[0].Kind; got != "oci" {
			t.Errorf("kind %q", got)
		}
	})
	t.Run("offset outside", func(t *testing.T) {
		a := open(t, write(t, tarOf(items...)), ref.OCIArchive)
		for _, off := range []int64{-1, s.Index.Size + 1} {
			if _, err := a.Open(t.Context(), s.Index, off); err == nil {
				t.Errorf("offset %d was taken", off)
			}
		}
	})
}

func TestOCINames(t *testing.T) {
	s := contenttest.NewStore()
	img := s.Image(platform("amd64"), contenttest.Config{}, s.Layer(contenttest.File{Name: "a"}))
	other := s.Image(platform("arm64"), contenttest.Config{}, s.Layer(contenttest.File{Name: "b"}))
	sig := s.Artifact(&img, "application/x-sig")
	chart := s.Artifact(nil, "application/x-chart")
	one, two := string(img.Digest), string(other.Digest)
	for _, c := range []struct {
		name  string
		index []ocispec.Descriptor
		want  []string
	}{
		{"podman and skopeo: a full ref.name", []ocispec.Descriptor{named(img, refName, "docker.io/library/app:1")}, []string{"docker.io/library/app:1 " + one}},
		{"a short name is completed", []ocispec.Descriptor{named(img, refName, "app:1")}, []string{"docker.io/library/app:1 " + one}},
		{"a tag alone is no name", []ocispec.Descriptor{named(img, refName, "latest")}, []string{" " + one}},
		{"no annotations", []ocispec.Descriptor{img}, []string{" " + one}},
		{"docker 25 and ctr: containerd's name before ref.name", []ocispec.Descriptor{named(img, imageName, "docker.io/library/app:1", refName, "1")}, []string{"docker.io/library/app:1 " + one}},
		{"a name that is none", []ocispec.Descriptor{named(img, imageName, "not/a:name:at all")}, []string{" " + one}},
		{"several names of one image, each once", []ocispec.Descriptor{
			named(img, refName, "x.io/a:1", imageName, "x.io/a:1"), named(img, refName, "x.io/a:2"), named(img, refName, "x.io/a:1"), img,
		}, []string{"x.io/a:1 " + one, "x.io/a:2 " + one}},
		{"a name by digest", []ocispec.Descriptor{named(img, imageName, "x.io/a@"+one)}, []string{"x.io/a@" + one + " " + one}},
		{"several images without names", []ocispec.Descriptor{img, named(other, refName, "b")}, []string{" " + one, " " + two}},
		{"referrers and unnamed artifacts are left out", []ocispec.Descriptor{
			named(img, refName, "x.io/a:1"), sig, chart, named(other, subject, one),
			{MediaType: ocispec.MediaTypeImageConfig, Digest: img.Digest, Size: 1},
		}, []string{"x.io/a:1 " + one}},
		{"a named artifact is not", []ocispec.Descriptor{named(chart, refName, "x.io/chart:1")}, []string{"x.io/chart:1 " + string(chart.Digest)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := open(t, write(t, tarOf(layout(s, c.index...)...)), ref.Archive)
			same(t, names(a.Images()), c.want)
			for _, i := range a.Images() {
				if i.Desc.Annotations != nil {
					t.Errorf("the descriptor keeps annotations: %v", i.Desc.Annotations)
				}
			}
		})
	}
}

// A layout's own words for its images are kept, to choose one by.
func TestOCIRefs(t *testing.T) {
	s := contenttest.NewStore()
	img := s.Image(platform("amd64"), contenttest.Config{})
	other := s.Image(platform("arm64"), contenttest.Config{})
	a := open(t, write(t, tarOf(layout(s,
		named(img, refName, "old"), named(img, refName, "new"), img, named(other, imageName, "x.io/a:1", refName, "1"),
	)...)), ref.Archive)
	var got []string
	for _, i := range a.Images() {
		got = append(got, i.Ref+" "+i.Name+" "+string(i.Desc.Digest))
	}
	same(t, got, []string{"old  " + string(img.Digest), "new  " + string(img.Digest), "1 x.io/a:1 " + string(other.Digest)})
}

// saved is an image as `docker save` and `podman save` see it: layers that
// are not compressed, and a config.
type saved struct {
	config  item // as Docker names it, HEX.json
	layers  [][]byte
	diffIDs []digest.Digest
}

func save(layers ...[]byte) saved {
	s := saved{layers: layers}
	for _, l := range layers {
		s.diffIDs = append(s.diffIDs, digest.FromBytes(l))
	}
	b := encode(ocispec.Image{
		Platform: platform("amd64"), Config: ocispec.ImageConfig{Cmd: []string{"/a"}},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: s.diffIDs},
	})
	s.config = file(hex(digest.FromBytes(b))+".json", b)
	return s
}

type entry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func plainLayer(name string) []byte {
	return contenttest.Tar(contenttest.File{Name: name, Body: contenttest.Random(uint64(len(name)), 2000)})
}

// podmanSave is what podman 4.3 and skopeo 1.9 write: layers by their diff
// ID, and Docker's old names for them as links.
func podmanSave(s saved, tags ...string) []item {
	e := entry{Config: s.config.name, RepoTags: tags}
	var items []item
	for i, l := range s.layers {
		name := hex(s.diffIDs[i]) + ".tar"
		legacy := hex(digest.FromString(name))
		items = append(items, file(name, l), symlink(legacy+"/layer.tar", "../"+name), file(legacy+"/VERSION", []byte("1.0")), file(legacy+"/json", []byte("{}")))
		e.Layers = append(e.Layers, name)
	}
	return append(items, s.config, jsonFile("manifest.json", []entry{e}), file("repositories", []byte("{}")))
}

// dockerSave is what Docker up to 24 writes: a folder for each layer, in
// which a layer that is there already is a link to it.
func dockerSave(s saved, tags ...string) []item {
	e := entry{Config: s.config.name, RepoTags: tags}
	var items []item
	at := map[digest.Digest]string{}
	for i, l := range s.layers {
		id := hex(digest.FromString(string(s.diffIDs[i]) + string(rune('a'+i))))
		items = append(items, directory(id+"/"), file(id+"/VERSION", []byte("1.0")), file(id+"/json", []byte("{}")))
		if first, ok := at[s.diffIDs[i]]; ok {
			items = append(items, symlink(id+"/layer.tar", "../"+first))
		} else {
			at[s.diffIDs[i]] = id + "/layer.tar"
			items = append(items, file(id+"/layer.tar", l))
		}
		e.Layers = append(e.Layers, id+"/layer.tar")
	}
	return append(items, s.config, jsonFile("manifest.json", []entry{e}), file("repositories", []byte("{}")))
}

// checkImage reads all of an image, checked, and compares config and layers.
func checkImage(t *testing.T, a *archive.Archive, desc ocispec.Descriptor, want saved) {
	t.Helper()
	b, err := content.ReadAll(t.Context(), a, desc, content.MaxManifest)
	if err != nil {
		t.Fatal(err)
	}
	node, err := content.Parse(desc, b)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := content.ReadAll(t.Context(), a, *node.Config, content.MaxConfig)
	if err != nil || !bytes.Equal(cfg, want.config.body) {
		t.Errorf("config: %v, or not the exported bytes", err)
	}
	if len(node.Layers) != len(want.layers) {
		t.Fatalf("%d layers, want %d", len(node.Layers), len(want.layers))
	}
	for i, l := range node.Layers {
		b, err := content.ReadAll(t.Context(), a, l, l.Size)
		if err != nil || !bytes.Equal(b, want.layers[i]) {
			t.Errorf("layer %d (%s): %v, or not the saved bytes", i, l.MediaType, err)
		}
	}
}

func TestDockerArchives(t *testing.T) {
	s := save(plainLayer("a"), plainLayer("bb"), plainLayer("a"))
	hard := dockerSave(s, "app:1")
	for i := range hard {
		if hard[i].kind == tar.TypeSymlink {
			hard[i] = hardlink(hard[i].name, strings.TrimPrefix(hard[i].link, "../"))
		}
	}
	var manifests []digest.Digest
	for name, items := range map[string][]item{
		"podman": podmanSave(save(plainLayer("a"), plainLayer("bb")), "docker.io/library/app:1"),
		"docker": dockerSave(s, "app:1"), "docker, hard links": hard,
	} {
		t.Run(name, func(t *testing.T) {
			want := s
			if name == "podman" {
				want = save(plainLayer("a"), plainLayer("bb"))
			}
			a := open(t, write(t, tarOf(items...)), ref.Archive)
			images := a.Images()
			if len(images) != 1 || images[0].Name != "docker.io/library/app:1" || images[0].Kind != "docker-archive" {
				t.Fatalf("images %+v", images)
			}
			if got := content.FormatPlatform(images[0].Desc.Platform); got != "linux/amd64" {
				t.Errorf("platform %q", got)
			}
			checkImage(t, a, images[0].Desc, want)
			if name != "podman" {
				manifests = append(manifests, images[0].Desc.Digest)
			}
		})
	}
	if manifests[0] != manifests[1] {
		t.Errorf("one image, two manifests: %v", manifests)
	}
}

func TestDockerArchiveOfSeveral(t *testing.T) {
	one, two := save(plainLayer("a"), plainLayer("bb")), save(plainLayer("a"), plainLayer("ccc"))
	three := save(plainLayer("a"))
	items := []item{
		file("a.tar", one.layers[0]), file("b.tar", one.layers[1]), file("c.tar", two.layers[1]), one.config, two.config, three.config,
		jsonFile("manifest.json", []entry{
			{one.config.name, []string{"localhost/one:1", "x.io/one:2"}, []string{"a.tar", "b.tar"}},
			{two.config.name, nil, []string{"a.tar", "c.tar"}},
			{three.config.name, []string{"<none>:<none>"}, []string{"./a.tar"}},
		}),
	}
	a := open(t, write(t, tarOf(items...)), ref.DockerArchive)
	images := a.Images()
	var got []string
	for _, i := range images {
		got = append(got, i.Name)
	}
	same(t, got, []string{"localhost/one:1", "x.io/one:2", "", ""})
	for i, want := range []saved{one, one, two, three} {
		checkImage(t, a, images[i].Desc, want)
	}
}

func TestCompressedLayersKeepTheirBytes(t *testing.T) {
	plain := plainLayer("a")
	s := save(plain, plain, plain)
	layers := [][]byte{contenttest.Gzip(plain), contenttest.Zstd(plain), plain}
	items := []item{s.config, jsonFile("manifest.json", []entry{{s.config.name, []string{"app:1"}, []string{"gz", "zst", "plain"}}})}
	for i, n := range []string{"gz", "zst", "plain"} {
		items = append(items, file(n, layers[i]))
	}
	a := open(t, write(t, tarOf(items...)), ref.Archive)
	desc := a.Images()[0].Desc
	b, err := content.ReadAll(t.Context(), a, desc, content.MaxManifest)
	if err != nil {
		t.Fatal(err)
	}
	node, err := content.Parse(desc, b)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd, ocispec.MediaTypeImageLayer} {
		if node.Layers[i].MediaType != want {
			t.Errorf("layer %d is a %s, want %s", i, node.Layers[i].MediaType, want)
		}
	}
	s.layers = layers
	checkImage(t, a, desc, s)
}

// Docker from 25 on writes both forms into one tar.
func TestBothForms(t *testing.T) {
	s := contenttest.NewStore()
	layer := s.LayerPlain(contenttest.File{Name: "a"})
	img := s.Image(platform("amd64"), contenttest.Config{}, layer)
	node, err := content.Parse(img, must(s.Get(img.Digest)))
	if err != nil {
		t.Fatal(err)
	}
	items := append(layout(s, named(img, imageName, "docker.io/library/app:1", refName, "1")),
		jsonFile("manifest.json", []entry{{blobPath(node.Config.Digest), []string{"app:1"}, []string{blobPath(layer.Digest)}}}))
	path := write(t, tarOf(items...))
	for kind, want := range map[ref.Transport]string{ref.Archive: "oci-archive", ref.OCIArchive: "oci-archive", ref.DockerArchive: "docker-archive"} {
		a := open(t, path, kind)
		got := a.Images()
		if len(got) != 1 || got[0].Kind != want || got[0].Name != "docker.io/library/app:1" {
			t.Errorf("as %s: %+v, want one of kind %s", kind, got, want)
		}
		if want == "oci-archive" && got[0].Desc.Digest != img.Digest {
			t.Errorf("as %s: digest %s, want %s", kind, got[0].Desc.Digest, img.Digest)
		}
		// The config is the image's ID, whichever form is read.
		if _, err := content.ReadAll(t.Context(), a, *node.Config, content.MaxConfig); err != nil {
			t.Errorf("as %s: %v", kind, err)
		}
	}
}

func must(b []byte, ok bool) []byte {
	if !ok {
		panic("not in the store")
	}
	return b
}

// A layer whose bytes are not what the config claims is found by whoever
// copies it: the archive does not vouch for them.
func TestLyingLayerIsFoundWhenRead(t *testing.T) {
	s := save(plainLayer("a"))
	lie := bytes.Clone(s.layers[0])
	lie[1000] ^= 1
	a := open(t, write(t, tarOf(file("l", lie), s.config, jsonFile("manifest.json", []entry{{s.config.name, nil, []string{"l"}}}))), ref.Archive)
	d := ocispec.Descriptor{Digest: s.diffIDs[0], Size: int64(len(lie))}
	_, err := content.ReadAll(t.Context(), a, d, d.Size)
	if _, ok := errors.AsType[*content.DigestError](err); !ok {
		t.Errorf("read: %v, want a digest error", err)
	}
}

func TestNotFound(t *testing.T) {
	s := save(plainLayer("a"))
	a := open(t, write(t, tarOf(podmanSave(s, "a:1")...)), ref.Archive)
	for _, d := range []digest.Digest{digest.FromString("nobody has this"), "sha256:../../etc/passwd", "", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
		_, err := a.Open(t.Context(), ocispec.Descriptor{Digest: d}, 0)
		if err == nil {
			t.Errorf("%q was opened", d)
		}
		if d.Validate() == nil && !errors.Is(err, content.ErrNotFound) {
			t.Errorf("%q: %v, want content.ErrNotFound", d, err)
		}
	}
}
