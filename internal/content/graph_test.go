package content_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

const (
	manifestType = ocispec.MediaTypeImageManifest
	indexType    = ocispec.MediaTypeImageIndex
)

func descriptor(mediaType, s string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(s), Size: int64(len(s))}
}

// child is a descriptor as JSON.
func child(mediaType string, d digest.Digest, size int64) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, d, size)
}

var (
	configJSON = child(ocispec.MediaTypeImageConfig, digest.FromString("config"), 6)
	layerJSON  = child(ocispec.MediaTypeImageLayerGzip, digest.FromString("layer"), 5)
	imageJSON  = child(manifestType, digest.FromString("image"), 5)
)

func TestParse(t *testing.T) {
	docker := strings.ReplaceAll(configJSON, ocispec.MediaTypeImageConfig, content.DockerConfig)
	sha512 := child(ocispec.MediaTypeImageLayerGzip, digest.SHA512.FromString("layer"), 5)
	for name, c := range map[string]struct {
		mediaType, text  string
		children, layers int
		artifactType     string
	}{
		"an image":                 {manifestType, `{"schemaVersion":2,"mediaType":"` + manifestType + `","config":` + configJSON + `,"layers":[` + layerJSON + `]}`, 2, 1, ocispec.MediaTypeImageConfig},
		"without a media type":     {manifestType, `{"schemaVersion":2,"config":` + configJSON + `,"layers":[` + layerJSON + `]}`, 2, 1, ocispec.MediaTypeImageConfig},
		"without layers":           {manifestType, `{"schemaVersion":2,"config":` + configJSON + `}`, 1, 0, ocispec.MediaTypeImageConfig},
		"of Docker":                {content.DockerManifest, `{"config":` + docker + `,"layers":[` + layerJSON + `,` + layerJSON + `]}`, 3, 2, content.DockerConfig},
		"an artifact":              {manifestType, `{"artifactType":"application/x","config":` + configJSON + `,"layers":[]}`, 1, 0, "application/x"},
		"a layer by sha512":        {manifestType, `{"config":` + configJSON + `,"layers":[` + sha512 + `]}`, 2, 1, ocispec.MediaTypeImageConfig},
		"an index":                 {indexType, `{"schemaVersion":2,"manifests":[` + imageJSON + `]}`, 1, 0, ""},
		"a Docker list":            {content.DockerManifestList, `{"mediaType":"` + content.DockerManifestList + `","manifests":[` + imageJSON + `,` + imageJSON + `]}`, 2, 0, ""},
		"an empty index":           {indexType, `{"manifests":[]}`, 0, 0, ""},
		"an artifact of an index":  {indexType, `{"artifactType":"application/y","manifests":[]}`, 0, 0, "application/y"},
		"with fields of its own":   {indexType, `{"manifests":[],"x":{"config":1}}`, 0, 0, ""},
		"null where there is none": {indexType, `{"manifests":[],"config":null,"layers":null}`, 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			desc := descriptor(c.mediaType, c.text)
			n, err := content.Parse(desc, []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if len(n.Children()) != c.children || len(n.Layers) != c.layers || n.ArtifactType != c.artifactType || n.Desc.Digest != desc.Digest {
				t.Errorf("%+v", n)
			}
			if (n.Config != nil) != content.IsManifest(c.mediaType) {
				t.Errorf("config %+v of a %s", n.Config, c.mediaType)
			}
		})
	}
}

func TestParseSubject(t *testing.T) {
	text := `{"artifactType":"a/b","config":` + configJSON + `,"subject":` + imageJSON + `}`
	n, err := content.Parse(descriptor(manifestType, text), []byte(text))
	if err != nil || n.Subject == nil || n.Subject.Digest != digest.FromString("image") {
		t.Fatalf("%+v, %v", n, err)
	}
	// A subject is what the manifest speaks about, and no part of it.
	if len(n.Children()) != 1 {
		t.Errorf("%d children, want the config alone", len(n.Children()))
	}
}

