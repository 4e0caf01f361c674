package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// token finds the bytes of a scalar: quotes belong to it; of a block scalar
// it is what stands below the | or >, without the space around it. What is
// found has to read as the value, or it is an error: the parser's word for
// where something stands is not enough to write there.
func (f *File) token(n *node) (start, end int, err error) {
	at := f.properties(n.start)
	text := f.Text[at:]
	switch {
	case n.quoted != 0:
		size := quotedSize(text, n.quoted)
		if size == 0 || !reads(text[:size], n.value) {
			return 0, 0, f.unsafe(n.start, "its quoted text was not found")
		}
		return at, at + size, nil
	case n.block:
		value := strings.TrimSpace(n.value)
		header := bytes.IndexByte(text, '\n')
		if header < 0 || value == "" {
			return 0, 0, f.unsafe(n.start, "its block of text was not found")
		}
		body := bytes.TrimLeft(text[header:], " \r\n")
		if !bytes.HasPrefix(body, []byte(value)) {
			return 0, 0, f.unsafe(n.start, "its block of text is not one plain line")
		}
		at = len(f.Text) - len(body)
		return at, at + len(value), nil
	}
	if !bytes.HasPrefix(text, []byte(n.value)) {
		return 0, 0, f.unsafe(n.start, fmt.Sprintf("%q was not found where it should stand", short(n.value)))
	}
	return at, at + len(n.value), nil
}

// properties skips the anchor and the tag in front of a value.
func (f *File) properties(at int) int {
	for at < len(f.Text) && (f.Text[at] == '&' || f.Text[at] == '!') {
		at += len(f.Text[at:]) - len(bytes.TrimLeftFunc(f.Text[at:], func(r rune) bool { return !blank(r) }))
		at = f.space(at)
	}
	return at
}

func blank(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }

// space skips blanks, line ends and comments.
func (f *File) space(at int) int {
	for {
		rest := bytes.TrimLeftFunc(f.Text[at:], blank)
		at = len(f.Text) - len(rest)
		if len(rest) == 0 || rest[0] != '#' {
			return at
		}
		comment, _ := f.source.rest(at)
		at += len(comment)
	}
}

// quotedSize is how long the quoted text is that b begins with; 0 where there
// is none.
func quotedSize(b []byte, q byte) int {
	if len(b) == 0 || b[0] != q {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch {
		case q == '"' && b[i] == '\\':
			i++
		case b[i] == q && q == '\'' && i+1 < len(b) && b[i+1] == q:
			i++
		case b[i] == q:
			return i + 1
		}
	}
	return 0
}

// reads says whether a quoted text has this value.
func reads(text []byte, value string) bool {
	var s string
	if json.Unmarshal(text, &s) == nil && s == value {
		return true
	}
	var n yaml.Node
	return yaml.Unmarshal(text, &n) == nil && len(n.Content) == 1 && n.Content[0].Value == value
}
