package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// What stands beside a bundle while it is being written.
const (
	partialSuffix = ".partial"
	journalSuffix = ".partial.journal"
	formerSuffix  = ".partial.former"
)

// noteEvery is after how many bytes of a blob the journal hears of it.
const noteEvery = 256 << 10

// startEvery is after how many bytes of a blob the disk is told to begin.
const startEvery = 8 << 20

// Writer writes a bundle. It is a content.Sink: blobs come in any order and
// in parallel, each straight to its place. What an interrupted run left is
// offered as a prefix, to be hashed and gone on from.
type Writer struct {
	path     string
	contents *Contents
	layout   *layout
	journal  *journal
	file     *os.File
	former   *former
	resumed  map[digest.Digest]written
	places   map[digest.Digest]entry
	staged   atomic.Bool // nothing changed since Stage

	mu        sync.Mutex
	committed map[digest.Digest]bool
}

// Create opens path for writing c, sealed with s, which names no evidence yet.
// The file stands under another name until Finish. Where an earlier run left a
// partial file, its bytes are used again.
func Create(path string, c *Contents, s Seal) (*Writer, error) {
	l, err := lay(context.Background(), c, s, nil)
	if err != nil {
		return nil, err
	}
	if err := Writable(path); err != nil {
		return nil, err
	}
	j, err := openJournal(path + journalSuffix)
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, contents: c, layout: l, journal: j, places: map[digest.Digest]entry{}, committed: map[digest.Digest]bool{}}
	for _, e := range l.entries {
		if e.digest != "" && e.body == nil {
			w.places[e.digest] = e
		}
	}
	if err := w.open(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Writable says why no bundle can be written at path. What is not a bundle is
// not replaced: a slip of the keyboard should not cost anyone a file.
func Writable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return folder(filepath.Dir(path))
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder: name a file in it", path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case info.Size() == 0:
		return nil
	}
	b, err := Open(path)
	if err != nil {
		return fmt.Errorf("%s exists and is not a sound ferry bundle, so it is not replaced: choose another name or remove it", path)
	}
	return b.Close()
}

// folder wants a folder to be there.
func folder(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no folder %s: make it first", path)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", path)
	}
	return nil
}

