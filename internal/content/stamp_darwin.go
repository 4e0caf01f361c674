package content

import (
	"io/fs"
	"syscall"
)

func (s *Stamp) identify(info fs.FileInfo) {
	if t, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Device, s.Inode, s.Changed = uint64(t.Dev), t.Ino, t.Ctimespec.Nano()
	}
}
