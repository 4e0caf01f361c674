package manifest_test

import (
	"fmt"
	"strings"
	"testing"

	"ferry/internal/manifest"
)

func TestDiff(t *testing.T) {
	text := "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\nend"
	edits := []manifest.Edit{{2, 3, "two"}, {4, 4, "2b\n"}, {len(text), len(text), "\nmore"}}
	got := manifest.Diff("k8s/x.yaml", []byte(text), edits)
	want := `--- k8s/x.yaml
+++ k8s/x.yaml
@@ -1,5 +1,6 @@
 1
-2
+two
+2b
 3
 4
 5
@@ -13,4 +14,5 @@
 13
 14
 15
-end
\ No newline at end of file
+end
+more
\ No newline at end of file
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
	if got := manifest.Diff("x", []byte(text), nil); got != "" {
		t.Errorf("nothing changed: %s", got)
	}
}

// TestDiffApplies makes the new text of the old one by the diff alone, as
// strictly as patch --fuzz=0 does.
func TestDiffApplies(t *testing.T) {
	for name, text := range map[string]string{
		"many":  many(40, pod+"  - image: nginx:%d\n---\n# a\n# b\n# c\n"),
		"end":   pod + "  - image: nginx:1",
		"CRLF":  strings.ReplaceAll(pod+"  - image: nginx:1\n", "\n", "\r\n"),
		"block": pod + "  - image: |-\n      nginx:1\n    name: a\n",
		"flow":  "{kind: Pod, apiVersion: v1, spec: {containers: [{image: a},\n {image: b}]}}\n",
	} {
		r := rewrite(t, read(t, "x.yaml", text))
		if got := patch(t, text, manifest.Diff("x.yaml", []byte(text), r.Edits)); got != string(r.Text) {
			t.Errorf("%s: the diff makes\n%s\nof\n%s", name, got, text)
		}
	}
}

// patch applies a diff of one file.
func patch(t *testing.T, text, diff string) string {
	t.Helper()
	diff = strings.ReplaceAll(diff, "\n\\ No newline at end of file\n", "\x00")
	old := strings.SplitAfter(text, "\n")
	var out strings.Builder
	at := 0
	for line := range strings.SplitAfterSeq(strings.ReplaceAll(diff, "\x00", "\x00\n"), "\n") {
		var from, oldLines, to, newLines int
		if _, err := fmt.Sscanf(line, "@@ -%d,%d +%d,%d @@", &from, &oldLines, &to, &newLines); err == nil {
			for ; at < from-min(oldLines, 1); at++ {
				out.WriteString(old[at])
			}
			if got := strings.Count(out.String(), "\n") + min(newLines, 1); got != to {
				t.Fatalf("the hunk %q begins at line %d of what comes out", line, got)
			}
			continue
		}
		if line == "" || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "+++") {
			continue
		}
		body := strings.TrimSuffix(line[1:], "\x00\n")
		if line[0] != '+' {
			if old[at] != body {
				t.Fatalf("line %d is %q and not %q", at+1, old[at], body)
			}
			at++
		}
		if line[0] != '-' {
			out.WriteString(body)
		}
	}
	return out.String() + strings.Join(old[at:], "")
}
