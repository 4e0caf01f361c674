package manifest

import (
	"bytes"
	"slices"
	"sort"
	"unicode/utf8"
)

type kind byte

const (
	scalar kind = iota
	mapping
	sequence
	alias
)

// node is a value of a document and where it stands.
type node struct {
	kind   kind
	flow   bool // a mapping or sequence in braces
	block  bool // a scalar after | or >
	quoted byte // the quote of a scalar; 0 for none
	tag    string
	value  string
	anchor string
	target *node   // of an alias
	kids   []*node // of a mapping: key, value, key, value…
	// start is where it begins in the text, with its anchor and tag.
	start int
}

// real is the value behind an alias.
func (n *node) real() *node {
	if n != nil && n.kind == alias {
		return n.target
	}
	return n
}

// entry is a key of a mapping with its value, as they are written.
type entry struct {
	holder, key, value *node
	// via are the aliases that lead from the mapping asked to the holder.
	via []*node
}

// maxMerge is how deep one << may lead to another.
const maxMerge = 8

// get looks a key up as YAML does: in the mapping itself, then in those that
// are merged into it.
func (n *node) get(key string) (entry, bool) { return n.lookup(key, maxMerge) }

func (n *node) lookup(key string, depth int) (entry, bool) {
	n = n.real()
	if n == nil || n.kind != mapping || depth == 0 {
		return entry{}, false
	}
	var merges []*node
	for i := 0; i+1 < len(n.kids); i += 2 {
		k, v := n.kids[i], n.kids[i+1]
		switch {
		case k.kind != scalar:
		case k.tag == "!!merge":
			merges = append(merges, v)
		case k.value == key:
			return entry{holder: n, key: k, value: v}, true
		}
	}
	for _, m := range merges {
		if e, ok := m.merged(key, depth-1); ok {
			return e, true
		}
	}
	return entry{}, false
}

// merged looks a key up in what stands after <<: a mapping, or several.
func (n *node) merged(key string, depth int) (entry, bool) {
	all := []*node{n}
	if r := n.real(); r.kind == sequence {
		all = r.kids
	}
	for _, one := range all {
		if e, ok := one.lookup(key, depth); ok {
			e.via = append(e.via, n, one)
			return e, true
		}
	}
	return entry{}, false
}

// child is the value under a key; nil where there is none.
func (n *node) child(key string) *node {
	e, _ := n.get(key)
	return e.value.real()
}

// text is the string under a key; "" where there is none.
func (n *node) text(key string) string {
	v := n.child(key)
	if v == nil || v.kind != scalar || v.tag == "!!null" {
		return ""
	}
	return v.value
}

// source is a text with its lines, as YAML counts them.
type source struct {
	text  []byte
	lines []int // where each begins
	// at is the place that was found last: places are asked for in order, and
	// a line may be megabytes long.
	at position
}

type position struct{ line, column, offset int }

func newSource(text []byte) *source {
	s := &source{text: text, lines: []int{0}}
	if bytes.HasPrefix(text, []byte("\ufeff")) {
		s.lines[0] = 3 // it stands outside of the first line's columns
	}
	for i := s.lines[0]; i < len(text); {
		if n := lineBreak(text[i:]); n > 0 {
			i += n
			s.lines = append(s.lines, i)
			continue
		}
		i++
	}
	return s
}

// lineBreak returns the length of the line break that b begins with: those of
// YAML 1.1, which are more than those of 1.2.
func lineBreak(b []byte) int {
	switch {
	case len(b) == 0:
		return 0
	case b[0] == '\n':
		return 1
	case b[0] == '\r' && len(b) > 1 && b[1] == '\n':
		return 2
	case b[0] == '\r':
		return 1
	case b[0] == 0xc2 && bytes.HasPrefix(b, []byte("\u0085")):
		return 2
	case b[0] == 0xe2 && (bytes.HasPrefix(b, []byte("\u2028")) || bytes.HasPrefix(b, []byte("\u2029"))):
		return 3
	}
	return 0
}

// offset finds a line and column, both from 1, columns in characters.
func (s *source) offset(line, column int) (int, bool) {
	if line < 1 || line > len(s.lines) {
		return 0, false
	}
	from := position{line, 1, s.lines[line-1]}
	if s.at.line == line && s.at.column <= column {
		from = s.at
	}
	for from.column < column {
		_, n := utf8.DecodeRune(s.text[from.offset:])
		if n == 0 {
			return 0, false
		}
		from.offset += n
		from.column++
	}
	s.at = from
	return from.offset, true
}

// line returns the line of an offset.
func (s *source) line(offset int) int {
	return sort.Search(len(s.lines), func(i int) bool { return s.lines[i] > offset })
}

// column returns the column of an offset in characters, from 1.
func (s *source) column(offset int) int {
	start := s.lines[max(s.line(offset), 1)-1]
	if offset < start {
		return 1
	}
	return utf8.RuneCount(s.text[start:offset]) + 1
}

// rest returns what follows an offset in its line, and the line's end.
func (s *source) rest(offset int) (rest, end []byte) {
	for i := offset; i < len(s.text); i++ {
		if n := lineBreak(s.text[i:]); n > 0 {
			return s.text[offset:i], s.text[i : i+n]
		}
	}
	return s.text[min(offset, len(s.text)):], nil
}

// eol is how the lines of the text end.
func (s *source) eol() string {
	i := slices.Index(s.text, '\n')
	if i > 0 && s.text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// twice returns a key that a mapping has twice.
func (n *node) twice() (first, again *node) {
	if n.kind != mapping {
		return nil, nil
	}
	const few = 32
	if len(n.kids) > few {
		return n.twiceOfMany()
	}
	for i := 2; i < len(n.kids); i += 2 {
		for j := 0; j < i; j += 2 {
			if sameKey(n.kids[j], n.kids[i]) {
				return n.kids[j], n.kids[i]
			}
		}
	}
	return nil, nil
}

func (n *node) twiceOfMany() (first, again *node) {
	seen := map[string]*node{}
	for i := 0; i+1 < len(n.kids); i += 2 {
		k := n.kids[i]
		if other := seen[k.value]; other != nil && sameKey(other, k) {
			return other, k
		}
		if k.kind == scalar {
			seen[k.value] = k
		}
	}
	return nil, nil
}

func sameKey(a, b *node) bool {
	return a.kind == scalar && b.kind == scalar && a.value == b.value && b.tag != "!!merge"
}
