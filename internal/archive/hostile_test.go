package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/archive"
	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/ref"
)

// refused opens b and wants an error that names the file and says each word.
func refused(t *testing.T, b []byte, kind ref.Transport, words ...string) {
	t.Helper()
	path := write(t, b)
	a, err := archive.Open(path, kind)
	if err == nil {
		t.Fatalf("it was opened: %v", errors.Join(fmt.Errorf("%+v", a.Images()), a.Close()))
	}
	for _, w := range append(words, path) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestFilesThatAreNoArchive(t *testing.T) {
	good := tarOf(podmanSave(save(plainLayer("a")), "a:1")...)
	for name, c := range map[string]struct {
		b     []byte
		words []string
	}{
		"empty":          {nil, []string{"empty"}},
		"HTML":           {[]byte("\n<!DOCTYPE HTML><html><body>Sign in</body></html>"), []string{"web page"}},
		"bare HTML":      {[]byte("<html>" + strings.Repeat(" ", 600)), []string{"web page"}},
		"text":           {[]byte("hello\n"), []string{"text file"}},
		"long text":      {bytes.Repeat([]byte("Zeile mit Umläuten\n"), 100), []string{"not a tar file"}},
		"short binary":   {[]byte{0, 1, 2, 3}, []string{"not a tar file"}},
		"binary":         {contenttest.Random(1, 4096), []string{"not a tar file"}},
		"gzip":           {contenttest.Gzip(good), []string{"gzip", "gunzip"}},
		"zstd":           {contenttest.Zstd(good), []string{"zstd", "unzstd"}},
		"xz":             {[]byte("\xfd7zXZ\x00\x00\x04rest"), []string{"xz", "unxz"}},
		"bzip2":          {[]byte("BZh91AY&SY"), []string{"bzip2", "bunzip2"}},
		"another tar":    {tarOf(file("etc/passwd", []byte("x"))), []string{"no image archive"}},
		"docker 1.9":     {tarOf(file("repositories", []byte("{}"))), []string{"older than 1.10"}},
		"tar of nothing": {tarOf(), []string{"no image archive"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, c.b, ref.Archive, c.words...) })
	}
}

// A file that was cut short is refused, unless all that is missing is the
// padding and the end marker of the tar: then everything can be read.
func TestCutShort(t *testing.T) {
	for form, items := range map[string][]item{
		"docker": podmanSave(save(plainLayer("a"), plainLayer("bb")), "a:1"),
		"oci":    ociSample(),
	} {
		whole := tarOf(items...)
		for n := 1; n < len(whole)-1024; n += 300 {
			path := write(t, whole[:n])
			a, err := archive.Open(path, ref.Archive)
			if err != nil {
				continue
			}
			if err := errors.Join(readAll(t, a), a.Close()); err != nil {
				t.Errorf("%s: %d of %d bytes were taken for an archive of %v: %v", form, n, len(whole), names(a.Images()), err)
			}
		}
		refused(t, whole[:1500], ref.Archive, "cut short", items[0].name)
	}
}

// readAll reads every image with all that it names.
func readAll(t *testing.T, a *archive.Archive) error {
	t.Helper()
	for _, i := range a.Images() {
		b, err := content.ReadAll(t.Context(), a, i.Desc, content.MaxManifest)
		if err != nil {
			return err
		}
		node, err := content.Parse(i.Desc, b)
		if err != nil {
			return err
		}
		for _, d := range node.Children() {
			if _, err := content.ReadAll(t.Context(), a, d, d.Size); err != nil {
				return err
			}
		}
	}
	return nil
}

func ociSample() []item {
	s := contenttest.NewStore()
	img := s.Image(platform("amd64"), contenttest.Config{}, s.Layer(contenttest.File{Name: "a", Body: contenttest.Random(1, 3000)}))
	return layout(s, named(img, refName, "x.io/a:1"))
}

