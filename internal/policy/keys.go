package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ferry/internal/near"
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
	if meant := near.Names(key, names); len(meant) > 0 {
		return fmt.Sprintf("%q is no key here; did you mean %s?", key, meant[0])
	}
	return fmt.Sprintf("%q is no key here; there are %s", key, strings.Join(names, ", "))
}
