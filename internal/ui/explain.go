package ui

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/quote"
)

// Explain shows a lesson, or the causes that a text tells.
func (p *Printer) Explain(r *ferry.ExplainResult) error {
	if r.Lesson != nil {
		return p.lesson(*r.Lesson)
	}
	if p.JSON {
		return p.json(r.Reading.Report)
	}
	p.explain(r.Reading)
	return nil
}

// shownCauses is how many causes are shown in full; the others get a line.
const shownCauses = 3

func (p *Printer) explain(r *diagnose.Reading) {
	if len(r.Causes) == 0 {
		p.linef("%s nothing is wrong with the images of %s", p.good(), count(r.Pods, "pod", "pods"))
		return
	}
	for i, c := range r.Causes {
		if i >= shownCauses {
			p.linef("%s %s  (%s)", p.bad(), headline(c), seenTimes(c))
			continue
		}
		if i > 0 {
			p.linef("")
		}
		p.Cause(c)
	}
	if r.Stopped {
		p.sayf("%s the text is very long: its end was not read", p.warn())
	}
}

// Cause shows one cause: the answer, its evidence, what to do.
func (p *Printer) Cause(c diagnose.Cause) {
	mark := p.bad()
	if c.Cause == diagnose.Unknown || c.Cause == diagnose.SecretMissing {
		mark = p.warn()
	}
	p.block(mark+" ", "  ", p.paint("1", headline(c)))
	p.linef("")
	p.block("  ", "  ", quote.Terminal(c.Meaning))
	p.linef("")
	for i, e := range c.Evidence {
		text := quote.Terminal(e)
		if i == 0 && c.Seen > 1 {
			text += fmt.Sprintf("  (%s)", seenTimes(c))
		}
		p.row("seen", text)
	}
	for _, s := range c.Checked {
		p.row("checked", quote.Terminal(s))
	}
	if len(c.Objects) > 0 {
		p.row("in", objects(c.Objects))
	}
	if c.Cause != diagnose.Unknown {
		p.row(string(c.Confidence), sureness(c.Confidence))
	}
	p.remedies(c)
}

func headline(c diagnose.Cause) string {
	if c.Image == "" || c.Cause == diagnose.Unknown && !strings.HasPrefix(c.Title, "the text does") {
		return quote.Terminal(c.Title)
	}
	return quote.Terminal(c.Image) + ": " + quote.Terminal(c.Title)
}

func seenTimes(c diagnose.Cause) string { return fmt.Sprintf("%d×", c.Seen) }

func sureness(c diagnose.Confidence) string {
	switch c {
	case diagnose.Certain:
		return "the text proves it"
	case diagnose.Likely:
		return "nothing fits better"
	}
	return "it would fit; look before you act"
}

func objects(all []string) string {
	const most = 4
	shown := make([]string, 0, most)
	for _, o := range all[:min(len(all), most)] {
		shown = append(shown, quote.Terminal(o))
	}
	s := strings.Join(shown, ", ")
	if len(all) > most {
		s += fmt.Sprintf(" and %d more", len(all)-most)
	}
	return s
}

func (p *Printer) remedies(c diagnose.Cause) {
	if len(c.Remedies) > 0 {
		p.linef("")
	}
	for _, r := range c.Remedies {
		p.remedy("→", r)
	}
	if c.Verify != nil {
		p.remedy("?", *c.Verify)
	}
}

// remedy shows a command and below it what it is for; where there is nothing
// to type, the sentence alone.
func (p *Printer) remedy(mark string, r diagnose.Remedy) {
	text := quote.Terminal(r.Summary)
	if r.Changes != "" && r.Changes != "nothing" {
		text += p.paint("2", "  · changes: "+quote.Terminal(r.Changes))
	}
	if r.Command == "" {
		p.block("  "+mark+" ", "    ", text)
		return
	}
	where := ""
	if r.On != "" {
		where = p.paint("2", "  (on "+quote.Terminal(r.On)+")")
	}
	// A command is never broken: it is there to be copied.
	p.linef("  %s %s%s", mark, p.paint("36", quote.Terminal(r.Command)), where)
	p.block("      ", "      ", text)
}

func (p *Printer) row(name, text string) {
	p.block("  "+fmt.Sprintf("%-10s", name), strings.Repeat(" ", 12), text)
}

// block prints text broken at blanks to fit the terminal.
func (p *Printer) block(first, others, text string) {
	for i, line := range wrap(text, p.width()-utf8.RuneCountInString(others)) {
		lead := others
		if i == 0 {
			lead = first
		}
		p.linef("%s%s", lead, line)
	}
}

// width is the terminal's, at most what reads well; 100 where there is none.
func (p *Printer) width() int { return widthOf(p.Out) }

func widthOf(out io.Writer) int {
	const most, least = 100, 40
	f, ok := out.(*os.File)
	if !ok {
		return most
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return most
	}
	return min(max(w, least), most)
}

// wrap breaks text into lines of at most width characters, at blanks. A word
// that is longer stands alone.
func wrap(text string, width int) []string {
	var lines []string
	line, length := "", 0
	for _, word := range strings.Split(text, " ") {
		n := visibleWidth(word)
		if length > 0 && length+1+n > width {
			lines = append(lines, line)
			line, length = "", 0
		}
		if length > 0 {
			line += " "
			length++
		}
		line += word
		length += n
	}
	return append(lines, line)
}

// visibleWidth counts characters, without the colours that paint put in.
func visibleWidth(s string) int {
	n, in := 0, false
	for _, r := range s {
		switch {
		case r == 0x1b:
			in = true
		case in:
			in = r != 'm'
		default:
			n++
		}
	}
	return n
}

// Lessons lists lessons with their titles.
func (p *Printer) Lessons(all []diagnose.Lesson) error {
	if p.JSON {
		type row struct {
			Lesson string `json:"lesson"`
			Title  string `json:"title"`
		}
		rows := []row{}
		for _, l := range all {
			rows = append(rows, row{l.Name, l.Title})
		}
		return p.json(rows)
	}
	for _, l := range all {
		p.linef("%-26s %s", l.Name, l.Title)
	}
	return nil
}

func (p *Printer) lesson(l diagnose.Lesson) error {
	if p.JSON {
		return p.json(l)
	}
	p.linef("%s: %s", p.paint("1", l.Name), l.Title)
	p.linef("")
	_, err := fmt.Fprint(p.Out, l.Text)
	return err
}