func TestHostileTars(t *testing.T) {
	good := podmanSave(save(plainLayer("a")), "a:1")
	with := func(more ...item) []byte { return tarOf(append(append([]item(nil), good...), more...)...) }
	sparse := header(func(h []byte) { h[156] = 'S'; copy(h[257:], "ustar  \x00") })
	lying := header(func(h []byte) { copy(h[124:], "77777777777\x00") })
	for name, c := range map[string]struct {
		b     []byte
		words []string
	}{
		"out of the archive": {with(file("a/../../x", nil)), []string{`"a/../../x"`, "leads out"}},
		"absolute":           {with(file("/etc/passwd", nil)), []string{`"/etc/passwd"`, "absolute"}},
		"twice":              {with(file("manifest.json", []byte("[]"))), []string{`"manifest.json"`, "twice"}},
		"twice, disguised":   {with(file("./x/../manifest.json", []byte("[]"))), []string{"twice"}},
		"sparse":             {append(sparse, with()...), []string{"sparse"}},
		"sparse in PAX":      {paxSparse(), []string{"sparse"}},
		"more than there is": {append(with()[:len(with())-1024], lying...), []string{"cut short"}},
		"bad checksum":       {append(with()[:len(with())-1024], bytes.Repeat([]byte{7}, 512)...), []string{"cannot be read", `"repositories"`}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, c.b, ref.Archive, c.words...) })
	}
}

// header is a tar header that change damages, its checksum made anew.
func header(change func([]byte)) []byte {
	h := tarBytes(tar.FormatUSTAR, file("some", nil))[:512]
	change(h)
	copy(h[148:156], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// paxSparse is a tar whose file is sparse in the form GNU tar writes today.
func paxSparse() []byte {
	var pax string
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=layer.tar", "GNU.sparse.realsize=2000"} {
		n := len(kv) + 3
		if n >= 10 {
			n = len(fmt.Sprint(n)) + len(kv) + 2
		}
		pax += fmt.Sprintf("%d %s\n", n, kv)
	}
	body := append([]byte("1\n0\n2000\n"), make([]byte, 512-9)...)
	h := header(func(h []byte) { h[156] = 'x'; copy(h[124:], fmt.Sprintf("%011o\x00", len(pax))) })
	f := header(func(h []byte) { copy(h[124:], fmt.Sprintf("%011o\x00", len(body)+2000)) })
	out := append(bytes.Clone(h), pax...)
	out = append(out, make([]byte, 512-len(pax)%512)...)
	out = append(append(out, f...), body...)
	return append(out, make([]byte, 2048+1024)...)
}

func TestTooManyEntries(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a tar of 100,000 entries")
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range archive.MaxEntries + 1 {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, b.Bytes(), ref.Archive, "100000 entries")
}

func TestHostileDockerArchives(t *testing.T) {
	s := save(plainLayer("a"))
	layer := file("l", s.layers[0])
	manifest := func(e ...entry) item { return jsonFile("manifest.json", e) }
	ok := entry{Config: s.config.name, Layers: []string{"l"}}
	other := save(plainLayer("bb"))
	var chain []item
	for i := range archive.MaxLinks + 1 {
		chain = append(chain, symlink(fmt.Sprint("l", i), fmt.Sprint("l", i+1)))
	}
	edited := item{name: s.config.name, kind: tar.TypeReg, body: append(bytes.Clone(s.config.body), ' ')}
	huge := entry{Config: s.config.name, RepoTags: []string{strings.Repeat("x", archive.MaxIndex)}}
	claims := func(d ...string) item { return jsonFile("c", map[string]any{"rootfs": map[string]any{"diff_ids": d}}) }
	for name, c := range map[string]struct {
		items []item
		words []string
	}{
		"not JSON":               {[]item{file("manifest.json", []byte("<"))}, []string{"manifest.json"}},
		"no list":                {[]item{file("manifest.json", []byte("{}"))}, []string{"manifest.json"}},
		"no images":              {[]item{manifest()}, []string{"no image"}},
		"too large":              {[]item{manifest(huge)}, []string{"manifest.json", "at most"}},
		"too many images":        {[]item{layer, s.config, manifest(make([]entry, archive.MaxImages+1)...)}, []string{"4097 images"}},
		"no config":              {[]item{layer, manifest(ok)}, []string{s.config.name, "incomplete"}},
		"config is a folder":     {[]item{{name: s.config.name, kind: tar.TypeFifo}, layer, manifest(ok)}, []string{"regular file"}},
		"config too large":       {[]item{file("c", make([]byte, content.MaxConfig+1)), manifest(entry{Config: "c"})}, []string{`"c"`, "at most"}},
		"config not JSON":        {[]item{file("c", []byte("no")), manifest(entry{Config: "c"})}, []string{`"c"`}},
		"config edited":          {[]item{edited, layer, manifest(ok)}, []string{"damaged", s.config.name}},
		"config outside":         {[]item{manifest(entry{Config: "../../etc/passwd"})}, []string{"leads out"}},
		"layer missing":          {[]item{s.config, manifest(ok)}, []string{`"l"`, "incomplete"}},
		"fewer layers":           {[]item{s.config, manifest(entry{Config: s.config.name})}, []string{"0 layers", "speaks of 1"}},
		"more layers":            {[]item{s.config, layer, manifest(entry{Config: s.config.name, Layers: []string{"l", "l"}})}, []string{"2 layers"}},
		"diff ID is no digest":   {[]item{claims("sha256:.."), layer, manifest(entry{Config: "c", Layers: []string{"l"}})}, []string{"layer 1", "digest"}},
		"link outside":           {[]item{s.config, symlink("l", "../../etc/passwd"), manifest(ok)}, []string{`"l"`, "outside"}},
		"absolute link":          {[]item{s.config, symlink("l", "/etc/passwd"), manifest(ok)}, []string{`"l"`, "outside"}},
		"hard link outside":      {[]item{s.config, hardlink("l", "../x"), manifest(ok)}, []string{`"l"`, "outside"}},
		"link to itself":         {[]item{s.config, symlink("l", "l"), manifest(ok)}, []string{`"l"`, "links"}},
		"long chain of links":    {append(chain, s.config, file(fmt.Sprint("l", archive.MaxLinks+1), s.layers[0]), manifest(entry{Config: s.config.name, Layers: []string{"l0"}})), []string{`"l0"`, "links"}},
		"link to nothing":        {[]item{s.config, symlink("l", "m"), manifest(ok)}, []string{`"l"`, `"m"`, "incomplete"}},
		"xz layer":               {[]item{s.config, file("l", []byte("\xfd7zXZ\x00rest")), manifest(ok)}, []string{`"l"`, "xz"}},
		"one name, two images":   {[]item{s.config, other.config, layer, file("m", other.layers[0]), manifest(entry{s.config.name, []string{"a:1"}, []string{"l"}}, entry{other.config.name, []string{"a:1"}, []string{"m"}})}, []string{"docker.io/library/a:1", "two images"}},
		"one digest, two sizes":  {[]item{claims(string(s.diffIDs[0]), string(s.diffIDs[0])), layer, file("m", []byte("short")), manifest(entry{Config: "c", Layers: []string{"l", "m"}})}, []string{`"l"`, `"m"`, "size"}},
		"manifest.json is a dir": {[]item{{name: "manifest.json", kind: tar.TypeChar}}, []string{"no image archive"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, tarOf(c.items...), ref.Archive, c.words...) })
	}
}

