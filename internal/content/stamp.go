package content

import "io/fs"

// Stamp tells a file that nobody has written to since from one that was
// changed: stamps are compared by ==. Who writes to a file can put its time
// back; the rest cannot be put back by the calls that a system has for files.
type Stamp struct {
	// Size is in bytes, Written the time of the last write in nanoseconds
	// since 1970.
	Size, Written int64
	// Device and Inode are which file it is, where the system tells.
	Device, Inode uint64
	// Changed is when anything about the file changed, its names and times
	// among it, in nanoseconds since 1970. On Windows, where FileInfo has no
	// such time, it is when the file was made.
	Changed int64
}

// StampOf is the stamp of a file.
func StampOf(info fs.FileInfo) Stamp {
	s := Stamp{Size: info.Size(), Written: info.ModTime().UnixNano()}
	s.identify(info)
	return s
}
