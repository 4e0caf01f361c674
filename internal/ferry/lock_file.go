package ferry

import (
	"errors"
	"fmt"
	"os"

	"ferry/internal/lock"
)

// LockError says that a file that was named as a lock is none.
type LockError struct {
	File string
	Err  error
}

func (e *LockError) Error() string { return fmt.Sprintf("read %s: %v", e.File, e.Err) }

func (e *LockError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (*LockError) Hint() string {
	return "A lock is what ferry pack wrote beside the bundle, as in release.tar.lock, unchanged. The bundle itself is none."
}

// readLock reads the lock in a file.
func readLock(file string) (*lock.Lock, error) {
	// A pipe would be waited for when it is opened.
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return nil, &LockError{file, errors.New("it is no regular file")}
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := lock.Decode(f)
	if err != nil {
		return nil, &LockError{file, err}
	}
	return &l, nil
}
