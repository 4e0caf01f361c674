package content

import (
	"io/fs"
	"syscall"
)

func (s *Stamp) identify(info fs.FileInfo) {
	if a, ok := info.Sys().(*syscall.Win32FileAttributeData); ok {
		s.Changed = a.CreationTime.Nanoseconds()
	}
}
