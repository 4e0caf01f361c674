package ferry_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/ferry"
	"ferry/internal/progress"
)

// cacheTest loads references, whose bundles stay in the cache, at times that
// the test decides.
type cacheTest struct {
	t     *testing.T
	w     ferry.World
	now   time.Time
	notes []string
	names []string
}

func newCacheTest(t *testing.T) *cacheTest {
	t.Helper()
	u, s := startUpstream(t), newSample()
	c := &cacheTest{t: t, now: time.Now()}
	for _, app := range []string{"a", "b", "c"} {
		c.names = append(c.names, u.push(s.Store, "team/"+app, "1", s.index))
	}
	c.w = loadWorld(t, map[string]*shelf{"shelf": newShelf(amd64)})
	c.w.Now = func() time.Time { return c.now }
	c.w.Progress = func(e progress.Event) {
		if n, ok := e.(progress.Note); ok && strings.Contains(n.Text, "the cache") {
			c.notes = append(c.notes, n.Text)
		}
	}
	return c
}

// load loads image k, and returns the bundles in the cache then.
func (c *cacheTest) load(k int) []string {
	c.t.Helper()
	if _, err := ferry.Load(c.t.Context(), c.w, ferry.LoadRequest{Places: []string{c.names[k]}, To: []string{"shelf"}}); err != nil {
		c.t.Fatal(err)
	}
	return c.files("*.tar")
}

func (c *cacheTest) files(pattern string) []string {
	c.t.Helper()
	all, err := filepath.Glob(filepath.Join(c.w.CacheDir, "packed", pattern))
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

func (c *cacheTest) later(d time.Duration) { c.now = c.now.Add(d) }

const day = 24 * time.Hour

// TestCacheHasALimit: what was not used for the longest goes first, with all
// that belongs to it, and only as much as has to.
func TestCacheHasALimit(t *testing.T) {
	c := newCacheTest(t)
	first := c.load(0)[0]
	info, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	// What an interrupted pack leaves beside it.
	if err := os.WriteFile(first+".partial", make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	c.w.CacheLimit = info.Size() + info.Size()/2 // one, and not two
	c.later(day)
	if all := c.load(1); len(all) != 2 || len(c.notes) != 0 {
		t.Errorf("one beside the one that is packed is within the limit: %q, %q", all, c.notes)
	}
	c.later(day)
	c.load(0) // used again: the second is the oldest now
	c.later(day)
	all := c.load(2)
	if len(all) != 2 || !slices.Contains(all, first) {
		t.Errorf("%q, want %s and the new one", all, first)
	}
	if len(c.notes) != 1 || !strings.Contains(c.notes[0], "the cache gives up") {
		t.Errorf("said: %q", c.notes)
	}
	c.later(day)
	c.w.CacheLimit = 1
	if all := c.load(1); len(all) != 1 || len(c.files(filepath.Base(first)+"*")) != 0 {
		t.Errorf("%q, and %q", all, c.files("*"))
	}
}

// TestCacheLeavesWhatIsBusy: another ferry may be reading what was used a
// moment ago.
func TestCacheLeavesWhatIsBusy(t *testing.T) {
	c := newCacheTest(t)
	c.w.CacheLimit = 1
	c.load(0)
	c.later(5 * time.Hour)
	if all := c.load(1); len(all) != 2 {
		t.Errorf("%q", all)
	}
	c.later(5 * time.Hour)
	if all := c.load(2); len(all) != 2 {
		t.Errorf("the first has to go, and the second to stay: %q", all)
	}
}

// TestCacheForgetsTheOld: however little it weighs. What is asked for stays.
func TestCacheForgetsTheOld(t *testing.T) {
	c := newCacheTest(t)
	c.load(0)
	old := filepath.Join(c.w.CacheDir, "packed", ".ferry-export-1.tar")
	if err := os.WriteFile(old, []byte("what a kill left"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.load(1)
	c.later(20 * day)
	c.load(0)
	c.later(20 * day)
	if all := c.load(2); len(all) != 2 {
		t.Errorf("%q, want the first, used 20 days ago, and the third", all)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("%s: %v", old, err)
	}
	c.later(40 * day)
	if all := c.load(2); len(all) != 1 {
		t.Errorf("%q, want the one that was asked for", all)
	}
}

// TestCacheNeverStopsAPack: what cannot be tidied is said, and no more. A folder
// is nothing that ferry removes.
func TestCacheNeverStopsAPack(t *testing.T) {
	c := newCacheTest(t)
	first := c.load(0)[0]
	folder := filepath.Join(c.w.CacheDir, "packed", "x.tar", "y")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	// Here stands what ferry cannot write to.
	used := first + ".used"
	if err := os.Remove(used); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(used, 0o700); err != nil {
		t.Fatal(err)
	}
	c.later(40 * day)
	c.load(0)
	if len(c.notes) != 1 || !strings.Contains(c.notes[0], "the cache does not remember that it was used") {
		t.Errorf("said: %q", c.notes)
	}
	if _, err := os.Stat(folder); err != nil {
		t.Error(err)
	}
}
