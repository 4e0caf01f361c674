package ferry

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPutMeetsOthers: a file that somebody changes after it was read is not
// overwritten, and it is said which files were written before.
func TestPutMeetsOthers(t *testing.T) {
	dir := t.TempDir()
	outs := make([]output, 3)
	for i, name := range []string{"a", "b", "c"} {
		outs[i] = output{to: filepath.Join(dir, name), text: []byte("new"), mode: 0o600, before: []byte("old")}
		if err := os.WriteFile(outs[i].to, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outs[1].to, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := putAll(t.Context(), outs)
	var e *ChangedError
	if !errors.As(err, &e) || e.Done != 1 || !strings.Contains(err.Error(), "1 of 3 files were written: write "+outs[1].to+": somebody else has changed it meanwhile") {
		t.Fatalf("got %v", err)
	}
	var now []string
	for _, o := range outs {
		b, _ := os.ReadFile(o.to)
		now = append(now, string(b))
	}
	if got := strings.Join(now, " "); got != "new theirs old" {
		t.Errorf("got %s", got)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("something was left behind: %v", entries)
	}
}

func TestPutInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := putAll(ctx, []output{{to: filepath.Join(dir, "a"), text: []byte("new"), mode: 0o600}})
	if entries, _ := os.ReadDir(dir); !errors.Is(err, context.Canceled) || len(entries) > 0 {
		t.Errorf("%v, and there is %v", err, entries)
	}
}

// TestPutAfterAKill: what a killed run left beside the files is taken away, and
// nothing of this one stays.
func TestPutAfterAKill(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, ".ferry-rewrite-killed")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(left, "1"), left + ".held"} {
		if err := os.WriteFile(file, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := putAll(t.Context(), []output{{to: filepath.Join(dir, "a"), text: []byte("new"), mode: 0o640}}); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 || entries[0].Name() != "a" {
		t.Errorf("there is %v", entries)
	}
	if info, err := os.Stat(filepath.Join(dir, "a")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got %v, %v", info, err)
	}
}
