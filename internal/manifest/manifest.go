// Package manifest reads Kubernetes manifests, YAML and JSON, finds where they
// name images, and changes just those bytes: comments, order, quotes and line
// ends stay as somebody wrote them.
//
// It is not for rendering templates, nor for telling whether a manifest is
// right: it reads what a cluster would read, and says what it left alone.
package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of what is read.
const (
	// MaxFile is the largest file, in bytes. An object of a cluster has at
	// most some 1.5 MiB; a list of many objects is larger.
	MaxFile = 32 << 20
	// MaxDocuments is how many documents a file may have.
	MaxDocuments = 20_000
	// MaxElsewhere is how many findings of Elsewhere a file gives.
	MaxElsewhere = 200
)

// Error says why a file cannot be read, or changed.
type Error struct {
	File string
	Line int // 0 where it is about the whole file
	// Problem says what is wrong, Todo what to do about it.
	Problem string
	Todo    string
	// Template is set where the file is a template that has to be rendered.
	Template bool
}

func (e *Error) Error() string {
	at := e.File
	if e.Line > 0 {
		at = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return at + ": " + e.Problem
}

// Hint says what to do next.
func (e *Error) Hint() string { return e.Todo }

// Options says where else images are named.
type Options struct {
	// Paths lead to images in objects that are not Kubernetes' own.
	Paths []Path
}

// File is a file of manifests, read.
type File struct {
	Name string
	Text []byte
	// Objects are in the order of the file; those of lists stand for
	// themselves.
	Objects []Object
	// Images are all places where images are named.
	Images []Image
	// Elsewhere are strings that look like images and stand where ferry does
	// not know them to be any.
	Elsewhere []Finding

	source *source
	docs   []*node
	places []place        // of Images, in the same order
	walked map[*node]bool // aliases on the way to images
}

// Object is an object of a cluster.
type Object struct {
	APIVersion string
	Kind       string
	Namespace  string
	Name       string
	// Generated says that Name only begins the name: it is a generateName.
	Generated bool
	Line      int
}

// String names the object: Deployment web.
func (o Object) String() string {
	if o.Namespace != "" {
		return o.Kind + " " + o.Namespace + "/" + o.Name
	}
	return o.Kind + " " + o.Name
}

// Image is a place where an image is named.
type Image struct {
	Object Object
	// Path leads from the object to the name:
	// .spec.template.spec.containers[0].image
	Path string
	// In says whose image it is: container web, volume models.
	In string
	// Name is the image as it is written, and Policy its pull policy; ""
	// where there is none.
	Name   string
	Policy string
	// HasPolicy says that a pull policy belongs here.
	HasPolicy bool
	Line      int
}

// Finding is something that may name an image, or should.
type Finding struct {
	Object Object
	Path   string // as of an Image
	Text   string
	Line   int
	// Why says why it was left alone.
	Why string
	// Whole says that the text is all that stands there.
	Whole bool
	// Image says that it stands where an image belongs; else it only looks
	// like one.
	Image bool
}

// Read reads the documents of a file. Its errors are *Error.
func Read(name string, text []byte, opts Options) (*File, error) {
	if err := readable(name, text); err != nil {
		return nil, err
	}
	src := newSource(text)
	docs, err := parse(name, src)
	if err != nil {
		return nil, err
	}
	f := &File{Name: name, Text: text, source: src, docs: docs}
	for _, d := range docs {
		if err := f.unique(d); err != nil {
			return nil, err
		}
	}
	w := &walker{file: f, opts: opts, seen: map[visit]bool{}}
	f.walked = map[*node]bool{}
	for _, d := range docs {
		w.object(d, Object{})
	}
	w.elsewhere()
	return f, nil
}

// readable refuses what is not text of a bearable size.
func readable(name string, text []byte) error {
	switch {
	case len(text) > MaxFile:
		return &Error{
			File: name, Problem: fmt.Sprintf("it has %d bytes, and at most %d are read", len(text), MaxFile),
			Todo: "Split it into several files: a cluster takes no object of more than some 1.5 MiB.",
		}
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte{0xfe, 0xff}),
		len(text) > 1 && (text[0] == 0) != (text[1] == 0): // without its mark
		return &Error{
			File: name, Problem: "it is UTF-16, as PowerShell's > writes it",
			Todo: "Write it as UTF-8: iconv -f UTF-16 -t UTF-8, or in PowerShell | Out-File -Encoding utf8.",
		}
	case !utf8.Valid(text):
		return &Error{
			File: name, Line: badLine(text), Problem: "it is not UTF-8 text",
			Todo: "Is it a manifest? Compressed or encrypted files (gzip, sops, git-crypt) have to be unpacked first.",
		}
	}
	return nil
}

func badLine(text []byte) int {
	line := 1
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n <= 1 {
			break
		}
		if r == '\n' {
			line++
		}
		text = text[n:]
	}
	return line
}

// parse reads JSON as JSON, and all else as YAML.
func parse(name string, src *source) ([]*node, error) {
	body := bytes.TrimLeft(bytes.TrimPrefix(src.text, []byte("\ufeff")), " \t\r\n")
	if len(body) == 0 || body[0] != '{' {
		return parseYAML(name, src)
	}
	docs, err := parseJSON(name, src)
	var limit *limitError
	if err == nil || errors.As(err, &limit) || strings.HasSuffix(name, ".json") {
		return docs, err
	}
	// {} is YAML's flow style too.
	if docs, yamlErr := parseYAML(name, src); yamlErr == nil {
		return docs, nil
	}
	return nil, err
}

// limitError is an error that a second parser would give as well.
type limitError struct{ error }

func (e *limitError) Unwrap() error { return e.error }

func tooMany(name string) error {
	return &limitError{&Error{
		File: name, Problem: fmt.Sprintf("it has more than %d documents", MaxDocuments), Todo: "Split it into several files.",
	}}
}

// unique refuses a key that stands twice in one mapping: which of them counts
// depends on who reads it.
func (f *File) unique(n *node) error {
	if first, again := n.twice(); again != nil {
		return &Error{
			File: f.Name, Line: f.source.line(again.start),
			Problem: fmt.Sprintf("the key %q stands twice in one mapping, first in line %d", short(again.value), f.source.line(first.start)),
			Todo:    "Remove one of them: which one counts depends on who reads it.",
		}
	}
	for _, k := range n.kids {
		if err := f.unique(k); err != nil {
			return err
		}
	}
	return nil
}

// short keeps foreign text within a line.
func short(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
