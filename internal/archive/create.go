package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ferry/internal/scratch"
)

// draftPrefix begins the names of the folders of drafts.
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
	// path is where it lies meanwhile, in a folder of its own; "" for a file
	// without a name, which ends with its process.
	path   string
	remove func() // takes the folder away
}

func newDraft(file string) (*draft, error) {
	if f, err := nameless(file); err == nil {
		return &draft{file: f}, nil
	}
	return namedDraft(file)
}

// namedDraft is a draft that lies in a folder beside file.
func namedDraft(file string) (*draft, error) {
	d := &draft{}
	if err := d.settle(file); err != nil {
		return nil, err
	}
	var err error
	if d.file, err = os.OpenFile(d.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		d.remove()
		return nil, err
	}
	return d, nil
}

// settle gives the draft a folder beside file.
func (d *draft) settle(file string) error {
	dir, remove, err := scratch.Dir(filepath.Dir(file), draftPrefix)
	if err != nil {
		return inFolder(file, err)
	}
	d.path, d.remove = filepath.Join(dir, "draft"), remove
	return nil
}

// inFolder is why no draft could be made beside file: nobody knows the name of
// the draft, but that of the folder.
func inFolder(file string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "write into", Path: filepath.Dir(file), Err: e.Err}
	}
	return err
}

// publish gives the draft its name, in place of what has it now.
func (d *draft) publish(file string) error {
	if d.path == "" {
		err := link(d.file, file)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Only a rename replaces, and that is from a name.
		if err := d.settle(file); err != nil {
			return err
		}
		if err := link(d.file, d.path); err != nil {
			return err
		}
	}
	// Windows renames only what nobody has open.
	if err := d.file.Close(); err != nil {
		return err
	}
	return os.Rename(d.path, file)
}

// discard closes the draft, and removes what still has no right name.
func (d *draft) discard() error {
	err := d.file.Close()
	if d.remove != nil {
		d.remove()
	}
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
