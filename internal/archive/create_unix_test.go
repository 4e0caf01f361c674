//go:build unix

package archive_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ferry/internal/archive"
)

// draftFolder tells this test, run as a program, where to leave a draft.
const draftFolder = "FERRY_TEST_DRAFT_FOLDER"

// TestDeadDraftsGo: where a draft has a name, that of a killed process goes
// with the next archive that is written in the folder, and that of a living one
// stays, whatever it is written over.
func TestDeadDraftsGo(t *testing.T) {
	if dir := os.Getenv(draftFolder); dir != "" {
		f, err := archive.DraftBeside(filepath.Join(dir, "another.tar"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(f.Name())
		time.Sleep(time.Minute)
		_ = f.Close()
		return
	}
	dir := t.TempDir()
	creates := []func(string, func(io.Writer) error) error{archive.Create, archive.CreateNamed}
	for k, create := range creates {
		dead, end := writingElsewhere(t, dir)
		end()
		alive, endLater := writingElsewhere(t, dir)
		for range 2 { // a new file, and in place of one
			if err := create(filepath.Join(dir, fmt.Sprintf("out%d.tar", k)), func(w io.Writer) error {
				_, err := io.WriteString(w, "whole")
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(dead); err == nil {
			t.Error("what a killed process left still lies there")
		}
		if _, err := os.Stat(alive); err != nil {
			t.Errorf("the draft of a living process went: %v", err)
		}
		endLater()
	}
}

// TestCreateWhereAPipeOrALinkIs: a pipe, as a device, stays what it is, and
// nothing is written; a link is followed.
func TestCreateWhereAPipeOrALinkIs(t *testing.T) {
	for _, create := range []func(string, func(io.Writer) error) error{archive.Create, archive.CreateNamed} {
		dir := t.TempDir()
		pipe, link, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "link"), filepath.Join(dir, "file")
		err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(file, nil, 0o600), os.Symlink("file", link))
		if err != nil {
			t.Fatal(err)
		}
		err = create(pipe, func(io.Writer) error { t.Error("written"); return nil })
		if info, _ := os.Lstat(pipe); info.Mode().Type() != os.ModeNamedPipe || err == nil {
			t.Errorf("the pipe is %v now; %v", info.Mode(), err)
		}
		err = create(link, func(w io.Writer) error { _, err := io.WriteString(w, "whole"); return err })
		got, _ := os.ReadFile(file)
		if to, _ := os.Readlink(link); to != "file" || string(got) != "whole" || err != nil {
			t.Errorf("link to %q, %q; %v", to, got, err)
		}
	}
}

// writingElsewhere is another process that writes a draft in dir. end kills it
// as a power button does.
func writingElsewhere(t *testing.T, dir string) (path string, end func()) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDeadDraftsGo$")
	c.Env = append(os.Environ(), draftFolder+"="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the other process left no draft")
	}
	return lines.Text(), func() {
		if err := c.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = c.Wait()
	}
}
