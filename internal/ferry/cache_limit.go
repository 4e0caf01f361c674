package ferry

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ferry/internal/progress"
)

// What of the bundles in the cache is kept. docs/security.md names it.
const (
	// cacheLimit is what all of them may weigh together, in bytes.
	cacheLimit = 20_000_000_000
	// cacheAge is how long one is kept that nobody asks for.
	cacheAge = 30 * 24 * time.Hour
	// cacheBusy is how long one is left alone after its last use: another
	// ferry may be reading it.
	cacheBusy = 6 * time.Hour
)

// usedSuffix is a file beside a bundle that says by its time when it was used
// last. The bundle's own time says when it was written: who serves it goes by
// that.
const usedSuffix = ".used"

// cached is a bundle in the cache, with all files that belong to it: what an
// interrupted pack left, too.
type cached struct {
	name  string
	files []string
	size  int64
	used  time.Time
}

// trimCache makes room before a bundle is packed into the cache. That one
// itself stays, to go on from.
func (w World) trimCache(dir, keep string) {
	all, err := listCache(dir)
	if err != nil {
		w.Progress.Emit(progress.Note{Text: "the cache was not tidied: " + err.Error()})
		return
	}
	all = slices.DeleteFunc(all, func(c cached) bool { return c.name == keep })
	for _, c := range surplus(all, w.now(), w.cacheMax()) {
		err := c.remove()
		text := fmt.Sprintf("the cache gives up %d MB that were used last on %s", c.size/1_000_000, c.used.Format(time.DateOnly))
		if err != nil {
			text = "the cache was not tidied: " + err.Error()
		}
		w.Progress.Emit(progress.Note{Text: text})
	}
}

func (w World) now() time.Time {
	if w.Now != nil {
		return w.Now()
	}
	return time.Now()
}

func (w World) cacheMax() int64 {
	if w.CacheLimit > 0 {
		return w.CacheLimit
	}
	return cacheLimit
}

// surplus are those that have to go: what is too old, and then what was not
// used for the longest, until the others are within the limit.
func surplus(all []cached, now time.Time, limit int64) []cached {
	slices.SortFunc(all, func(a, b cached) int { return cmp.Or(b.used.Compare(a.used), strings.Compare(a.name, b.name)) })
	var gone []cached
	var kept int64
	for _, c := range all {
		idle := now.Sub(c.used)
		if idle > cacheBusy && (idle > cacheAge || kept+c.size > limit) {
			gone = append(gone, c)
			continue
		}
		kept += c.size
	}
	return gone
}

// listCache groups the files of the folder by the bundle that they belong to.
func listCache(dir string) ([]cached, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []cached
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // another ferry was faster
		}
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		name := bundleOf(e.Name())
		k := slices.IndexFunc(all, func(c cached) bool { return c.name == name })
		if k < 0 {
			k, all = len(all), append(all, cached{name: name})
		}
		c := &all[k]
		c.files = append(c.files, filepath.Join(dir, e.Name()))
		c.size += info.Size()
		if info.ModTime().After(c.used) {
			c.used = info.ModTime()
		}
	}
	return all, nil
}

// bundleOf is the name of the bundle that a file belongs to. What an engine
// exported, and a kill left there on Windows, is one of its own.
func bundleOf(file string) string {
	if name, _, ok := strings.Cut(file, ".tar."); ok {
		return name + ".tar"
	}
	return file
}

// remove removes the bundle itself first: what is left then is no bundle.
func (c cached) remove() error {
	slices.Sort(c.files)
	for _, f := range c.files {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// markUsed says that a bundle in the cache is used now.
func (w World) markUsed(file string) {
	f, err := os.OpenFile(file+usedSuffix, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		now := w.now()
		err = errors.Join(f.Close(), os.Chtimes(f.Name(), now, now))
	}
	if err != nil {
		w.Progress.Emit(progress.Note{Text: "the cache does not remember that it was used: " + err.Error()})
	}
}
