package registry

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

// TestClosedConnectionsAreTriedAgain: while a body is written, the side that
// reads may close the connection first; and another request's cancellation
// may take a shared one along.
func TestClosedConnectionsAreTriedAgain(t *testing.T) {
	for _, err := range []error{
		fmt.Errorf("write: %w", &net.OpError{Op: "write", Err: net.ErrClosed}),
		fmt.Errorf("write: %w", context.Canceled),
	} {
		if triesForError(err) != maxTries || !(&Error{Err: err}).mayHeal() {
			t.Errorf("%v is final", err)
		}
		p := &policy{ctx: t.Context(), opts: withDefaults(Options{Wait: func(context.Context, time.Duration) error { return nil }})}
		if d, _ := p.Retry(0, nil, err); d != 0 {
			t.Errorf("%v is not tried again", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.ctx = ctx
		if d, _ := p.Retry(0, nil, err); d == 0 {
			t.Errorf("%v is tried again though nobody waits", err)
		}
	}
}
