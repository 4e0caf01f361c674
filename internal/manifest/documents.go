package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// JSON returns each object of the file as JSON, read as kubectl reads it
// (YAML 1.1: yes is a boolean); those of lists stand for themselves.
func (f *File) JSON() ([]json.RawMessage, error) {
	var all []json.RawMessage
	for _, doc := range f.split() {
		b, err := yaml.YAMLToJSON(doc)
		if err != nil {
			return nil, &Error{File: f.Name, Problem: fmt.Sprintf("kubectl would not read it: %v", err), Todo: notYAML}
		}
		if all, err = flatten(all, b); err != nil {
			return nil, &Error{File: f.Name, Problem: err.Error(), Todo: notYAML}
		}
	}
	if len(all) != len(f.Objects) {
		return nil, &Error{
			File: f.Name, Problem: fmt.Sprintf("kubectl would read %d objects in it, and here stand %d", len(all), len(f.Objects)),
			Todo: "Write documents apart by a line of --- alone.",
		}
	}
	return all, nil
}

// split cuts YAML at its lines of ---, and JSON where a document ends.
func (f *File) split() [][]byte {
	text := bytes.TrimPrefix(f.Text, []byte("\ufeff"))
	var docs [][]byte
	dec := json.NewDecoder(bytes.NewReader(text))
	for {
		var doc json.RawMessage
		err := dec.Decode(&doc)
		if err != nil {
			break
		}
		docs = append(docs, doc)
	}
	if len(docs) > 0 && len(bytes.TrimSpace(text[dec.InputOffset():])) == 0 {
		return docs
	}
	docs = nil
	var doc []byte
	for line := range bytes.Lines(text) {
		if mark := strings.TrimRight(string(line), " \t\r\n"); mark == "---" || mark == "..." || strings.HasPrefix(mark, "--- ") {
			docs, doc = append(docs, doc), nil
			line = bytes.TrimPrefix(bytes.TrimPrefix(line, []byte("---")), []byte("..."))
		}
		doc = append(doc, line...)
	}
	return append(docs, doc)
}

// flatten takes the objects of lists out of them.
func flatten(all []json.RawMessage, b []byte) ([]json.RawMessage, error) {
	var o struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Items      []json.RawMessage `json:"items"`
	}
	// What is no object is none here either.
	if readable := json.Unmarshal(b, &o) == nil; !readable || o.Kind == "" {
		return all, nil
	}
	of, ok := strings.CutSuffix(o.Kind, "List")
	if !ok || o.Items == nil {
		return append(all, b), nil
	}
	for _, item := range o.Items {
		var fields map[string]any
		if err := json.Unmarshal(item, &fields); err != nil {
			return nil, fmt.Errorf("an item of a list is no object: %w", err)
		}
		if _, named := fields["kind"]; !named && of != "" {
			fields["kind"], fields["apiVersion"] = of, o.APIVersion
		}
		full, err := json.Marshal(fields)
		if err != nil {
			return nil, err
		}
		if all, err = flatten(all, full); err != nil {
			return nil, err
		}
	}
	return all, nil
}
