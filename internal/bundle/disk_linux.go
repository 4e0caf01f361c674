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

// startWriting lets the disk begin with what was just written, so that there
// is little left to wait for at the end. It is a wish: the sync at the end is
// what counts.
func startWriting(f *os.File, at, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), at, n, unix.SYNC_FILE_RANGE_WRITE)
}
