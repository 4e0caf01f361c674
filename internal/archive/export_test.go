package archive

import (
	"io"
	"os"
)

// DraftBeside opens a draft with a name, as Create does on a disk that has no
// files without one.
func DraftBeside(file string) (*os.File, error) {
	d, err := namedDraft(file)
	if err != nil {
		return nil, err
	}
	return d.file, nil
}

// CreateNamed is Create on such a disk.
func CreateNamed(file string, write func(io.Writer) error) error {
	return create(file, namedDraft, write)
}