func TestParseRefuses(t *testing.T) {
	self := descriptor(indexType, "self")
	for name, c := range map[string]struct {
		desc       ocispec.Descriptor
		text, says string
	}{
		"what names itself":         {self, `{"manifests":[` + child(manifestType, self.Digest, 4) + `]}`, "names itself"},
		"itself as a config":        {descriptor(manifestType, "self"), `{"config":` + child("a/b", self.Digest, 4) + `}`, "names itself"},
		"another type than told":    {descriptor(manifestType, ""), `{"mediaType":"` + indexType + `","manifests":[]}`, "but was announced as"},
		"a manifest told as index":  {descriptor(indexType, ""), `{"config":` + configJSON + `,"layers":[]}`, "announced as an index but is a manifest"},
		"layers in an index":        {descriptor(indexType, ""), `{"manifests":[],"layers":[` + layerJSON + `]}`, "announced as an index but is a manifest"},
		"an index told as manifest": {descriptor(manifestType, ""), `{"manifests":[` + imageJSON + `]}`, "has no config"},
		"both at once":              {descriptor(manifestType, ""), `{"config":` + configJSON + `,"layers":[],"manifests":[` + imageJSON + `]}`, "announced as a manifest"},
		"no config":                 {descriptor(manifestType, ""), `{"layers":[` + layerJSON + `]}`, "has no config"},
		"schema 1":                  {descriptor(content.DockerSchema1Signed, ""), `{"schemaVersion":1,"fsLayers":[]}`, "schema 1"},
		"schema 1, unsigned":        {descriptor(content.DockerSchema1, ""), `{}`, "push the image again"},
		"a web page told as JSON":   {descriptor(manifestType, ""), `<!DOCTYPE html><p>log in</p>`, "is not JSON"},
		"a web page":                {descriptor("text/html; charset=utf-8", ""), `{}`, "web page"},
		"a blob":                    {descriptor(ocispec.MediaTypeImageConfig, ""), `{}`, "neither an image manifest nor an index"},
		"no media type":             {descriptor("", ""), `{}`, "neither"},
		"a negative size":           {descriptor(manifestType, ""), `{"config":` + configJSON + `,"layers":[` + child("a/b", digest.FromString("l"), -1) + `]}`, "of -1 bytes"},
		"no digest":                 {descriptor(manifestType, ""), `{"config":{"mediaType":"a/b","size":1}}`, "names a child"},
		"a digest that is a path":   {descriptor(manifestType, ""), `{"config":{"digest":"sha256:../../x","size":1}}`, "names a child"},
		"a weak digest":             {descriptor(indexType, ""), `{"manifests":[{"digest":"md5:5d41402abc4b2a76b9719d911017c592","size":1}]}`, "names a child"},
		"a digest that is not read": {descriptor(indexType, ""), `{"manifests":[` + child(manifestType, digest.SHA384.FromString("x"), 1) + `]}`, "unsupported"},
		"an array":                  {descriptor(indexType, ""), `[]`, "is not JSON"},
		"nothing":                   {descriptor(indexType, ""), ``, "is not JSON"},
		"two documents":             {descriptor(indexType, ""), `{"manifests":[]}{}`, "is not JSON"},
		"a size that is a text":     {descriptor(manifestType, ""), `{"config":{"digest":"sha256:x","size":"5"}}`, "is not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := content.Parse(c.desc, []byte(c.text))
			if err == nil {
				t.Fatalf("taken as %+v", n)
			}
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.desc.Digest.String()) {
				t.Errorf("%q, want %q and the digest in it", err, c.says)
			}
		})
	}
}

func TestMediaTypes(t *testing.T) {
	for mediaType, want := range map[string][3]bool{
		indexType:                    {true, false, false},
		content.DockerManifestList:   {true, false, false},
		manifestType:                 {false, true, false},
		content.DockerManifest:       {false, true, false},
		ocispec.MediaTypeImageConfig: {false, false, true},
		content.DockerConfig:         {false, false, true},
		content.DockerSchema1:        {},
		"":                           {},
	} {
		got := [3]bool{content.IsIndex(mediaType), content.IsManifest(mediaType), content.IsImageConfig(mediaType)}
		if got != want {
			t.Errorf("%q: index, manifest, config %v, want %v", mediaType, got, want)
		}
	}
}

// FuzzParse: whatever is taken has only children that can be asked for and
// checked, and says nothing else when it is read again.
func FuzzParse(f *testing.F) {
	f.Add(manifestType, []byte(`{"config":`+configJSON+`,"layers":[`+layerJSON+`]}`))
	f.Add(indexType, []byte(`{"manifests":[`+imageJSON+`],"subject":`+imageJSON+`}`))
	f.Add(content.DockerManifest, []byte(`{"schemaVersion":2,"config":null}`))
	f.Add(content.DockerSchema1, []byte(`{"schemaVersion":1}`))
	f.Add("text/html", []byte(`<html>`))
	f.Fuzz(func(t *testing.T, mediaType string, b []byte) {
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
		n, err := content.Parse(desc, b)
		if err != nil {
			return
		}
		if content.IsIndex(mediaType) == content.IsManifest(mediaType) {
			t.Fatalf("%q was taken", mediaType)
		}
		if content.IsManifest(mediaType) && (n.Config == nil || n.Manifests != nil) || content.IsIndex(mediaType) && (n.Config != nil || n.Layers != nil) {
			t.Fatalf("neither one nor the other: %+v", n)
		}
		for _, c := range n.Children() {
			if content.Supported(c.Digest) != nil || c.Size < 0 || c.Digest == desc.Digest {
				t.Fatalf("a child that cannot be carried: %+v", c)
			}
		}
		again, err := content.Parse(desc, b)
		if err != nil || !bytes.Equal(encode(t, again), encode(t, n)) {
			t.Fatalf("read again: %+v, %v", again, err)
		}
	})
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
