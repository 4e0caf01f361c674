package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// Entry is an image to be written.
type Entry struct {
	// Name is the full name with a tag; "" for an image by its digest alone.
	Name string
	// DigestName is repository@digest; "" leaves it out.
	DigestName string
	// Top is what stands under the name.
	Top ocispec.Descriptor
	// Manifest is the one image that a docker-archive can hold of it.
	Manifest *content.Node
	// Blobs are all that Top leads to, Top among them.
	Blobs []ocispec.Descriptor
}

// savedImage is an image in the manifest.json of a docker-archive.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// WriteDocker writes what docker load and podman load read: one platform an
// image, without manifests. Layers stay compressed as they are. An image under
// several names stands in it once, with all of them; a name that comes twice is
// the first one's.
func WriteDocker(ctx context.Context, w io.Writer, src content.Source, entries []Entry, wrote func(int64)) error {
	a := newWriting(ctx, w, src, wrote)
	list := []savedImage{}
	for _, e := range entries {
		list = withSaved(list, e)
		if err := a.blobs(e.Manifest.Children()); err != nil {
			return err
		}
	}
	if err := a.document("manifest.json", list); err != nil {
		return err
	}
	return a.tar.Close()
}

func withSaved(list []savedImage, e Entry) []savedImage {
	img := savedImage{Config: blobPath(e.Manifest.Config.Digest), RepoTags: []string{}, Layers: []string{}}
	for _, l := range e.Manifest.Layers {
		img.Layers = append(img.Layers, blobPath(l.Digest))
	}
	k := slices.IndexFunc(list, func(has savedImage) bool {
		return has.Config == img.Config && slices.Equal(has.Layers, img.Layers)
	})
	if k < 0 {
		k, list = len(list), append(list, img)
	}
	taken := slices.ContainsFunc(list, func(has savedImage) bool { return slices.Contains(has.RepoTags, e.Name) })
	if e.Name != "" && !taken {
		list[k].RepoTags = append(list[k].RepoTags, e.Name)
	}
	return list
}

// WriteOCI writes an OCI layout in a tar, with the names that skopeo, podman
// and containerd look for, and all platforms that there are.
func WriteOCI(ctx context.Context, w io.Writer, src content.Source, entries []Entry, wrote func(int64)) error {
	a := newWriting(ctx, w, src, wrote)
	if err := a.document(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	names := map[string]bool{"": true}
	for _, e := range entries {
		if err := a.blobs(e.Blobs); err != nil {
			return err
		}
		if !names[e.Name] {
			idx.Manifests = append(idx.Manifests, named(e.Top, map[string]string{ocispec.AnnotationRefName: e.Name, imageNameAnnotation: e.Name}))
		}
		names[e.Name] = true
		if !names[e.DigestName] {
			idx.Manifests = append(idx.Manifests, named(e.Top, map[string]string{imageNameAnnotation: e.DigestName}))
		}
		names[e.DigestName] = true
	}
	if err := a.document(ocispec.ImageIndexFile, idx); err != nil {
		return err
	}
	return a.tar.Close()
}

func named(d ocispec.Descriptor, annotations map[string]string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Annotations: annotations}
}

func blobPath(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// writing is an archive that is being written, each blob once.
type writing struct {
	ctx   context.Context //nolint:containedctx // of the one call that it lives in
	tar   *tar.Writer
	src   content.Source
	wrote func(int64)
	done  map[digest.Digest]bool
	buf   []byte
}

func newWriting(ctx context.Context, w io.Writer, src content.Source, wrote func(int64)) *writing {
	if wrote == nil {
		wrote = func(int64) {}
	}
	return &writing{ctx: ctx, tar: tar.NewWriter(w), src: src, wrote: wrote, done: map[digest.Digest]bool{}, buf: make([]byte, 1<<20)}
}

func (a *writing) header(name string, size int64) error {
	format := tar.FormatUSTAR
	if size >= 8<<30 || len(path.Base(name)) > 100 {
		format = tar.FormatPAX // USTAR cannot say it: a blob of 8 GiB, a name by SHA-512
	}
	return a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg, Format: format})
}

func (a *writing) blobs(all []ocispec.Descriptor) error {
	for _, d := range all {
		if a.done[d.Digest] {
			continue
		}
		a.done[d.Digest] = true
		if err := a.blob(d); err != nil {
			return err
		}
	}
	return nil
}

func (a *writing) blob(d ocispec.Descriptor) error {
	r, err := a.src.Open(a.ctx, d, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := a.header(blobPath(d.Digest), d.Size); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{a.tar}, struct{ io.Reader }{r}, a.buf)
	a.wrote(n)
	if err == nil {
		err = a.ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", d.Digest, err)
	}
	return nil
}

func (a *writing) document(name string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	if err := a.header(name, int64(b.Len())); err != nil {
		return err
	}
	_, err := a.tar.Write(b.Bytes())
	return err
}
