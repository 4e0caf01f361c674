package diagnose

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// json reads JSON: Kubernetes objects, one list of them however long, or a
// log whose lines are objects. Where it stops being JSON, the rest is a log.
func (c *collector) json(in *bufio.Reader, head []byte, whole bool) error {
	c.form = FormObjects
	limited := &allowance{in: in, left: maxDocument}
	d := decoder{json.NewDecoder(limited), limited}
	read := 0
	for d.More() {
		if err := c.value(d, 0); err != nil {
			break
		}
		read++
	}
	if read == 0 && whole {
		c.text(string(head))
		return nil
	}
	rest := bufio.NewReaderSize(io.MultiReader(d.Buffered(), in), maxWhole)
	if b, err := rest.Peek(1); len(b) == 0 {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	form := c.form
	err := c.lines(rest)
	if c.pods+c.events > 0 {
		c.form = form
	}
	return err
}

// decoder reads JSON values of at most maxDocument bytes each.
type decoder struct {
	*json.Decoder
	limit *allowance
}

func (d decoder) Token() (json.Token, error) {
	d.limit.left = maxDocument
	return d.Decoder.Token()
}

func (d decoder) Decode(v any) error {
	d.limit.left = maxDocument
	return d.Decoder.Decode(v)
}

// allowance is a reader that gives out only so much until it is filled up.
type allowance struct {
	in   io.Reader
	left int
}

var errTooLarge = errors.New("a JSON value is too large")

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errTooLarge
	}
	n, err := a.in.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

var errTooDeep = errors.New("JSON is nested too deeply")

// value reads one JSON value. Of a list each item is read by itself.
func (c *collector) value(d decoder, depth int) error {
	const deepest = 20
	if depth > deepest {
		return errTooDeep
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		for d.More() {
			if err := c.value(d, depth+1); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	case json.Delim('{'):
		return c.fields(d)
	}
	if s, ok := token.(string); ok {
		c.add(item{text: s, setting: c.setting})
	}
	return nil
}

// fields reads the rest of a JSON object.
func (c *collector) fields(d decoder) error {
	kept := map[string]json.RawMessage{}
	kind := ""
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		if key == "items" {
			if err := c.items(d, kind); err != nil {
				return err
			}
			continue
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		if key == "kind" {
			_ = json.Unmarshal(raw, &kind)
		}
		if len(kept) < 100 {
			kept[key] = raw
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	return c.fieldsRead(kept, kind)
}

func (c *collector) items(d decoder, kind string) error {
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return err
	}
	for d.More() {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		var o object
		if json.Unmarshal(raw, &o) != nil {
			continue // a field of another type than Kubernetes has there
		}
		if o.Kind == "" {
			o.Kind = strings.TrimSuffix(kind, "List")
		}
		c.object(o)
	}
	_, err := d.Token()
	return err
}

// fieldsRead takes an object for one of Kubernetes, or for a line of a log.
func (c *collector) fieldsRead(kept map[string]json.RawMessage, kind string) error {
	if kind != "" && kept["metadata"] != nil {
		b, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		var o object
		if json.Unmarshal(b, &o) == nil {
			c.object(o)
		}
		return nil
	}
	if kind != "" {
		return nil // a list, whose items are read
	}
	var line []string
	for _, key := range []string{"reason", "msg", "message", "log", "image", "error", "err", "errorDetail", "stderr", "detail", "errors"} {
		raw, ok := kept[key]
		if !ok {
			continue
		}
		var s string
		if json.Unmarshal(raw, &s) != nil {
			s = string(raw)
		}
		line = append(line, s)
	}
	if line == nil {
		return c.unnamed(kept)
	}
	c.count++
	if c.count > 1 {
		c.form = FormLog
		c.logLine(strings.Join(line, ": "))
		return nil
	}
	c.form = FormMessage
	c.add(item{text: strings.Join(line, ": "), setting: c.setting})
	return nil
}

// unnamed takes an object without a kind for a pod's status, or for a text.
func (c *collector) unnamed(kept map[string]json.RawMessage) error {
	b, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	var o object
	if kept["containerStatuses"] != nil && json.Unmarshal(b, &o.Status) == nil {
		o.Kind = "Pod"
		c.object(o)
		return nil
	}
	c.form = FormMessage
	c.add(item{text: string(b), setting: c.setting})
	return nil
}

// yamlObject says whether a text begins as kubectl's YAML does.
func yamlObject(text string) bool {
	for i, line := range strings.SplitN(text, "\n", 20) {
		if strings.HasPrefix(line, "apiVersion:") || strings.HasPrefix(line, "kind:") || i == 0 && strings.HasPrefix(line, "items:") {
			return true
		}
	}
	return false
}

// yaml reads Kubernetes objects in YAML, document by document and, of a list,
// item by item, as kubectl writes them.
func (c *collector) yaml(in *bufio.Reader) error {
	c.form = FormObjects
	var d documents
	for {
		line, err := longLine(in)
		if done := d.line(line); done != nil {
			c.document(done)
		}
		if errors.Is(err, io.EOF) {
			c.document(d.part)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// documents cuts YAML into its documents, and a list into its items.
type documents struct {
	part  []byte
	items bool // what is being read are the items of a list
}

// line takes a line in, and returns what it completes.
func (d *documents) line(line string) []byte {
	begins := line == "---" || strings.HasPrefix(line, "--- ") || d.items && strings.HasPrefix(line, "- ")
	switch {
	case line == "items:":
		d.items, begins = true, true
		line = ""
	case d.items && line != "" && line[0] != ' ' && line[0] != '-':
		d.items, begins = false, true // the list's own fields
	case strings.HasPrefix(line, "---"):
		d.items, line = false, ""
	case d.items && strings.HasPrefix(line, "- "):
		line = "  " + line[2:]
	}
	var done []byte
	if begins {
		done, d.part = d.part, nil
	}
	if len(d.part) <= maxDocument {
		d.part = append(append(d.part, line...), '\n')
	}
	return done
}

func (c *collector) document(text []byte) {
	if len(text) > maxDocument || len(bytes.TrimSpace(text)) == 0 || c.documents >= maxDocuments {
		return
	}
	c.documents++
	var node yaml.Node
	if yaml.Unmarshal(text, &node) != nil {
		return
	}
	b, err := json.Marshal(plain(&node, 0))
	var o object
	if err == nil && json.Unmarshal(b, &o) == nil {
		c.object(o)
	}
}

// plain makes values of nodes. It follows no aliases, which could make much of
// little, and compares no keys: the last of two counts.
func plain(n *yaml.Node, depth int) any {
	const deepest = 50
	switch {
	case depth > deepest:
		return nil
	case n.Kind == yaml.DocumentNode && len(n.Content) > 0:
		return plain(n.Content[0], depth+1)
	case n.Kind == yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1], depth+1)
		}
		return m
	case n.Kind == yaml.SequenceNode:
		all := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			all = append(all, plain(c, depth+1))
		}
		return all
	case n.Kind != yaml.ScalarNode:
		return nil
	}
	return scalar(n)
}

func scalar(n *yaml.Node) any {
	switch n.Tag {
	case "!!int":
		if i, err := strconv.Atoi(n.Value); err == nil {
			return i
		}
	case "!!bool":
		return n.Value == "true"
	case "!!null":
		return nil
	}
	return n.Value
}
