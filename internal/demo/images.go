// Package demo is the world that `ferry demo` and ferry's tests run in: a
// registry inside this process, and small images made on the spot that really
// run. Nothing comes from a network, and nothing is left behind.
//
// It is not for serving anybody's images: everything is held in memory, and
// lost at Close.
package demo

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
)

// SignatureType is the artifact type of the sample signature. It is an
// artifact of the shape that signatures have; nothing was signed.
const SignatureType = "application/vnd.ferry.demo.signature.v1+json"

// Image is a sample image and where it belongs in a registry.
type Image struct {
	Repository string
	Tag        string
	// Desc is its index.
	Desc ocispec.Descriptor
	// Referrers are artifacts about it.
	Referrers []ocispec.Descriptor
}

// Name is REPOSITORY:TAG.
func (i Image) Name() string { return i.Repository + ":" + i.Tag }

// Sizes of the sample layers' data, in bytes: enough for a progress bar to be
// seen, little enough to be made at once.
const (
	baseSize    = 5 << 20
	assetsSize  = 3 << 20
	runtimeSize = 1 << 20
	reportSize  = 512 << 10
)

// Images makes the sample images in store: three for linux/amd64 and
// linux/arm64 that share their base layer, one of them in Docker's media
// types, and one with a referrer. It is the same bytes on every run.
func Images(store *contenttest.Store) ([]Image, error) {
	base := store.Layer(
		contenttest.File{Name: "etc/"},
		contenttest.File{Name: "etc/os-release", Body: []byte("ID=ferry-demo\nPRETTY_NAME=\"ferry demo\"\n")},
		contenttest.File{Name: "usr/share/base.bin", Body: contenttest.Random(1, baseSize)},
	)
	assets := store.Layer(contenttest.File{Name: "srv/assets.bin", Body: contenttest.Random(2, assetsSize)})
	hello, err := multiArch(store, "hello", store.Image, base)
	if err != nil {
		return nil, err
	}
	web, err := multiArch(store, "web", store.Image, base, assets)
	if err != nil {
		return nil, err
	}
	data := store.Layer(contenttest.File{Name: "srv/report.bin", Body: contenttest.Random(3, reportSize)})
	report, err := multiArch(store, "report", store.DockerImage, base, data)
	if err != nil {
		return nil, err
	}
	index := store.Index(hello...)
	return []Image{
		{Repository: "library/hello", Tag: "1.0", Desc: index, Referrers: []ocispec.Descriptor{signature(store, index)}},
		{Repository: "team/web", Tag: "2.1", Desc: store.Index(web...)},
		{Repository: "team/report", Tag: "7", Desc: store.DockerList(report...)},
	}, nil
}

// makeImage is Store.Image or Store.DockerImage.
type makeImage func(ocispec.Platform, contenttest.Config, ...ocispec.Descriptor) ocispec.Descriptor

// multiArch makes an image for each platform: the shared layers, and one with
// the platform's program.
func multiArch(store *contenttest.Store, name string, image makeImage, shared ...ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var children []ocispec.Descriptor
	for i, arch := range []string{"amd64", "arm64"} {
		program, err := Program(arch, fmt.Sprintf("Hello from %s on linux/%s. This image came by ferry.\n", name, arch))
		if err != nil {
			return nil, err
		}
		own := store.Layer(
			contenttest.File{Name: name, Mode: 0o755, Body: program},
			contenttest.File{Name: "usr/lib/runtime.bin", Body: contenttest.Random(uint64(10+i), runtimeSize)},
		)
		layers := append(append([]ocispec.Descriptor(nil), shared...), own)
		cfg := contenttest.Config{
			Entrypoint: []string{"/" + name},
			Env:        []string{"PATH=/"},
			Labels:     map[string]string{ocispec.AnnotationTitle: name},
		}
		children = append(children, image(ocispec.Platform{OS: "linux", Architecture: arch}, cfg, layers...))
	}
	return children, nil
}

func signature(store *contenttest.Store, subject ocispec.Descriptor) ocispec.Descriptor {
	body := fmt.Sprintf(`{"about":%q,"note":"a sample of the shape of a signature; nobody signed"}`, subject.Digest)
	return store.Artifact(&subject, SignatureType, store.Add("application/json", []byte(body)))
}
