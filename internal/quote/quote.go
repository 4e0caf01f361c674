// Package quote makes foreign text safe to show: for a terminal, for a shell,
// and without the secrets in it.
//
// It is not for deciding what to show, nor for HTML.
package quote

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Terminal returns s fit to be printed within one line: whatever could move
// the cursor, reorder the text or hide in it stands as a visible escape, such
// as \x1b or \u202e. Ordinary text in any script stays as it is.
func Terminal(s string) string { return escape(s, false) }

// Block is Terminal for text of several lines: newlines and tabs stay, and
// \r\n becomes a newline.
func Block(s string) string {
	return escape(strings.ReplaceAll(s, "\r\n", "\n"), true)
}

func escape(s string, block bool) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case block && (r == '\n' || r == '\t') || !Unsafe(r):
			b.WriteString(s[:n])
		default:
			b.WriteString(visible(r))
		}
		s = s[n:]
	}
	return b.String()
}

// Unsafe says whether r must not reach a terminal within a line: controls (C0,
// DEL, C1), line and paragraph separators, and format characters, to which the
// bidirectional controls belong. The joiners and the marks that stand before
// numbers are ordinary writing, and safe.
func Unsafe(r rune) bool {
	if r == '\u200c' || r == '\u200d' || unicode.Is(unicode.Prepended_Concatenation_Mark, r) {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

func visible(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < utf8.RuneSelf:
		return fmt.Sprintf(`\x%02x`, r)
	case r <= 0xffff:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}
