// Package archive reads the image archives that people already have: what
// `docker save`, `podman save` and `skopeo copy` write, OCI layouts in a tar
// or a folder, and ferry's own bundles. Blobs are read from where they lie;
// nothing is ever unpacked.
//
// It believes nothing but what it can see: names, sizes and links in an
// archive are bounded and checked, and whoever copies a blob checks its
// digest. It is not for verifying a bundle as a whole; package bundle is.
package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/ref"
)

// Limits on what is read from an archive.
const (
	// MaxIndex is the largest index.json or manifest.json, in bytes.
	MaxIndex = 4 << 20
	// MaxEntries is how many entries the tar may have.
	MaxEntries = 100_000
	// MaxImages is how many images an archive may name.
	MaxImages = 4096
	// MaxLinks is how many links in a row lead to a layer.
	MaxLinks = 8
)

// Image is one image in an archive under one name.
type Image struct {
	// Name is the full name, as ref writes it; "" when the archive gives none.
	Name string
	// Ref is what an OCI layout itself calls the image, its annotation
	// org.opencontainers.image.ref.name: often a tag alone, which is no Name.
	// People choose by it, as in oci:FOLDER:TAG. It is not checked.
	Ref string
	// Desc is the image's manifest or index. For a docker-archive, which has
	// none, it is a manifest made from the config and the layers as they lie.
	Desc ocispec.Descriptor
	// Kind is the form of the archive: docker-archive, oci-archive or oci.
	Kind string
}

// Archive is an open archive. It is a content.Source of everything in it, and
// safe for several goroutines at once.
type Archive struct {
	path   string
	files  files
	kind   ref.Transport
	images []Image
	// made are manifests that stand in no file of the archive.
	made map[digest.Digest][]byte
	// blobs say in which file of a docker-archive a digest lies.
	blobs map[digest.Digest]string
}

var _ content.Source = (*Archive)(nil)

// files are the regular files of an archive, by their clean names.
type files interface {
	// open fails with fs.ErrNotExist where there is no such file.
	open(name string) (*body, error)
	io.Closer
}

// body is an open file of an archive.
type body struct {
	*io.SectionReader
	io.Closer
}

// Open opens the archive or OCI layout folder at path. With kind ref.Archive
// the form is found by looking inside; where a tar has two forms, as newer
// versions of docker save write it, the OCI layout is read, since it keeps
// digests.
func Open(path string, kind ref.Transport) (*Archive, error) {
	a, err := open(path, kind)
	if err != nil {
		return nil, fmt.Errorf("open archive %q: %w", path, err)
	}
	return a, nil
}

// OpenFile is Open for a tar that is open already, whether it has a name still
// or not. It takes f over, and closes it where it fails.
func OpenFile(f *os.File, kind ref.Transport) (*Archive, error) {
	t, err := tarOf(f)
	if err == nil {
		var a *Archive
		if a, err = openIn(t, f.Name(), kind); err == nil {
			return a, nil
		}
	}
	return nil, fmt.Errorf("open archive %q: %w", f.Name(), err)
}

func open(path string, kind ref.Transport) (*Archive, error) {
	switch kind {
	case ref.Archive, ref.DockerArchive, ref.OCIArchive, ref.OCIDir:
	default:
		return nil, fmt.Errorf("%q is not a kind of archive", string(kind))
	}
	fsys, err := openFiles(path)
	if err != nil {
		return nil, err
	}
	return openIn(fsys, path, kind)
}

// openIn reads what there is in files that are open. They are closed where it
// fails.
func openIn(fsys files, path string, kind ref.Transport) (*Archive, error) {
	a := &Archive{path: path, files: fsys, made: map[digest.Digest][]byte{}, blobs: map[digest.Digest]string{}}
	if err := a.load(kind); err != nil {
		return nil, errors.Join(err, fsys.Close())
	}
	return a, nil
}

// openFiles opens a folder or a tar.
func openFiles(path string) (files, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, reason(err)
	}
	switch {
	case info.IsDir():
		return openFolder(path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("it is neither a file nor a folder: ferry reads blobs by their place in a file, so save the stream to one first")
	}
	return openTar(path)
}

// reason takes the path out of err, for callers that name it themselves.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// load decides on the form and reads which images there are.
func (a *Archive) load(want ref.Transport) error {
	kind, err := a.form(want)
	if err != nil {
		return err
	}
	a.kind = kind
	if kind == ref.DockerArchive {
		err = a.loadDocker()
	} else {
		err = a.loadOCI()
	}
	if err != nil {
		return err
	}
	return a.checkNames()
}

