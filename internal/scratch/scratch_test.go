package scratch_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ferry/internal/scratch"
)

// TestMain lets the test be its own other process: one that makes a folder,
// says its name, and waits to be killed.
func TestMain(m *testing.M) {
	if parent := os.Getenv("SCRATCH_IN"); parent != "" {
		dir, _, err := scratch.Dir(parent, "part-")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "much"), []byte("much"), 0o600)
		}
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(dir + "\n")
		select {}
	}
	os.Exit(m.Run())
}

// other starts a process that has a folder in parent.
func other(t *testing.T, parent string) (dir string, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SCRATCH_IN="+parent)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func names(t *testing.T, parent string) []string {
	t.Helper()
	entries, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestFoldersOfTheDeadGo: the folder of a process that was killed goes with the
// next one, that of a process that lives stays.
func TestFoldersOfTheDeadGo(t *testing.T) {
	parent := t.TempDir()
	dead, kill := other(t, parent)
	alive, stop := other(t, parent)
	defer stop()
	kill()
	if _, err := os.Stat(filepath.Join(dead, "much")); err != nil {
		t.Fatal("the killed process left nothing: ", err)
	}
	mine, remove, err := scratch.Dir(parent, "part-")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s of the killed process is there still: %v", dead, err)
	}
	if _, err := os.Stat(filepath.Join(alive, "much")); err != nil {
		t.Errorf("%s of the living process is gone: %v", alive, err)
	}
	remove()
	if got := names(t, parent); len(got) != 2 {
		t.Errorf("beside the living one's two there are %v (mine was %s)", got, mine)
	}
}

// TestOthersStay: what has another name, or is no folder of ours, is not
// touched, and neither is what a link leads to.
func TestOthersStay(t *testing.T) {
	parent, elsewhere := t.TempDir(), t.TempDir()
	for _, name := range []string{"part-file", "whole-1.held", "part-3.held/x"} {
		path := filepath.Join(parent, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(elsewhere, "kept")
	if err := errors.Join(os.WriteFile(kept, nil, 0o600), os.WriteFile(filepath.Join(parent, "part-4.held"), nil, 0o600), os.Symlink(elsewhere, filepath.Join(parent, "part-4"))); err != nil {
		t.Fatal(err)
	}
	_, remove, err := scratch.Dir(parent, "part-")
	if err != nil {
		t.Fatal(err)
	}
	remove()
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if got := strings.Join(names(t, parent), " "); got != "part-3.held part-file whole-1.held" {
		t.Errorf("left: %s", got)
	}
}

// TestManyAtOnce: folders that are made at the same time do not take each
// other's.
func TestManyAtOnce(t *testing.T) {
	parent := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				dir, remove, err := scratch.Dir(parent, "part-")
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
					t.Error(err)
				}
				remove()
			}
		})
	}
	wg.Wait()
	if got := names(t, parent); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	held, err := scratch.Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := scratch.Take(path); !errors.Is(err, scratch.ErrHeld) {
		t.Errorf("taken twice: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := scratch.Take(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}
