package ferry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/progress"
)

// silence watches, while pods are waited for, whether the API server answers.
// One that refuses or lets questions hang may come back: it is waited for as
// long as for the pods.
type silence struct {
	world World
	since time.Time // zero where it answers
	err   error     // its first one
}

// silentFrom is from when on a question that the end of the wait cut short
// counts as one that had no answer.
const silentFrom = time.Second

// heard notes what came of a question that was put at a time; nil is an answer.
func (s *silence) heard(put time.Time, err error) {
	switch {
	case err == nil && !s.since.IsZero():
		s.world.Progress.Emit(progress.Note{Text: "the API server answers again"})
		s.since, s.err = time.Time{}, nil
	case err == nil || !s.since.IsZero():
	case errors.Is(err, context.DeadlineExceeded) && s.world.Now().Sub(put) < silentFrom:
		// The time was over just then: that says nothing of the server.
	default:
		s.since, s.err = put, err
		s.world.Progress.Emit(progress.Retry{What: "the API server does not answer", Err: err})
	}
}

// broken is the error where the wait ends without an answer; nil where there
// was one.
func (s *silence) broken() error {
	if s.since.IsZero() {
		return nil
	}
	return &SilentError{After: s.world.Now().Sub(s.since), Err: s.err}
}

// SilentError says that the API server did not answer any more while pods were
// waited for.
type SilentError struct {
	After time.Duration
	Err   error // the first one
}

func (e *SilentError) Error() string {
	text := fmt.Sprintf("the API server has not answered for %v", e.After.Round(time.Second))
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return text
	}
	return fmt.Sprintf("%s: %v", text, e.Err)
}

func (e *SilentError) Unwrap() error { return e.Err }
