package scanner

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/anchore/go-logger"
)

// machine keeps where this machine failed syft: no space for a file that it
// unpacks, no more open files, a disk that cannot be read. syft writes that to
// its log and goes on without the packages of that file, so that an image looks
// like one that does not have them.
//
// It is one for all images that are looked into at once: what one of them ran
// into, the others may have too.
type machine struct {
	mu   sync.Mutex
	errs []error
}

var _ logger.Logger = (*machine)(nil)

// failedSince says what failed after begun errors were there.
func (m *machine) failedSince(begun int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.errs) <= begun {
		return nil
	}
	return fmt.Errorf("this machine failed while it was looked into: %w", m.errs[begun])
}

func (m *machine) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.errs)
}

// look takes errors of the machine out of what is written to the log.
func (m *machine) look(args ...any) {
	for _, a := range args {
		err, ok := a.(error)
		if !ok || !ofMachine(err) {
			continue
		}
		m.mu.Lock()
		m.errs = append(m.errs, err)
		m.mu.Unlock()
	}
}

// ofMachine says that an error is not for what a file holds: the same file may
// be read well elsewhere, or later. It goes by the system's own words: syft's
// errors about files (unknown.CoordinateError) do not unwrap. Windows calls a
// full disk 112.
func ofMachine(err error) bool {
	text := err.Error()
	return slices.ContainsFunc([]syscall.Errno{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, syscall.EACCES, syscall.EPERM,
		syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENAMETOOLONG, syscall.Errno(112),
	}, func(no syscall.Errno) bool { return strings.Contains(text, ": "+no.Error()) })
}

func (m *machine) WithFields(fields ...any) logger.MessageLogger {
	m.look(fields...)
	return m
}

func (m *machine) Nested(...any) logger.Logger { return m }

func (m *machine) Errorf(_ string, args ...any) { m.look(args...) }
func (m *machine) Error(args ...any)            { m.look(args...) }
func (m *machine) Warnf(_ string, args ...any)  { m.look(args...) }
func (m *machine) Warn(args ...any)             { m.look(args...) }
func (m *machine) Infof(_ string, args ...any)  { m.look(args...) }
func (m *machine) Info(args ...any)             { m.look(args...) }
func (m *machine) Debugf(_ string, args ...any) { m.look(args...) }
func (m *machine) Debug(args ...any)            { m.look(args...) }
func (m *machine) Tracef(_ string, args ...any) { m.look(args...) }
func (m *machine) Trace(args ...any)            { m.look(args...) }
