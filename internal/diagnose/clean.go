package diagnose

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"ferry/internal/pattern"
)

// maxMessage is the most of one message that is parsed, in bytes. Of a longer
// one the beginning, which names the image, and the end, where the innermost
// error stands, are kept.
const maxMessage = 64 << 10

// cut shortens a message to maxMessage.
func cut(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	const head = maxMessage / 4
	return s[:head] + " … " + s[len(s)-(maxMessage-head-len(" … ")):]
}

// clean makes one line of a message, as the program wrote it before it was
// copied: quoted and escaped copies, however deep, become plain, a terminal's
// colours and frames go, curly quotes become straight ones. The backslashes of
// a Windows path escape nothing. It takes one pass.
func clean(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	last, path := ' ', windowsPath(0)
	for i := 0; i < len(s); {
		if n, out := path.step(s[i:], b.String(), last); n > 0 {
			b.WriteString(out)
			i, last = i+n, 'x' // and no drive begins here
			continue
		}
		n, out := cleanOne(s[i:])
		i += n
		last = out
		switch {
		case out != ' ':
			b.WriteRune(out)
		case b.Len() > 0 && b.String()[b.Len()-1] != ' ':
			b.WriteByte(' ')
		}
	}
	return strings.TrimSpace(b.String())
}

// windowsPath is how many backslashes part the names of the path at hand: one,
// and twice as many with each time that it was quoted. 0 is no path.
type windowsPath int

