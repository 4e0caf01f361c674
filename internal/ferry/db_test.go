package ferry_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/ferry"
	"ferry/internal/scan"
)

// failingDatabases stands in for a scanner that fails in one way.
type failingDatabases struct{ err error }

func (f failingDatabases) Import(context.Context, string, string) (scan.Database, error) {
	return scan.Database{}, f.err
}

func (f failingDatabases) Check(context.Context, string) (scan.Database, error) {
	return scan.Database{}, f.err
}

// TestDatabaseHints: what the scanner's process says comes with what to do.
func TestDatabaseHints(t *testing.T) {
	w := world(t)
	w.CacheDir = t.TempDir()
	archive := filepath.Join(t.TempDir(), "db.tar.zst")
	if err := os.WriteFile(archive, []byte("an archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	hint := func(err error) string {
		if h, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok {
			return h.Hint()
		}
		return ""
	}
	w.Databases = failingDatabases{&scan.AnswerError{Text: "database or disk is full", Cause: scan.CauseFull}}
	_, err := ferry.ImportDatabase(t.Context(), w, ferry.DatabaseRequest{File: archive})
	if h := hint(err); !strings.HasPrefix(h, "Free some space in ") || strings.Contains(h, "bundle") {
		t.Errorf("%v: %q", err, h)
	}
	w.Databases = failingDatabases{&scan.AnswerError{Text: "it is no database"}}
	if _, err = ferry.ImportDatabase(t.Context(), w, ferry.DatabaseRequest{File: archive}); hint(err) != "" {
		t.Errorf("%v: %q", err, hint(err))
	}
	damaged := &scan.AnswerError{Text: "it has other bytes", Cause: scan.CauseDamaged}
	if h := hint(ferry.DamagedDatabase("/its/folder", damaged)); !strings.Contains(h, "ferry db import") || !strings.Contains(h, "/its/folder") {
		t.Error(h)
	}
	missing := errors.New("ferry-scanner is missing")
	if err := ferry.DamagedDatabase("/its/folder", missing); hint(err) != "" || !errors.Is(err, missing) {
		t.Error(err)
	}
}
