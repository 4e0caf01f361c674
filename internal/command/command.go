// Package command runs programs, and keeps what is needed to tell why one
// failed: what was run, how it ended, and the end of what it said.
//
// It is not for knowing any program; and it never goes through a shell.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"ferry/internal/quote"
)

// MaxStderr is how much of the end of a program's stderr is kept, in bytes.
const MaxStderr = 8 << 10

// ErrNotInstalled says that a program is not to be found in PATH.
var ErrNotInstalled = errors.New("not installed here, or not in PATH")

// Command is a program to be run.
type Command struct {
	// Argv is the program and its arguments.
	Argv []string
	// Stdin is what the program reads; nil is nothing.
	Stdin io.Reader
	// Stdout takes what the program writes; nil drops it.
	Stdout io.Writer
	// Env is added to the environment, as KEY=VALUE.
	Env []string
}

// Runner runs commands.
type Runner interface {
	// Run runs c to its end. Where the program could not be run, or failed,
	// the error is an *Error. When ctx is done the program is ended.
	Run(ctx context.Context, c Command) error
}

// Error says that a program failed.
type Error struct {
	Argv []string
	// ExitCode is -1 where the program did not run, or was ended.
	ExitCode int
	// Stderr is the end of what the program said, as it was said.
	Stderr string
	Err    error
}

func (e *Error) Unwrap() error { return e.Err }

// Error shows the command, how it ended, and the last line that it said. It
// is safe for a terminal and holds no secret that has a known shape.
func (e *Error) Error() string {
	if errors.Is(e.Err, ErrNotInstalled) && len(e.Argv) > 0 {
		return fmt.Sprintf("%s is %v", quote.Terminal(e.Argv[0]), e.Err)
	}
	parts := []string{clip(quote.Secrets(quote.Shell(e.Argv...)))}
	if e.ExitCode > 0 {
		parts = append(parts, fmt.Sprintf("exit code %d", e.ExitCode))
	} else if e.Err != nil {
		parts = append(parts, quote.Secrets(e.Err.Error()))
	}
	if line := lastLine(e.Stderr); line != "" {
		parts = append(parts, clip(quote.Secrets(line)))
	}
	return quote.Terminal(strings.Join(parts, ": "))
}

func clip(s string) string {
	const most = 500
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most]) + "…"
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}

// Tail keeps the last MaxStderr bytes written to it.
type Tail struct{ b []byte }

func (t *Tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	// Twice the size before it is cut, so that bytes are not moved at each write.
	if len(t.b) > 2*MaxStderr {
		t.b = append(t.b[:0], t.b[len(t.b)-MaxStderr:]...)
	}
	return len(p), nil
}

func (t *Tail) String() string {
	return string(t.b[max(0, len(t.b)-MaxStderr):])
}