func TestHostileLayouts(t *testing.T) {
	s := contenttest.NewStore()
	img := s.Image(platform("amd64"), contenttest.Config{})
	other := s.Image(platform("arm64"), contenttest.Config{})
	wrong := contenttest.NewStore()
	wrong.Replace(img.Digest, must(s.Get(other.Digest))[:img.Size-1])
	larger := img
	larger.Size++
	list := img
	list.MediaType = ocispec.MediaTypeImageIndex
	unsafe := img
	unsafe.Digest = "sha256:../../../etc/passwd"
	marker := file("oci-layout", []byte(layoutFile))
	for name, c := range map[string]struct {
		items []item
		words []string
	}{
		"no index":              {[]item{marker}, []string{"index.json"}},
		"index not JSON":        {[]item{marker, file("index.json", []byte("<"))}, []string{"index.json"}},
		"index too large":       {[]item{marker, file("index.json", make([]byte, archive.MaxIndex+1))}, []string{"index.json", "at most"}},
		"no images":             {layout(s), []string{"no image"}},
		"layout not JSON":       {[]item{file("oci-layout", []byte("1.0.0"))}, []string{"oci-layout"}},
		"layout of the future":  {[]item{file("oci-layout", []byte(`{"imageLayoutVersion":"2.0.0"}`))}, []string{`"2.0.0"`}},
		"layout too large":      {[]item{file("oci-layout", make([]byte, 5000))}, []string{"oci-layout", "at most"}},
		"manifest missing":      {layout(contenttest.NewStore(), img), []string{blobPath(img.Digest), "incomplete", "entry 1"}},
		"manifest damaged":      {layout(wrong, img), []string{blobPath(img.Digest), "damaged"}},
		"manifest's size lies":  {layout(s, larger), []string{"wrong size"}},
		"manifest is no index":  {layout(s, list), []string{string(img.Digest)}},
		"announced in two ways": {layout(s, img, larger), []string{"two ways", "entry 2"}},
		"digest is a path":      {layout(s, unsafe), []string{"entry 1", "digest"}},
		"one name, two images":  {layout(s, named(img, refName, "a:1"), named(other, imageName, "docker.io/library/a:1")), []string{"docker.io/library/a:1", "two images"}},
		"another's digest":      {layout(s, named(img, imageName, "x.io/a@"+string(other.Digest))), []string{string(other.Digest), string(img.Digest)}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, tarOf(c.items...), ref.Archive, c.words...) })
	}
}

