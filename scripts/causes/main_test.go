package main

import (
	"os"
	"path/filepath"
	"testing"
)

// docs/causes is what the lessons say now.
func TestPagesAreCurrent(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "causes")
	want := pages()
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != text {
			t.Errorf("docs/causes/%s is not what the lessons say (%v): go run ./scripts/causes", name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := want[e.Name()]; !ok {
			t.Errorf("docs/causes/%s belongs to no lesson", e.Name())
		}
	}
}
