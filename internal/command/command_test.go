package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"ferry/internal/command"
)

// The test program is its own sample program, so that no other need be there.
func TestMain(m *testing.M) {
	switch os.Getenv("COMMAND_TEST") {
	case "":
		os.Exit(m.Run())
	case "cat":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			os.Exit(9)
		}
	case "fail":
		fmt.Fprint(os.Stderr, strings.Repeat("noise\n", 4000)+"Error: \x1b[31mtoken=abc is wrong\n\n")
		os.Exit(125)
	case "parent":
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "COMMAND_TEST=child")
		child.Stdout = os.Stdout
		if child.Run() != nil {
			os.Exit(1)
		}
	case "child":
		fmt.Println("up")
		time.Sleep(time.Minute)
	}
	os.Exit(0)
}

func program(t *testing.T, what string) command.Command {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return command.Command{Argv: []string{self, "an argument"}, Env: []string{"COMMAND_TEST=" + what}}
}

func failed(t *testing.T, err error) *command.Error {
	t.Helper()
	var e *command.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *command.Error", err)
	}
	return e
}

func TestStreams(t *testing.T) {
	want := strings.Repeat("0123456789", 100_000)
	var out bytes.Buffer
	c := program(t, "cat")
	c.Stdin, c.Stdout = strings.NewReader(want), &out
	if err := (command.Local{}).Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Fatalf("%d bytes came back, %d went in", out.Len(), len(want))
	}
}

func TestFailureTells(t *testing.T) {
	e := failed(t, command.Local{}.Run(t.Context(), program(t, "fail")))
	if e.ExitCode != 125 || len(e.Stderr) > command.MaxStderr || !strings.HasSuffix(e.Stderr, "is wrong\n\n") {
		t.Fatalf("exit code %d, %d bytes of stderr", e.ExitCode, len(e.Stderr))
	}
	msg := e.Error()
	for _, want := range []string{"'an argument'", "exit code 125", `Error: \x1b[31m`, "is wrong"} {
		if !strings.Contains(msg, want) {
			t.Errorf("%q does not say %q", msg, want)
		}
	}
	if strings.ContainsAny(msg, "\x1b\n") {
		t.Errorf("not safe for a terminal: %q", msg)
	}
}

func TestErrorsHideSecrets(t *testing.T) {
	e := &command.Error{Argv: []string{"skopeo", "https://a:hunter2@r.example"}, ExitCode: 1, Stderr: "x\nAuthorization: Bearer hunter2"}
	if msg := e.Error(); strings.Contains(msg, "hunter2") || !strings.Contains(msg, "r.example") {
		t.Errorf("got %q", msg)
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := command.Local{}.Run(t.Context(), command.Command{Argv: []string{"podman", "save"}})
	if !errors.Is(err, command.ErrNotInstalled) || err.Error() != "podman is not installed here, or not in PATH" {
		t.Fatalf("got %v", err)
	}
	if err := (command.Local{}).Run(t.Context(), command.Command{}); err == nil {
		t.Fatal("nothing was run, without an error")
	}
}

func TestCancelEndsTheWholeGroup(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("only the program itself can be ended here")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := program(t, "parent")
	// The child holds this pipe open; Run could not return were it alive.
	c.Stdout = writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	start := time.Now()
	err := command.Local{}.Run(ctx, c)
	failed(t, err)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Fatalf("the child lived on: took %v", took)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestBrokenStreams(t *testing.T) {
	broken := errors.New("disk full")
	out := program(t, "cat")
	out.Stdin = strings.NewReader(strings.Repeat("x", 1<<20))
	out.Stdout = writerFunc(func([]byte) (int, error) { return 0, broken })
	if err := (command.Local{}).Run(t.Context(), out); !errors.Is(err, broken) {
		t.Errorf("stdout: got %v", err)
	}
	in := program(t, "cat")
	in.Stdin = io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))
	if err := (command.Local{}).Run(t.Context(), in); !errors.Is(err, broken) {
		t.Errorf("stdin: got %v", err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	direct := program(t, "cat")
	direct.Stdin, direct.Stdout = strings.NewReader("whole"), file
	if err := (command.Local{}).Run(t.Context(), direct); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(file.Name()); string(b) != "whole" {
		t.Errorf("file: got %q", b)
	}
}

func TestFake(t *testing.T) {
	f := &command.Fake{Answers: map[string]command.Answer{
		"podman save 'a b'": {Stdout: "tar"},
		"podman inspect":    {Stderr: "no such image", ExitCode: 125},
	}}
	var out strings.Builder
	if err := f.Run(t.Context(), command.Command{Argv: []string{"podman", "save", "a b"}, Stdin: strings.NewReader("in"), Stdout: &out}); err != nil || out.String() != "tar" {
		t.Fatalf("got %q, %v", out.String(), err)
	}
	e := failed(t, f.Run(t.Context(), command.Command{Argv: []string{"podman", "inspect"}}))
	if e.ExitCode != 125 || e.Stderr != "no such image" {
		t.Errorf("got %+v", e)
	}
	if err := f.Run(t.Context(), command.Command{Argv: []string{"other"}}); !errors.Is(err, command.ErrNoAnswer) {
		t.Errorf("got %v", err)
	}
	calls := f.Calls()
	if len(calls) != 3 || calls[0].Stdin != "in" || calls[2].Argv[0] != "other" {
		t.Errorf("got %+v", calls)
	}
}
