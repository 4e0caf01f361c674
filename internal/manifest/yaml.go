package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseYAML reads all documents of a YAML text.
func parseYAML(name string, src *source) (docs []*node, err error) {
	// The library is written so that it panics inside; should one of its
	// panics ever come out, it is the file that cannot be read.
	defer func() {
		if p := recover(); p != nil {
			docs, err = nil, &Error{File: name, Problem: fmt.Sprintf("the YAML parser gave up: %v", p), Todo: notYAML}
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(src.text))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, yamlError(name, src, err)
		}
		if len(docs) == MaxDocuments {
			return nil, tooMany(name)
		}
		c := converter{name: name, src: src, done: map[*yaml.Node]*node{}}
		for _, n := range doc.Content {
			d, err := c.convert(n)
			if err != nil {
				return nil, err
			}
			docs = append(docs, d)
		}
	}
}

const notYAML = "Is it a manifest? kubectl apply --dry-run=client -f reads it the same way."

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

func yamlError(name string, src *source, err error) error {
	e := &Error{File: name, Problem: "it is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), Todo: notYAML}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Problem = "it is not YAML: " + strings.TrimPrefix(err.Error(), m[0])
	}
	if i := bytes.Index(src.text, []byte("{{")); i >= 0 {
		e.Template = true
		e.Problem += fmt.Sprintf("; with {{ in line %d it looks like a template", src.line(i))
		e.Todo = "Render it first: helm template NAME CHART | ferry rewrite -f - …"
	}
	return e
}

// converter makes nodes with offsets of the library's nodes with lines and
// columns.
type converter struct {
	name string
	src  *source
	done map[*yaml.Node]*node
}

func (c *converter) convert(y *yaml.Node) (*node, error) {
	n := &node{tag: y.Tag, value: y.Value, anchor: y.Anchor}
	c.done[y] = n
	start, ok := c.src.offset(y.Line, y.Column)
	if !ok {
		return nil, &Error{File: c.name, Line: y.Line, Problem: fmt.Sprintf("the YAML parser names column %d, which is not there", y.Column), Todo: notYAML}
	}
	n.start = start
	switch y.Kind {
	case yaml.MappingNode:
		n.kind, n.flow = mapping, y.Style&yaml.FlowStyle != 0
	case yaml.SequenceNode:
		n.kind, n.flow = sequence, y.Style&yaml.FlowStyle != 0
	case yaml.AliasNode:
		n.kind = alias
		n.target = c.done[y.Alias]
		if n.target == nil {
			return nil, &Error{File: c.name, Line: y.Line, Problem: "the alias *" + short(y.Value) + " stands before its anchor", Todo: notYAML}
		}
	default:
		n.style(y.Style)
	}
	for _, k := range y.Content {
		kid, err := c.convert(k)
		if err != nil {
			return nil, err
		}
		n.kids = append(n.kids, kid)
	}
	return n, nil
}

func (n *node) style(s yaml.Style) {
	switch {
	case s&yaml.SingleQuotedStyle != 0:
		n.quoted = '\''
	case s&yaml.DoubleQuotedStyle != 0:
		n.quoted = '"'
	case s&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		n.block = true
	}
}
