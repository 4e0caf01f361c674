package ui_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/progress"
	"ferry/internal/ui"
)

// work is what a pack of 25 seconds tells; tick lets the clock go on.
func work(emit progress.Func, tick func(time.Duration)) {
	emit(progress.Phase{Name: "resolving", Items: 2, Unit: "images"})
	emit(progress.Advance{Items: 2})
	tick(300 * time.Millisecond)
	emit(progress.Phase{Name: "pulling", Items: 10, Unit: "blobs", Bytes: 50_000_000})
	for range 5 {
		tick(5 * time.Second)
		emit(progress.Advance{Items: 2, Bytes: 10_000_000})
	}
	emit(progress.Retry{What: "quay.io" + evil, Err: errors.New("reset by peer" + evil), After: 1500 * time.Millisecond})
	emit(progress.Retry{What: "ghcr.io", Err: errors.New("wrong digest")})
	emit(progress.Advance{Bytes: -60_000_000})
	emit(progress.Note{Text: "noted" + evil})
}

// TestCalm: in a log, one line every ten seconds and one at the end of what
// took long. The clock is the test's own.
func TestCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, conversation bytes.Buffer
		g := ui.NewProgress(&ui.Printer{Out: &out, Err: &conversation, Verbose: true})
		work(g.Event, time.Sleep)
		g.Close()
		want := []string{
			"pulling     20.0 MB of 50.0 MB · 4 of 10 blobs",
			"pulling     40.0 MB of 50.0 MB · 8 of 10 blobs",
			"! quay.io" + seen + ": reset by peer" + seen + "; trying again in 1.5 s",
			"! ghcr.io: wrong digest; trying again",
			"noted" + seen,
			"pulling     0 B of 50.0 MB · 10 of 10 blobs · 25s",
		}
		if got := conversation.String(); got != strings.Join(want, "\n")+"\n" {
			t.Errorf("printed\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
		if out.Len() > 0 {
			t.Errorf("progress in the answer: %q", out.String())
		}
	})
}

func TestShortWorkSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		g := ui.NewProgress(&ui.Printer{Out: &b, Err: &b})
		g.Event(progress.Phase{Name: "verifying", Unit: "blobs", Bytes: 100})
		time.Sleep(900 * time.Millisecond)
		g.Event(progress.Advance{Items: 1, Bytes: 100})
		g.Close()
		g.Close()
		if b.Len() > 0 {
			t.Errorf("%q", b.String())
		}
	})
}

func TestQuietProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		g := ui.NewProgress(&ui.Printer{Out: &b, Err: &b, Quiet: true})
		work(g.Event, time.Sleep)
		g.Close()
		if b.Len() > 0 {
			t.Errorf("%q", b.String())
		}
	})
}

// TestOnATerminal: a bar is drawn and taken away again, and foreign text
// still steers nothing.
func TestOnATerminal(t *testing.T) {
	var out bytes.Buffer
	conversation := &locked{}
	g := ui.NewProgress(&ui.Printer{Out: &out, Err: conversation, Terminal: true, Verbose: true})
	work(g.Event, func(time.Duration) { time.Sleep(10 * time.Millisecond) })
	g.Close()
	text := conversation.String()
	for _, want := range []string{"pulling", "50.0 MB", "of 10 blobs", "quay.io" + seen, "noted" + seen} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	for _, foreign := range []string{"\x1b[2J", "\u202e", "\u009b", "\x00"} {
		if strings.Contains(text, foreign) {
			t.Errorf("%q reached the terminal", foreign)
		}
	}
	if out.Len() > 0 {
		t.Errorf("progress in the answer: %q", out.String())
	}
}

// locked is a buffer that the bar's own goroutine may write to as well.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
