package scanner

import (
	"context"
	"fmt"
	"runtime/metrics"
	"time"

	"ferry/internal/scan"
)

// grace is how long a cataloguer that does not listen may go on.
const grace = 15 * time.Second

func (s *serving) tookTooLong() error {
	return fmt.Errorf("it was looked at for %s, which is the limit", s.limits.Time)
}

// guardTime ends this process where an image does not end in time: a loop that
// does not look up can only be ended from outside. Whoever started the process
// knows which image it was.
func (s *serving) guardTime() (stop func()) {
	t := time.AfterFunc(s.limits.Time+grace, func() { s.giveUp(s.tookTooLong()) })
	return func() { t.Stop() }
}

// guardMemory ends this process before it takes more memory than it may, and
// the machine with it.
func (s *serving) guardMemory(ctx context.Context) {
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	held := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		metrics.Read(held)
		if n := int64(held[0].Value.Uint64() - held[1].Value.Uint64()); n > s.limits.Memory {
			s.giveUp(fmt.Errorf("it takes more than %d bytes of memory, which is the limit", s.limits.Memory))
			return
		}
	}
}

func (s *serving) giveUp(err error) {
	_ = s.answer(scan.Answer{Error: err.Error()})
	s.exit(1)
}