func (a *Archive) form(want ref.Transport) (ref.Transport, error) {
	_, folder := a.files.(*folder)
	oci, docker := a.has(ocispec.ImageLayoutFile), a.has("manifest.json")
	switch {
	case folder && (want == ref.Archive || want == ref.OCIDir):
		if oci {
			return ref.OCIDir, nil
		}
		return "", fmt.Errorf("the folder has no file %q, so it is not an OCI layout", ocispec.ImageLayoutFile)
	case folder:
		return "", fmt.Errorf("it is a folder, and a %s is a file; an OCI layout folder is written oci:PATH", want)
	case want == ref.OCIDir:
		return "", fmt.Errorf("it is a file, and oci: names a folder; write oci-archive:PATH")
	case oci && want != ref.DockerArchive:
		return ref.OCIArchive, nil
	case docker && want != ref.OCIArchive:
		return ref.DockerArchive, nil
	case docker:
		return "", fmt.Errorf("it has no file %q, so it is not an OCI layout; it has a manifest.json: write docker-archive:PATH", ocispec.ImageLayoutFile)
	case oci:
		return "", fmt.Errorf("it has no manifest.json, so it is not a docker-archive; it is an OCI layout: write oci-archive:PATH")
	case a.has("repositories"):
		return "", fmt.Errorf("it has no manifest.json: a Docker older than 1.10 wrote it; save the image again with a current one")
	}
	return "", fmt.Errorf("it is a tar, but has neither %q nor manifest.json, so it is no image archive, or was cut short", ocispec.ImageLayoutFile)
}

func (a *Archive) has(name string) bool {
	b, err := a.files.open(name)
	if err != nil {
		return false
	}
	_ = b.Close()
	return true
}

// read returns a small file of the archive.
func (a *Archive) read(name string, limit int64) ([]byte, error) {
	f, err := a.files.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size() > limit {
		return nil, &content.TooLargeError{What: fmt.Sprintf("%q", name), Size: f.Size(), Limit: limit}
	}
	b := make([]byte, f.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read %q: %w", name, reason(err))
	}
	return b, nil
}

func (a *Archive) add(name, refName string, desc ocispec.Descriptor) {
	a.images = append(a.images, Image{Name: name, Ref: refName, Desc: desc, Kind: string(a.kind)})
}

// checkNames drops what was said twice and refuses a name for two images.
func (a *Archive) checkNames() error {
	if len(a.images) == 0 {
		return fmt.Errorf("it holds no image")
	}
	if len(a.images) > MaxImages {
		return fmt.Errorf("it names %d images; ferry reads at most %d", len(a.images), MaxImages)
	}
	digests, named := map[string]digest.Digest{}, map[digest.Digest]bool{}
	for _, img := range a.images {
		d, ok := digests[img.Name]
		if img.Name != "" && ok && d != img.Desc.Digest {
			return fmt.Errorf("it gives the name %q to two images, %s and %s", img.Name, d, img.Desc.Digest)
		}
		digests[img.Name] = img.Desc.Digest
		named[img.Desc.Digest] = named[img.Desc.Digest] || img.Name != "" || img.Ref != ""
	}
	var kept []Image
	seen := map[[3]string]bool{}
	for _, img := range a.images {
		d := img.Desc.Digest
		key := [3]string{img.Name, string(d), ""}
		if img.Name == "" {
			key[2] = img.Ref
		}
		if seen[key] || img.Name == "" && img.Ref == "" && named[d] {
			continue
		}
		seen[key] = true
		kept = append(kept, img)
	}
	a.images = kept
	return nil
}

// Images returns what the archive holds, in its order. An image with several
// names is there once for each.
func (a *Archive) Images() []Image {
	return append([]Image(nil), a.images...)
}

// Open returns the bytes of desc from offset on.
func (a *Archive) Open(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := a.blob(desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("archive %q: %s: %w", a.path, desc.Digest, err)
	}
	if offset < 0 || offset > b.Size() {
		return nil, errors.Join(fmt.Errorf("archive %q: %s: offset %d is outside its %d bytes", a.path, desc.Digest, offset, b.Size()), b.Close())
	}
	// A section reader that knows its size never fails to seek inside it.
	_, err = b.Seek(offset, io.SeekStart)
	return b, err
}

func (a *Archive) blob(d digest.Digest) (*body, error) {
	if err := content.Supported(d); err != nil {
		return nil, err
	}
	if m, ok := a.made[d]; ok {
		return &body{io.NewSectionReader(bytes.NewReader(m), 0, int64(len(m))), io.NopCloser(nil)}, nil
	}
	name, ok := a.blobs[d]
	if !ok && a.kind == ref.DockerArchive {
		return nil, content.ErrNotFound
	}
	if !ok {
		name = blobName(d)
	}
	b, err := a.files.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, content.ErrNotFound
	}
	return b, err
}

// blobName is where a blob lies in an OCI layout.
func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// Close closes the file. Readers that are still open fail from then on.
func (a *Archive) Close() error { return a.files.Close() }
