// Package ui shows results and progress to people and to programs: tables,
// JSON, a bar on a terminal, calm lines in a log. It decides nothing.
package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/term"

	"ferry/internal/quote"
)

// Printer writes the answer to Out and the conversation to Err.
type Printer struct {
	Out io.Writer
	Err io.Writer
	// JSON asks for answers as JSON.
	JSON bool
	// Quiet leaves out all of the conversation but errors.
	Quiet bool
	// Verbose adds what is usually too much.
	Verbose bool
	// Color allows colours and bars: Err is a terminal and NO_COLOR is unset.
	Color bool
	// Terminal says that Err is a terminal.
	Terminal bool

	// clear takes away a bar that is on the screen, before a line is printed.
	clear func()
}

// IsTerminal says whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (p *Printer) json(v any) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(p.Out, plainJSON(b.String()))
	return err
}

// plainJSON escapes what could steer a terminal and that JSON allows to stand
// as it is: it is the same document. Outside of strings JSON has no such
// character but the newline.
func plainJSON(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || !quote.Unsafe(r) {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

// Bytes writes a size as people read it: 72.4 MB.
func Bytes(n int64) string {
	units := []string{"kB", "MB", "GB", "TB", "PB"}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, u := float64(n)/1000, 0
	for f >= 999.5 && u < len(units)-1 {
		f /= 1000
		u++
	}
	if f < 9.995 {
		return fmt.Sprintf("%.2f %s", f, units[u])
	}
	if f < 99.95 {
		return fmt.Sprintf("%.1f %s", f, units[u])
	}
	return fmt.Sprintf("%.0f %s", f, units[u])
}

// count writes a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// Mark is the mark in front of a line: done, or not.
func (p *Printer) Mark(ok bool) string {
	if ok {
		return p.good()
	}
	return p.bad()
}

// The marks in front of lines.
func (p *Printer) good() string { return p.paint("32", "✓") }
func (p *Printer) bad() string  { return p.paint("31", "✗") }
func (p *Printer) warn() string { return p.paint("33", "!") }

func (p *Printer) paint(code, s string) string {
	if !p.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *Printer) linef(format string, args ...any) {
	if p.clear != nil && IsTerminal(p.Out) {
		p.clear()
	}
	fmt.Fprintf(p.Out, format+"\n", args...)
}

func (p *Printer) sayf(format string, args ...any) {
	if !p.Quiet {
		fmt.Fprintf(p.Err, format+"\n", args...)
	}
}

// Version prints the version.
func (p *Printer) Version(version, commit string) error {
	if p.JSON {
		return p.json(map[string]string{"version": version, "commit": commit})
	}
	p.linef("ferry %s (%s)", version, commit)
	return nil
}

// Say prints a line of the conversation that is not to be missed.
func (p *Printer) Say(text string) {
	fmt.Fprintln(p.Err, quote.Terminal(text))
}

// Error prints what went wrong and, where it is known, what to do next.
func (p *Printer) Error(text, hint string) {
	lines := strings.Split(quote.Block(quote.Secrets(text)), "\n")
	mark := "✗"
	if p.Terminal && p.Color {
		mark = p.bad()
	}
	fmt.Fprintf(p.Err, "%s %s\n", mark, strings.Join(lines, "\n  "))
	if hint != "" {
		fmt.Fprintf(p.Err, "  %s\n", strings.ReplaceAll(quote.Block(quote.Secrets(hint)), "\n", "\n  "))
	}
}
