package node

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"ferry/internal/command"
)

// dialThrough connects to a unix socket by a program that joins it with its
// own input and output: socat, which the kubelet's port-forward wants too.
func dialThrough(ctx context.Context, r command.Runner, socket string) (net.Conn, error) {
	if err := r.Run(ctx, command.Command{Argv: []string{"socat", "-V"}}); err != nil {
		return nil, err
	}
	return through(r, socket)
}

func through(r command.Runner, socket string) (net.Conn, error) {
	// A file as input: a program that ended is not waited for until someone
	// writes to it.
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	// The connection outlives the context that it was made under.
	ctx, cancel := context.WithCancel(context.Background())
	outR, outW := io.Pipe()
	c := &piped{in: inW, out: outR, cancel: cancel, socket: socket}
	c.done.Go(func() {
		err := r.Run(ctx, command.Command{Argv: []string{"socat", "-", "UNIX-CONNECT:" + socket}, Stdin: inR, Stdout: outW})
		if err == nil {
			err = io.EOF
		}
		_ = outW.CloseWithError(err)
		_ = inR.Close()
	})
	return c, nil
}

// piped is a connection by a program's input and output.
type piped struct {
	in     *os.File
	out    *io.PipeReader
	cancel context.CancelFunc
	done   sync.WaitGroup
	socket string
}

func (c *piped) Read(p []byte) (int, error)  { return c.out.Read(p) }
func (c *piped) Write(p []byte) (int, error) { return c.in.Write(p) }

// Close ends the program.
func (c *piped) Close() error {
	err := c.in.Close()
	c.cancel()
	_ = c.out.CloseWithError(net.ErrClosed)
	c.done.Wait()
	return err
}

func (c *piped) LocalAddr() net.Addr  { return &net.UnixAddr{Net: "unix", Name: "@"} }
func (c *piped) RemoteAddr() net.Addr { return &net.UnixAddr{Net: "unix", Name: c.socket} }

// Deadlines are not to be had: gRPC does without.
func (c *piped) SetDeadline(t time.Time) error      { return noDeadline(t) }
func (c *piped) SetReadDeadline(t time.Time) error  { return noDeadline(t) }
func (c *piped) SetWriteDeadline(t time.Time) error { return noDeadline(t) }

func noDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	return os.ErrNoDeadline
}
