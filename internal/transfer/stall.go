package transfer

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// leastBytes is what a stream has to bring within the stall time. Less is a
// connection that only looks alive.
const leastBytes = 16 << 10

// stallGuard closes a stream that brings next to nothing, so that the read
// that waits for it ends.
type stallGuard struct {
	io.ReadCloser
	after   time.Duration
	timer   *time.Timer
	fresh   int64 // bytes since the timer was set
	stalled atomic.Bool
}

func guard(r io.ReadCloser, after time.Duration) *stallGuard {
	g := &stallGuard{ReadCloser: r, after: after}
	g.timer = time.AfterFunc(after, func() {
		g.stalled.Store(true)
		_ = r.Close()
	})
	return g
}

func (g *stallGuard) Read(p []byte) (int, error) {
	n, err := g.ReadCloser.Read(p)
	if g.fresh += int64(n); g.fresh >= leastBytes {
		g.fresh = 0
		g.timer.Reset(g.after)
	}
	if err != nil && g.stalled.Load() {
		err = fmt.Errorf("brought less than %d bytes in %s", leastBytes, g.after)
	}
	return n, err
}

func (g *stallGuard) Close() error {
	g.timer.Stop()
	return g.ReadCloser.Close()
}
