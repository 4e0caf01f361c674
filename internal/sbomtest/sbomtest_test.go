package sbomtest_test

import (
	"encoding/json"
	"testing"

	"ferry/internal/sbomtest"
)

const spdx = `{
  "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "app",
  "documentNamespace": "https://example.test/app",
  "creationInfo": {"created": "2026-01-02T03:04:05Z", "creators": ["Tool: ferry"]},
  "packages": [{
    "SPDXID": "SPDXRef-zlib", "name": "zlib", "downloadLocation": "NOASSERTION", "primaryPackagePurpose": "LIBRARY",
    "checksums": [{"algorithm": "SHA256", "checksumValue": "00"}],
    "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:deb/debian/zlib@1"}]
  }],
  "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-zlib"}]
}`

const cycloneDX = `{
  "bomFormat": "CycloneDX", "specVersion": "1.7", "version": 1,
  "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
  "metadata": {
    "timestamp": "2026-01-02T03:04:05Z", "component": {"type": "container", "name": "app"},
    "authors": [{"name": "Zoë", "email": "zoë@bücher.example"}]
  },
  "components": [{
    "bom-ref": "a", "type": "library", "name": "zlib", "version": "1", "licenses": [{"license": {"id": "Zlib"}}],
    "hashes": [{"alg": "SHA-256", "content": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}],
    "externalReferences": [{"type": "website", "url": "https://zlib.example/ü"}]
  }],
  "dependencies": [{"ref": "a", "dependsOn": []}]
}`

// change sets a field of a document, or takes it out where value is nil. path
// are names of fields and places in lists.
func change(t *testing.T, doc string, value any, path ...any) []byte {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		t.Fatal(err)
	}
	at := v
	for _, step := range path[:len(path)-1] {
		if i, ok := step.(int); ok {
			at = at.([]any)[i]
		} else {
			at = at.(map[string]any)[step.(string)]
		}
	}
	last := path[len(path)-1].(string)
	if value == nil {
		delete(at.(map[string]any), last)
	} else {
		at.(map[string]any)[last] = value
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWhatIsRefused: the documents are valid, and with one thing wrong in them
// they are not.
func TestWhatIsRefused(t *testing.T) {
	s, err := sbomtest.Load("1.7")
	if err != nil {
		t.Fatal(err)
	}
	type wrong struct {
		what  string
		path  []any
		value any
	}
	zlib, component := []any{"packages", 0}, []any{"components", 0}
	in := func(where []any, more ...any) []any { return append(append([]any{}, where...), more...) }
	for _, f := range []struct {
		name  string
		doc   string
		check func([]byte) error
		wrong []wrong
	}{
		{"SPDX", spdx, s.SPDX, []wrong{
			{"no licence of the data", []any{"dataLicense"}, nil},
			{"no creators", []any{"creationInfo", "creators"}, nil},
			{"a package without a name", in(zlib, "name"), nil},
			{"a relation of no kind", []any{"relationships", 0, "relationshipType"}, "KNOWS"},
			{"a purpose that there is not", in(zlib, "primaryPackagePurpose"), "JOY"},
			{"a digest that there is not", in(zlib, "checksums", 0, "algorithm"), "ROT13"},
			{"a category that there is not", in(zlib, "externalRefs", 0, "referenceCategory"), "GOSSIP"},
			{"a field that there is not", in(zlib, "colour"), "red"},
			{"another version", []any{"spdxVersion"}, "SPDX-2.2"},
		}},
		{"CycloneDX", cycloneDX, s.CycloneDX, []wrong{
			{"no format", []any{"bomFormat"}, nil},
			{"a component without a name", in(component, "name"), nil},
			{"a kind that there is not", in(component, "type"), "sausage"},
			{"a licence that SPDX does not have", in(component, "licenses", 0, "license", "id"), "GPL-9"},
			{"a digest of the wrong length", in(component, "hashes", 0, "content"), "00"},
			{"a serial number that is none", []any{"serialNumber"}, "7"},
			{"a time that is none", []any{"metadata", "timestamp"}, "yesterday"},
			{"an address that is none", []any{"metadata", "authors", 0, "email"}, "zoë"},
			{"a URL that is none", in(component, "externalReferences", 0, "url"), "https://zlib.example/%zz"},
			{"a URL with a blank", in(component, "externalReferences", 0, "url"), "zlib example"},
			{"a field that there is not", in(component, "colour"), "red"},
			{"a signature that is none", []any{"signature"}, map[string]any{"algorithm": "RS256"}},
			{"a curve, whose names are not known here", in(component, "cryptoProperties"), map[string]any{
				"assetType": "algorithm", "algorithmProperties": map[string]any{"ellipticCurve": "nist/P-256"},
			}},
			{"another version", []any{"specVersion"}, "1.6"},
		}},
	} {
		if err := f.check([]byte(f.doc)); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
		for _, w := range f.wrong {
			if f.check(change(t, f.doc, w.value, w.path...)) == nil {
				t.Errorf("%s: %s is not seen", f.name, w.what)
			}
		}
		if f.check([]byte("{")) == nil {
			t.Errorf("%s: half a document is not seen", f.name)
		}
	}
	if _, err := sbomtest.Load("0.1"); err == nil {
		t.Error("a version that there is not has a schema")
	}
}
