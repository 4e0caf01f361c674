package registry

import (
	"context"
	"io"
	"sync"
	"time"
)

// payload is the body of a request: content of an image, and never a login.
type payload struct {
	size int64
	// open returns the bytes from the first one on. It may be called again.
	open func() (io.ReadCloser, error)
	// once keeps the request from being sent again as it is: what has arrived
	// of it has to be asked for first.
	once bool
}

// stallable opens p so that the request ends when nobody takes its bytes for
// too long.
func stallable(p *payload, after time.Duration, cancel context.CancelCauseFunc) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		r, err := p.open()
		if err != nil {
			return nil, err
		}
		s := &sending{ReadCloser: r, once: p.once, after: after, left: p.size}
		s.timer = time.AfterFunc(after, func() { cancel(&StallError{After: after, Sending: true}) })
		return s, nil
	}
}

// sending is a payload while it goes out. The timer runs from one read to the
// next, and not beyond the last.
type sending struct {
	io.ReadCloser
	once  bool
	after time.Duration

	mu    sync.Mutex
	left  int64
	timer *time.Timer
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left -= int64(n); err != nil || s.left <= 0 {
		s.timer.Stop()
	} else {
		s.timer.Reset(s.after)
	}
	return n, err
}

func (s *sending) Close() error {
	s.mu.Lock()
	s.left = 0
	s.timer.Stop()
	s.mu.Unlock()
	return s.ReadCloser.Close()
}
