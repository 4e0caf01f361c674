package contenttest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/content/contenttest/suite"
)

func TestStoreIsASource(t *testing.T) {
	s := suite.NewSample()
	suite.Source(t, s.Store, s)
}

func TestSameBytesOnEveryRun(t *testing.T) {
	a, b := suite.NewSample(), suite.NewSample()
	if a.Index.Digest != b.Index.Digest || a.Referrer.Digest != b.Referrer.Digest {
		t.Errorf("made twice: %s and %s", a.Index.Digest, b.Index.Digest)
	}
	if len(a.Blobs) != len(a.Store.All()) {
		t.Errorf("the sample names %d blobs; %d are in the store", len(a.Blobs), len(a.Store.All()))
	}
}

func TestImage(t *testing.T) {
	file := contenttest.File{Name: "a", Body: []byte("hello")}
	plain := digest.FromBytes(contenttest.Tar(file))
	s := contenttest.NewStore()
	raw := s.Add(ocispec.MediaTypeImageLayer, contenttest.Tar(file, file))
	p := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	for name, desc := range map[string]ocispec.Descriptor{
		content.DockerManifest:         s.DockerImage(p, contenttest.Config{}, s.Layer(file), s.LayerZstd(file), s.LayerPlain(file), raw),
		ocispec.MediaTypeImageManifest: s.Image(p, contenttest.Config{}, s.Layer(file), s.LayerZstd(file), s.LayerPlain(file), raw),
	} {
		if desc.MediaType != name {
			t.Errorf("media type %s, want %s", desc.MediaType, name)
		}
		node := parse(t, s, desc)
		var cfg ocispec.Image
		b, err := content.ReadAll(t.Context(), s, *node.Config, content.MaxConfig)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &cfg); err != nil {
			t.Fatal(err)
		}
		want := []digest.Digest{plain, plain, plain, raw.Digest}
		if len(cfg.RootFS.DiffIDs) != len(want) {
			t.Fatalf("%s: diff IDs %v", name, cfg.RootFS.DiffIDs)
		}
		for i, d := range cfg.RootFS.DiffIDs {
			if d != want[i] {
				t.Errorf("%s: layer %d has diff ID %s, want %s", name, i, d, want[i])
			}
		}
		if cfg.Architecture != "arm64" || desc.Platform.Architecture != "arm64" {
			t.Errorf("%s: platform %v", name, desc.Platform)
		}
	}
}

func TestArtifact(t *testing.T) {
	s := contenttest.NewStore()
	img := s.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, contenttest.Config{})
	sig := s.Artifact(&img, "application/x-sig")
	node := parse(t, s, sig)
	if node.Subject == nil || node.Subject.Digest != img.Digest || node.Subject.Platform != nil {
		t.Errorf("subject %+v, want %s alone", node.Subject, img.Digest)
	}
	if node.ArtifactType != "application/x-sig" || sig.ArtifactType != node.ArtifactType {
		t.Errorf("artifact type %q in the manifest, %q in its descriptor", node.ArtifactType, sig.ArtifactType)
	}
	if parse(t, s, s.DockerList(img)).Manifests[0].Digest != img.Digest {
		t.Error("the list does not name the image")
	}
	if n := parse(t, s, s.Artifact(nil, "application/x")); n.Subject != nil {
		t.Errorf("subject %v without one", n.Subject)
	}
}

func TestWrongAndMissingBytes(t *testing.T) {
	s := contenttest.NewStore()
	d := s.Layer(contenttest.File{Name: "a", Body: []byte("x")})
	b, _ := s.Get(d.Digest)
	wrong := bytes.Clone(b)
	wrong[0] ^= 1
	s.Replace(d.Digest, wrong)
	if _, err := content.ReadAll(t.Context(), s, d, d.Size); err == nil {
		t.Error("replaced bytes were taken for the real ones")
	}
	s.Delete(d.Digest)
	if _, ok := s.Get(d.Digest); ok {
		t.Error("deleted bytes are still there")
	}
	if _, err := s.Open(t.Context(), s.Add("text/plain", []byte("abc")), 4); err == nil {
		t.Error("an offset beyond the end was taken")
	}
}

// The frames are made by hand: a decoder that is not ours says whether they
// are right.
func TestZstdFrames(t *testing.T) {
	zstd, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("zstd is not installed")
	}
	for _, n := range []int{0, 1, 128 << 10, 128<<10 + 1, 700_000} {
		b := contenttest.Random(1, n)
		cmd := exec.CommandContext(t.Context(), zstd, "-dc")
		cmd.Stdin = bytes.NewReader(contenttest.Zstd(b))
		got, err := cmd.Output()
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes: decoded to %d, %v", n, len(got), err)
		}
	}
}

func TestRandom(t *testing.T) {
	a := contenttest.Random(7, 100_000)
	if !bytes.Equal(a, contenttest.Random(7, 100_000)) || bytes.Equal(a, contenttest.Random(8, 100_000)) {
		t.Error("the seed does not say what the bytes are")
	}
	if n := len(contenttest.Gzip(a)); n < len(a) {
		t.Errorf("%d bytes compress to %d", len(a), n)
	}
}

func parse(t *testing.T, s *contenttest.Store, d ocispec.Descriptor) *content.Node {
	t.Helper()
	r, err := s.Open(t.Context(), d, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	n, err := content.Parse(d, b)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
