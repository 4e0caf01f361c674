package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"ferry/internal/quote"
)

// ErrNoAnswer says that a Fake was asked to run what it does not know.
var ErrNoAnswer = errors.New("the fake runner has no answer for this")

// Fake is a Runner for tests: it runs nothing, answers by the command line,
// and remembers. It can be used by several goroutines at once.
type Fake struct {
	// Answers are found by command line, as quote.Shell writes it.
	Answers map[string]Answer

	mu    sync.Mutex
	calls []Call
}

// Answer is what a Fake does in a program's place.
type Answer struct {
	Stdout   string
	Stderr   string
	ExitCode int
	// Err is the error where the program does not even run.
	Err error
}

// Call is what a Fake was asked for.
type Call struct {
	Argv  []string
	Env   []string
	Stdin string
}

// Run implements Runner.
func (f *Fake) Run(ctx context.Context, c Command) error {
	call := Call{Argv: append([]string(nil), c.Argv...), Env: append([]string(nil), c.Env...)}
	if c.Stdin != nil {
		b, err := io.ReadAll(c.Stdin)
		if err != nil {
			return &Error{Argv: c.Argv, ExitCode: -1, Err: err}
		}
		call.Stdin = string(b)
	}
	f.mu.Lock()
	f.calls = append(f.calls, call)
	f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return &Error{Argv: c.Argv, ExitCode: -1, Err: err}
	}
	answer, ok := f.Answers[quote.Shell(c.Argv...)]
	if !ok {
		answer.Err = ErrNoAnswer
	}
	return answer.give(c)
}

func (a Answer) give(c Command) error {
	if a.Err != nil {
		return &Error{Argv: c.Argv, ExitCode: -1, Err: a.Err}
	}
	if c.Stdout != nil {
		if _, err := io.WriteString(c.Stdout, a.Stdout); err != nil {
			return &Error{Argv: c.Argv, ExitCode: -1, Err: err}
		}
	}
	if a.ExitCode != 0 {
		return &Error{Argv: c.Argv, ExitCode: a.ExitCode, Stderr: a.Stderr, Err: fmt.Errorf("exit status %d", a.ExitCode)}
	}
	return nil
}

// Calls returns what was asked for, in order.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}