func (w *Writer) open() error {
	id, blobs, err := w.journal.read()
	if err != nil {
		return err
	}
	same := id == w.layout.id()
	if !same {
		w.former = keepFormer(w.path, blobs)
	}
	if w.file, err = os.OpenFile(w.path+partialSuffix, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	if same {
		w.resumed = blobs
	}
	if err := w.journal.begin(w.layout.id(), same); err != nil {
		return err
	}
	if err := reserve(w.file, w.layout.size); err != nil {
		return &SpaceError{Path: w.path, Need: w.layout.size, Err: err}
	}
	return nil
}

// SpaceError says that a bundle does not fit where it should go.
type SpaceError struct {
	Path string
	Need int64
	Err  error
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("reserve the %.1f MB that %s needs: %v", float64(e.Need)/1e6, e.Path, e.Err)
}

func (e *SpaceError) Unwrap() error { return e.Err }

// Former is what an interrupted run with other contents left: a source of the
// blobs that it had completed.
func (w *Writer) Former() content.Source {
	if w.former == nil {
		return nil
	}
	return w.former
}

// Size is the size that the bundle will have, in bytes.
func (w *Writer) Size() int64 { return w.layout.size }

// Digest is the digest that stands for the whole bundle: the one of its
// index.json, from which every other byte follows.
func (w *Writer) Digest() digest.Digest { return digest.FromBytes(w.layout.index) }

// Ingest opens the place of desc.
func (w *Writer) Ingest(_ context.Context, desc ocispec.Descriptor) (content.Ingest, error) {
	e, ok := w.places[desc.Digest]
	if !ok || e.size != desc.Size {
		return nil, fmt.Errorf("the bundle has no place for %s of %d bytes", desc.Digest, desc.Size)
	}
	w.staged.Store(false)
	i := &ingest{w: w, entry: e}
	if r, ok := w.resumed[desc.Digest]; ok && r.offset == e.offset && r.bytes <= e.size {
		i.pos = r.bytes
	}
	i.noted, i.started = i.pos, i.pos
	return i, nil
}

// Finish writes all that is not a content blob, and gives the file its name.
// Every blob has to be committed.
func (w *Writer) Finish() error {
	if !w.staged.Load() {
		if err := w.Stage(); err != nil {
			return err
		}
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("bring %s to the disk: %w", w.path, err)
	}
	return w.publish()
}

func (w *Writer) publish() error {
	if err := w.file.Close(); err != nil {
		return err
	}
	w.file = nil
	if err := os.Rename(w.path+partialSuffix, w.path); err != nil {
		return err
	}
	err := w.former.remove()
	w.former = nil
	// An interrupted run before the last one may have left one too.
	_ = os.Remove(w.path + formerSuffix)
	if jerr := w.journal.close(true); err == nil {
		err = jerr
	}
	w.journal = nil
	if serr := syncDir(filepath.Dir(w.path)); err == nil {
		err = serr
	}
	return err
}

// Close gives up. What was written stays for the next run.
func (w *Writer) Close() error {
	var err error
	if w.file != nil {
		err = w.file.Close()
	}
	err = errors.Join(err, w.former.close())
	if w.journal != nil {
		err = errors.Join(err, w.journal.close(false))
	}
	w.file, w.journal, w.former = nil, nil, nil
	return err
}

// ingest is the place of one blob in the partial file.
type ingest struct {
	w       *Writer
	entry   entry
	pos     int64 // bytes that are written
	noted   int64 // bytes that the journal knows of
	started int64 // bytes that the disk was told to begin with
}

func (i *ingest) Prefix() (io.Reader, int64) {
	return io.NewSectionReader(i.w.file, i.entry.offset, i.pos), i.pos
}

func (i *ingest) Write(p []byte) (int, error) {
	if i.pos+int64(len(p)) > i.entry.size {
		return 0, fmt.Errorf("%s is longer than the %d bytes that its manifest says", i.entry.digest, i.entry.size)
	}
	n, err := i.w.file.WriteAt(p, i.entry.offset+i.pos)
	i.pos += int64(n)
	if i.pos-i.started >= startEvery {
		i.start()
	}
	if err == nil && i.pos-i.noted >= noteEvery {
		err = i.note()
	}
	return n, err
}

// start tells the disk to begin with what it was not told of yet.
func (i *ingest) start() {
	startWriting(i.w.file, i.entry.offset+i.started, i.pos-i.started)
	i.started = i.pos
}

func (i *ingest) note() error {
	if i.noted == i.pos {
		return nil
	}
	i.noted = i.pos
	return i.w.journal.note(i.entry.digest, written{offset: i.entry.offset, bytes: i.pos})
}

func (i *ingest) Reset() error {
	i.pos, i.started = 0, 0
	return i.note()
}

func (i *ingest) Commit() error {
	if i.pos != i.entry.size {
		return fmt.Errorf("%s has %d of %d bytes", i.entry.digest, i.pos, i.entry.size)
	}
	i.start()
	i.w.mu.Lock()
	i.w.committed[i.entry.digest] = true
	i.w.mu.Unlock()
	return i.note()
}

func (i *ingest) Close() error { return i.note() }

// former is the partial file of an earlier run with other contents.
type former struct {
	file  *os.File
	blobs map[digest.Digest]written
}

// keepFormer puts the partial file at path aside to read from. Where that
// fails there is nothing to gain from it, and nothing to lose.
func keepFormer(path string, blobs map[digest.Digest]written) *former {
	aside := path + formerSuffix
	if len(blobs) == 0 {
		_ = os.Remove(path + partialSuffix)
		return nil
	}
	if err := os.Rename(path+partialSuffix, aside); err != nil {
		return nil
	}
	f, err := os.Open(aside)
	if err != nil {
		return nil
	}
	return &former{file: f, blobs: blobs}
}

// Open returns a blob that the former run had completed, by its own account.
func (f *former) Open(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	at, ok := f.blobs[desc.Digest]
	if !ok || at.bytes != desc.Size {
		return nil, fmt.Errorf("%s: %w in the former partial file", desc.Digest, content.ErrNotFound)
	}
	return io.NopCloser(io.NewSectionReader(f.file, at.offset+offset, desc.Size-offset)), nil
}

func (f *former) close() error {
	if f == nil {
		return nil
	}
	return f.file.Close()
}

func (f *former) remove() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.file.Close(), os.Remove(f.file.Name()))
}
