package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/lock"
)

// Limits of what is read from a bundle before its digests are known.
const (
	maxEntries = 1 << 20
	maxIndex   = 16 << 20
)

// DamageError says that a file is not a whole, unchanged bundle, and where
// the first difference lies.
type DamageError struct {
	Path   string
	Entry  string // the file inside, "" where it is not in one
	Offset int64  // in the bundle
	Detail string
	More   int // further damaged blobs
}

func (e *DamageError) Error() string {
	s := e.Path + " is damaged: "
	if e.Entry != "" {
		s += e.Entry + " "
	}
	s += fmt.Sprintf("at byte %d: %s", e.Offset, e.Detail)
	if e.More > 0 {
		s += fmt.Sprintf(" (and %d more)", e.More)
	}
	return s
}

// NotBundleError says that a file is no bundle of ferry's at all.
type NotBundleError struct {
	Path   string
	Detail string
}

func (e *NotBundleError) Error() string { return e.Path + " is not a ferry bundle: " + e.Detail }

// place is where a file of the tar lies, as its headers say.
type place struct {
	name         string
	start        int64 // of its headers
	offset, size int64
}

// Bundle is an open bundle. Open checks its shape and what it reads of it;
// Verify checks every byte. It is a content.Source of its blobs.
type Bundle struct {
	path   string
	file   *os.File
	size   int64
	places []place
	byName map[string]place

	index    []byte
	contents *Contents
	seal     Seal
	evidence *evidence
}

