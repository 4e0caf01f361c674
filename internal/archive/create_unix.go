//go:build unix

package archive

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// closeToRename says whether only closed files can be renamed. Here a draft is
// held until it has its name.
const closeToRename = false

// hold locks a draft for as long as its process has it open. It is false where
// another has the lock. On a disk without locks nobody gets one: there
// nothing is held, and nothing swept.
func hold(f *os.File) bool {
	return !errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// removeDead removes a draft that nobody holds.
func removeDead(path string, _ time.Time) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		_ = os.Remove(path)
	}
}
