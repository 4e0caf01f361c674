package serve

import (
	"errors"
	"io"
	"net"
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
