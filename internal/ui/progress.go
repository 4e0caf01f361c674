package ui

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cheggaaa/pb/v3"

	"ferry/internal/progress"
	"ferry/internal/quote"
)

// calmEvery is how often a log hears of long work.
const calmEvery = 10 * time.Second

// The bar itself comes from the library; the numbers beside it from events.
const (
	bar      = `{{string . "name" | printf "%-11s"}} {{bar . "█" "█" "█" "░" " " }} {{string . "done"}}`
	barWidth = 110
)

// Progress turns events into a bar on a terminal, or calm lines elsewhere.
type Progress struct {
	p *Printer

	mu       sync.Mutex
	phase    progress.Phase
	items    int
	bytes    int64
	began    time.Time
	lastLine time.Time
	bar      *pb.ProgressBar
}

// NewProgress shows progress through p. Close it before the answer is printed.
func NewProgress(p *Printer) *Progress {
	g := &Progress{p: p}
	p.clear = g.clear
	return g
}

// clear takes the bar away until it is drawn anew.
func (g *Progress) clear() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bar != nil {
		fmt.Fprint(g.p.Err, "\r\x1b[K")
	}
}

// Event takes one event. It is a progress.Func.
func (g *Progress) Event(e progress.Event) {
	if g.p.Quiet {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch e := e.(type) {
	case progress.Phase:
		g.endPhase()
		g.begin(e)
	case progress.Advance:
		g.items += e.Items
		g.bytes += e.Bytes
		g.show()
	case progress.Grow:
		g.phase.Items += e.Items
		g.phase.Bytes += e.Bytes
		if g.bar != nil && g.phase.Bytes > 0 {
			g.bar.SetTotal(g.phase.Bytes)
		}
		g.show()
	case progress.Retry:
		g.say(fmt.Sprintf("%s %s: %s; trying again%s", g.p.warn(), quote.Terminal(e.What),
			quote.Terminal(quote.Secrets(e.Err.Error())), inTime(e.After)))
	case progress.Note:
		if g.p.Verbose {
			g.say(quote.Terminal(e.Text))
		}
	}
}

func inTime(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return " in " + duration(d)
}

// Close ends what is shown.
func (g *Progress) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endPhase()
}

func (g *Progress) begin(e progress.Phase) {
	g.phase, g.items, g.bytes = e, 0, 0
	g.began = time.Now()
	g.lastLine = g.began
	if !g.p.Terminal {
		return
	}
	total := e.Bytes
	if total == 0 {
		total = int64(e.Items)
	}
	g.bar = pb.New64(total)
	g.bar.SetWriter(g.p.Err)
	g.bar.SetTemplateString(bar)
	g.bar.SetRefreshRate(100 * time.Millisecond)
	g.bar.SetMaxWidth(barWidth)
	g.bar.Set(pb.Terminal, true)
	g.bar.Set("name", e.Name)
	g.texts()
	g.bar.Start()
}

func (g *Progress) texts() { g.bar.Set("done", strings.Join(append(g.done(), g.pace()...), " · ")) }

// done says how much is done of how much.
func (g *Progress) done() []string {
	var done []string
	if g.phase.Bytes > 0 {
		done = append(done, fmt.Sprintf("%s of %s", Bytes(max(g.bytes, 0)), Bytes(g.phase.Bytes)))
	}
	if g.phase.Items > 0 {
		done = append(done, fmt.Sprintf("%d of %d %s", g.items, g.phase.Items, g.phase.Unit))
	}
	return done
}

// pace says how fast it goes and how long it will take, once that can be told.
func (g *Progress) pace() []string {
	took := time.Since(g.began)
	if g.phase.Bytes == 0 || g.bytes <= 0 || took < time.Second {
		return nil
	}
	rate := float64(g.bytes) / took.Seconds()
	left := time.Duration(float64(g.phase.Bytes-g.bytes) / rate * float64(time.Second))
	return []string{Bytes(int64(rate)) + "/s", max(left, 0).Round(time.Second).String() + " left"}
}

func (g *Progress) show() {
	if g.bar != nil {
		g.texts()
		if g.phase.Bytes > 0 {
			g.bar.SetCurrent(max(g.bytes, 0))
		} else {
			g.bar.SetCurrent(int64(g.items))
		}
		return
	}
	if now := time.Now(); now.Sub(g.lastLine) >= calmEvery {
		g.lastLine = now
		fmt.Fprintln(g.p.Err, g.line())
	}
}

func (g *Progress) line() string {
	return fmt.Sprintf("%-11s %s", g.phase.Name, strings.Join(g.done(), " · "))
}

// endPhase takes the bar away and leaves one line of what was done, if it took
// long enough to be worth a line.
func (g *Progress) endPhase() {
	if g.phase.Name == "" {
		return
	}
	if g.bar != nil {
		g.bar.Set(pb.CleanOnFinish, true)
		g.bar.Finish()
		g.bar = nil
	}
	if took := time.Since(g.began); took > time.Second {
		fmt.Fprintf(g.p.Err, "%s · %s\n", g.line(), duration(took))
	}
	g.phase = progress.Phase{}
}

// say writes a line above the bar.
func (g *Progress) say(s string) {
	if g.bar != nil {
		fmt.Fprintf(g.p.Err, "\r\x1b[K")
	}
	fmt.Fprintln(g.p.Err, s)
}
