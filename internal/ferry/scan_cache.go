package ferry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"ferry/internal/evidence"
	"ferry/internal/progress"
)

// scannedLimit is what all results that are kept may weigh together, in bytes.
// docs/security.md names it.
const scannedLimit = 1_000_000_000

// scanCache keeps what scans found: the same image by the same database and
// scanner is not looked into again. The zero value keeps nothing.
//
// It is for scan alone. A gate and verify look for themselves: what they say
// is signed for.
type scanCache struct {
	world World
	dir   string
	// with is the database and the scanner.
	with string
}

// scanCache is a cache of what this scanner finds with a database. Without a
// version that names the scanner's code there is none.
func (w World) scanCache(database digest.Digest) scanCache {
	if w.ScannerVersion == "" || w.CacheDir == "" || database == "" {
		return scanCache{}
	}
	dir, err := w.cacheDir("scanned")
	if err != nil {
		w.Progress.Emit(progress.Note{Text: err.Error()})
		return scanCache{}
	}
	return scanCache{world: w, dir: dir, with: database.String() + "\n" + w.ScannerVersion}
}

func (c scanCache) path(w evidence.Wanted) string {
	return filepath.Join(c.dir, digest.FromString(strings.Join([]string{c.with, w.Digest.String(), w.Platform}, "\n")).Encoded()+".json")
}

// get returns what was found before; nil where nothing was, or where what is
// there is not what was written.
func (c scanCache) get(w evidence.Wanted) *Scanned {
	if c.dir == "" {
		return nil
	}
	b, err := readLimited(c.path(w), evidence.MaxReport)
	if err != nil {
		return nil
	}
	sum, text, _ := bytes.Cut(b, []byte("\n"))
	var s Scanned
	if string(sum) != digest.FromBytes(text).String() || json.Unmarshal(text, &s) != nil {
		return nil
	}
	now := c.world.now()
	_ = os.Chtimes(c.path(w), now, now) // it was of use
	return &s
}

// put keeps what was found. A failure is nothing to keep, and an SBOM is made
// again when somebody wants one.
func (c scanCache) put(w evidence.Wanted, s Scanned) {
	if c.dir == "" || s.Failed != "" {
		return
	}
	s.SBOMs = nil
	text, err := json.Marshal(s)
	if err != nil || len(text) > evidence.MaxReport/2 {
		return
	}
	err = writeFile(c.path(w), fmt.Appendf(nil, "%s\n%s", digest.FromBytes(text), text))
	if err != nil {
		c.world.Progress.Emit(progress.Note{Text: "what was found is not kept for the next scan: " + err.Error()})
	}
}

// trim makes room.
func (c scanCache) trim() {
	if c.dir == "" {
		return
	}
	all, err := listCache(c.dir)
	for _, old := range surplus(all, c.world.now(), scannedLimit) {
		err = errors.Join(err, old.remove())
	}
	if err != nil {
		c.world.Progress.Emit(progress.Note{Text: "the results of old scans were not tidied: " + err.Error()})
	}
}
