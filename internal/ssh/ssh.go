// Package ssh reaches another machine over SSH: it runs programs there and
// connects to unix sockets there. Host keys are checked as OpenSSH does it,
// and keys come from the agent and from the usual files.
//
// It is not for knowing what runs over there, asks for no password, and does
// not read ~/.ssh/config.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"ferry/internal/command"
	"ferry/internal/quote"
)

// The limits of a connection.
const (
	defaultPort    = 22
	defaultTimeout = 15 * time.Second
	// A host that does not answer for alive × missed is gone: without asking,
	// a write to it would only fail after a quarter of an hour.
	defaultAlive = 10 * time.Second
	missed       = 3
)

// ErrGone says that the other machine stopped answering.
var ErrGone = errors.New("the machine does not answer any more")

// Options say where to connect to, and how.
type Options struct {
	// Host is a name or an address.
	Host string
	// Port is 22 where it is 0.
	Port int
	User string
	// KeyFiles are the only keys that are tried where there are any; the
	// agent may hold them. Where there are none, the agent's keys and
	// DefaultKeyFiles are tried.
	KeyFiles        []string
	DefaultKeyFiles []string
	// Agent is the socket of the agent: SSH_AUTH_SOCK. "" is none.
	Agent string
	// HostKeys says which hosts are who they say they are.
	HostKeys *HostKeys
	// Timeout is for connecting; 0 means 15 seconds.
	Timeout time.Duration
	// Alive is how often a silent host is asked whether it is still there;
	// 0 means every 10 seconds.
	Alive time.Duration
}

// Address is HOST:PORT.
func (o Options) Address() string {
	port := o.Port
	if port == 0 {
		port = defaultPort
	}
	return net.JoinHostPort(o.Host, strconv.Itoa(port))
}

// String is the destination as a person writes it.
func (o Options) String() string {
	s := o.Host
	if strings.Contains(s, ":") {
		s = "[" + s + "]"
	}
	if o.User != "" {
		s = o.User + "@" + s
	}
	if o.Port != 0 && o.Port != defaultPort {
		s += ":" + strconv.Itoa(o.Port)
	}
	return s
}

// Command is how OpenSSH's client is called for the same connection.
func (o Options) Command() []string {
	argv := []string{"ssh"}
	if o.Port != 0 && o.Port != defaultPort {
		argv = append(argv, "-p", strconv.Itoa(o.Port))
	}
	for _, k := range o.KeyFiles {
		argv = append(argv, "-i", k)
	}
	dest := o.Host
	if o.User != "" {
		dest = o.User + "@" + dest
	}
	return append(argv, dest)
}

// Client is a connection to another machine. It can be used by several
// goroutines at once.
type Client struct {
	opts  Options
	conn  *ssh.Client
	close func()

	mu   sync.Mutex
	gone bool

	// woken is done once a session was run: see wake.
	woken sync.Once
}

// Dial connects. Close the client in the end.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Alive == 0 {
		o.Alive = defaultAlive
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("no answer within %s", o.Timeout))
	defer cancel()
	d := net.Dialer{}
	conn, err := d.DialContext(ctx, "tcp", o.Address())
	if err != nil {
		return nil, unreached(ctx, o, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c, err := handshake(conn, o)
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, unreached(ctx, o, err)
		}
		return nil, fmt.Errorf("connect to %s: %w", o, err)
	}
	go c.watch()
	return c, nil
}

// because is why ctx ended, where it did, and not what followed from that.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// unreached says that nobody answered. Who was interrupted needs no advice.
func unreached(ctx context.Context, o Options, err error) error {
	err = because(ctx, err)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("connect to %s: %w", o, err)
	}
	return &UnreachedError{Options: o, Err: err}
}

// UnreachedError says that no SSH server answers there.
type UnreachedError struct {
	Options Options
	Err     error
}

func (e *UnreachedError) Error() string { return fmt.Sprintf("connect to %s: %v", e.Options, e.Err) }

func (e *UnreachedError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *UnreachedError) Hint() string {
	var dns *net.DNSError
	if errors.As(e.Err, &dns) {
		return fmt.Sprintf("Is the name right? An address does as well. Aliases of ~/.ssh/config are not read: %s shows the user, host and port behind one.", quote.Shell("ssh", "-G", e.Options.Host))
	}
	return fmt.Sprintf("Does the machine run, does sshd listen on that port, and does no firewall stand between? %s tries the same.", quote.Shell(e.Options.Command()...))
}

func handshake(conn net.Conn, o Options) (*Client, error) {
	check, err := o.HostKeys.begin(o.Address(), conn.RemoteAddr())
	if err != nil {
		return nil, err
	}
	keys := newKeyring(o)
	sc, chans, reqs, err := ssh.NewClientConn(conn, o.Address(), &ssh.ClientConfig{
		User:              o.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeysCallback(keys.signers)},
		HostKeyCallback:   check.hostKey,
		HostKeyAlgorithms: check.algorithms,
	})
	if err != nil {
		keys.close()
		return nil, blame(err, check, keys)
	}
	return &Client{opts: o, conn: ssh.NewClient(sc, chans, reqs), close: keys.close}, nil
}

