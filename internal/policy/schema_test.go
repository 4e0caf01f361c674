package policy_test

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"ferry/internal/policy"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(policy.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("policy.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	j, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(j)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func TestSchemaTakesTheExamples(t *testing.T) {
	s := compiledSchema(t)
	files, err := os.ReadDir("testdata/good")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile("testdata/good/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, s, string(b)); err != nil {
			t.Errorf("%s: %v", f.Name(), err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	s := compiledSchema(t)
	const rest = ", owner: o, reason: r, ticket: t, expires: '2026-12-31'}]"
	for name, text := range map[string]string{
		"no version":            "images: {latestTag: refuse}",
		"another version":       "version: 2",
		"an unknown key":        "version: 1\nvulnerabilitys: {}",
		"an unknown key, deep":  "version: 1\nimages: {rootuser: refuse}",
		"no severity":           "version: 1\nvulnerabilities: {refuse: {withFix: hihg}}",
		"no choice":             "version: 1\nimages: {latestTag: never}",
		"no age":                "version: 1\nimages: {maxAge: 7}",
		"an age of nothing":     "version: 1\nimages: {maxAge: 0d}",
		"no registry":           "version: 1\nimages: {registries: [nginx]}",
		"none of registries":    "version: 1\nimages: {registries: []}",
		"a blank owner":         "version: 1\nexceptions: [{vulnerability: CVE-1, image: y, owner: ' ', reason: r, ticket: t, expires: '2026-12-31'}]",
		"a rule for nothing":    "version: 1\nrules: [{name: x, refuse: 'true', because: y}]",
		"an exception for all":  "version: 1\nexceptions: [{vulnerability: CVE-1" + rest,
		"an exception for both": "version: 1\nexceptions: [{vulnerability: CVE-1, rule: x, image: y" + rest,
		"an endless exception":  "version: 1\nexceptions: [{vulnerability: CVE-1, image: y, owner: o, reason: r, ticket: t}]",
		"nobody's exception":    "version: 1\nexceptions: [{vulnerability: CVE-1, image: y, reason: r, ticket: t, expires: '2026-12-31'}]",
		"a document of no file": "version: 1\nvex: [{author: x}]",
	} {
		if err := valid(t, s, text); err == nil {
			t.Errorf("%s: the schema takes it", name)
		}
		if _, err := policy.Parse("p", []byte(text)); err == nil {
			t.Errorf("%s: ferry takes it", name)
		}
	}
}

// The schema and the reader know the same keys, at every level.
func TestSchemaKnowsEveryKey(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(policy.Schema()), &doc); err != nil {
		t.Fatal(err)
	}
	sameKeys(t, "policy", doc, reflect.TypeFor[policy.Policy]())
}

func sameKeys(t *testing.T, at string, schema map[string]any, of reflect.Type) {
	t.Helper()
	if items, ok := schema["items"].(map[string]any); ok && of.Kind() == reflect.Slice {
		sameKeys(t, at, items, of.Elem())
		return
	}
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return
	}
	var fields []string
	for f := range of.Fields() {
		tag := f.Tag.Get("yaml")
		if tag == "" || tag == "-" {
			continue
		}
		fields = append(fields, tag)
		if below, ok := properties[tag].(map[string]any); ok {
			sameKeys(t, at+"."+tag, below, f.Type)
		}
	}
	slices.Sort(fields)
	if keys := slices.Sorted(maps.Keys(properties)); !slices.Equal(keys, fields) {
		t.Errorf("%s: the schema has %v, the reader %v", at, keys, fields)
	}
}
