//go:build !linux

package archive

import (
	"errors"
	"os"
)

// nameless is for systems that have files without a name.
func nameless(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func link(*os.File, string) error { return errors.ErrUnsupported }
