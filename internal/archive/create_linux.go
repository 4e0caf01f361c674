package archive

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ownFiles is where Linux shows a process its open files.
const ownFiles = "/proc/self/fd"

// nameless opens a file without a name on the disk where file is going to be.
// It fails where the disk knows no such files, or /proc is not there, by which
// they get a name.
func nameless(file string) (*os.File, error) {
	if _, err := os.Stat(ownFiles); err != nil {
		return nil, err
	}
	fd, err := unix.Open(filepath.Dir(file), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), file), nil
}

// link gives a file without a name one that is free.
func link(f *os.File, path string) error {
	from := ownFiles + "/" + strconv.Itoa(int(f.Fd()))
	if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: from, New: path, Err: err}
	}
	return nil
}
