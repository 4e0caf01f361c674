package serve

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestLimit: one connection more waits until one has ended, and all of them
// are such as the kernel sends files to.
func TestLimit(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit(inner, 2)
	accepted := make(chan net.Conn, 3)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	if _, ok := first.(io.ReaderFrom); !ok {
		t.Errorf("%T hides how TCP sends files", first)
	}
	select {
	case <-accepted:
		t.Fatal("three connections where two are allowed")
	case <-time.After(50 * time.Millisecond):
	}
	// Closed twice, as servers do: that is one turn, and not two.
	_, _ = first.Close(), first.Close()
	third := <-accepted
	_, _ = second.Close(), third.Close()
	_ = l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// TestServeLimits: a server takes no more connections at once than it says,
// and the next one when one has ended.
func TestServeLimits(t *testing.T) {
	s := New(Options{})
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, inner) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	ask := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	answered := func(c net.Conn, within time.Duration) error {
		_ = c.SetReadDeadline(time.Now().Add(within))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	var first net.Conn
	for k := range maxConnections {
		c := ask()
		if err := answered(c, 10*time.Second); err != nil {
			t.Fatalf("connection %d: %v", k+1, err)
		}
		if k == 0 {
			first = c
		}
	}
	more := ask()
	if err := answered(more, 200*time.Millisecond); err == nil {
		t.Fatalf("connection %d is answered", maxConnections+1)
	}
	first.Close()
	if err := answered(more, 10*time.Second); err != nil {
		t.Errorf("one has ended, and the next is not answered: %v", err)
	}
}
