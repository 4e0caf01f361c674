// Package evidence is what a bundle carries to prove that its images were
// looked at: SBOMs and scan reports as OCI artifacts that refer to the images.
// The same findings give the same bytes.
//
// It is not for scanning (the scanner does) nor for judging (policy does).
package evidence

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/content"
	"ferry/internal/policy"
)

// Media types of what the evidence consists of.
const (
	ReportMediaType    = "application/vnd.ferry.scan-report.v1+json"
	SPDXMediaType      = "application/spdx+json"
	CycloneDXMediaType = "application/vnd.cyclonedx+json"
	SyftMediaType      = "application/vnd.syft+json"
)

// Limits of what is taken for evidence.
const (
	MaxReport = 64 << 20  // bytes of a scan report
	MaxSBOM   = 128 << 20 // bytes of an SBOM
)

// Version is the version of the report's form.
const Version = 1

// Report is what a scan found in one image on one platform, and what the
// policy made of it. Labels, user and date are not in it: whoever judges
// anew reads them from the image's config.
type Report struct {
	Version int `json:"version"`
	// Image is the name under which it was packed; Digest and Platform are of
	// the manifest that was scanned.
	Image    string        `json:"image"`
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"`

	AsOf     time.Time           `json:"asOf"`
	Tool     Tool                `json:"tool"`
	Database policy.DatabaseInfo `json:"database"`
	Policy   digest.Digest       `json:"policy"`
	// SBOMs are the digests of the documents that were made with it, by media
	// type.
	SBOMs map[string]digest.Digest `json:"sboms"`

	Distribution policy.Distribution `json:"distribution,omitzero"`
	Packages     []policy.Package    `json:"packages,omitempty"`
	Findings     []policy.Finding    `json:"findings,omitempty"`
	// Warnings are what makes the findings worth less, as the scanner said it.
	Warnings []string `json:"warnings,omitempty"`

	Passed bool `json:"passed"`
	// Decisions are what the policy refused or somebody accepted.
	Decisions []policy.Decision `json:"decisions,omitempty"`
}

// Tool says what scanned.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Encode writes r in its one form.
func (r Report) Encode() ([]byte, error) {
	r.Version = Version
	r.AsOf = r.AsOf.UTC().Truncate(time.Second)
	r.Database.Built = r.Database.Built.UTC().Truncate(time.Second)
	r.Packages, r.Findings = sorted(r.Packages, r.Findings)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(r); err != nil {
		return nil, err
	}
	if b.Len() > MaxReport {
		return nil, &content.TooLargeError{What: "the scan report of " + r.Image, Size: int64(b.Len()), Limit: MaxReport}
	}
	return b.Bytes(), nil
}

// DecodeReport reads a report, and refuses one that is not in the form that
// Encode writes, so that nothing can hide in it.
func DecodeReport(b []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("the scan report is not JSON: %w", err)
	}
	if r.Version != Version {
		return Report{}, fmt.Errorf("the scan report has version %d; this ferry knows version %d", r.Version, Version)
	}
	for _, f := range r.Findings {
		if f.Package < 0 || f.Package >= len(r.Packages) {
			return Report{}, fmt.Errorf("the scan report finds %s in a package that it does not list", f.ID)
		}
	}
	again, err := r.Encode()
	if err != nil {
		return Report{}, err
	}
	if !bytes.Equal(again, b) {
		return Report{}, fmt.Errorf("the scan report is not in the form that ferry writes")
	}
	return r, nil
}

// sorted puts packages and findings in an order that does not depend on how
// they were found.
func sorted(packages []policy.Package, findings []policy.Finding) ([]policy.Package, []policy.Finding) {
	order := make([]int, len(packages))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return comparePackages(packages[a], packages[b]) })
	at := make([]int, len(packages))
	outP := make([]policy.Package, len(packages))
	for to, from := range order {
		at[from], outP[to] = to, packages[from]
	}
	outF := slices.Clone(findings)
	for i := range outF {
		if p := outF[i].Package; p >= 0 && p < len(at) {
			outF[i].Package = at[p]
		}
	}
	slices.SortStableFunc(outF, func(a, b policy.Finding) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), strings.Compare(a.ID, b.ID))
	})
	return outP, outF
}

func comparePackages(a, b policy.Package) int {
	return cmp.Or(
		strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version), strings.Compare(a.Type, b.Type),
		strings.Compare(a.PURL, b.PURL), strings.Compare(string(a.Layer), string(b.Layer)),
		slices.Compare(a.Licences, b.Licences),
	)
}