func TestWrongKind(t *testing.T) {
	docker := tarOf(podmanSave(save(plainLayer("a")), "a:1")...)
	refused(t, docker, ref.OCIArchive, "docker-archive:")
	refused(t, docker, ref.OCIDir, "oci-archive:")
	refused(t, tarOf(ociSample()...), ref.DockerArchive, "oci-archive:")
	refused(t, docker, ref.DockerDaemon, "docker-daemon")
	for kind, word := range map[ref.Transport]string{ref.DockerArchive: "folder", ref.OCIArchive: "oci:PATH"} {
		if _, err := archive.Open(unpack(t, ociSample()), kind); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("a folder as %s: %v, want it to say %q", kind, err, word)
		}
	}
	if _, err := archive.Open(t.TempDir(), ref.Archive); err == nil || !strings.Contains(err.Error(), "oci-layout") {
		t.Errorf("an empty folder: %v", err)
	}
	_, err := archive.Open(filepath.Join(t.TempDir(), "nothing"), ref.Archive)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if runtime.GOOS != "windows" {
		if _, err := archive.Open(os.DevNull, ref.Archive); err == nil || !strings.Contains(err.Error(), "neither a file nor a folder") {
			t.Errorf("a device: %v", err)
		}
	}
}

// A folder can hold links, and what they lead to is not the folder's.
func TestFolderWithLinksOut(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need rights on Windows")
	}
	s := contenttest.NewStore()
	layer := s.Layer(contenttest.File{Name: "a"})
	dir := unpack(t, layout(s, s.Image(platform("amd64"), contenttest.Config{}, layer)))
	blob := filepath.Join(dir, filepath.FromSlash(blobPath(layer.Digest)))
	outside := write(t, must(s.Get(layer.Digest)))
	if err := errors.Join(os.Remove(blob), os.Symlink(outside, blob)); err != nil {
		t.Fatal(err)
	}
	a := open(t, dir, ref.OCIDir)
	if _, err := a.Open(t.Context(), layer, 0); err == nil {
		t.Error("a file outside the folder was opened")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(tarOf(podmanSave(save(plainLayer("a")), "a:1")...))
	f.Add(tarOf(dockerSave(save(plainLayer("a"), plainLayer("a")), "a:1", "b")...))
	f.Add(tarOf(ociSample()...))
	f.Add(paxSparse())
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := archive.Open(write(t, b), ref.Archive)
		if err != nil {
			return
		}
		defer a.Close()
		for _, i := range a.Images() {
			// What an archive calls an image is one, and has a name that parses.
			m, err := content.ReadAll(t.Context(), a, i.Desc, content.MaxManifest)
			if err != nil {
				t.Fatalf("%s: %v", i.Desc.Digest, err)
			}
			node, err := content.Parse(i.Desc, m)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := ref.Parse(i.Name); i.Name != "" && (err != nil || n.String() != i.Name) {
				t.Fatalf("name %q: %v", i.Name, err)
			}
			for _, d := range node.Children() {
				_, _ = content.ReadAll(t.Context(), a, d, int64(len(b)))
			}
		}
	})
}
