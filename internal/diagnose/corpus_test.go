package diagnose

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// The project's own corpus: messages in each runtime's grammar with the cause
// that a tool should name. make corpus scores others alike.
func TestCorpus(t *testing.T) {
	b, err := os.ReadFile("testdata/corpus.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader()
	seen := map[Label]bool{}
	for line := range strings.Lines(string(b)) {
		var m struct {
			Message, Reason string
			Cause           Label
			Also            []Label
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		seen[m.Cause] = true
		c := r.Message(m.Message, Setting{Reason: m.Reason}).Causes[0]
		if c.Cause != m.Cause && !slices.Contains(m.Also, c.Cause) {
			t.Errorf("%s (%s) instead of %s: %s", c.Cause, c.Confidence, m.Cause, m.Message)
		}
		if c.Cause == Unknown && c.Confidence != Possible {
			t.Errorf("unknown is %s: %s", c.Confidence, m.Message)
		}
	}
	for _, l := range requestLeaves() {
		seen[l.cause] = true
	}
	for _, l := range Labels() {
		if !seen[l] {
			t.Errorf("no message of the corpus has the cause %s", l)
		}
	}
}

// Each cause has its texts, and its details are put in.
func TestCatalogue(t *testing.T) {
	labels := Labels()
	for i, e := range catalogue() {
		if slices.Index(labels, e.label) != i {
			t.Errorf("%s stands twice", e.label)
		}
		for _, text := range []string{e.title, e.meaning} {
			got := fill(text, nil)
			if text == "" || strings.ContainsAny(got, "{}|") || strings.Contains(got, "  ") {
				t.Errorf("%s: %q", e.label, got)
			}
		}
		if len(e.remedies) == 0 {
			t.Errorf("%s has no remedy", e.label)
		}
	}
	for _, r := range rules() {
		if !slices.Contains(labels, r.label) {
			t.Errorf("a rule names %s, which is not in the catalogue", r.label)
		}
	}
}

func TestFill(t *testing.T) {
	got := fill("{host|the registry} at {address|some address}{status| }: {gone|}", map[string]string{DetailHost: "h", DetailStatus: "503"})
	if want := "h at some address (503): "; got != want {
		t.Errorf("%q instead of %q", got, want)
	}
}
