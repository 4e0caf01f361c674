package cluster

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A story is what was typed and answered, for its part of docs/story.md.
type story struct {
	part string // laptop, bank
	text strings.Builder
	// here replaces the paths that only this run has.
	here *strings.Replacer
}

// newStory begins a part of the page; dirs are folders of this run, each with
// the name that it has on the page.
func newStory(part string, dirs ...string) *story {
	return &story{part: part, here: strings.NewReplacer(dirs...)}
}

// tell adds a paragraph to the story, and what was typed with its answer.
func (s *story) tell(why, typed, answer string) {
	if why != "" {
		why += "\n\n"
	}
	answer = strings.TrimRight(strings.ReplaceAll(answer, "\r\n", "\n"), "\n")
	if answer != "" {
		answer += "\n"
	}
	fmt.Fprintf(&s.text, "%s```\n$ %s\n%s```\n\n", why, s.here.Replace(typed), s.here.Replace(answer))
}

// toPage takes the story between its marks, where FERRY_STORY names the page.
func (s *story) toPage(t *testing.T) {
	t.Helper()
	file := os.Getenv("FERRY_STORY")
	if file == "" || t.Failed() {
		return
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+s.part+": written by make docs -->\n", "<!-- "+s.part+": end -->"
	head, rest, ok := strings.Cut(string(b), begin)
	_, foot, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the part %s", file, s.part)
	}
	write(t, file, head+begin+"\n"+s.text.String()+end+foot)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
}
