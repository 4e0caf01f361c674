package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"

	"ferry/internal/near"
)

// Version is the version of the policy's form.
const Version = 1

// Error says what is wrong with a policy, and where.
type Error struct {
	File   string
	Line   int // 0 where it is about the whole file
	Detail string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("policy %s: %s", e.File, e.Detail)
	}
	return fmt.Sprintf("policy %s, line %d: %s", e.File, e.Line, e.Detail)
}

// Hint says what to do next.
func (e *Error) Hint() string {
	return "A policy that is not understood in full is not used at all. ferry policy schema and docs/policy.md say what may stand in it."
}

// Parse reads the policy that stands in file, strictly: what it does not know
// is an error. Rules are compiled, so that a slip is found before anything is
// pulled.
func Parse(file string, b []byte) (*Policy, error) {
	if len(b) > MaxSize {
		return nil, &Error{File: file, Detail: fmt.Sprintf("it has %d bytes; ferry reads at most %d", len(b), MaxSize)}
	}
	r := reading{file: file}
	root, err := r.document(b)
	if err != nil {
		return nil, err
	}
	if err := r.known(root, Policy{}); err != nil {
		return nil, err
	}
	p := &Policy{Digest: digest.FromBytes(b)}
	if err := root.Decode(p); err != nil {
		return nil, r.wrong(err)
	}
	if err := r.check(root, p); err != nil {
		return nil, err
	}
	return p, nil
}

// reading is the reading of one file.
type reading struct{ file string }

func (r reading) errorf(line int, format string, args ...any) error {
	return &Error{File: r.file, Line: line, Detail: fmt.Sprintf(format, args...)}
}

// document returns the one mapping that the file consists of.
func (r reading) document(b []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, r.errorf(0, "it is empty; the least is: version: 1")
	case err != nil:
		return nil, r.wrong(err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, r.errorf(more.Line, "a second document begins; a policy is one")
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, r.errorf(root.Line, "write keys and values, as in version: 1")
	}
	return root, nil
}

// wrong turns an error of the YAML library, which names lines, into one of
// ours.
func (r reading) wrong(err error) error {
	var e *Error
	if errors.As(err, &e) {
		e.File = r.file
		return e
	}
	if t, ok := errors.AsType[*yaml.TypeError](err); ok && len(t.Errors) > 0 {
		return r.located(t.Errors[0])
	}
	return r.located(strings.TrimPrefix(err.Error(), "yaml: "))
}

func (r reading) located(text string) error {
	var line int
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, rest, _ := strings.Cut(text, ": ")
		return r.errorf(line, "%s", plain(rest))
	}
	return r.errorf(0, "%s", text)
}

// plain says in words what the library says in Go's.
func plain(text string) string {
	what, as, ok := strings.Cut(strings.TrimPrefix(text, "cannot unmarshal "), " into ")
	if !ok || !strings.HasPrefix(text, "cannot unmarshal ") {
		return text
	}
	kind, value, _ := strings.Cut(what, " ")
	kinds := map[string]string{
		"!!str": "text", "!!int": "a number", "!!float": "a number", "!!bool": "true or false",
		"!!seq": "a list", "!!map": "keys and values", "!!null": "nothing", "!!timestamp": "a date",
		"int": "a number", "bool": "true or false", "string": "text",
	}
	if k, ok := kinds[kind]; ok {
		kind = k
	}
	want := kinds[as]
	switch {
	case want != "":
	case strings.HasPrefix(as, "[]"):
		want = "a list"
	default:
		want = "keys and values"
	}
	return strings.TrimSpace(kind+" "+value) + " stands where " + want + " should"
}

// UnmarshalYAML reads a severity and refuses what is none.
func (s *Severity) UnmarshalYAML(n *yaml.Node) error {
	got, err := ParseSeverity(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		return &Error{Line: n.Line, Detail: oneOf("severity", n, severityNames())}
	}
	*s = got
	return nil
}

// UnmarshalYAML reads allow or refuse.
func (c *Choice) UnmarshalYAML(n *yaml.Node) error {
	return enum(n, "choice", c, Allow, Refuse)
}

// UnmarshalYAML reads required.
func (d *Demand) UnmarshalYAML(n *yaml.Node) error {
	return enum(n, "demand", d, Required)
}

// UnmarshalYAML reads what a rule is about.
func (s *Subject) UnmarshalYAML(n *yaml.Node) error {
	return enum(n, "subject of a rule", s, EachImage, EachPackage, EachFinding)
}

// UnmarshalYAML reads 7d, 12h.
func (a *Age) UnmarshalYAML(n *yaml.Node) error {
	got, err := ParseAge(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		return &Error{Line: n.Line, Detail: fmt.Sprintf("%q is no age: write 7d or 12h", n.Value)}
	}
	*a = got
	return nil
}

// UnmarshalYAML reads a day or a moment.
func (u *Until) UnmarshalYAML(n *yaml.Node) error {
	if err := u.UnmarshalText([]byte(n.Value)); err != nil || n.Kind != yaml.ScalarNode || n.Value == "" {
		return &Error{Line: n.Line, Detail: fmt.Sprintf("%q is no date: write 2026-12-31", n.Value)}
	}
	return nil
}

func enum[T ~string](n *yaml.Node, what string, to *T, allowed ...T) error {
	var names []string
	for _, a := range allowed {
		if n.Kind == yaml.ScalarNode && n.Value == string(a) {
			*to = a
			return nil
		}
		names = append(names, string(a))
	}
	return &Error{Line: n.Line, Detail: oneOf(what, n, names)}
}

func oneOf(what string, n *yaml.Node, names []string) string {
	s := fmt.Sprintf("%q is no %s: write %s", n.Value, what, strings.Join(names, ", "))
	if meant := near.Names(n.Value, names); len(meant) > 0 {
		s += fmt.Sprintf("; did you mean %s?", meant[0])
	}
	return s
}

// ParseAge reads 7d or 12h; ages are more than nothing and at most 100 years.
func ParseAge(s string) (Age, error) {
	text, unit := s, time.Duration(0)
	for suffix, u := range map[string]time.Duration{"d": 24 * time.Hour, "h": time.Hour} {
		if before, ok := strings.CutSuffix(s, suffix); ok {
			text, unit = before, u
		}
	}
	var n int64
	if len(text) == 0 || len(text) > 6 || unit == 0 || strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("%q is no age: write 7d or 12h", s)
	}
	for _, c := range text {
		n = n*10 + int64(c-'0')
	}
	if n == 0 || time.Duration(n) > 36500*24*time.Hour/unit {
		return 0, fmt.Errorf("%q is no age: it has to be more than nothing and less than 100 years", s)
	}
	return Age(time.Duration(n) * unit), nil
}
