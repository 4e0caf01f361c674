package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// ferryLicence is what LICENSE says.
const ferryLicence = "Apache-2.0"

// sboms writes what the program for t consists of, as SPDX and as CycloneDX.
func (r *release) sboms(t target, sum string, info *buildinfo.BuildInfo, third []component) error {
	for ext, doc := range map[string]any{
		".spdx.json": spdx(t.program, r.name(t), r.version, sum, r.date, third),
		".cdx.json":  cyclonedx(t.program, r.version, sum, r.date, info.GoVersion, third),
	} {
		b, err := json.MarshalIndent(doc, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.to, r.name(t)+ext), append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

type object = map[string]any

var notID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// spdx is an SPDX 2.3 document (spdx.github.io/spdx-spec/v2.3).
func spdx(program, name, version, sum string, date time.Time, third []component) object {
	main := "SPDXRef-Package-" + program
	packages := []object{{
		"SPDXID": main, "name": program, "versionInfo": version, "downloadLocation": "NOASSERTION",
		"filesAnalyzed": false, "licenseConcluded": ferryLicence, "licenseDeclared": ferryLicence,
		"copyrightText": "NOASSERTION", "primaryPackagePurpose": "APPLICATION",
		"checksums": []object{{"algorithm": "SHA256", "checksumValue": sum}},
	}}
	relations := []object{relation("SPDXRef-DOCUMENT", "DESCRIBES", main)}
	for _, c := range third {
		id := "SPDXRef-Package-" + notID.ReplaceAllString(c.path+"-"+c.version, "-")
		p := object{
			"SPDXID": id, "name": c.path, "versionInfo": c.version, "downloadLocation": "NOASSERTION",
			"filesAnalyzed": false, "licenseConcluded": c.expression(), "licenseDeclared": c.expression(),
			"copyrightText": "NOASSERTION",
			"externalRefs": []object{{
				"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": c.purl(),
			}},
		}
		if c.sum != "" {
			p["comment"] = "go.sum " + c.sum
		}
		packages = append(packages, p)
		relations = append(relations, relation(main, "STATIC_LINK", id))
	}
	doc := object{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
		"documentNamespace": "https://spdx.org/spdxdocs/" + name + "-" + sum,
		"creationInfo":      object{"created": date.Format(time.RFC3339), "creators": []string{"Tool: ferry-release"}},
		"packages":          packages, "relationships": relations,
	}
	if own := ownLicences(third); len(own) > 0 {
		doc["hasExtractedLicensingInfos"] = own
	}
	return doc
}

// ownLicences are the texts of licences that SPDX has no name for: it wants
// them in the document.
func ownLicences(third []component) []object {
	var texts []string
	for _, c := range third {
		for _, f := range c.files {
			if r, ok := wasReviewed(c.path, f); ok && r.licence == publicDomain {
				texts = append(texts, string(f.text))
			}
		}
	}
	if texts == nil {
		return nil
	}
	return []object{{"licenseId": publicDomain, "name": "in the public domain", "extractedText": strings.Join(texts, "\n\n")}}
}

func relation(from, kind, to string) object {
	return object{"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to}
}

// cyclonedx is a CycloneDX 1.5 document (cyclonedx.org/docs/1.5/json).
func cyclonedx(program, version, sum string, date time.Time, goVersion string, third []component) object {
	components, uses := []object{}, []string{}
	for _, c := range third {
		components = append(components, object{
			"bom-ref": c.purl(), "type": "library", "name": c.path, "version": c.version, "purl": c.purl(),
			"licenses": []object{{"expression": c.expression()}},
		})
		uses = append(uses, c.purl())
	}
	return object{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		// A name for this document that its content decides: RFC 9562's
		// version 8, custom bits.
		"serialNumber": fmt.Sprintf("urn:uuid:%s-%s-8%s-8%s-%s", sum[0:8], sum[8:12], sum[13:16], sum[17:20], sum[20:32]),
		"metadata": object{
			"timestamp": date.Format(time.RFC3339),
			"component": object{
				"bom-ref": program, "type": "application", "name": program, "version": version,
				"hashes":   []object{{"alg": "SHA-256", "content": sum}},
				"licenses": []object{{"expression": ferryLicence}},
			},
			"properties": []object{{"name": "go", "value": goVersion}},
		},
		"components":   components,
		"dependencies": []object{{"ref": program, "dependsOn": uses}},
	}
}
