package scanner_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/spdx/tools-golang/spdxlib"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/sbomtest"
	"ferry/internal/scan"
)

// formats are the schemas of what ferry writes.
func formats(t *testing.T) *sbomtest.Schemas {
	t.Helper()
	s, err := sbomtest.Load("1.7")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wellFormed holds an SBOM against its format's schema, and reads it with the
// format's own library, strictly: unknown fields are errors, and what the
// format demands has to be there.
func wellFormed(t *testing.T, schemas *sbomtest.Schemas, name, mediaType string, b []byte) {
	t.Helper()
	switch mediaType {
	case scan.SPDX:
		if err := schemas.SPDX(b); err != nil {
			t.Errorf("%s: by the schema of SPDX: %v", name, err)
		}
		var doc v2_3.Document
		if err := spdxjson.ReadInto(bytes.NewReader(b), &doc); err != nil {
			t.Errorf("%s: the SPDX document cannot be read: %v", name, err)
			return
		}
		if err := spdxlib.ValidateDocument(&doc); err != nil {
			t.Errorf("%s: the SPDX document is not valid: %v", name, err)
		}
		if doc.SPDXVersion != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.DocumentNamespace == "" || doc.CreationInfo == nil || doc.CreationInfo.Created == "" {
			t.Errorf("%s: %s %s %q", name, doc.SPDXVersion, doc.DataLicense, doc.DocumentNamespace)
		} else if _, err := time.Parse("2006-01-02T15:04:05Z", doc.CreationInfo.Created); err != nil {
			t.Errorf("%s: the schema does not look at the time, and SPDX takes no other form: %v", name, err)
		}
	case scan.CycloneDX:
		if err := schemas.CycloneDX(b); err != nil {
			t.Errorf("%s: by the schema of CycloneDX: %v", name, err)
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		var doc cyclonedx.BOM
		if err := dec.Decode(&doc); err != nil {
			t.Errorf("%s: the CycloneDX document cannot be read: %v", name, err)
			return
		}
		if doc.BOMFormat != cyclonedx.BOMFormat || doc.SerialNumber == "" || doc.Metadata == nil || doc.Metadata.Component == nil {
			t.Errorf("%s: %s %q", name, doc.BOMFormat, doc.SerialNumber)
		}
	}
}

// TestSBOMsThatLeave: what scan -o prints and what lies in a bundle's tail is
// the same document, and valid.
func TestSBOMsThatLeave(t *testing.T) {
	schemas, s := formats(t), contenttest.NewStore()
	known := sample()
	known.records[0].exploited = false // no gate would let that in
	p := newPlace(t).imported(known)
	if err := os.WriteFile(p.path("all.yaml"), []byte("version: 1\nimages: {emptyCatalogue: allow}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.pack("release.tar", s, images(t, s), "--policy", "all.yaml")
	b, err := bundle.Open(p.path("release.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	all := b.Images()
	if len(all) != 8 {
		t.Fatalf("%d images", len(all))
	}
	for i, img := range all {
		for form, mediaType := range map[string]string{"spdx": scan.SPDX, "cyclonedx": scan.CycloneDX} {
			doc := evidenceOf(t, b, i, mediaType)
			wellFormed(t, schemas, img.Name, mediaType, doc)
			said := p.wants(0, []string{"scan", "release.tar", "--image", img.Name, "-o", form})
			if said.out != string(doc) {
				t.Errorf("%s: scan -o %s says other than the bundle's tail, %d bytes and %d", img.Name, form, len(said.out), len(doc))
			}
		}
	}
}

// evidenceOf is the document of a form that a bundle has about an image.
func evidenceOf(t *testing.T, b *bundle.Bundle, image int, mediaType string) []byte {
	t.Helper()
	for _, r := range b.Images()[image].Referrers {
		if r.ArtifactType != mediaType {
			continue
		}
		manifest, err := content.ReadAll(t.Context(), b, r.Desc(), content.MaxManifest)
		if err != nil {
			t.Fatal(err)
		}
		n, err := content.Parse(r.Desc(), manifest)
		if err != nil || len(n.Layers) != 1 {
			t.Fatalf("%s: %v", manifest, err)
		}
		doc, err := content.ReadAll(t.Context(), b, n.Layers[0], 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	t.Fatalf("%s: the bundle has no %s", b.Images()[image].Name, mediaType)
	return nil
}
