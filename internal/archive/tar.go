package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode/utf8"
)

// tarball is a tar whose entries are found by name and read by offset.
type tarball struct {
	file    *os.File
	entries map[string]entry
}

type entry struct {
	kind         byte // the tar type
	link         string
	offset, size int64
}

func openTar(name string) (files, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, reason(err)
	}
	return tarOf(f)
}

// tarOf reads the headers of a tar. The file is closed where it fails.
func tarOf(f *os.File) (files, error) {
	t := &tarball{file: f}
	if err := t.scan(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

func (t *tarball) scan() error {
	info, err := t.file.Stat()
	if err != nil {
		return reason(err)
	}
	if err := sniff(t.file, info.Size()); err != nil {
		return err
	}
	t.entries, err = entries(io.NewSectionReader(t.file, 0, info.Size()))
	return err
}

// entries reads all headers of a tar. It skips over the contents, whatever
// their size.
func entries(r *io.SectionReader) (map[string]entry, error) {
	all := map[string]entry{}
	tr := tar.NewReader(r)
	last := ""
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, damaged(n, last, err)
		}
		if n == MaxEntries {
			return nil, fmt.Errorf("it has more than %d entries", MaxEntries)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		last = h.Name
		if err := put(all, h, r); err != nil {
			return nil, fmt.Errorf("entry %q %w", h.Name, err)
		}
	}
}

func damaged(n int, last string, err error) error {
	switch {
	case n == 0 && errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("it is not a tar file: %w", err)
	case errors.Is(err, io.ErrUnexpectedEOF) && last != "":
		return fmt.Errorf("the file ends in the middle, inside or after entry %q; it was cut short: copy or save it again", last)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the file ends inside its first entry; it was cut short: copy or save it again")
	case last == "":
		return fmt.Errorf("its first entry cannot be read: %w", err)
	}
	return fmt.Errorf("the entry after %q cannot be read: %w", last, err)
}

// put remembers one entry; r stands at the start of its bytes.
func put(all map[string]entry, h *tar.Header, r *io.SectionReader) error {
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	if sparse(h) {
		return fmt.Errorf("is a sparse file, which no image archive has: make the tar without --sparse")
	}
	if h.Typeflag == tar.TypeDir {
		return nil
	}
	if _, ok := all[name]; ok {
		return fmt.Errorf("is there twice, so nobody can say which one is meant")
	}
	offset, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if h.Size < 0 || h.Size > r.Size()-offset {
		return fmt.Errorf("says it has %d bytes, but the file ends before that; it was cut short: copy or save it again", h.Size)
	}
	all[name] = entry{kind: h.Typeflag, link: h.Linkname, offset: offset, size: h.Size}
	return nil
}

// sparse says whether h's bytes are not stored as they are: the forms are
// GNU's own, and three in PAX records.
func sparse(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// clean is name in its one form; it refuses a name that leads out of the
// archive.
func clean(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", fmt.Errorf("has an absolute name, which no image archive has")
	}
	c := path.Clean(name)
	if c == ".." || strings.HasPrefix(c, "../") {
		return "", fmt.Errorf("has a name that leads out of the archive")
	}
	return c, nil
}

// open returns a file, through links that stay inside the archive.
func (t *tarball) open(name string) (*body, error) {
	_, e, err := t.resolve(name)
	if err != nil {
		return nil, err
	}
	return &body{io.NewSectionReader(t.file, e.offset, e.size), io.NopCloser(nil)}, nil
}

// resolve follows links to the entry that has the bytes, and says its name.
func (t *tarball) resolve(name string) (string, entry, error) {
	at, err := clean(name)
	if err != nil {
		return "", entry{}, fmt.Errorf("%q %w", name, err)
	}
	for range MaxLinks + 1 {
		e, ok := t.entries[at]
		if !ok {
			return "", entry{}, missing(name, at)
		}
		switch e.kind {
		case tar.TypeReg:
			return at, e, nil
		case tar.TypeSymlink:
			at, err = target(path.Dir(at), e.link)
		case tar.TypeLink:
			at, err = target(".", e.link)
		default:
			return "", entry{}, fmt.Errorf("%q is not a regular file", at)
		}
		if err != nil {
			return "", entry{}, fmt.Errorf("%q is a link to %q, which %w", name, at, err)
		}
	}
	return "", entry{}, fmt.Errorf("%q leads through more than %d links", name, MaxLinks)
}

func missing(name, at string) error {
	if at == name {
		return fmt.Errorf("%q: %w", name, fs.ErrNotExist)
	}
	return fmt.Errorf("%q is a link to %q: %w", name, at, fs.ErrNotExist)
}

// target is where a link in folder dir leads.
func target(dir, link string) (string, error) {
	if strings.HasPrefix(link, "/") {
		return link, fmt.Errorf("is outside the archive")
	}
	joined := path.Join(dir, link)
	if _, err := clean(joined); err != nil {
		return link, fmt.Errorf("is outside the archive")
	}
	return joined, nil
}

func (t *tarball) Close() error { return t.file.Close() }

// compressed are the first bytes of files that cannot be read by offset, and
// the program that undoes each.
func compressed(head []byte) (form, undo string) {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "gzip", "gunzip"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return "zstd", "unzstd"
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return "xz", "unxz"
	case bytes.HasPrefix(head, []byte("BZh")):
		return "bzip2", "bunzip2"
	}
	return "", ""
}

