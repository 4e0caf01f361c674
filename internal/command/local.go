package command

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"time"
)

const (
	// grace is how long a program has to end by itself once it was asked to.
	grace = 5 * time.Second
	// drain is how long its pipes may stay open after its end.
	drain = time.Minute
)

// Local runs programs on this machine.
type Local struct{}

// Run implements Runner. When ctx is done the program and, where the system
// can, all that it started are asked to end, and killed five seconds later.
func (Local) Run(ctx context.Context, c Command) error {
	if len(c.Argv) == 0 {
		return &Error{ExitCode: -1, Err: errors.New("no program to run")}
	}
	// A stream that breaks ends the program, which could not tell its input's
	// end from its being cut.
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...) //nolint:gosec // running what it is told is what it is for; no shell reads the words
	var stderr Tail
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input(c.Stdin, broken), output(c.Stdout, broken), &stderr
	cmd.WaitDelay = drain
	stop := ownGroup(cmd)
	defer stop()
	err := cmd.Run()
	if err == nil {
		// A stream may have broken without the program's noticing.
		err = context.Cause(ctx)
	}
	if err == nil {
		return nil
	}
	return failure(ctx, c.Argv, stderr.String(), err)
}

func failure(ctx context.Context, argv []string, stderr string, err error) error {
	e := &Error{Argv: argv, ExitCode: -1, Stderr: stderr, Err: err}
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch cause := context.Cause(ctx); {
	case errors.Is(err, exec.ErrNotFound):
		e.Err = ErrNotInstalled
	case cause != nil:
		// How the program ended is a consequence, and not what went wrong.
		e.Err, e.Stderr = cause, ""
	case exited:
		e.ExitCode = exit.ExitCode()
	}
	return e
}

// input and output hand files to the program as they are, and watch others.
func input(r io.Reader, broken context.CancelCauseFunc) io.Reader {
	switch r.(type) {
	case nil, *os.File:
		return r
	}
	return reader{r, broken}
}

func output(w io.Writer, broken context.CancelCauseFunc) io.Writer {
	switch w.(type) {
	case nil, *os.File:
		return w
	}
	return writer{w, broken}
}

type reader struct {
	r      io.Reader
	broken context.CancelCauseFunc
}

func (r reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.broken(err)
	}
	return n, err
}

type writer struct {
	w      io.Writer
	broken context.CancelCauseFunc
}

func (w writer) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.broken(err)
	}
	return n, err
}
