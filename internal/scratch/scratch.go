// Package scratch is what a run has on the disk for itself: files that it
// holds, and folders for what it needs on the way. Both end with their process,
// however that ends: the next run takes away the folders of those that were
// killed.
package scratch

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// ErrHeld says that another process, or another part of this one, holds a file.
var ErrHeld = errors.New("another process holds it")

// Take makes the file at path, unless it is there, and holds it until Close.
func Take(path string) (io.Closer, error) {
	for {
		l := flock.New(path, flock.SetPermissions(0o644))
		ok, err := l.TryLock()
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, ErrHeld
		}
		if !stale(l, path) {
			return l, nil
		}
		// Its owner finished and removed it between our open and our lock.
		_ = l.Close()
	}
}

func stale(l *flock.Flock, path string) bool {
	held, err := l.Stat()
	if err != nil {
		return true
	}
	there, err := os.Stat(path)
	return err != nil || !os.SameFile(held, there)
}

// holdSuffix is a file beside a folder that its process holds.
const holdSuffix = ".held"

// Dir makes a folder in parent whose name begins with prefix. remove takes it
// away. Before, Dir takes away what a killed process left there under the same
// prefix.
func Dir(parent, prefix string) (dir string, remove func(), err error) {
	sweep(parent, prefix)
	for {
		dir = filepath.Join(parent, prefix+strings.ToLower(rand.Text()[:10]))
		held, err := Take(dir + holdSuffix)
		if errors.Is(err, ErrHeld) {
			continue // a sweep looks at it, or the name is taken
		}
		if err != nil {
			return "", nil, err
		}
		remove = func() { discard(dir, held) }
		if err := os.Mkdir(dir, 0o700); err != nil {
			remove()
			return "", nil, err
		}
		return dir, remove, nil
	}
}

// sweep takes away the folders that nobody holds any more. It is a wish: what
// cannot be removed stays.
func sweep(parent, prefix string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		name, isHold := strings.CutSuffix(e.Name(), holdSuffix)
		if !isHold || !strings.HasPrefix(name, prefix) || !e.Type().IsRegular() {
			continue
		}
		dir := filepath.Join(parent, name)
		if held, err := Take(dir + holdSuffix); err == nil {
			discard(dir, held)
		}
	}
}

// discard removes a folder, and then what says that it is held.
func discard(dir string, held io.Closer) {
	_ = os.RemoveAll(dir)
	gone := os.Remove(dir+holdSuffix) == nil
	_ = held.Close()
	if !gone {
		// Windows removes no file that is open.
		_ = os.Remove(dir + holdSuffix)
	}
}
