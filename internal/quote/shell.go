package quote

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Shell returns argv as a line that a POSIX shell reads as exactly these
// words, and that is safe to show and to paste: characters that a terminal
// would act upon come out of printf. NUL, which no argument can hold, is lost.
func Shell(argv ...string) string {
	words := make([]string, len(argv))
	for i, arg := range argv {
		words[i] = word(arg, i == 0)
	}
	return strings.Join(words, " ")
}

func word(arg string, first bool) string {
	switch {
	case arg == "":
		return "''"
	case strings.IndexFunc(arg, Unsafe) >= 0 || !utf8.ValidString(arg):
		return printed(arg)
	case plain(arg) && !(first && special(arg)):
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

func plain(arg string) bool {
	for _, c := range []byte(arg) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("_@+=:,./-", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// special says whether a shell would not run arg as a command, were it the
// first word: an assignment or a reserved word.
func special(arg string) bool {
	return strings.Contains(arg, "=") || slices.Contains([]string{
		"case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function",
		"if", "in", "select", "then", "time", "until", "while",
	}, arg)
}

// printed lets printf write arg. A command substitution drops newlines at its
// end: those stand after it.
func printed(arg string) string {
	body := strings.TrimRight(arg, "\n")
	end := arg[len(body):]
	if end != "" {
		end = "'" + end + "'"
	}
	if body == "" {
		return end
	}
	var b strings.Builder
	for i := 0; i < len(body); {
		r, n := utf8.DecodeRuneInString(body[i:])
		switch {
		case r == '%':
			b.WriteString("%%")
		// A leading dash would be an option; ! is history to an interactive shell.
		case Unsafe(r), r == utf8.RuneError && n == 1, strings.ContainsRune(`'\!`, r), i == 0 && r == '-':
			octal(&b, body[i:i+n])
		default:
			b.WriteString(body[i : i+n])
		}
		i += n
	}
	return `"$(printf '` + b.String() + `')"` + end
}

func octal(b *strings.Builder, s string) {
	for _, c := range []byte(s) {
		fmt.Fprintf(b, `\%03o`, c)
	}
}
