package ferry_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
	"ferry/internal/ferry"
	"ferry/internal/lock"
	"ferry/internal/ref"
)

// saved is an image as docker save writes it.
type saved struct {
	tags   []string
	layers [][]byte
	cmd    string
}

// dockerArchive writes what docker save would.
func dockerArchive(t testing.TB, w io.Writer, images ...saved) {
	t.Helper()
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var index []entry
	all := map[string][]byte{}
	for _, img := range images {
		cfg := ocispec.Image{Platform: amd64, RootFS: ocispec.RootFS{Type: "layers"}}
		cfg.Config.Cmd = []string{img.cmd}
		e := entry{RepoTags: img.tags}
		for _, l := range img.layers {
			d := digest.FromBytes(l)
			cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, d)
			e.Layers = append(e.Layers, d.Encoded()+"/layer.tar")
			all[d.Encoded()+"/layer.tar"] = l
		}
		b := asJSON(t, cfg)
		e.Config = digest.FromBytes(b).Encoded() + ".json"
		all[e.Config] = b
		index = append(index, e)
	}
	all["manifest.json"] = asJSON(t, index)
	writeTar(t, w, all)
}

func asJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeTar(t testing.TB, w io.Writer, all map[string][]byte) {
	t.Helper()
	tw := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(all[name])), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(all[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
}

func saveTo(t *testing.T, images ...saved) string {
	t.Helper()
	var b bytes.Buffer
	dockerArchive(t, &b, images...)
	path := filepath.Join(t.TempDir(), "saved.tar")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func layer(seed uint64) []byte {
	return contenttest.Tar(contenttest.File{Name: "f", Body: contenttest.Random(seed, 5000)})
}

// layout are the files of an OCI layout of everything in s.
func layout(t *testing.T, s *contenttest.Store, images ...ocispec.Descriptor) map[string][]byte {
	t.Helper()
	all := map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json": asJSON(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: images}),
	}
	for d, b := range s.All() {
		all["blobs/"+d.Algorithm().String()+"/"+d.Encoded()] = b
	}
	return all
}

func folder(t *testing.T, all map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range all {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func annotated(d ocispec.Descriptor, key, value string) ocispec.Descriptor {
	d.Annotations = map[string]string{key: value}
	return d
}

// packedNames packs and returns the names, each with where it came from.
func packedNames(t *testing.T, req ferry.PackRequest) []string {
	t.Helper()
	var all []string
	for _, img := range packed(t, req).Images {
		if img.Source.Type != lock.Local || img.Source.Exported == "" || len(img.Referrers) > 0 {
			t.Errorf("%s: source %+v", img.Name, img.Source)
		}
		all = append(all, img.Name+" from "+img.Source.Kind)
	}
	return all
}

func TestDockerArchive(t *testing.T) {
	one := saved{tags: []string{"example/one:1", "quay.io/example/one:latest"}, layers: [][]byte{layer(1), layer(2)}, cmd: "/one"}
	two := saved{tags: []string{"example/two:2"}, layers: [][]byte{layer(1)}, cmd: "/two"}
	nameless := saved{layers: [][]byte{layer(3)}, cmd: "/three"}
	both := []string{"docker.io/example/one:1 from docker-archive", "docker.io/example/two:2 from docker-archive", "quay.io/example/one:latest from docker-archive"}
	for name, c := range map[string]struct {
		images []saved
		place  string // with PATH for the archive
		want   []string
	}{
		"one image":           {[]saved{two}, "PATH", both[1:2]},
		"with its transport":  {[]saved{two}, "docker-archive:PATH", both[1:2]},
		"several, and tags":   {[]saved{one, two}, "PATH", both},
		"one of several":      {[]saved{one, two, nameless}, "docker-archive:PATH:example/two:2", both[1:2]},
		"named on the way in": {[]saved{nameless}, "docker-archive:PATH:example/three:3", []string{"docker.io/example/three:3 from docker-archive"}},
	} {
		t.Run(name, func(t *testing.T) {
			place := strings.Replace(c.place, "PATH", saveTo(t, c.images...), 1)
			if got := packedNames(t, ferry.PackRequest{Places: []string{place}, To: target(t)}); !slices.Equal(got, c.want) {
				t.Errorf("packed %q, want %q", got, c.want)
			}
		})
	}
	r := packed(t, ferry.PackRequest{Places: []string{saveTo(t, one)}, To: target(t)})
	if r.Images[0].Digest != r.Images[1].Digest || r.Images[0].Digest != r.Images[0].Source.Exported || r.Blobs != 4 {
		t.Errorf("one image with two tags became %+v", r)
	}
	if len(r.ByHand) > 0 {
		t.Errorf("by hand %q, of an image that is in no registry", r.ByHand)
	}
}

func TestDockerArchiveRefused(t *testing.T) {
	named := saved{tags: []string{"example/one:1"}, layers: [][]byte{layer(1)}}
	nameless := saved{layers: [][]byte{layer(3)}}
	for name, c := range map[string]struct {
		place string
		texts []string
	}{
		"an image without a name": {saveTo(t, named, nameless), []string{"without a name", "docker-archive:", ":registry.example/app:1.0"}},
		"no such image":           {"docker-archive:" + saveTo(t, named, nameless) + ":example/two:2", []string{"holds no docker.io/example/two:2, but docker.io/example/one:1, one without a name, sha256:"}},
		"not the one there is":    {"docker-archive:" + saveTo(t, named) + ":example/two:2", []string{"holds no docker.io/example/two:2, but docker.io/example/one:1"}},
		"no such file":            {"docker-archive:/nowhere/x.tar", []string{"/nowhere/x.tar", "no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			to := target(t)
			_, err := pack(t, ferry.PackRequest{Places: []string{c.place}, To: to})
			says(t, err, c.texts...)
			if left := files(t, to); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestDockerArchiveWithAWrongLayer: a layer's digest is only a claim of the
// config, until it was copied.
func TestDockerArchiveWithAWrongLayer(t *testing.T) {
	path := saveTo(t, saved{tags: []string{"example/one:1"}, layers: [][]byte{layer(1)}})
	flip(t, path, layer(1))
	to := target(t)
	_, err := pack(t, ferry.PackRequest{Places: []string{path}, To: to})
	says(t, err, "docker.io/example/one:1", "wrong digest", digest.FromBytes(layer(1)).String(), path)
	if _, err := os.Stat(to); err == nil {
		t.Error("there is a bundle under the final name")
	}
}

func TestOCILayouts(t *testing.T) {
	s := newSample()
	const refName, imageName = ocispec.AnnotationRefName, "io.containerd.image.name"
	full := annotated(s.index, imageName, "quay.io/team/app:1.0")
	both := annotated(s.index, imageName, "quay.io/team/app:1.0")
	both.Annotations[refName] = "1.0"
	for name, c := range map[string]struct {
		index []ocispec.Descriptor
		place string
		want  string
	}{
		"a name":                      {[]ocispec.Descriptor{full}, "PATH", "quay.io/team/app:1.0"},
		"a full ref.name":             {[]ocispec.Descriptor{annotated(s.index, refName, "quay.io/team/app:2.0")}, "PATH", "quay.io/team/app:2.0"},
		"a tag, and named on the way": {[]ocispec.Descriptor{annotated(s.index, refName, "1.0")}, "KIND:PATH:team/app:1.0", "docker.io/team/app:1.0"},
		"chosen by its tag":           {[]ocispec.Descriptor{both, annotated(s.amd64, imageName, "quay.io/team/other:2")}, "KIND:PATH:1.0", "quay.io/team/app:1.0"},
	} {
		all := layout(t, s.Store, c.index...)
		var b bytes.Buffer
		writeTar(t, &b, all)
		file := filepath.Join(t.TempDir(), "layout.tar")
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		for kind, path := range map[string]string{"oci": folder(t, all), "oci-archive": file} {
			t.Run(name+" in "+kind, func(t *testing.T) {
				place := strings.NewReplacer("KIND", kind, "PATH", path).Replace(c.place)
				to := target(t)
				r := packed(t, ferry.PackRequest{Places: []string{place}, To: to})
				img := r.Images[0]
				want := lock.Source{Type: lock.Local, Kind: kind, Exported: s.index.Digest}
				if len(r.Images) != 1 || img.Name != c.want || img.Digest != s.index.Digest || img.Source != want {
					t.Errorf("%+v", r.Images)
				}
				holds(t, to, true, s.amd64, s.arm64, s.attestation, s.base)
			})
		}
	}
	lone := folder(t, layout(t, s.Store, annotated(s.index, refName, "1.0")))
	_, err := pack(t, ferry.PackRequest{Places: []string{"oci:" + lone + ":1.0"}, To: target(t)})
	says(t, err, `"1.0", which is a tag and not a full name`, "oci:"+lone+":registry.example/app:1.0")
	_, err = pack(t, ferry.PackRequest{Places: []string{lone}, To: target(t)})
	says(t, err, "without a name")
}

func TestPlatformOfALocalImage(t *testing.T) {
	s := newSample()
	dir := folder(t, layout(t, s.Store, annotated(s.index, "io.containerd.image.name", "quay.io/team/app:1.0")))
	to, again := target(t), target(t)
	r := packed(t, ferry.PackRequest{Places: []string{dir}, To: to, Platforms: []string{"linux/arm64"}, AsOf: moment})
	img := r.Images[0]
	if img.Digest != s.arm64.Digest || img.Upstream == nil || img.Source.Exported != s.index.Digest {
		t.Errorf("%+v", img)
	}
	packed(t, ferry.PackRequest{Lock: to + ferry.LockSuffix, Places: []string{dir}, To: again, AsOf: moment})
	sameFile(t, to, again)
}

// TestABundleIsPackedAgain: ferry's own file is an archive like any other.
func TestABundleIsPackedAgain(t *testing.T) {
	u, s := startUpstream(t), newSample()
	first, second := target(t), target(t)
	a, b := u.push(s.Store, "team/app", "1.0", s.index, s.sign(s.index)), u.push(s.Store, "team/single", "2.0", s.arm64)
	packed(t, ferry.PackRequest{Places: []string{a, b}, To: first})
	u.ResetRequests()
	if got, want := packedNames(t, ferry.PackRequest{Places: []string{first}, To: second}), []string{a + " from oci-archive", b + " from oci-archive"}; !slices.Equal(got, want) {
		t.Errorf("packed %q, want %q", got, want)
	}
	if n := len(u.Requests()); n > 0 {
		t.Errorf("%d requests for what is in a file", n)
	}
	holds(t, second, true, s.index, s.arm64, s.base)
}

func TestLocalAndRegistryTogether(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	path := saveTo(t, saved{tags: []string{"example/one:1"}, layers: [][]byte{layer(1)}})
	to, again := target(t), target(t)
	r := packed(t, ferry.PackRequest{Places: []string{path, name}, To: to, AsOf: moment})
	if len(r.Images) != 2 || r.Images[0].Source.Type == r.Images[1].Source.Type {
		t.Errorf("%+v", r.Images)
	}
	for _, source := range []string{r.Images[0].Source.Kind, r.Images[1].Source.Kind} {
		if strings.Contains(source, path) {
			t.Error("a path of this machine is in the lock")
		}
	}

	lockFile := to + ferry.LockSuffix
	packed(t, ferry.PackRequest{Lock: lockFile, Places: []string{path}, To: again, AsOf: moment})
	sameFile(t, to, again)

	_, err := pack(t, ferry.PackRequest{Lock: lockFile, To: target(t)})
	says(t, err, "docker.io/example/one:1 came from a docker-archive", "give it again", r.Images[1].Digest.String())

	changed := saveTo(t, saved{tags: []string{"example/one:1"}, layers: [][]byte{layer(2)}})
	_, err = pack(t, ferry.PackRequest{Lock: lockFile, Places: []string{changed}, To: target(t)})
	says(t, err, "docker.io/example/one:1", "its manifest has to be ")
}

// engine is a container engine that has one image.
type engine struct {
	t        *testing.T
	dir      string // where its export is looked for
	saw      []string
	save     error
	claim    digest.Digest
	claimErr error
}

func (e *engine) Save(_ context.Context, names []string, w io.Writer) error {
	e.saw, _ = filepath.Glob(filepath.Join(e.dir, ".ferry-export-*"))
	if e.save != nil {
		_, _ = io.WriteString(w, "half an arch")
		return e.save
	}
	dockerArchive(e.t, w, saved{tags: names, layers: [][]byte{layer(1)}, cmd: "/app"})
	return nil
}

func (e *engine) Claim(context.Context, string) (digest.Digest, error) { return e.claim, e.claimErr }

func (e *engine) world() ferry.World {
	w := world(e.t)
	w.Engine = func(t ref.Transport) ferry.Engine {
		if t != ref.ContainersStorage {
			e.t.Errorf("the engine behind %s was asked for", t)
		}
		return e
	}
	return w
}

func TestEngine(t *testing.T) {
	to := target(t)
	claim := digest.FromString("upstream")
	e := &engine{t: t, dir: filepath.Dir(to), claim: claim}
	req := ferry.PackRequest{Places: []string{"containers-storage:localhost/app:1.0"}, To: to}
	r := packedIn(t, e.world(), req)
	img := r.Images[0]
	want := lock.Source{Type: lock.Local, Kind: "containers-storage", Exported: img.Digest, Claimed: claim}
	if img.Name != "localhost/app:1.0" || img.Source != want {
		t.Errorf("%+v, want %+v", img, want)
	}
	if got, _ := os.ReadFile(to + ferry.LockSuffix); !strings.Contains(string(got), `"claimed": "`+claim.String()) {
		t.Errorf("the claim is not in the lock:\n%s", got)
	}
	if len(e.saw) > 0 && runtime.GOOS != "windows" {
		t.Errorf("while the engine saved, there was %v: a kill would leave it", e.saw)
	}
	if left := files(t, to); len(left) != 2 {
		t.Errorf("beside the bundle and its lock: %v", left)
	}

	req.Lock, req.To = to+ferry.LockSuffix, target(t)
	if again := packedIn(t, e.world(), req); again.Digest != r.Digest {
		t.Errorf("from the lock: %s, first %s", again.Digest, r.Digest)
	}
}

var errEngine = errors.New("the engine gave up")

func TestEngineThatFails(t *testing.T) {
	for name, e := range map[string]*engine{
		"while saving":   {save: errEngine},
		"when asked":     {claimErr: errEngine},
		"claims a weak":  {claim: "md5:5d41402abc4b2a76b9719d911017c592"},
		"claims garbage": {claim: "sha256:\x1b[2J"},
	} {
		t.Run(name, func(t *testing.T) {
			to := target(t)
			e.t, e.dir = t, filepath.Dir(to)
			_, err := ferry.Pack(t.Context(), e.world(), ferry.PackRequest{Places: []string{"containers-storage:localhost/app:1.0"}, To: to})
			if err == nil || e.claim == "" && !errors.Is(err, errEngine) {
				t.Errorf("%v", err)
			}
			if left := files(t, to); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestADigestNameStays: it is left out only where a tag says the same.
func TestADigestNameStays(t *testing.T) {
	u, s := startUpstream(t), newSample()
	first := target(t)
	name := strings.TrimSuffix(u.push(s.Store, "team/app", "1.0", s.index), ":1.0") + "@" + s.index.Digest.String()
	packed(t, ferry.PackRequest{Places: []string{name}, To: first})
	if got := packedNames(t, ferry.PackRequest{Places: []string{first}, To: target(t)}); !slices.Equal(got, []string{name + " from oci-archive"}) {
		t.Errorf("packed %q", got)
	}
}
