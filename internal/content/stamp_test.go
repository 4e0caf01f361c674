package content_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"ferry/internal/content"
)

func stampOf(t *testing.T, path string) content.Stamp {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return content.StampOf(info)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestStamp: every way to put other bytes there gives another stamp, and
// reading gives none.
func TestStamp(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"written to": func(path string) error { return os.WriteFile(path, []byte("after!"), 0o600) },
		"longer": func(path string) error {
			info, err := os.Stat(path)
			check(t, err)
			check(t, os.WriteFile(path, []byte("before and after"), 0o600))
			return os.Chtimes(path, info.ModTime(), info.ModTime())
		},
		"its time put back": func(path string) error {
			info, err := os.Stat(path)
			check(t, err)
			check(t, os.WriteFile(path, []byte("after!"), 0o600))
			return os.Chtimes(path, info.ModTime(), info.ModTime())
		},
		"another in its place, with its time": func(path string) error {
			info, err := os.Stat(path)
			check(t, err)
			check(t, os.WriteFile(path+".new", []byte("after!"), 0o600))
			check(t, os.Chtimes(path+".new", info.ModTime(), info.ModTime()))
			return os.Rename(path+".new", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && name == "its time put back" {
				return // FileInfo tells nothing of it there
			}
			path := filepath.Join(t.TempDir(), "file")
			check(t, os.WriteFile(path, []byte("before"), 0o600))
			was := stampOf(t, path)
			time.Sleep(20 * time.Millisecond) // times of files are that coarse
			if _, err := os.ReadFile(path); err != nil || stampOf(t, path) != was {
				t.Fatalf("%v: reading changed the stamp", err)
			}
			check(t, change(path))
			if now := stampOf(t, path); now == was {
				t.Errorf("the stamp stayed %+v", now)
			}
		})
	}
}