// blame says at which step a handshake failed: the library tells it by text
// alone.
func blame(err error, check *hostCheck, keys *keyring) error {
	if check.err != nil {
		return check.err
	}
	var netErr net.Error
	if keys.asked && !errors.As(err, &netErr) && !closed(err) {
		return keys.refused()
	}
	return err
}

// closed says whether err is a connection that ended, and not a refusal.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET)
}

// Close ends the connection, and all that runs over it.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// watch asks a host that is silent whether it is still there, and ends the
// connection where it is not.
func (c *Client) watch() {
	done := make(chan struct{})
	go func() {
		_ = c.conn.Wait()
		close(done)
	}()
	answers := make(chan struct{}, 1)
	waiting := 0
	tick := time.NewTicker(c.opts.Alive)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-answers:
			waiting = 0
		case <-tick.C:
			if waiting == 0 {
				go func() {
					_, _, _ = c.conn.SendRequest("keepalive@openssh.com", true, nil)
					answers <- struct{}{}
				}()
			}
			if waiting++; waiting > missed {
				c.mu.Lock()
				c.gone = true
				c.mu.Unlock()
				_ = c.conn.Close()
				return
			}
		}
	}
}

// lost is err, or ErrGone where the host stopped answering.
func (c *Client) lost(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return ErrGone
	}
	return err
}

// DialUnix connects to a unix socket over there.
func (c *Client) DialUnix(ctx context.Context, socket string) (net.Conn, error) {
	c.wake()
	conn, err := c.conn.DialContext(ctx, "unix", socket)
	if err == nil {
		return conn, nil
	}
	e := &ForwardError{Dest: c.opts.String(), Socket: socket, Why: Unclear, Err: because(ctx, c.lost(err))}
	if refused, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
		e.Err = errors.New(refused.Message)
		e.Why = c.whyClosed(ctx, socket, refused.Reason)
	}
	return nil, e
}

// whyClosed looks why a socket could not be reached: sshd says "open failed"
// of one that is not there, of one that the user may not open, and of one that
// it was told not to forward.
func (c *Client) whyClosed(ctx context.Context, socket string, reason ssh.RejectionReason) ForwardWhy {
	if reason == ssh.Prohibited {
		return Forbidden
	}
	const look = `if test ! -S "$1"; then echo absent; elif test -w "$1"; then echo open; else echo closed; fi`
	var out strings.Builder
	if err := c.Run(ctx, command.Command{Argv: []string{"sh", "-c", look, "sh", socket}, Stdout: &out}); err != nil {
		return Unclear
	}
	switch strings.TrimSpace(out.String()) {
	case "absent":
		return Absent
	case "closed":
		return Closed
	case "open":
		return Forbidden
	}
	return Unclear
}

// wake runs a session, once and before any socket is used. Until then sshd
// leaves Nagle's algorithm on, which costs 45 ms for each MiB sent. A key that
// may run nothing does that service too.
func (c *Client) wake() {
	c.woken.Do(func() {
		s, err := c.conn.NewSession()
		if err != nil {
			return
		}
		defer s.Close() //nolint:errcheck // it has ended
		_ = s.Run("true")
	})
}

// ForwardWhy is why a socket on the other machine cannot be reached.
type ForwardWhy int

// The reasons.
const (
	Unclear   ForwardWhy = iota
	Forbidden            // sshd forwards it not, or not to this user
	Absent               // it is not there
	Closed               // the user may not open it
)

// ForwardError says that a socket on the other machine cannot be reached.
type ForwardError struct {
	Dest   string
	Socket string
	Why    ForwardWhy
	Err    error
}

func (e *ForwardError) Error() string {
	switch e.Why {
	case Forbidden:
		return fmt.Sprintf("%s: sshd does not forward %s: %v", e.Dest, e.Socket, e.Err)
	case Absent:
		return fmt.Sprintf("%s: %s is not there", e.Dest, e.Socket)
	case Closed:
		return fmt.Sprintf("%s: this user may not open %s there", e.Dest, e.Socket)
	}
	return fmt.Sprintf("%s: cannot connect to %s there: %v", e.Dest, e.Socket, e.Err)
}

func (e *ForwardError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *ForwardError) Hint() string {
	const (
		allow = "In its sshd_config, AllowTcpForwarding and AllowStreamLocalForwarding must be yes or local for this user, and a key that is restricted in authorized_keys needs port-forwarding."
		may   = "Usually only root may open it: connect as root, or let the user run sudo without a password."
	)
	switch e.Why {
	case Forbidden:
		return allow
	case Absent:
		return "Is the container runtime running there, and is that its socket?"
	case Closed:
		return may
	}
	return "Is it there, and may this user open it? " + may + " " + allow
}
