package archive

import (
	"os"
	"time"
)

// closeToRename says whether only closed files can be renamed.
const closeToRename = true

// deadFor is how long a draft was not written to before it counts as dead: one
// that was just closed is about to be renamed.
const deadFor = time.Hour

// hold has nothing to do: Windows removes no file that a process has open.
func hold(*os.File) bool { return true }

// removeDead removes a draft that nobody has open.
func removeDead(path string, now time.Time) {
	if info, err := os.Lstat(path); err == nil && now.Sub(info.ModTime()) > deadFor {
		_ = os.Remove(path)
	}
}
