package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// parseJSON reads one JSON document after another. YAML's parser would do for
// most of them, but not for all: it refuses the surrogate pairs by which JSON
// writes 😀, and documents that follow each other without a separator.
func parseJSON(name string, src *source) ([]*node, error) {
	base := 0
	if bytes.HasPrefix(src.text, []byte("\ufeff")) {
		base = 3
	}
	p := &jsonParser{name: name, src: src, base: base, dec: json.NewDecoder(bytes.NewReader(src.text[base:]))}
	p.dec.UseNumber()
	var docs []*node
	for {
		n, err := p.value()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		if len(docs) == MaxDocuments {
			return nil, tooMany(name)
		}
		docs = append(docs, n)
	}
}

type jsonParser struct {
	name string
	src  *source
	base int
	dec  *json.Decoder
}

// token returns the next token and where it begins.
func (p *jsonParser) token() (json.Token, int, error) {
	before := p.base + int(p.dec.InputOffset())
	t, err := p.dec.Token()
	if err != nil {
		return nil, 0, p.fail(err)
	}
	skipped := bytes.TrimLeft(p.src.text[before:], " \t\r\n,:")
	return t, len(p.src.text) - len(skipped), nil
}

func (p *jsonParser) fail(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	at := p.base + int(p.dec.InputOffset())
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = p.base + int(syntax.Offset)
	}
	e := &Error{File: p.name, Line: p.src.line(at), Problem: fmt.Sprintf("it is not JSON: %v", err), Todo: notYAML}
	if i := bytes.Index(p.src.text, []byte("{{")); i >= 0 && bytes.Contains(p.src.text, []byte("}}")) {
		e.Todo = "If it is a template, render it first: helm template NAME CHART | ferry rewrite -f - …"
	}
	return e
}

// value reads one value. io.EOF means that there is none; within a document
// that is an error of its own.
func (p *jsonParser) value() (*node, error) {
	t, start, err := p.token()
	if err != nil {
		return nil, err
	}
	n := &node{start: start}
	switch v := t.(type) {
	case json.Delim:
		return n, p.inside(n, v)
	case string:
		n.quoted, n.tag, n.value = '"', "!!str", v
	case json.Number:
		n.tag, n.value = "!!float", v.String()
	case bool:
		n.tag, n.value = "!!bool", fmt.Sprint(v)
	default:
		n.tag, n.value = "!!null", "null"
	}
	return n, nil
}

// inside reads what stands in braces or brackets, and their end.
func (p *jsonParser) inside(n *node, open json.Delim) error {
	n.kind, n.tag, n.flow = sequence, "!!seq", true
	if open == '{' {
		n.kind, n.tag = mapping, "!!map"
	}
	for p.dec.More() {
		kid, err := p.value()
		if err != nil {
			return p.early(err)
		}
		n.kids = append(n.kids, kid)
	}
	_, _, err := p.token()
	return p.early(err)
}

func (p *jsonParser) early(err error) error {
	if errors.Is(err, io.EOF) {
		return p.fail(io.ErrUnexpectedEOF)
	}
	return err
}
