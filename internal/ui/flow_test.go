package ui

import (
	"slices"
	"strings"
	"testing"
)

func TestFlow(t *testing.T) {
	var lines []string
	to := flow{line: func(s string) { lines = append(lines, s) }, width: 20, indent: "  "}
	to.say("✓", "one two three four"+together+"five six")
	if want := []string{"  ✓ one two three", "    four five six"}; !slices.Equal(lines, want) {
		t.Errorf("got %q", lines)
	}
	lines, to.width = nil, 0
	to.say("", "one two three four five six seven"+together+"8")
	if want := []string{"  one two three four five six seven 8"}; !slices.Equal(lines, want) {
		t.Errorf("nothing is broken where it goes to a program: %q", lines)
	}
}

func TestShortDigests(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for in, want := range map[string]string{
		"as sha256:" + hex + "  1 s":              "as sha256:0123456789ab…  1 s",
		"sha256:" + hex + " is not sha256:" + hex: "sha256:0123456789ab… is not sha256:0123456789ab…",
		"sha256:0123":                    "sha256:0123",
		"none":                           "none",
		"sha256:" + strings.ToUpper(hex): "sha256:" + strings.ToUpper(hex),
	} {
		if got := shortDigests(in); got != want {
			t.Errorf("%s: got %s", in, got)
		}
	}
}
