package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// draftPrefix begins the names of drafts that have to have one.
const draftPrefix = ".ferry-archive-"

// Create has write make a file. It gets its name when it is whole and on the
// disk: what fails leaves what was there. A killed process leaves nothing where
// files without a name can be had (Linux); elsewhere the next Create in the
// folder takes away what it left. A link is followed; a device or a pipe is
// never replaced.
func Create(file string, write func(io.Writer) error) error {
	return create(file, newDraft, write)
}

func create(file string, begin func(file string) (*draft, error), write func(io.Writer) error) error {
	file, err := replaceable(file)
	if err != nil {
		return err
	}
	d, err := begin(file)
	if err != nil {
		return err
	}
	sweep(filepath.Dir(file), d)
	if err = write(d.file); err == nil {
		err = errors.Join(d.file.Chmod(0o644), d.file.Sync())
	}
	if err == nil {
		err = d.publish(file)
	}
	return errors.Join(err, d.discard())
}

// replaceable returns the file that a name leads to, and an error where
// something lies there that no archive may take the place of.
func replaceable(file string) (string, error) {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return file, nil
	case err != nil:
		return "", err
	case info.IsDir():
		return "", fmt.Errorf("%s is a folder: name a file in it", file)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no file but a device, a pipe or a socket, which an archive would take the place of: name a file", file)
	}
	return file, nil
}

// draft is a file that is written before it has its name.
type draft struct {
	file *os.File
	// path is where it lies meanwhile; "" for a file without a name, which
	// ends with its process, and for one that has its right name now.
	path string
}

func newDraft(file string) (*draft, error) {
	if f, err := nameless(file); err == nil {
		return &draft{file: f}, nil
	}
	return namedDraft(file)
}

// namedDraft is a draft that lies beside file, held so that no sweep takes it.
func namedDraft(file string) (*draft, error) {
	for {
		f, err := os.CreateTemp(filepath.Dir(file), draftPrefix+"*")
		if err != nil {
			return nil, inFolder(file, err)
		}
		d := &draft{file: f, path: f.Name()}
		if hold(f) && d.lies() {
			return d, nil
		}
		// A sweep met it before it was held.
		if err := d.discard(); err != nil {
			return nil, err
		}
	}
}

// inFolder is why no draft could be made beside file: nobody knows the name of
// the draft, but that of the folder.
func inFolder(file string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "write into", Path: filepath.Dir(file), Err: e.Err}
	}
	return err
}

// lies says whether the draft still is what lies there under its name.
func (d *draft) lies() bool {
	mine, err := d.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(d.path)
	return err == nil && os.SameFile(mine, there)
}

// publish gives the draft its name, in place of what has it now.
func (d *draft) publish(file string) error {
	if d.path == "" {
		err := link(d.file, file)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Only a rename replaces, and that is from a name.
		hold(d.file)
		path := filepath.Join(filepath.Dir(file), fmt.Sprintf("%s%d", draftPrefix, rand.Uint64()))
		if err := link(d.file, path); err != nil {
			return err
		}
		d.path = path
	}
	if closeToRename {
		if err := d.file.Close(); err != nil {
			return err
		}
	}
	if err := os.Rename(d.path, file); err != nil {
		return err
	}
	d.path = ""
	return nil
}

// discard closes the draft, and removes what still has no right name.
func (d *draft) discard() error {
	err := d.file.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if d.path == "" {
		return err
	}
	if rerr := os.Remove(d.path); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// sweep removes the drafts in dir that no process writes any more. It is a
// wish: what cannot be removed stays.
func sweep(dir string, mine *draft) {
	info, err := mine.file.Stat()
	if err != nil {
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), draftPrefix) && e.Type().IsRegular() && path != mine.path {
			removeDead(path, info.ModTime())
		}
	}
}
