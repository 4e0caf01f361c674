package ferry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"ferry/internal/diagnose"
)

// ExplainRequest says what is to be explained.
type ExplainRequest struct {
	// Words are the arguments: none or "-" for Stdin, else the name of a
	// lesson, a file, or the text itself.
	Words []string
	Stdin io.Reader
	// Open opens a file; a folder is ErrFolder.
	Open func(name string) (io.ReadCloser, error)
	// Setting is what is known besides.
	Setting diagnose.Setting
}

// ErrFolder is what Open returns for a folder.
var ErrFolder = errors.New("it is a folder: name a file in it")

// ExplainResult is a lesson, or what a text says.
type ExplainResult struct {
	Lesson  *diagnose.Lesson
	Reading *diagnose.Reading
}

// Explain tells why an image did not arrive, from text. It asks nobody.
func Explain(req ExplainRequest) (*ExplainResult, error) {
	arg := strings.Join(req.Words, " ")
	if arg == "" || arg == "-" {
		return explainText(req.Stdin, "the standard input", req.Setting)
	}
	if l, ok := diagnose.FindLesson(arg); ok {
		return &ExplainResult{Lesson: &l}, nil
	}
	f, err := req.Open(arg)
	switch {
	case err == nil:
		defer f.Close()
		return explainText(f, arg, req.Setting)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, ErrFolder):
		return nil, fmt.Errorf("explain %s: %w", arg, err)
	case strings.ContainsAny(arg, " \t\n"):
		return explainText(strings.NewReader(arg), "the text", req.Setting)
	}
	near := diagnose.NearLessons(arg)
	if r, err := diagnose.Read(strings.NewReader(arg), req.Setting); err == nil && len(near) == 0 && !strings.ContainsAny(arg, `./\`) && r.Tells() {
		return &ExplainResult{Reading: r}, nil
	}
	return nil, &LessonError{Name: arg, Near: near}
}

func explainText(in io.Reader, name string, s diagnose.Setting) (*ExplainResult, error) {
	r, err := diagnose.Read(in, s)
	if err != nil {
		return nil, fmt.Errorf("explain: read %s: %w", name, err)
	}
	return &ExplainResult{Reading: r}, nil
}

// LessonError says that an argument is neither a lesson nor a file nor a text.
type LessonError struct {
	Name string
	Near []string
}

func (e *LessonError) Error() string {
	return fmt.Sprintf("explain %s: there is no lesson and no file of that name, and it is too short for a message", e.Name)
}

// Hint says what to write instead.
func (e *LessonError) Hint() string {
	s := "ferry explain --list names the lessons; a message goes in quotes, or through a pipe: kubectl describe pod NAME | ferry explain -"
	if len(e.Near) > 0 {
		s = "Did you mean " + strings.Join(e.Near, ", ") + "? " + s
	}
	return s
}
