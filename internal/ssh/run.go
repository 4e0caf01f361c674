package ssh

import (
	"context"
	"errors"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"ferry/internal/command"
	"ferry/internal/quote"
)

// notFound is what a POSIX shell exits with when there is no such program.
const notFound = 127

// Run implements command.Runner: c runs on the other machine, in the user's
// shell, which reads the words as they are.
func (c *Client) Run(ctx context.Context, cmd command.Command) error {
	if len(cmd.Argv) == 0 {
		return &command.Error{ExitCode: -1, Err: errors.New("no program to run")}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := c.conn.NewSession()
	if err != nil {
		return c.failure(ctx, cmd, "", err)
	}
	var stderr command.Tail
	out := output{cmd.Stdout, cancel}
	s.Stdout, s.Stderr = out, &stderr
	err = c.run(ctx, s, cmd, cancel)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		return nil
	}
	return c.failure(ctx, cmd, stderr.String(), err)
}

// run runs a session to its end, which comes early where ctx ends.
func (c *Client) run(ctx context.Context, s *ssh.Session, cmd command.Command, cancel context.CancelCauseFunc) error {
	// Closing alone lets a program that reads see the end of its input, as if
	// it had all of it: hence the signal. From root's sessions sshd takes no
	// signals; what is streamed into an importer therefore names itself last.
	stop := context.AfterFunc(ctx, func() {
		_ = s.Signal(ssh.SIGTERM)
		_ = s.Close()
	})
	defer stop()
	defer s.Close() //nolint:errcheck // it has ended, or failed
	stdin, err := s.StdinPipe()
	if err != nil {
		return err
	}
	if err := s.Start(line(cmd)); err != nil {
		return err
	}
	go feed(stdin, cmd.Stdin, cancel)
	return s.Wait()
}

// line is what the shell over there is given.
func line(cmd command.Command) string {
	if len(cmd.Env) == 0 {
		return quote.Shell(cmd.Argv...)
	}
	// sshd takes variables only where it was told to.
	return quote.Shell(append(append([]string{"env"}, cmd.Env...), cmd.Argv...)...)
}

// feed copies the input. Where it breaks, the program is ended, and does not
// see an end.
func feed(to io.WriteCloser, from io.Reader, cancel context.CancelCauseFunc) {
	if from != nil {
		r := &noting{r: from}
		if _, err := io.Copy(to, r); err != nil && r.err != nil {
			cancel(r.err)
			return
		}
	}
	_ = to.Close()
}

// noting notes an error of reading: one of writing is the other side's end.
type noting struct {
	r   io.Reader
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return k, err
}

// output ends the program where what it says cannot be written.
type output struct {
	w      io.Writer
	cancel context.CancelCauseFunc
}

func (o output) Write(p []byte) (int, error) {
	if o.w == nil {
		return len(p), nil
	}
	n, err := o.w.Write(p)
	if err != nil {
		o.cancel(err)
	}
	return n, err
}

// failure says what failed, with the command as a person would type it here.
func (c *Client) failure(ctx context.Context, cmd command.Command, stderr string, err error) error {
	e := &command.Error{Argv: append(c.opts.Command(), cmd.Argv...), ExitCode: -1, Stderr: stderr, Err: c.lost(err)}
	exit, exited := errors.AsType[*ssh.ExitError](err)
	switch cause := context.Cause(ctx); {
	case cause != nil:
		e.Err, e.Stderr = cause, ""
	case exited && exit.Signal() != "":
		e.Err = errors.New("ended by signal " + exit.Signal())
	case exited:
		e.ExitCode = exit.ExitStatus()
		if e.ExitCode == notFound && strings.TrimSpace(stderr) == "" {
			e.Stderr = cmd.Argv[0] + ": not found"
		}
	}
	return e
}
