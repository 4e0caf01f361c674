// Package sbomtest holds SBOMs against the JSON schemas of their formats: those
// of SPDX 2.3 and CycloneDX as their authors publish them, which lie in modules
// that ferry-scanner is built of, at the versions that go.mod says.
//
// It is for tests. What a schema cannot say, as that every relation speaks of
// something that is there, is for the formats' own libraries.
package sbomtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/mail"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schemas are compiled, and need no network.
type Schemas struct {
	spdx, cycloneDX *jsonschema.Schema
	version         string // of CycloneDX
}

// Load finds the schemas of SPDX 2.3 and of one version of CycloneDX.
func Load(cycloneDX string) (*Schemas, error) {
	syft, err := Module("github.com/anchore/syft")
	if err != nil {
		return nil, err
	}
	cyclone, err := Module("github.com/CycloneDX/cyclonedx-go")
	if err != nil {
		return nil, err
	}
	s := &Schemas{version: cycloneDX}
	if s.spdx, err = compile(resources{"spdx": filepath.Join(syft, "schema/spdx-json/spdx-schema-2.3.json")}, "spdx"); err != nil {
		return nil, err
	}
	const at = "http://cyclonedx.org/schema/"
	bom := at + "bom-" + cycloneDX + ".schema.json"
	s.cycloneDX, err = compile(resources{
		bom: filepath.Join(cyclone, "schema/bom-"+cycloneDX+".schema.json"),
		// The list of licences: syft's is newer, and it is syft that names them.
		at + "spdx.schema.json":     filepath.Join(syft, "schema/cyclonedx/spdx.schema.json"),
		at + "jsf-0.82.schema.json": filepath.Join(cyclone, "schema/jsf-0.82.schemax.json"),
	}, bom)
	return s, err
}

// Module is the folder of a module that go.mod names. A module that is in the
// cache is not asked for again.
func Module(path string) (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", path).Output()
	var m struct{ Dir, Error string }
	if bad := json.Unmarshal(out, &m); bad != nil || m.Dir == "" {
		return "", fmt.Errorf("find the module %s: %s: %w", path, m.Error, cmp.Or(err, bad, os.ErrNotExist))
	}
	return m.Dir, nil
}

// resources are files of schemas, by what they are called in references.
type resources map[string]string

// cryptography is a part of CycloneDX 1.7 that none of the modules has: the
// names of algorithms and curves. What uses one of them is refused here: ferry
// writes none, and nobody would look at it.
const cryptography = `{"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"algorithmFamiliesEnum": false, "ellipticCurvesEnum": false}}`

func compile(files resources, main string) (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // nothing that is not given here
	// Draft 7, which all of these are written in, has formats asserted.
	c.RegisterFormat(&jsonschema.Format{Name: "idn-email", Validate: email})
	c.RegisterFormat(&jsonschema.Format{Name: "iri-reference", Validate: reference})
	texts := map[string][]byte{"http://cyclonedx.org/schema/cryptography-defs.schema.json": []byte(cryptography)}
	for name, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		texts[name] = b
	}
	for name, text := range texts {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("the schema %s: %w", name, err)
		}
		if err := c.AddResource(name, doc); err != nil {
			return nil, err
		}
	}
	return c.Compile(main)
}

// email knows addresses beyond ASCII, as the library's own "email" does not.
func email(v any) error {
	s, ok := v.(string)
	if !ok {
		return nil
	}
	_, err := mail.ParseAddress(s)
	return err
}

// reference takes less than the library, which lets blanks and the like pass
// (RFC 3987, section 2.2).
func reference(v any) error {
	s, ok := v.(string)
	if !ok {
		return nil
	}
	if i := strings.IndexAny(s, " \"<>\\^`{|}"); i >= 0 {
		return fmt.Errorf("%q cannot stand in a reference", s[i])
	}
	_, err := url.Parse(s)
	return err
}

// SPDX says what is wrong with a document of SPDX 2.3.
func (s *Schemas) SPDX(doc []byte) error {
	return hold(s.spdx, doc, "spdxVersion", "SPDX-2.3")
}

// CycloneDX says what is wrong with a document of CycloneDX.
func (s *Schemas) CycloneDX(doc []byte) error {
	return hold(s.cycloneDX, doc, "specVersion", s.version)
}

// hold also looks at the version: no schema says its own.
func hold(s *jsonschema.Schema, doc []byte, field, version string) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return err
	}
	if err := s.Validate(v); err != nil {
		return err
	}
	if m, ok := v.(map[string]any); !ok || m[field] != version {
		return fmt.Errorf("it is not of %s %q", field, version)
	}
	return nil
}