// sniff says what a file is that is clearly no tar.
func sniff(f io.ReaderAt, size int64) error {
	if size == 0 {
		return fmt.Errorf("the file is empty")
	}
	head := make([]byte, min(size, 512))
	if _, err := f.ReadAt(head, 0); err != nil {
		return reason(err)
	}
	if form, undo := compressed(head); form != "" {
		return fmt.Errorf("it is compressed with %s, and ferry reads blobs by their place in the file: run %s on it first", form, undo)
	}
	if len(head) > 262 && string(head[257:262]) == "ustar" {
		return nil
	}
	low := bytes.ToLower(bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))))
	switch {
	case bytes.HasPrefix(low, []byte("<!doctype html")) || bytes.HasPrefix(low, []byte("<html")):
		return fmt.Errorf("it is a web page, not a tar file: a download was answered by something else, such as a proxy or a login page")
	case utf8.Valid(head) && !bytes.ContainsFunc(head, binary):
		return fmt.Errorf("it is a text file, not a tar file")
	case size < 512:
		return fmt.Errorf("it is not a tar file: %d bytes are less than one tar header has", size)
	}
	return nil
}

func binary(r rune) bool {
	return r < ' ' && r != '\n' && r != '\r' && r != '\t'
}

// layerType tells a layer's media type from its first bytes.
func layerType(f io.ReaderAt, size int64) (suffix string, err error) {
	head := make([]byte, min(size, 6))
	if _, err := f.ReadAt(head, 0); err != nil {
		return "", reason(err)
	}
	switch form, _ := compressed(head); form {
	case "":
		return "", nil
	case "gzip", "zstd":
		return "+" + form, nil
	default:
		return "", fmt.Errorf("is compressed with %s, which no image layer may be", form)
	}
}

// folder is an OCI layout that lies unpacked. Nothing outside it is reached,
// links or not.
type folder struct{ root *os.Root }

func openFolder(name string) (files, error) {
	r, err := os.OpenRoot(name)
	if err != nil {
		return nil, reason(err)
	}
	return &folder{r}, nil
}

func (d *folder) open(name string) (*body, error) {
	// Asked before it is opened: to open a pipe would wait for ever.
	info, err := d.root.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", name, reason(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", name)
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", name, reason(err))
	}
	return &body{io.NewSectionReader(f, 0, info.Size()), f}, nil
}

func (d *folder) Close() error { return d.root.Close() }
