package diagnose

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Every cause has a lesson that tells what happens, how to see it, and what
// to do on each kind of cluster.
func TestLessons(t *testing.T) {
	all := Lessons()
	if len(all) != len(LessonNames()) || len(all) != len(Labels())+7 {
		t.Fatalf("%d lessons for %d names and %d labels", len(all), len(LessonNames()), len(Labels()))
	}
	for _, l := range all {
		want := []string{"minikube", "kind", "k3s", "cloud", "air gap"}
		if slices.Contains(Labels(), Label(l.Name)) {
			want = append(want, "## What happens inside the node", "## See it yourself")
		}
		for _, w := range want {
			if !strings.Contains(strings.ToLower(l.Text), strings.ToLower(w)) {
				t.Errorf("%s does not speak of %q", l.Name, w)
			}
		}
		if l.Title == "" || strings.HasSuffix(l.Title, ".") {
			t.Errorf("%s: title %q", l.Name, l.Title)
		}
		for line := range strings.Lines(l.Text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 120 {
				t.Errorf("%s: %d characters: %s", l.Name, n, line)
			}
		}
	}
}

// What the lessons tell to type exists.
func TestLessonsNameWhatExists(t *testing.T) {
	verbs := []string{"explain", "doctor", "fix", "pack", "push", "load", "serve", "rewrite", "mirror-config", "deploy", "scan", "verify"}
	command := regexp.MustCompile(`(?m)(?:^    |` + "`" + `)ferry ([a-z-]+)`)
	asked := regexp.MustCompile(`ferry explain ([A-Za-z][A-Za-z0-9-]*)`)
	for _, l := range Lessons() {
		for _, m := range command.FindAllStringSubmatch(l.Text, -1) {
			if !slices.Contains(verbs, m[1]) {
				t.Errorf("%s tells to type ferry %s", l.Name, m[1])
			}
		}
		for _, m := range asked.FindAllStringSubmatch(l.Text, -1) {
			if _, ok := FindLesson(m[1]); !ok && m[1] != "NAME" {
				t.Errorf("%s points to the lesson %s", l.Name, m[1])
			}
		}
	}
}

func TestFindLesson(t *testing.T) {
	for _, name := range []string{"dns-timeout", "DNS-Timeout", "errimagepull", "imagePullPolicy"} {
		if _, ok := FindLesson(name); !ok {
			t.Errorf("no lesson %s", name)
		}
	}
	for _, name := range []string{"", "../lesson", "dns-timeout.md", "lessons"} {
		if l, ok := FindLesson(name); ok {
			t.Errorf("%q is %s", name, l.Name)
		}
	}
	if near := NearLessons("dns-timeuot"); !slices.Equal(near, []string{"dns-timeout"}) {
		t.Error(near)
	}
	if near := NearLessons(strings.Repeat("x", 1<<20)); near != nil {
		t.Error(near)
	}
}
