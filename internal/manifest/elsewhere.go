package manifest

import (
	"fmt"
	"strings"

	"ferry/internal/ref"
)

// elsewhere looks through all strings that are not known to be images.
func (w *walker) elsewhere() {
	known := map[*node]bool{}
	for _, p := range w.file.places {
		known[p.value], known[p.value.real()] = true, true
	}
	begins := map[*node]bool{}
	for _, r := range w.roots {
		begins[r.node] = true
	}
	for _, r := range w.roots {
		s := &search{file: w.file, object: r.object, known: known, begins: begins}
		s.mapping(r.node, &trail{}, true)
	}
}

// search is the search through one object.
type search struct {
	file          *File
	object        Object
	known, begins map[*node]bool
}

// trail is the way to a value: most ways are never told.
type trail struct {
	up    *trail
	key   string
	index int // of an item; key is that of its list
}

func (t *trail) String() string {
	switch {
	case t.up == nil:
		return t.key
	case t.index >= 0:
		return fmt.Sprintf("%s[%d]", t.up, t.index)
	}
	return under(t.up.String(), t.key)
}

func (s *search) value(n *node, path *trail) {
	switch {
	case n.kind == alias, s.begins[n], s.known[n], len(s.file.Elsewhere) == MaxElsewhere:
	case n.kind == mapping:
		s.mapping(n, path, false)
	case n.kind == sequence:
		for i, kid := range n.kids {
			s.value(kid, &trail{path, path.key, i})
		}
	case n.tag == "!!str":
		s.text(n, path)
	}
}

func (s *search) mapping(n *node, path *trail, top bool) {
	s.split(n, path)
	for i := 0; i+1 < len(n.kids); i += 2 {
		k, v := n.kids[i], n.kids[i+1]
		if top && k.value == "status" || skipped(k.value) {
			continue
		}
		s.value(v, &trail{path, k.value, -1})
	}
}

// skipped are keys whose values only tell what was applied before.
func skipped(key string) bool {
	return key == "managedFields" || key == "kubectl.kubernetes.io/last-applied-configuration"
}

// split finds images that are written in two parts, as charts do.
func (s *search) split(n *node, path *trail) {
	repository, tag := n.text("repository"), n.text("tag")
	if repository == "" || tag == "" || len(s.file.Elsewhere) == MaxElsewhere {
		return
	}
	if _, err := ref.Parse(repository + ":" + tag); err == nil {
		e, _ := n.get("repository")
		s.found(e.value, &trail{path, "repository", -1}, repository+":"+tag, "looks like an image in two parts", false)
	}
}

// text finds images in a string: the string itself, or words of it.
func (s *search) text(n *node, path *trail) {
	if strings.HasSuffix(strings.ToLower(path.key), "image") && named(n.value) {
		s.found(n, path, n.value, "looks like an image", true)
		return
	}
	if !strings.Contains(n.value, "/") {
		return
	}
	told := map[string]bool{}
	for _, word := range strings.FieldsFunc(n.value, between) {
		word = strings.TrimRight(word, ".:")
		if len(s.file.Elsewhere) == MaxElsewhere {
			return
		}
		if !told[word] && complete(word) {
			told[word] = true
			s.found(n, path, word, "looks like an image", word == n.value)
		}
	}
}

func between(r rune) bool {
	return r <= ' ' || strings.ContainsRune("\"'`,;=()[]{}<>|\\", r)
}

// named says whether a string under a key that speaks of images is one.
func named(s string) bool {
	n, err := ref.Parse(s)
	return err == nil && (!n.Assumed() || strings.Contains(s, "/"))
}

// complete says whether a word is an image's full name, with a host and a tag
// or digest: less could be anything.
func complete(word string) bool {
	host, rest, ok := strings.Cut(word, "/")
	if !ok || !strings.ContainsAny(host, ".:") || !strings.ContainsAny(rest, ":@") || len(word) > ref.MaxLength {
		return false
	}
	n, err := ref.Parse(word)
	return err == nil && n.Registry() == host
}

func (s *search) found(n *node, path *trail, text, why string, whole bool) {
	s.file.Elsewhere = append(s.file.Elsewhere, Finding{
		Object: s.object, Path: path.String(), Text: text, Line: s.file.source.line(n.start), Why: why, Whole: whole,
	})
}
