package scanner_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/spdx/tools-golang/spdxlib"

	"ferry/internal/scan"
)

// wellFormed reads an SBOM with its format's own library, strictly: unknown
// fields are errors, and what the format demands has to be there.
func wellFormed(t *testing.T, name, mediaType string, b []byte) {
	t.Helper()
	switch mediaType {
	case scan.SPDX:
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
		}
	case scan.CycloneDX:
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
