package diagnose

import (
	"embed"
	"path"
	"strings"
)

// The lessons, one file each, named as they are asked for.
//
//go:embed lessons/*.md
var lessonFiles embed.FS

// Lesson explains one cause, or one thing that one has to know.
type Lesson struct {
	// Name is how it is asked for: dns-timeout, ErrImagePull.
	Name string `json:"lesson"`
	// Title says it in a line.
	Title string `json:"title"`
	// Text is Markdown, without the title.
	Text string `json:"text"`
}

// Lessons are all lessons: the causes in their order, then the others.
func Lessons() []Lesson {
	var all []Lesson
	for _, name := range LessonNames() {
		if l, ok := FindLesson(name); ok {
			all = append(all, l)
		}
	}
	return all
}

// LessonNames are the names of all lessons.
func LessonNames() []string {
	var names []string
	for _, l := range Labels() {
		names = append(names, string(l))
	}
	return append(names, "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "imagePullPolicy", "air-gap", "sideloading")
}

// FindLesson finds a lesson by its name, in whatever case.
func FindLesson(name string) (Lesson, bool) {
	for _, n := range LessonNames() {
		if !strings.EqualFold(n, name) {
			continue
		}
		b, err := lessonFiles.ReadFile(path.Join("lessons", n+".md"))
		if err != nil {
			return Lesson{}, false
		}
		title, text, _ := strings.Cut(string(b), "\n")
		return Lesson{Name: n, Title: strings.TrimPrefix(title, "# "), Text: strings.TrimSpace(text) + "\n"}, true
	}
	return Lesson{}, false
}

// NearLessons are lessons whose names are like a name that is none.
func NearLessons(name string) []string {
	low := strings.ToLower(name)
	if len(low) > 64 {
		return nil
	}
	var near []string
	for _, n := range LessonNames() {
		if l := strings.ToLower(n); strings.Contains(l, low) || edits(l, low) <= max(1, len(low)/4) {
			near = append(near, n)
		}
	}
	return near[:min(len(near), 5)]
}

// edits is how many letters have to be put in, taken out or replaced to make
// b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
