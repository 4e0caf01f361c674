package ui

import (
	"io"
	"strings"
)

// flow prints lines that a terminal would break in the middle of a word:
// there they are broken at blanks. Elsewhere a line stays a line, as programs
// and tests of texts want it.
type flow struct {
	line   func(string)
	width  int // 0 where nothing is broken
	indent string
}

// together is a blank at which no line is broken.
const together = "\u00a0"

// answer is the flow of what was asked for, conversation that of all else.
func (p *Printer) answer() flow {
	return flow{line: func(s string) { p.linef("%s", s) }, width: p.breaksAt(p.Out)}
}

func (p *Printer) conversation() flow {
	return flow{line: func(s string) { p.sayf("%s", s) }, width: p.breaksAt(p.Err)}
}

func (p *Printer) breaksAt(w io.Writer) int {
	if !IsTerminal(w) {
		return 0
	}
	return widthOf(w)
}

// say prints a text below its mark, if it has one.
func (f flow) say(mark, text string) {
	lead := f.indent
	others := f.indent
	if mark != "" {
		lead += mark + " "
		others += strings.Repeat(" ", visibleWidth(mark)+1)
	}
	f.hang(lead, others, text)
}

// hang prints a text after what leads its first line, and its others.
func (f flow) hang(lead, others, text string) {
	if f.width == 0 {
		f.line(strings.ReplaceAll(lead+text, together, " "))
		return
	}
	for i, line := range wrap(text, f.width-visibleWidth(others)) {
		if i > 0 {
			lead = others
		}
		f.line(strings.ReplaceAll(lead+line, together, " "))
	}
}