// step reads the next part of a path from s, which follows on done: how many
// bytes it took, none where no path is here, and what stands for it. A path
// begins with a drive that no word ends in (C:\), and ends with what no
// name has in it, or with fewer backslashes than part its names: those escape.
func (p *windowsPath) step(s, done string, last rune) (n int, out string) {
	if *p == 0 {
		if last < utf8.RuneSelf && wordByte(byte(last)) {
			return 0, ""
		}
		if *p = windowsPath(drive(s)); *p == 0 {
			return 0, ""
		}
		return len("C:") + int(*p), s[:len(`C:\`)]
	}
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case r == '\\':
		n = backslashes(s)
		if n >= int(*p) && (n == len(s) || s[n] != '"' && s[n] != '\'') {
			return n, `\`
		}
	case r == ' ' && strings.HasSuffix(done, "Program"):
		for _, rest := range []string{" Files (x86)", " Files"} {
			if strings.HasPrefix(s, rest) {
				return len(rest), rest
			}
		}
	case unicode.IsLetter(r), unicode.IsDigit(r), strings.ContainsRune("._-+~$#@!%&^={}[]`", r):
		return n, s[:n]
	}
	*p = 0
	return 0, ""
}

func wordByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// drive returns how many backslashes follow on a drive that s begins with: 1
// for C:\Users; 0 where it begins with none.
func drive(s string) int {
	if len(s) < 3 || !wordByte(s[0]) || s[0] <= '9' || s[1] != ':' {
		return 0
	}
	s = s[2:]
	n := backslashes(s)
	s = s[n:]
	if len(s) == 0 || s[0] <= ' ' || strings.IndexByte(`"'/`, s[0]) >= 0 {
		return 0
	}
	if strings.IndexByte("nrt", s[0]) >= 0 && (len(s) == 1 || s[1] <= ' ' || s[1] == '\\') {
		return 0 // the end of a line
	}
	return n
}

// backslashes counts those that s begins with.
func backslashes(s string) int { return len(s) - len(strings.TrimLeft(s, `\`)) }

// cleanOne reads one character of s, which is not empty, and returns how many
// bytes it took and what stands for it.
func cleanOne(s string) (int, rune) {
	switch s[0] {
	case '\\':
		return unescape(s)
	case 0x1b:
		return escapeSequence(s), ' '
	}
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case r == '“' || r == '”' || r == '„' || r == '″':
		return n, '"'
	case r == '‘' || r == '’':
		return n, '\''
	case r <= ' ' || r == 0x7f || r == '\u00a0' || r == '│' || r == '┃':
		return n, ' '
	}
	return n, r
}

// unescape reads a run of backslashes and what it escapes: each level of
// quoting doubles the run, and the last one decides.
func unescape(s string) (int, rune) {
	n := backslashes(s)
	if n == len(s) {
		return n, ' '
	}
	switch s[n] {
	case '"', '\'', '/':
		return n + 1, rune(s[n])
	case 'n', 'r', 't':
		return n + 1, ' '
	case 'u':
		if r, ok := ascii(s[n+1:]); ok {
			return n + 5, r
		}
	}
	return n, '\\'
}

// ascii reads 003c as <.
func ascii(hex string) (rune, bool) {
	if len(hex) < 4 || hex[:2] != "00" {
		return 0, false
	}
	hi, lo := strings.IndexByte("0123456789abcdef", hex[2]|0x20), strings.IndexByte("0123456789abcdef", hex[3]|0x20)
	if hi < 2 || hi > 7 || lo < 0 {
		return 0, false
	}
	return rune(hi<<4 | lo), true
}

// webLink is what web pages and chats make of a name that looks like one:
// [registry.example/shop](http://registry.example/shop).
var webLink = pattern.New(`\[([^\s\[\]()]+)\]\(https?://[^\s()]+\)`)

// unlinked leaves the text of such links alone.
func unlinked(s string) string {
	if !strings.Contains(s, "](http") {
		return s
	}
	return webLink.ReplaceAllString(s, "$1")
}

// colourless takes a terminal's sequences out of a text, which would hide where
// its columns begin.
func colourless(s string) string {
	if !strings.Contains(s, "\x1b[") {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i+escapeSequence(s[i:]):]
	}
}

// escapeSequence returns the length of the terminal's sequence that s begins
// with.
func escapeSequence(s string) int {
	if len(s) < 2 || s[1] != '[' {
		return 1
	}
	n := 2
	for n < len(s) && s[n] >= 0x20 && s[n] < 0x40 {
		n++
	}
	if n < len(s) {
		n++
	}
	return n
}

// asides are what stands behind the error that matters: CRI-O tries each name
// as an artifact too, and says what became of a second try.
func asides() []string { return []string{"; artifact err:", "(after reconnecting"} }

// withoutAsides cuts them off.
func withoutAsides(s string) string {
	for _, a := range asides() {
		if i := strings.Index(s, a); i > 0 {
			s = s[:i]
		}
	}
	return s
}

// tight is a text without its white space and in lower case: a terminal that
// wrapped it, even within a word, leaves the same.
type tight struct {
	bytes string
	at    []int32 // where each byte was
}

func tighten(s string) tight {
	var t tight
	b := make([]byte, 0, len(s))
	t.at = make([]int32, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if c == ' ' {
			continue
		}
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
		t.at = append(t.at, int32(i))
	}
	t.bytes = string(b)
	return t
}

// unframe takes away the frame that a terminal program draws around a text,
// and what its right edge has broken: two frames meet there.
func unframe(s string) string {
	if !strings.Contains(s, "│") {
		return s
	}
	var b strings.Builder
	for line := range strings.Lines(s) {
		inner := strings.TrimRight(line, "\r\n ")
		inner = strings.TrimSuffix(inner, "│")
		inner = strings.TrimSuffix(inner, " ")
		inner = strings.TrimPrefix(strings.TrimLeft(inner, " "), "│")
		b.WriteString(strings.TrimPrefix(inner, " "))
	}
	return b.String()
}

// opens says whether a line can only be the first of what a program printed,
// however long the one before it is.
func opens(line string) bool {
	line = strings.TrimLeft(line, " \t")
	for _, s := range []string{"Error: ", "Error response from daemon", "Failed to pull image", "FATA[", "ERRO[", "WARN[", "INFO["} {
		if strings.HasPrefix(line, s) {
			return true
		}
	}
	return false
}

// unwrap joins the lines that a terminal has broken at its right edge: all
// but the last are of one length, or a blank shorter where one was trimmed.
func unwrap(s string) string {
	const narrowest = 40
	lines := strings.Split(strings.Trim(s, "\r\n"), "\n")
	width := utf8.RuneCountInString(lines[0])
	if len(lines) < 3 || width < narrowest-1 {
		return s
	}
	for _, l := range lines {
		width = max(width, utf8.RuneCountInString(l))
	}
	var b strings.Builder
	for i, l := range lines {
		n := utf8.RuneCountInString(l)
		if i < len(lines)-1 && n < width-1 || i > 0 && opens(l) {
			return s
		}
		b.WriteString(l)
		if n < width {
			b.WriteByte(' ')
		}
	}
	return b.String()
}
