package cluster

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
)

// An Image is one sample image of one layer, for one platform.
type Image struct {
	Config, Manifest []byte
	Layer            []byte // gzipped
	Arch             string
}

// A blob is named by its digest.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    map[string]string `json:"platform,omitempty"`
}

const (
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func describe(media string, b []byte) descriptor {
	return descriptor{MediaType: media, Digest: digestOf(b), Size: len(b)}
}

// Digest is the manifest's.
func (i Image) Digest() string { return digestOf(i.Manifest) }

// PauseImage is the image of a pod's first container.
func PauseImage(ctx context.Context) (Image, error) {
	return programImage(ctx, "amd64", "pause", "pause")
}

// WebImage answers HTTP 200 on port 80. Variants share no layer.
func WebImage(ctx context.Context, arch, variant string) (Image, error) {
	return programImage(ctx, arch, variant, "web", "80")
}

// programImage makes an image of the program for arch, amd64 or arm64. What is
// on a node already is not pulled again, so each variant has a layer of its own.
func programImage(ctx context.Context, arch, variant string, args ...string) (Image, error) {
	dir, err := buildProgram(ctx, arch)
	if err != nil {
		return Image{}, err
	}
	program, err := os.ReadFile(filepath.Join(dir, "program"))
	if err != nil {
		return Image{}, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	_ = w.WriteHeader(&tar.Header{Name: "variant", Mode: 0o644, Size: int64(len(variant)), Format: tar.FormatUSTAR})
	_, _ = w.Write([]byte(variant))
	_ = w.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(program)), Format: tar.FormatUSTAR})
	_, _ = w.Write(program)
	if err := w.Close(); err != nil {
		return Image{}, err
	}
	var zipped bytes.Buffer
	z, _ := gzip.NewWriterLevel(&zipped, gzip.BestSpeed)
	_, _ = z.Write(layer.Bytes())
	if err := z.Close(); err != nil {
		return Image{}, err
	}
	return imageOf(arch, append([]string{"/program"}, args...), digestOf(layer.Bytes()), zipped.Bytes())
}

// imageOf makes an image of one zipped layer; diffID is the digest of what is
// zipped.
func imageOf(arch string, entrypoint []string, diffID string, layer []byte) (Image, error) {
	i := Image{Arch: arch, Layer: layer}
	var err error
	i.Config, err = json.Marshal(map[string]any{
		"architecture": arch, "os": "linux", "config": map[string]any{"Entrypoint": entrypoint},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{diffID}},
	})
	if err != nil {
		return Image{}, err
	}
	i.Manifest, err = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": mediaManifest,
		"config": describe(mediaConfig, i.Config), "layers": []descriptor{describe(mediaLayer, i.Layer)},
	})
	return i, err
}

// descriptor describes the image where an index lists it.
func (i Image) descriptor() descriptor {
	d := describe(mediaManifest, i.Manifest)
	d.Platform = map[string]string{"os": "linux", "architecture": i.Arch}
	return d
}

// WriteArchive writes a tar that is an OCI layout, with the image under whole
// names ("docker.io/library/nginx:latest"), as `ctr images import` reads it.
func (i Image) WriteArchive(path string, names ...string) error {
	var entries []descriptor
	for _, name := range names {
		d := i.descriptor()
		d.Annotations = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
		entries = append(entries, d)
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": mediaIndex, "manifests": entries})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, body []byte) {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body)), Format: tar.FormatUSTAR})
		_, _ = w.Write(body)
	}
	add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	add("index.json", index)
	for _, blob := range [][]byte{i.Manifest, i.Config, i.Layer} {
		add("blobs/sha256/"+digestOf(blob)[len("sha256:"):], blob)
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// Import loads an image into the node's containerd, where the kubelet finds it.
func (n *Node) Import(ctx context.Context, i Image, names ...string) error {
	file := filepath.Join(n.Dir, "import.tar")
	if err := i.WriteArchive(file, names...); err != nil {
		return err
	}
	_, err := n.Run(ctx, "ctr", "-n", "k8s.io", "images", "import", "--snapshotter", "overlayfs", file)
	return firstError(err, os.Remove(file))
}
