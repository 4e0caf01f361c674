package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// ListenError says that an address cannot be listened on.
type ListenError struct {
	Address string
	Err     error
}

func (e *ListenError) Error() string { return fmt.Sprintf("listen on %s: %v", e.Address, e.Err) }

func (e *ListenError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *ListenError) Hint() string {
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return "Another program listens there: choose another port with --listen; port 0 takes a free one."
	case errors.Is(e.Err, syscall.EACCES):
		return "Ports below 1024 are for root: choose a higher one with --listen."
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return "No network interface of this machine has that address; 0.0.0.0:PORT listens on all."
	}
	return "Write --listen HOST:PORT, as in 127.0.0.1:5000, or 0.0.0.0:5000 for all interfaces."
}

// PlainPasswordError says that passwords would cross a network unencrypted.
type PlainPasswordError struct{ Address string }

func (e *PlainPasswordError) Error() string {
	return fmt.Sprintf("listen on %s: passwords would cross the network for anybody to read", e.Address)
}

// Hint says what to do about it.
func (e *PlainPasswordError) Hint() string {
	return "Give it a certificate with --tls-cert and --tls-key, or leave --htpasswd out."
}

// Listen listens on address. With users but without TLS it takes only
// loopback addresses.
func Listen(ctx context.Context, address string, users *Users, cert *tls.Config) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &ListenError{Address: address, Err: err}
	}
	if users != nil && cert == nil && !Loopback(l.Addr()) {
		return nil, errors.Join(&PlainPasswordError{Address: address}, l.Close())
	}
	return l, nil
}

// limited lets so many connections be open at once. Those of netutil's
// LimitListener are ones that the kernel cannot send files to.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limit(l net.Listener, most int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept waits for a connection, and for its turn.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	release := sync.OnceFunc(func() { <-l.slots })
	if tcp, ok := c.(*net.TCPConn); ok {
		return &limitedTCP{tcp, release}, nil
	}
	return &limitedConn{c, release}, nil
}

// Close ends the listener; connections stay.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedTCP is a connection that gives its turn back when it is closed. All
// else is TCP's, how files are sent too.
type limitedTCP struct {
	*net.TCPConn
	release func()
}

// Close ends the connection.
func (c *limitedTCP) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

// Close ends the connection.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// Loopback says whether only this machine reaches address.
func Loopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// Certificate reads a server's certificate and key, in PEM. Clients need TLS
// 1.2 or later.
func Certificate(certFile, keyFile string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s with its key %s: %w", certFile, keyFile, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
