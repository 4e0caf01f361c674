package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/policy"
)

const vexHead = `{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://acme.example/vex-1", "author": "Acme", "timestamp": "2026-11-01T00:00:00Z", "version": 1, "statements": [`

func notAffected(products string) string {
	return `{"vulnerability": {"name": "CVE-1"}, "products": [` + products + `], "status": "not_affected", "justification": "vulnerable_code_not_present"}`
}

func parseVEX(t *testing.T, statements ...string) *policy.VEX {
	t.Helper()
	v, err := policy.ParseVEX(policy.VEXSource{File: "acme.json"}, []byte(vexHead+strings.Join(statements, ",")+"]}"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVEX(t *testing.T) {
	d := digest.FromString("nginx").String()
	zlib := `{"@id": "pkg:deb/debian/zlib1g"}`
	for name, tc := range map[string]struct {
		statements []string
		accepted   bool
	}{
		"the package":                  {[]string{notAffected(zlib)}, true},
		"the package in this version":  {[]string{notAffected(`{"@id": "pkg:deb/debian/zlib1g@1%3A1.2.13"}`)}, true},
		"the package in another":       {[]string{notAffected(`{"@id": "pkg:deb/debian/zlib1g@1%3A1.2.12"}`)}, false},
		"the package on this arch":     {[]string{notAffected(`{"@id": "pkg:deb/debian/zlib1g?arch=amd64"}`)}, true},
		"the package on another":       {[]string{notAffected(`{"@id": "pkg:deb/debian/zlib1g?arch=arm64"}`)}, false},
		"another package":              {[]string{notAffected(`{"@id": "pkg:deb/debian/curl"}`)}, false},
		"another distribution's":       {[]string{notAffected(`{"@id": "pkg:deb/ubuntu/zlib1g"}`)}, false},
		"by identifier":                {[]string{notAffected(`{"identifiers": {"purl": "pkg:deb/debian/zlib1g"}}`)}, true},
		"the image by name":            {[]string{notAffected(`{"@id": "docker.io/library/nginx"}`)}, true},
		"the image by digest":          {[]string{notAffected(`{"@id": "pkg:oci/nginx@` + strings.Replace(d, ":", "%3A", 1) + `"}`)}, true},
		"another digest":               {[]string{notAffected(`{"@id": "pkg:oci/nginx@sha256%3A00"}`)}, false},
		"the image by repository":      {[]string{notAffected(`{"@id": "pkg:oci/nginx?repository_url=index.docker.io/library/nginx"}`)}, true},
		"the image by what holds it":   {[]string{notAffected(`{"@id": "pkg:oci/nginx?repository_url=docker.io/library"}`)}, true},
		"another repository":           {[]string{notAffected(`{"@id": "pkg:oci/nginx?repository_url=quay.io/library/nginx"}`)}, false},
		"an image by its last name":    {[]string{notAffected(`{"@id": "pkg:oci/nginx"}`)}, false},
		"the image by hash":            {[]string{notAffected(`{"@id": "https://x", "hashes": {"sha-256": "` + strings.TrimPrefix(d, "sha256:") + `"}}`)}, true},
		"another hash":                 {[]string{notAffected(`{"@id": "docker.io/library/nginx", "hashes": {"sha-256": "00"}}`)}, false},
		"the package in the image":     {[]string{notAffected(`{"@id": "docker.io/library/nginx", "subcomponents": [` + zlib + `]}`)}, true},
		"another package in the image": {[]string{notAffected(`{"@id": "docker.io/library/nginx", "subcomponents": [{"@id": "pkg:deb/debian/curl"}]}`)}, false},
		"the package in another image": {[]string{notAffected(`{"@id": "quay.io/a/b", "subcomponents": [` + zlib + `]}`)}, false},
		"no product":                   {[]string{notAffected("")}, false},
		"fixed":                        {[]string{`{"vulnerability": {"@id": "https://nvd.nist.gov/vuln/detail/CVE-1"}, "products": [` + zlib + `], "status": "fixed"}`}, true},
		"by alias":                     {[]string{`{"vulnerability": {"name": "GHSA-1", "aliases": ["CVE-1"]}, "products": [` + zlib + `], "status": "fixed"}`}, true},
		"of another vulnerability":     {[]string{`{"vulnerability": {"name": "CVE-11"}, "products": [` + zlib + `], "status": "fixed"}`}, false},
		"affected":                     {[]string{`{"vulnerability": {"name": "CVE-1"}, "products": [` + zlib + `], "status": "affected"}`}, false},
		"under investigation":          {[]string{`{"vulnerability": {"name": "CVE-1"}, "products": [` + zlib + `], "status": "under_investigation"}`}, false},
		"affected after all": {[]string{
			`{"vulnerability": {"name": "CVE-1"}, "products": [` + zlib + `], "status": "affected", "timestamp": "2026-11-02T00:00:00Z"}`,
			notAffected(zlib),
		}, false},
		"investigated, then cleared": {[]string{
			`{"vulnerability": {"name": "CVE-1"}, "products": [` + zlib + `], "status": "under_investigation", "timestamp": "2026-10-02T00:00:00Z"}`,
			notAffected(zlib),
		}, true},
		"both at once": {[]string{
			notAffected(zlib), `{"vulnerability": {"name": "CVE-1"}, "products": [` + zlib + `], "status": "affected"}`,
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			img := image()
			img.Findings = []policy.Finding{finding("CVE-1", policy.High)}
			q := question(parse(t, "version: 1\nvulnerabilities: {refuse: {withFix: high}}"), img)
			q.VEX = []*policy.VEX{parseVEX(t, tc.statements...)}
			v := policy.Evaluate(q)
			if v.Passed != tc.accepted || len(v.Decisions) != 1 {
				t.Fatalf("passed %v: %+v", v.Passed, v.Decisions)
			}
			if a := v.Decisions[0].Accepted; tc.accepted && (a.By != "vex" || a.Owner != "Acme" || a.Document != "acme.json" || a.Reason == "") {
				t.Errorf("accepted by %+v", a)
			}
		})
	}
}

func TestVEXDoesNotClearWhatIsExploited(t *testing.T) {
	img := image()
	img.Findings = []policy.Finding{{ID: "CVE-1", KnownExploited: true}}
	q := question(parse(t, "version: 1"), img)
	q.VEX = []*policy.VEX{parseVEX(t, notAffected(`{"@id": "pkg:deb/debian/zlib1g"}`))}
	if policy.Evaluate(q).Passed {
		t.Error("a document cleared a vulnerability that is being exploited")
	}
}

func TestVEXExpires(t *testing.T) {
	img := image()
	img.Findings = []policy.Finding{finding("CVE-1", policy.High)}
	q := question(parse(t, "version: 1\nvulnerabilities: {refuse: {withFix: high}}"), img)
	q.VEX = []*policy.VEX{parseVEX(t, notAffected(`{"@id": "pkg:deb/debian/zlib1g"}`))}
	q.VEX[0].Expires = policy.Until{Text: "2026-11-22", End: moment.Add(-time.Second)}
	if policy.Evaluate(q).Passed {
		t.Error("a document counts after its end")
	}
	q.VEX[0].Expires.End = moment.Add(time.Second)
	if v := policy.Evaluate(q); !v.Passed || !v.Until.Equal(moment.Add(time.Second)) {
		t.Errorf("a document does not count up to its end: %+v", v)
	}
}

func TestVEXThatIsNone(t *testing.T) {
	for name, tc := range map[string]struct{ text, author, want string }{
		"no JSON":         {"version: 1", "", "it is no OpenVEX document"},
		"other JSON":      {`{"spdxVersion": "SPDX-2.3"}`, "", `its @context is ""`},
		"two documents":   {vexHead + "]} {}", "", "something stands behind"},
		"nobody's":        {`{"@context": "https://openvex.dev/ns/v0.2.0", "statements": []}`, "", "it has no author"},
		"somebody else's": {vexHead + "]}", "Trusted", `its author is "Acme"; the policy wants "Trusted"`},
		"no status":       {vexHead + `{"vulnerability": {"name": "CVE-1"}}]}`, "", `statement 1: its status is ""`},
		"no reason":       {vexHead + `{"vulnerability": {"name": "CVE-1"}, "status": "not_affected"}]}`, "", "wants a justification"},
		"about nothing":   {vexHead + `{"status": "fixed"}]}`, "", "it names no vulnerability"},
		"too long":        {strings.Repeat(" ", policy.MaxVEX+1), "", "ferry reads at most"},
	} {
		_, err := policy.ParseVEX(policy.VEXSource{File: "acme.json", Author: tc.author}, []byte(tc.text))
		var e *policy.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func FuzzVEX(f *testing.F) {
	f.Add(vexHead + notAffected(`{"@id": "pkg:deb/debian/zlib1g?arch=amd64", "hashes": {"sha-256": "00"}}`) + "]}")
	f.Add(vexHead + notAffected(`{"@id": "pkg:oci/nginx@x?repository_url=a/b&tag=1", "subcomponents": [{"@id": "pkg:a/b"}]}`) + "]}")
	img := image()
	img.Findings = []policy.Finding{finding("CVE-1", policy.High)}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := policy.ParseVEX(policy.VEXSource{File: "f"}, []byte(text))
		if err != nil {
			return
		}
		q := question(parse(t, "version: 1"), img)
		q.VEX = []*policy.VEX{v}
		policy.Evaluate(q)
	})
}
