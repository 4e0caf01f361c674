package ui

import (
	"strings"
	"testing"
	"unicode/utf8"

	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/quote"
)

func explained(t *testing.T, p Printer, r *diagnose.Reading) string {
	t.Helper()
	var out, conversation strings.Builder
	p.Out, p.Err = &out, &conversation
	if err := p.Explain(&ferry.ExplainResult{Reading: r}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func hostileCause() diagnose.Cause {
	const evil = "\x1b]0;owned\x07\u202e\u009b31m\r\n"
	remedy := diagnose.Remedy{Summary: evil, Command: "echo " + evil, Argv: []string{"echo", evil}, Changes: evil, On: evil}
	return diagnose.Cause{
		Cause: diagnose.DNSTimeout, Confidence: diagnose.Certain, Title: evil, Meaning: evil + strings.Repeat(" word", 60), Image: evil,
		Objects: []string{evil}, Seen: 3, Evidence: []string{evil, evil}, Checked: []string{evil},
		Detail: map[string]string{diagnose.DetailHost: evil}, Remedies: []diagnose.Remedy{remedy}, Verify: &remedy,
	}
}

func reading(causes ...diagnose.Cause) *diagnose.Reading {
	return &diagnose.Reading{Report: diagnose.Report{Image: causes[0].Image, Causes: causes}}
}

// Nothing that a text brings reaches the terminal raw, in words or in JSON.
func TestExplainEscapes(t *testing.T) {
	for _, p := range []Printer{{}, {JSON: true}} {
		out := explained(t, p, reading(hostileCause()))
		for _, r := range out {
			if quote.Unsafe(r) && r != '\n' {
				t.Fatalf("JSON %v: %q in %q", p.JSON, r, out)
			}
		}
		if !strings.Contains(out, "owned") {
			t.Errorf("JSON %v: the text is gone: %s", p.JSON, out)
		}
	}
}

// Colours come on a terminal alone, and count for nothing when lines are
// broken.
func TestExplainColours(t *testing.T) {
	c := hostileCause()
	c.Title, c.Image = strings.Repeat("long title ", 20), "nginx"
	plain, coloured := explained(t, Printer{}, reading(c)), explained(t, Printer{Color: true}, reading(c))
	if strings.Contains(plain, "\x1b") || !strings.Contains(coloured, "\x1b[31m") {
		t.Errorf("%q\n%q", plain, coloured)
	}
	if strings.Count(plain, "\n") != strings.Count(coloured, "\n") {
		t.Errorf("colours break lines elsewhere:\n%s\n%s", plain, coloured)
	}
}

// Sentences are broken to fit; commands never are.
func TestExplainWidth(t *testing.T) {
	long := "kubectl " + strings.Repeat("--flag=value ", 20)
	c := diagnose.Cause{
		Cause: diagnose.AuthRequired, Confidence: diagnose.Likely, Title: "title", Meaning: strings.Repeat("meaning ", 40),
		Evidence: []string{strings.Repeat("evidence ", 40)}, Remedies: []diagnose.Remedy{{Summary: strings.Repeat("summary ", 40), Command: long, Argv: []string{"x"}}},
	}
	out := explained(t, Printer{}, reading(c))
	if !strings.Contains(out, long) {
		t.Errorf("the command is broken:\n%s", out)
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 && !strings.Contains(line, "kubectl") {
			t.Errorf("%d characters: %s", n, line)
		}
	}
}

func TestExplainManyCauses(t *testing.T) {
	var causes []diagnose.Cause
	for _, l := range diagnose.Labels()[:8] {
		causes = append(causes, diagnose.Cause{Cause: l, Confidence: diagnose.Certain, Title: "title of " + string(l), Meaning: "m", Seen: 2})
	}
	out := explained(t, Printer{}, reading(causes...))
	for _, c := range causes {
		if strings.Count(out, c.Title) != 1 {
			t.Errorf("%s is not there once:\n%s", c.Title, out)
		}
	}
	if n := strings.Count(out, "the text proves it"); n != shownCauses {
		t.Errorf("%d causes in full", n)
	}
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"", []string{""}},
		{"a bb ccc", []string{"a bb", "ccc"}},
		{"\x1b[1maa bb\x1b[0m c", []string{"\x1b[1maa bb\x1b[0m", "c"}},
		{"abcdefgh i", []string{"abcdefgh", "i"}},
		{"ää öö", []string{"ää öö"}},
	} {
		if got := wrap(tc.text, 5); strings.Join(got, "|") != strings.Join(tc.want, "|") {
			t.Errorf("%q: %q", tc.text, got)
		}
	}
}
