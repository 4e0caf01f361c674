package diagnose

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// json reads JSON: Kubernetes objects, one list of them however long, or a
// log whose lines are objects. Where it stops being JSON, the rest is a log.
func (c *collector) json(in *bufio.Reader, head []byte, whole bool) error {
	c.form = FormObjects
	dec := json.NewDecoder(in)
	read := 0
	for dec.More() {
		if err := c.value(dec); err != nil {
			break
		}
		read++
	}
	if read == 0 && whole {
		c.text(string(head))
		return nil
	}
	rest := bufio.NewReaderSize(io.MultiReader(dec.Buffered(), in), maxWhole)
	if b, err := rest.Peek(1); len(b) == 0 {
		if err == io.EOF {
			return nil
		}
		return err
	}
	form := c.form
	err := c.lines(rest)
	if len(c.objects) > 0 {
		c.form = form
	}
	return err
}

// value reads one JSON value. Of a list each item is read by itself.
func (c *collector) value(dec *json.Decoder) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		for dec.More() {
			if err := c.value(dec); err != nil {
				return err
			}
		}
		_, err = dec.Token()
		return err
	case json.Delim('{'):
		return c.fields(dec)
	}
	if s, ok := token.(string); ok {
		c.add(item{text: s, setting: c.setting})
	}
	return nil
}

// fields reads the rest of a JSON object.
func (c *collector) fields(dec *json.Decoder) error {
	kept := map[string]json.RawMessage{}
	kind := ""
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		if key == "items" {
			if err := c.items(dec, kind); err != nil {
				return err
			}
			continue
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		if key == "kind" {
			_ = json.Unmarshal(raw, &kind)
		}
		if len(kept) < 100 {
			kept[key] = raw
		}
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	return c.fieldsRead(kept, kind)
}

func (c *collector) items(dec *json.Decoder, kind string) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return err
	}
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
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
	_, err := dec.Token()
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

// yamlObject says whether a text begins as kubectl's YAML does.
func yamlObject(text string) bool {
	for i, line := range strings.SplitN(text, "\n", 20) {
		if strings.HasPrefix(line, "apiVersion:") || strings.HasPrefix(line, "kind:") || i == 0 && strings.HasPrefix(line, "items:") {
			return true
		}
	}
	return false
}

// yaml reads Kubernetes objects in YAML; more than maxYAML of it, or what is
// no YAML, as a log.
func (c *collector) yaml(in *bufio.Reader) error {
	c.form = FormObjects
	b, err := io.ReadAll(io.LimitReader(in, maxYAML))
	if err != nil {
		return err
	}
	read := 0
	for _, doc := range bytes.Split(b, []byte("\n---")) {
		var any map[string]any
		if yaml.Unmarshal(doc, &any) != nil || len(any) == 0 {
			continue
		}
		var o object
		if j, err := json.Marshal(any); err == nil && json.Unmarshal(j, &o) == nil {
			read++
			c.object(o)
		}
	}
	if read > 0 {
		return nil
	}
	return c.lines(bufio.NewReaderSize(io.MultiReader(bytes.NewReader(b), in), maxWhole))
}
