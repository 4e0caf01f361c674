// Package progress is how long work tells how far it is: a stream of events
// that someone may look at. It prints nothing; package ui does.
package progress

import "time"

// Event is one of the types below.
type Event interface{ event() }

// Phase begins a part of the work and says how much there is to do; a total
// of zero is one that is not known.
type Phase struct {
	Name  string // "resolving", "pulling", "verifying"
	Items int
	Unit  string // what an item is: "images", "blobs"
	Bytes int64
}

// Advance says that items or bytes of the current phase are done.
type Advance struct {
	Items int
	Bytes int64
}

// Grow says that the current phase has more to do than was known.
type Grow struct {
	Items int
	Bytes int64
}

// Retry says that something failed that may heal, and is tried again.
type Retry struct {
	What  string
	Err   error
	After time.Duration
}

// Note is a fact for those who want to know more.
type Note struct{ Text string }

func (Phase) event()   {}
func (Advance) event() {}
func (Grow) event()    {}
func (Retry) event()   {}
func (Note) event()    {}

// Func takes events. It may be called by several goroutines at once.
type Func func(Event)

// Emit hands e on; a nil Func is silent.
func (f Func) Emit(e Event) {
	if f != nil {
		f(e)
	}
}