// Open opens the bundle at path.
func Open(path string) (*Bundle, error) {
	b, err := scan(path)
	if err != nil {
		return nil, err
	}
	if err := b.read(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// scan opens the file and walks over its headers.
func scan(path string) (*Bundle, error) {
	// Before it is opened: to open a pipe waits for whoever writes to it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, notRegular(path, info)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notRegular(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b := &Bundle{path: path, file: f, size: info.Size(), byName: map[string]place{}}
	if err := b.walk(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return b, nil
}

func notRegular(path string, info os.FileInfo) error {
	if info.IsDir() {
		return &NotBundleError{Path: path, Detail: "it is a folder"}
	}
	return &NotBundleError{Path: path, Detail: "it is a pipe or a device, and ferry reads blobs by their place in a file: save it to one first"}
}

func (b *Bundle) walk() error {
	section := io.NewSectionReader(b.file, 0, b.size)
	tr := tar.NewReader(section)
	for {
		start := b.end()
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b.unreadable(start, err)
		}
		offset, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := b.enter(h, place{name: h.Name, start: start, offset: offset, size: h.Size}); err != nil {
			return err
		}
	}
	if _, ok := b.byName[layoutName]; !ok {
		return &NotBundleError{Path: b.path, Detail: b.strange("there is no oci-layout in it")}
	}
	return nil
}

// end is where the last entry that was walked over ends.
func (b *Bundle) end() int64 {
	if len(b.places) == 0 {
		return 0
	}
	last := b.places[len(b.places)-1]
	return last.offset + padded(last.size)
}

func (b *Bundle) unreadable(start int64, err error) error {
	if len(b.places) == 0 {
		return &NotBundleError{Path: b.path, Detail: b.strange("it is not a tar file")}
	}
	after := b.places[len(b.places)-1].name
	return &DamageError{Path: b.path, Offset: start, Detail: fmt.Sprintf("no tar header behind %s: %v", after, err)}
}

// strange says what else than a bundle a file is, where that can be seen.
func (b *Bundle) strange(otherwise string) string {
	var head [6]byte
	n, _ := b.file.ReadAt(head[:], 0)
	if n == 0 {
		return "the file is empty"
	}
	if packed := content.Packed(head[:n]); packed != "" {
		return fmt.Sprintf("it is compressed with %s: unpack it first (%s -d)", packed, packed)
	}
	return otherwise
}

func (b *Bundle) enter(h *tar.Header, p place) error {
	damage := func(detail string) error {
		return &DamageError{Path: b.path, Entry: printable(p.name), Offset: p.start, Detail: detail}
	}
	switch {
	case !known(p.name):
		if len(b.places) == 0 {
			return &NotBundleError{Path: b.path, Detail: "it is a tar, but does not begin with oci-layout"}
		}
		return damage("an entry that no bundle has")
	case h.Typeflag != tar.TypeReg:
		return damage("is not a regular file")
	case p.size < 0 || p.offset+p.size > b.size:
		return damage(fmt.Sprintf("is said to have %d bytes, more than the file has left", p.size))
	case len(b.places) >= maxEntries:
		return damage(fmt.Sprintf("more than %d entries", maxEntries))
	}
	if _, twice := b.byName[p.name]; twice {
		return damage("stands in the file twice")
	}
	b.places = append(b.places, p)
	b.byName[p.name] = p
	return nil
}

func known(name string) bool {
	_, blob := blobDigest(name)
	return blob || name == layoutName || name == indexName || name == manifestName
}

// printable bounds a hostile name; escapes are for package quote, at the edge.
func printable(name string) string {
	if len(name) > 200 {
		return fmt.Sprintf("%q…", name[:200])
	}
	return name
}

// read finds lock and seal through index.json and expands the lock. All that
// it relies on is checked by digest on the way.
func (b *Bundle) read() error {
	p, ok := b.byName[indexName]
	if !ok {
		return b.damage(indexName, "is missing: the file was cut off before its end")
	}
	if p.size > maxIndex {
		return &content.TooLargeError{What: indexName, Size: p.size, Limit: maxIndex}
	}
	b.index = make([]byte, p.size)
	if _, err := b.file.ReadAt(b.index, p.offset); err != nil {
		return b.damage(indexName, err.Error())
	}
	var idx ocispec.Index
	if err := json.Unmarshal(b.index, &idx); err != nil {
		return b.damage(indexName, "is not JSON: "+err.Error())
	}
	l, err := b.readLock(idx)
	if err != nil {
		return err
	}
	if err := b.readSeal(idx); err != nil {
		return err
	}
	c, err := Expand(l, func(d ocispec.Descriptor) ([]byte, error) {
		return content.ReadAll(context.Background(), b, d, content.MaxManifest)
	})
	if err != nil {
		return b.damage("", "the lock does not fit the blobs: "+err.Error())
	}
	b.contents = c
	if b.evidence, err = readEvidence(context.Background(), c, b.seal.Evidence, b); err != nil {
		return b.damage("", err.Error())
	}
	for d, n := range b.evidence.nodes {
		if c.nodes[d] == nil {
			c.nodes[d] = n
		}
	}
	return nil
}

func (b *Bundle) readLock(idx ocispec.Index) (lock.Lock, error) {
	raw, err := b.artifact(idx, lock.MediaType, lock.MaxSize)
	if err != nil {
		return lock.Lock{}, err
	}
	l, err := lock.Decode(bytes.NewReader(raw))
	if err != nil {
		return lock.Lock{}, b.damage(indexName, err.Error())
	}
	return l, nil
}

func (b *Bundle) readSeal(idx ocispec.Index) error {
	raw, err := b.artifact(idx, SealMediaType, maxSeal)
	if err != nil {
		return err
	}
	if b.seal, err = decodeSeal(raw); err != nil {
		return b.damage(indexName, err.Error())
	}
	return nil
}

// artifact reads the one blob of the artifact of a type that index.json names.
func (b *Bundle) artifact(idx ocispec.Index, artifactType string, limit int64) ([]byte, error) {
	ctx := context.Background()
	for _, d := range idx.Manifests {
		if d.ArtifactType != artifactType {
			continue
		}
		raw, err := content.ReadAll(ctx, b, d, content.MaxManifest)
		if err != nil {
			return nil, b.damage(blobName(d.Digest), err.Error())
		}
		n, err := content.Parse(d, raw)
		if err != nil {
			return nil, b.damage(blobName(d.Digest), err.Error())
		}
		if len(n.Layers) != 1 {
			return nil, b.damage(blobName(d.Digest), "does not name exactly one blob")
		}
		raw, err = content.ReadAll(ctx, b, n.Layers[0], limit)
		if err != nil {
			return nil, b.damage(blobName(n.Layers[0].Digest), err.Error())
		}
		return raw, nil
	}
	return nil, &NotBundleError{Path: b.path, Detail: "it is an OCI archive, but index.json names no " + artifactType}
}

func (b *Bundle) damage(entry, detail string) error {
	return &DamageError{Path: b.path, Entry: printable(entry), Offset: b.byName[entry].offset, Detail: detail}
}

// Open returns the bytes of a blob from offset on, straight from the file.
func (b *Bundle) Open(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	s, err := b.Section(desc.Digest)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset > s.Size() {
		return nil, fmt.Errorf("%s has %d bytes; none at %d", desc.Digest, s.Size(), offset)
	}
	return io.NopCloser(io.NewSectionReader(s, offset, s.Size()-offset)), nil
}

// Section is where a blob lies in the file. As with Open, the caller checks
// the bytes.
func (b *Bundle) Section(d digest.Digest) (*io.SectionReader, error) {
	if err := content.Supported(d); err != nil {
		return nil, err
	}
	p, ok := b.byName[blobName(d)]
	if !ok {
		return nil, fmt.Errorf("%s: %w in %s", d, content.ErrNotFound, b.path)
	}
	return io.NewSectionReader(b.file, p.offset, p.size), nil
}

// Path is the name under which the bundle was opened.
func (b *Bundle) Path() string { return b.path }

// Size is the size of the file, in bytes.
func (b *Bundle) Size() int64 { return b.size }

// Digest stands for the whole bundle: see Writer.Digest.
func (b *Bundle) Digest() digest.Digest { return digest.FromBytes(b.index) }

// Contents is what the lock inside stands for.
func (b *Bundle) Contents() *Contents { return b.contents }

// Lock is the lock inside.
func (b *Bundle) Lock() lock.Lock { return b.contents.Lock }

// Seal is the seal inside. What speaks about images in it is evidence that
// Images shows beside the lock's own referrers.
func (b *Bundle) Seal() Seal { return b.seal }

// Close closes the file.
func (b *Bundle) Close() error { return b.file.Close() }
