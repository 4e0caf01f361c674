//go:build !linux && !darwin && !windows

package content

import "io/fs"

// identify is for systems that ferry is built for.
func (s *Stamp) identify(fs.FileInfo) {}
