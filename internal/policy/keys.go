package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// known refuses every key below n that the type of v has no field for, and
// what would make the text mean something else than it shows.
func (r reading) known(n *yaml.Node, v any) error {
	return r.knownType(n, reflect.TypeOf(v))
}

func (r reading) knownType(n *yaml.Node, t reflect.Type) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return r.errorf(n.Line, "anchors and aliases (& and *) have no place in a policy: write it out")
	}
	switch {
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, item := range n.Content {
			if err := r.knownType(item, t.Elem()); err != nil {
				return err
			}
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		return r.knownKeys(n, t)
	}
	return nil
}

func (r reading) knownKeys(n *yaml.Node, t reflect.Type) error {
	fields := keysOf(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field, ok := fields[key.Value]
		if !ok {
			return r.errorf(key.Line, "%s", unknown(key.Value, fields))
		}
		if value.Tag == "!!null" && value.Kind == yaml.ScalarNode {
			return r.errorf(key.Line, "%s has no value: fill it in or leave it out", key.Value)
		}
		if err := r.knownType(value, field); err != nil {
			return err
		}
	}
	return nil
}

// keysOf are the keys that t may have, each with the type of its value.
func keysOf(t reflect.Type) map[string]reflect.Type {
	keys := map[string]reflect.Type{}
	for f := range t.Fields() {
		if tag := f.Tag.Get("yaml"); tag != "" && tag != "-" {
			keys[tag] = f.Type
		}
	}
	return keys
}

func unknown(key string, fields map[string]reflect.Type) string {
	var names []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := nearest(key, names); near != "" {
		return fmt.Sprintf("%q is no key here; did you mean %s?", key, near)
	}
	return fmt.Sprintf("%q is no key here; there are %s", key, strings.Join(names, ", "))
}

// nearest is the name that got may have been meant to be; "" where none is
// near.
func nearest(got string, names []string) string {
	best, at := "", 1+len(got)/3
	for _, name := range names {
		if d := distance(strings.ToLower(got), strings.ToLower(name)); d <= at {
			best, at = name, d-1
		}
	}
	return best
}

// distance is how many letters have to be put in, left out or changed to make
// b of a.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return len(a) + len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
