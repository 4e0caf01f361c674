package manifest

import (
	"fmt"
	"sort"
	"strings"
)

// Diff shows edits of a text as patch and git apply read them; "" where there
// are none.
func Diff(name string, text []byte, edits []Edit) string {
	d := &differ{text: text}
	for at := 0; at < len(text); {
		d.starts = append(d.starts, at)
		at += len(firstLine(text[at:]))
	}
	var hunks [][]span
	for _, s := range d.spans(edits) {
		last := len(hunks) - 1
		if last >= 0 && s.from-hunks[last][len(hunks[last])-1].to <= 2*around {
			hunks[last] = append(hunks[last], s)
			continue
		}
		hunks = append(hunks, []span{s})
	}
	if len(hunks) == 0 {
		return ""
	}
	fmt.Fprintf(&d.out, "--- %s\n+++ %s\n", name, name)
	for _, h := range hunks {
		d.hunk(h)
	}
	return d.out.String()
}

// around is how many unchanged lines are shown around a change.
const around = 3

// span is some lines, the last one excluded, that become others.
type span struct {
	from, to int
	edits    []Edit
}

type differ struct {
	text   []byte
	starts []int // of the lines
	shift  int   // how many lines more there are after the hunks so far
	out    strings.Builder
}

func firstLine[T string | []byte](s T) T {
	for i := range len(s) {
		if s[i] == '\n' {
			return s[:i+1]
		}
	}
	return s
}

// start is where a line begins; the one after the last is the text's end.
func (d *differ) start(line int) int {
	if line < len(d.starts) {
		return d.starts[line]
	}
	return len(d.text)
}

// lineOf returns the line of an offset; the text's end has a line of its own
// where the last one is complete.
func (d *differ) lineOf(at int) int {
	if at == len(d.text) && (at == 0 || d.text[at-1] == '\n') {
		return len(d.starts)
	}
	return sort.Search(len(d.starts), func(i int) bool { return d.starts[i] > at }) - 1
}

// spans says which lines the edits change; those that touch are one.
func (d *differ) spans(edits []Edit) []span {
	var all []span
	for _, e := range edits {
		s := span{from: d.lineOf(e.Start), edits: []Edit{e}}
		s.to = s.from
		if e.Start != e.End || e.Start != d.start(s.from) || !strings.HasSuffix(e.Text, "\n") {
			s.to = d.lineOf(max(e.Start, e.End-1)) + 1
		}
		if n := len(all); n > 0 && s.from <= all[n-1].to {
			all[n-1].to = max(all[n-1].to, s.to)
			all[n-1].edits = append(all[n-1].edits, e)
			continue
		}
		all = append(all, s)
	}
	return all
}

// become is what the lines of a span are afterwards.
func (d *differ) become(s span) []byte {
	base := d.start(s.from)
	edits := make([]Edit, len(s.edits))
	for i, e := range s.edits {
		edits[i] = Edit{e.Start - base, e.End - base, e.Text}
	}
	return Apply(d.text[base:d.start(s.to)], edits)
}

func (d *differ) hunk(spans []span) {
	from := max(0, spans[0].from-around)
	to := min(len(d.starts), spans[len(spans)-1].to+around)
	var body strings.Builder
	at, added := from, 0
	for _, s := range spans {
		show(&body, ' ', d.text[d.start(at):d.start(s.from)])
		show(&body, '-', d.text[d.start(s.from):d.start(s.to)])
		added += show(&body, '+', d.become(s)) - (s.to - s.from)
		at = s.to
	}
	show(&body, ' ', d.text[d.start(at):d.start(to)])
	fmt.Fprintf(&d.out, "@@ -%s +%s @@\n%s", extent(from, to-from), extent(from+d.shift, to-from+added), body.String())
	d.shift += added
}

// extent writes where lines are, as diff does: of no lines, the one before.
func extent(from, n int) string {
	if n > 0 {
		from++
	}
	return fmt.Sprintf("%d,%d", from, n)
}

// show writes lines with a mark, and says how many.
func show(b *strings.Builder, mark byte, lines []byte) int {
	n := 0
	for ; len(lines) > 0; n++ {
		line := firstLine(lines)
		lines = lines[len(line):]
		b.WriteByte(mark)
		b.Write(line)
		if line[len(line)-1] != '\n' {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
	return n
}
