package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/package-url/packageurl-go"

	"ferry/internal/ref"
)

// VEXMediaType is the media type of an OpenVEX document inside a bundle.
const VEXMediaType = "application/vnd.openvex+json"

// Limits of what an OpenVEX document may hold.
const (
	MaxVEX        = 8 << 20 // bytes of the file
	maxStatements = 50_000
)

// VEX is an OpenVEX document: what its author says about vulnerabilities in
// products. Statements that something is not affected or fixed count as
// acceptance in the author's name; the others change nothing.
type VEX struct {
	File    string
	ID      string
	Author  string
	Digest  digest.Digest
	Expires Until

	// statements by the ids of what they are about.
	statements map[string][]*statement
	accepting  int
}

type statement struct {
	products []vexProduct
	status   string
	reason   string
	at       time.Time
}

type vexVulnerability struct {
	ID      string   `json:"@id"`
	Name    string   `json:"name"`
	Aliases []string `json:"aliases"`
}

type vexComponent struct {
	ID          string            `json:"@id"`
	Identifiers map[string]string `json:"identifiers"`
	Hashes      map[string]string `json:"hashes"`
}

type vexProduct struct {
	vexComponent
	Subcomponents []vexComponent `json:"subcomponents"`
}

// vexDocument is what ferry reads of a document; the rest of it needs no
// understanding.
type vexDocument struct {
	Context    string         `json:"@context"`
	ID         string         `json:"@id"`
	Author     string         `json:"author"`
	Timestamp  time.Time      `json:"timestamp"`
	Updated    time.Time      `json:"last_updated"`
	Statements []vexStatement `json:"statements"`
}

type vexStatement struct {
	Vulnerability vexVulnerability `json:"vulnerability"`
	Products      []vexProduct     `json:"products"`
	Status        string           `json:"status"`
	Justification string           `json:"justification"`
	Impact        string           `json:"impact_statement"`
	Notes         string           `json:"status_notes"`
	Timestamp     time.Time        `json:"timestamp"`
	Updated       time.Time        `json:"last_updated"`
}

