package manifest

import (
	"fmt"
	"regexp"
	"strings"
)

// Path leads to images in objects that ferry does not know:
//
//	.spec.image
//	.spec.pools[*].image
//	Rollout:.spec.template.spec.containers[*].image
//
// With a kind in front it is for objects of that kind alone.
type Path struct {
	text  string
	kind  string
	steps []step
}

// step is a key, or all items of a list.
type step struct {
	key string
	all bool
}

// maxPath is the longest path, in bytes.
const maxPath = 1024

var pathStep = regexp.MustCompile(`^(?:\.([A-Za-z0-9_-]+)|\["([^"\]]+)"\]|(\[\*?\]))`)

// ParsePath reads a path as it is written on the command line.
func ParsePath(s string) (Path, error) {
	wrong := func(why string) (Path, error) {
		return Path{}, fmt.Errorf("%q is no path to an image: %s; write .spec.image, .spec.pools[*].image or KIND:.spec.image", short(s), why)
	}
	p := Path{text: s}
	rest := s
	if kind, after, ok := strings.Cut(s, ":"); ok && !strings.ContainsAny(kind, `.["`) {
		p.kind, rest = kind, after
	}
	if rest == "" || len(s) > maxPath {
		return wrong("it is empty, or very long")
	}
	for rest != "" {
		m := pathStep.FindStringSubmatch(rest)
		if m == nil {
			return wrong(fmt.Sprintf("%q is neither .key, [\"key\"] nor [*]", short(rest)))
		}
		p.steps = append(p.steps, step{key: m[1] + m[2], all: m[3] != ""})
		rest = rest[len(m[0]):]
	}
	if p.steps[len(p.steps)-1].all {
		return wrong("it has to end with a key")
	}
	return p, nil
}

// String returns the path as it was written.
func (p Path) String() string { return p.text }

func (p Path) walk(w *walker, n *node, o Object) {
	if p.kind == "" || p.kind == o.Kind {
		p.follow(w, n, o, "", p.steps)
	}
}

func (p Path) follow(w *walker, n *node, o Object, path string, steps []step) {
	n = w.through(n)
	if n == nil || !w.first(n, fmt.Sprintf("path %s %d", p.text, len(steps))) {
		return
	}
	s, rest := steps[0], steps[1:]
	if s.all {
		if n.kind != sequence {
			return
		}
		for i, kid := range n.kids {
			p.follow(w, kid, o, fmt.Sprintf("%s[%d]", path, i), rest)
		}
		return
	}
	path = under(path, s.key)
	if len(rest) > 0 {
		p.follow(w, w.step(n, s.key), o, path, rest)
		return
	}
	e, ok := w.entry(n, s.key)
	if ok && !w.first(n, "holder of "+s.key) {
		return // it is a container's, and known already
	}
	if ok {
		w.note(place{entry: e, within: n}, Image{Object: o, Path: path, In: "field " + path})
	}
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// under writes the path to a key.
func under(path, key string) string {
	if plainKey.MatchString(key) {
		return path + "." + key
	}
	return fmt.Sprintf("%s[%q]", path, short(key))
}
