package cli_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"ferry/internal/content/contenttest"
)

// archive is the script command of that name.
func archive(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 0 || len(args) > 2 {
		ts.Fatalf("archive FILE [unnamed|gzip|oci]")
	}
	path, kind := ts.MkAbs(args[0]), append(args, "")[1]
	switch kind {
	case "":
		ts.Check(os.WriteFile(path, savedImage(ts, "example/hello:1.0"), 0o600))
	case "unnamed":
		ts.Check(os.WriteFile(path, savedImage(ts), 0o600))
	case "gzip":
		ts.Check(os.WriteFile(path, contenttest.Gzip(savedImage(ts, "example/hello:1.0")), 0o600))
	case "oci":
		for name, b := range layoutFiles(ts) {
			file := filepath.Join(path, filepath.FromSlash(name))
			ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
			ts.Check(os.WriteFile(file, b, 0o600))
		}
	default:
		ts.Fatalf("archive: %s is no kind", kind)
	}
}

func helloLayer() []byte {
	return contenttest.Tar(contenttest.File{Name: "hello", Mode: 0o755, Body: contenttest.Random(1, 100_000)})
}

// savedImage is what docker save would write.
func savedImage(ts *testscript.TestScript, tags ...string) []byte {
	layer := helloLayer()
	config := encodeJSON(ts, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	})
	files := map[string][]byte{"layer.tar": layer, digest.FromBytes(config).Encoded() + ".json": config}
	files["manifest.json"] = encodeJSON(ts, []map[string]any{{
		"Config": digest.FromBytes(config).Encoded() + ".json", "RepoTags": tags, "Layers": []string{"layer.tar"},
	}})
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		ts.Check(w.WriteHeader(&tar.Header{Name: name, Size: int64(len(files[name])), Mode: 0o644, Typeflag: tar.TypeReg}))
		_, err := w.Write(files[name])
		ts.Check(err)
	}
	ts.Check(w.Close())
	return b.Bytes()
}

// layoutFiles are the files of an OCI layout.
func layoutFiles(ts *testscript.TestScript) map[string][]byte {
	s := contenttest.NewStore()
	img := s.Image(ocispec.Platform{OS: "linux", Architecture: "arm64"}, contenttest.Config{},
		s.Layer(contenttest.File{Name: "hello", Body: contenttest.Random(2, 50_000)}))
	img.Annotations = map[string]string{ocispec.AnnotationRefName: "quay.io/example/hello:1.0"}
	files := map[string][]byte{
		ocispec.ImageLayoutFile: []byte(`{"imageLayoutVersion":"1.0.0"}`),
		ocispec.ImageIndexFile: encodeJSON(ts, ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{img},
		}),
	}
	for d, b := range s.All() {
		files["blobs/sha256/"+d.Encoded()] = b
	}
	return files
}

func encodeJSON(ts *testscript.TestScript, v any) []byte {
	b, err := json.Marshal(v)
	ts.Check(err)
	return b
}