// ParseVEX reads the OpenVEX document that source names.
func ParseVEX(source VEXSource, b []byte) (*VEX, error) {
	fail := func(format string, args ...any) (*VEX, error) {
		return nil, &Error{File: source.File, Detail: fmt.Sprintf(format, args...)}
	}
	if len(b) > MaxVEX {
		return fail("it has %d bytes; ferry reads at most %d", len(b), MaxVEX)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	var d vexDocument
	if err := dec.Decode(&d); err != nil {
		return fail("it is no OpenVEX document: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fail("something stands behind the document")
	}
	switch {
	case !strings.HasPrefix(d.Context, "https://openvex.dev/ns"):
		return fail("it is no OpenVEX document: its @context is %q", d.Context)
	case d.Author == "":
		return fail("it has no author")
	case source.Author != "" && source.Author != d.Author:
		return fail("its author is %q; the policy wants %q", d.Author, source.Author)
	case len(d.Statements) > maxStatements:
		return fail("it has %d statements; ferry takes at most %d", len(d.Statements), maxStatements)
	}
	v := &VEX{
		File: source.File, ID: d.ID, Author: d.Author, Digest: digest.FromBytes(b), Expires: source.Expires,
		statements: map[string][]*statement{},
	}
	for i, s := range d.Statements {
		got, err := s.read()
		if err != nil {
			return fail("statement %d: %v", i+1, err)
		}
		got.at = latest(s.Timestamp, s.Updated)
		if got.at.IsZero() {
			got.at = latest(d.Timestamp, d.Updated)
		}
		v.add(s.Vulnerability, got)
	}
	return v, nil
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// add keeps s under every id that what it is about has.
func (v *VEX) add(about vexVulnerability, s *statement) {
	ids := append([]string{about.Name, about.ID, about.ID[strings.LastIndex(about.ID, "/")+1:]}, about.Aliases...)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if id != "" {
			v.statements[id] = append(v.statements[id], s)
		}
	}
	if s.accepts() {
		v.accepting++
	}
}

func (s vexStatement) read() (*statement, error) {
	out := &statement{products: s.Products, status: s.Status}
	switch s.Status {
	case "not_affected":
		out.reason = joined(s.Justification, s.Impact)
		if out.reason == "" {
			return nil, fmt.Errorf("not_affected wants a justification or an impact_statement")
		}
	case "fixed":
		out.reason = joined("fixed by the supplier", s.Notes)
	case "affected", "under_investigation":
	default:
		return nil, fmt.Errorf("its status is %q, which OpenVEX does not know", s.Status)
	}
	if s.Vulnerability.Name == "" && s.Vulnerability.ID == "" {
		return nil, fmt.Errorf("it names no vulnerability")
	}
	return out, nil
}

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ": " + b
}

// Statements counts those that accept something.
func (v *VEX) Statements() int { return v.accepting }

func (s *statement) accepts() bool { return s.status == "not_affected" || s.status == "fixed" }

// about are the statements about a vulnerability, by any of its names.
func (v *VEX) about(f *Finding) []*statement {
	var all []*statement
	for _, id := range append([]string{f.ID}, f.Aliases...) {
		all = append(all, v.statements[id]...)
	}
	return all
}

// covers says whether the statement is about a package in an image.
func (s *statement) covers(img *Image, pkg *Package) bool {
	for _, p := range s.products {
		if len(p.Subcomponents) == 0 && (p.matchesPackage(pkg) || p.matchesImage(img)) {
			return true
		}
		if len(p.Subcomponents) > 0 && p.matchesImage(img) &&
			slices.ContainsFunc(p.Subcomponents, func(c vexComponent) bool { return c.matchesPackage(pkg) }) {
			return true
		}
	}
	return false
}

// purls are the names of c that are package URLs.
func (c vexComponent) purls() []packageurl.PackageURL {
	var all []packageurl.PackageURL
	for _, s := range []string{c.ID, c.Identifiers["purl"]} {
		if !strings.HasPrefix(s, "pkg:") {
			continue
		}
		if p, err := packageurl.FromString(s); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// matchesPackage says whether c names the package: what a name leaves open
// (version, qualifiers) fits everything.
func (c vexComponent) matchesPackage(pkg *Package) bool {
	have, err := packageurl.FromString(pkg.PURL)
	if err != nil {
		return false
	}
	for _, want := range c.purls() {
		if want.Type != have.Type || want.Namespace != have.Namespace || want.Name != have.Name ||
			want.Version != "" && want.Version != have.Version {
			continue
		}
		if within(want.Qualifiers.Map(), have.Qualifiers.Map()) {
			return true
		}
	}
	return false
}

func within(want, have map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// matchesImage says whether c names the image: by its digest, as an OCI
// package URL, or by its plain name.
func (c vexComponent) matchesImage(img *Image) bool {
	if h := c.Hashes["sha-256"]; h != "" {
		return img.Digest == digest.NewDigestFromEncoded(digest.SHA256, h)
	}
	name, err := ref.Parse(img.Name)
	if err != nil {
		return false
	}
	if c.ID != "" && !strings.Contains(c.ID, "://") && !strings.HasPrefix(c.ID, "pkg:") {
		if imageMatches(c.ID, img.Digest, name) {
			return true
		}
	}
	for _, want := range c.purls() {
		if want.Type != packageurl.TypeOCI {
			continue
		}
		at := want.Qualifiers.Map()
		last := name.Repository()[strings.LastIndex(name.Repository(), "/")+1:]
		switch {
		case want.Name != last:
		case want.Version == "" && at["repository_url"] == "":
			// oci/nginx alone is nobody's image in particular.
		case want.Version != "" && want.Version != img.Digest.String():
		case at["repository_url"] != "" && !sameRepository(at["repository_url"], want.Name, name):
		case at["tag"] != "" && at["tag"] != name.Tag():
		default:
			return true
		}
	}
	return false
}

// sameRepository takes both habits: the repository's own address, and the one
// of what holds it.
func sameRepository(url, last string, name ref.Name) bool {
	url = strings.TrimSuffix(url, "/")
	for _, s := range []string{url, url + "/" + last} {
		if n, err := ref.Parse(s); err == nil && n.Repository() == name.Repository() {
			return true
		}
	}
	return false
}
