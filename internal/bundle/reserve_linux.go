package bundle

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve gives f its size and its blocks before the first byte arrives: a
// disk that is too small says so now and not after an hour.
func reserve(f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}
