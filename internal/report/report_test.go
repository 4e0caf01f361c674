package report_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/net/html"

	"ferry/internal/evidence"
	"ferry/internal/ferry"
	"ferry/internal/lock"
	"ferry/internal/policy"
	"ferry/internal/report"
)

var moment = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// sample is a report on a bundle as they are: some images share a base with
// the same findings, some are bad, most are not.
func sample(images, each int) *ferry.ReportResult {
	rnd := rand.New(rand.NewPCG(1, 2))
	r := &ferry.ReportResult{
		File: "release-2026-11.tar", Digest: digest.FromString("bundle"), Size: 1_660_000_000, Blobs: 172, LockDigest: digest.FromString("lock"),
		ResolvedAt: moment.Add(-time.Hour), AsOf: moment.Add(-30 * time.Minute), MadeAt: moment, Gate: "passed",
		Database: policy.DatabaseInfo{Built: moment.AddDate(0, 0, -1), Checksum: digest.FromString("db")},
		Tool:     evidence.Tool{Name: "grype", Version: "0.120.1, syft 1.54.1"},
		Clauses: []policy.Clause{
			{Rule: "known-exploited", Text: "a vulnerability that is known to be exploited is refused, whatever its severity"},
			{Rule: "severity", Text: "high or worse is refused where there is a fix, critical or worse is refused where there is none; what nobody has rated counts as high"},
			{Rule: "registry", Text: "an image from anywhere but docker.io/library, quay.io/prometheus is refused"},
		},
		Verdict: &policy.Verdict{Passed: true, AsOf: moment, Policy: digest.FromString("policy"), Until: moment.AddDate(0, 0, 38)},
	}
	repositories := []string{"docker.io/library/nginx", "quay.io/prometheus/node-exporter", "docker.io/library/postgres", "ghcr.io/acme/payments-api", "registry.bank.internal/base/jre"}
	for i := range images {
		img := ferry.ReportImage{
			Image: lock.Image{
				Name: fmt.Sprintf("%s:1.%d", repositories[i%len(repositories)], i), Digest: digest.FromString(fmt.Sprint(i)),
				Platforms: []string{"linux/amd64", "linux/arm64"}, Source: lock.Source{Type: lock.Registry},
			},
			Bytes: int64(rnd.IntN(400_000_000)) + 2_000_000, Layers: 5, Distribution: "debian 12", Created: moment.AddDate(0, 0, -rnd.IntN(100)), Packages: 214,
		}
		r.Images = append(r.Images, img)
	}
	severities := []policy.Severity{policy.Unknown, policy.Negligible, policy.Negligible, policy.Low, policy.Low, policy.Medium, policy.Medium, policy.High, policy.Critical}
	for i := range images {
		for n := range rnd.IntN(2*each + 1) {
			f := ferry.ReportFinding{
				Finding: policy.Finding{
					ID: fmt.Sprintf("CVE-2026-%05d", rnd.IntN(90_000)), Severity: severities[rnd.IntN(len(severities))], EPSS: rnd.Float64() * rnd.Float64() * rnd.Float64(),
				},
				Name: fmt.Sprintf("lib%c%d", 'a'+rnd.IntN(26), n%40), Version: fmt.Sprintf("1.%d.%d-%d", i%7, n%13, n%3), Type: "deb", Images: []int{i},
			}
			if n%3 == 0 {
				f.FixedIn = []string{f.Version + "+deb12u1"}
			}
			if n%5 == 0 && i+2 < images {
				f.Images = append(f.Images, i+1, i+2)
			}
			r.Findings = append(r.Findings, f)
			r.Images[i].Severities[f.Severity.Rank()]++
		}
	}
	return r
}

func refused(r *ferry.ReportResult) {
	r.Verdict.Passed = false
	r.Verdict.Decisions = append(r.Verdict.Decisions,
		policy.Decision{
			Image: r.Images[0].Name, Platform: "linux/amd64", Package: "liblzma5", Version: "5.6.0", Vulnerability: "CVE-2024-3094", Severity: policy.Critical,
			KnownExploited: true, FixedIn: []string{"5.6.1+really5.4.5-1"}, Reasons: []policy.Reason{{Rule: "known-exploited", Text: "it is known to be exploited"}},
		},
		policy.Decision{
			Image: r.Images[0].Name, Platform: "linux/arm64", Package: "liblzma5", Version: "5.6.0", Vulnerability: "CVE-2024-3094", Severity: policy.Critical,
			KnownExploited: true, FixedIn: []string{"5.6.1+really5.4.5-1"}, Reasons: []policy.Reason{{Rule: "known-exploited", Text: "it is known to be exploited"}},
		},
		policy.Decision{Image: r.Images[1].Name, Platform: "linux/amd64", Reasons: []policy.Reason{{Rule: "root-user", Text: "it runs as root, as its config says"}}},
	)
	r.Findings = append([]ferry.ReportFinding{{
		Finding: policy.Finding{ID: "CVE-2024-3094", Severity: policy.Critical, EPSS: 0.86, KnownExploited: true, FixedIn: []string{"5.6.1+really5.4.5-1"}},
		Name:    "liblzma5", Version: "5.6.0", Type: "deb", Images: []int{0}, Refused: true, New: true,
	}}, r.Findings...)
	r.Images[0].Refused, r.Images[0].Exploited = 1, 1
}

func accepted(r *ferry.ReportResult) {
	a := &policy.Acceptance{By: policy.ByException, Owner: "payments", Reason: "minizip is not built into the library", Ticket: "SEC-1234", Until: "2026-12-31"}
	r.Verdict.Decisions = append(r.Verdict.Decisions,
		policy.Decision{
			Image: r.Images[2].Name, Platform: "linux/amd64", Package: "zlib1g", Version: "1:1.2.13", Vulnerability: "CVE-2023-45853", Severity: policy.Critical,
			Reasons: []policy.Reason{{Rule: "severity", Text: "critical or worse without a fix is refused"}}, Accepted: a,
		},
		policy.Decision{
			Image: r.Images[3].Name, Platform: "linux/amd64", Package: "openssl", Version: "3.0.1", Vulnerability: "CVE-2026-1111", Severity: policy.High,
			Accepted: &policy.Acceptance{By: policy.ByVEX, Owner: "Acme Security", Reason: "vulnerable_code_not_in_execute_path", Document: "vex/acme.json"},
		})
	r.Verdict.Unused = []policy.UnusedException{{Exception: policy.Exception{Rule: "root-user", Image: "docker.io/library/redis", Owner: "web", Expires: policy.Until{Text: "2026-10-31"}}, Expired: true}}
	r.Findings = append(r.Findings, ferry.ReportFinding{
		Finding: policy.Finding{ID: "CVE-2023-45853", Severity: policy.Critical}, Name: "zlib1g", Version: "1:1.2.13", Type: "deb", Images: []int{2}, Accepted: a,
	})
	r.Images[2].Accepted = 1
}

func compared(r *ferry.ReportResult) {
	r.Compared = &ferry.Comparison{
		File: "release-2026-10.tar", Digest: digest.FromString("old"), AsOf: moment.AddDate(0, -1, 0), Scanned: true, Same: 7,
		Added: []string{"ghcr.io/acme/payments-api:1.3"}, Removed: []string{"docker.io/library/redis:6.2"},
		Updated: []ferry.UpdatedImage{{From: "docker.io/library/nginx:1.26", To: r.Images[0].Name, FromDigest: digest.FromString("x"), ToDigest: digest.FromString("y")}},
		Come:    r.Findings[:2], Gone: r.Findings[2:7],
	}
}

func page(t *testing.T, r *ferry.ReportResult) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestVerdicts(t *testing.T) {
	r := sample(12, 20)
	contains(t, page(t, r), "Passed", "Nothing in it is refused by the policy of whoever packed it", "Unsigned:", "made on 2026-11-22, 1 day before")
	r.PolicyFile = "bank.yaml"
	refused(r)
	contains(t, page(t, r), "Refused", "2 things in it are refused by your policy bank.yaml", "CVE-2024-3094", "5.6.1&#43;really5.4.5-1", "linux/amd64, linux/arm64", "it runs as root")
	accepted(r)
	contains(t, page(t, r), "payments", "SEC-1234", "2026-12-31", "38 days left", "OpenVEX: vex/acme.json", "expired on 2026-10-31")
	compared(r)
	contains(t, page(t, r), "New since release-2026-10.tar", "docker.io/library/redis:6.2", "ghcr.io/acme/payments-api:1.3")
	bare := sample(3, 0)
	bare.Verdict, bare.Database, bare.Findings, bare.Gate = nil, policy.DatabaseInfo{}, nil, "not gated"
	text := page(t, bare)
	contains(t, text, "Not gated", "nothing is known of what is in its images", "not scanned")
	if strings.Contains(text, "<script") {
		t.Error("a page without findings has a script")
	}
}

func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in the page", w)
		}
	}
}

// hostile is what a name may hold that wants to run.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</script><script>alert(1)</script>`, `'-alert(1)-'`,
	"javascript:alert(1)", `{{.}}`, `<!--`, `]]>`, "\u2028alert(1)", "a\u202eb", "\x00\x1b[2J", `\u003cscript>`, `</style><script>alert(1)</script>`,
}

func TestHostileTextStaysText(t *testing.T) {
	for _, evil := range hostile {
		text := page(t, spoiled(evil))
		for _, run := range []string{"<script>alert", "<img", "</script><script>alert", "\u202e", "\u2028", "\x00", "\x1b"} {
			if strings.Contains(text, run) {
				t.Errorf("%q stands in the page as %q", evil, run)
			}
		}
		if n := strings.Count(text, "<script"); n != 2 {
			t.Errorf("%q makes %d scripts of two", evil, n)
		}
		attributes(t, evil, text)
	}
}

// attributes wants no element and no attribute that the page itself does not
// have.
func attributes(t *testing.T, evil, text string) {
	t.Helper()
	known := "a abbr body br button dd details div dl dt fieldset footer form h1 h2 h3 head header html input label legend li main meta noscript option p pre rect script section select span strong style summary svg table tbody td th thead title tr ul"
	for z := html.NewTokenizer(strings.NewReader(text)); z.Next() != html.ErrorToken; {
		token := z.Token()
		if token.Type != html.StartTagToken && token.Type != html.SelfClosingTagToken {
			continue
		}
		if !slices.Contains(strings.Fields(known), token.Data) {
			t.Errorf("%q makes an element %s", evil, token.Data)
		}
		for _, a := range token.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "style" || a.Key == "href" && a.Val != "#main" || a.Key == "class" && strings.ContainsAny(a.Val, "<>\"'()") {
				t.Errorf("%q makes an attribute %s=%q", evil, a.Key, a.Val)
			}
		}
	}
}

// spoiled is a report in which every foreign text is evil.
func spoiled(evil string) *ferry.ReportResult {
	r := sample(2, 3)
	r.File, r.PolicyFile = evil, evil
	r.Tool = evidence.Tool{Name: evil, Version: evil}
	r.Gate = evil
	for i := range r.Images {
		r.Images[i].Name, r.Images[i].Distribution, r.Images[i].Problem = evil, evil, evil
		r.Images[i].Platforms, r.Images[i].Source.Kind = []string{evil}, evil
		r.Images[i].Source.Type = "local"
	}
	r.Images[1].Problem = ""
	a := &policy.Acceptance{By: "exception", Owner: evil, Reason: evil, Ticket: evil, Until: evil, Document: evil}
	r.Findings = append(r.Findings, ferry.ReportFinding{
		Finding: policy.Finding{ID: evil, Severity: policy.Severity(evil), FixedIn: []string{evil}, KnownExploited: true},
		Name:    evil, Version: evil, Type: evil, Images: []int{0, 1}, Accepted: a, Refused: true, New: true,
	})
	d := policy.Decision{Image: evil, Platform: evil, Package: evil, Version: evil, Vulnerability: evil, Severity: policy.Severity(evil), FixedIn: []string{evil}, Reasons: []policy.Reason{{Rule: evil, Text: evil}}, Note: evil}
	taken := d
	taken.Accepted = a
	r.Verdict.Decisions = []policy.Decision{d, taken}
	r.Verdict.Unused = []policy.UnusedException{{Exception: policy.Exception{Rule: evil, Owner: evil, Package: evil, Image: evil, Expires: policy.Until{Text: evil}}, Expired: true}}
	r.Clauses = []policy.Clause{{Rule: evil, Text: evil}}
	r.Compared = &ferry.Comparison{
		File: evil, Digest: r.Digest, Scanned: true, Added: []string{evil}, Removed: []string{evil},
		Updated: []ferry.UpdatedImage{{From: evil, To: evil + "x", FromDigest: r.Digest, ToDigest: r.Digest}}, Come: r.Findings, Gone: r.Findings,
	}
	return r
}

// TestLoadsNothing: no address, no other file, and a policy that would forbid
// them.
func TestLoadsNothing(t *testing.T) {
	r := sample(12, 20)
	refused(r)
	accepted(r)
	compared(r)
	text := page(t, r)
	for _, load := range []string{"http:", "https:", "//", "src=", "href=\"http", "url(", "@import", "<link", "<iframe", "<base"} {
		without := strings.NewReplacer("http-equiv", "").Replace(text)
		if strings.Contains(without, load) {
			t.Errorf("%q stands in the page", load)
		}
	}
	contains(t, text, "default-src &#39;none&#39;", "script-src &#39;sha256-", "style-src &#39;sha256-", "base-uri &#39;none&#39;")
	if strings.Contains(text, "unsafe") || strings.Contains(text, " style=") {
		t.Error("the page wants an exception from its own policy")
	}
}

// TestLarge: 200 images with 300 findings each.
func TestLarge(t *testing.T) {
	r := sample(200, 300)
	began := time.Now()
	text := page(t, r)
	took := time.Since(began)
	t.Logf("%d findings, %.2f MB, %v", len(r.Findings), float64(len(text))/1e6, took)
	if len(r.Findings) < 50_000 || len(text) > 5_000_000 {
		t.Errorf("%d findings make %d bytes", len(r.Findings), len(text))
	}
	if took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestAcceptedOnce: what one exception accepts in several images is one line,
// what is left out is said, and what is new stands before it.
func TestAcceptedOnce(t *testing.T) {
	r := sample(3, 1)
	a := &policy.Acceptance{By: policy.ByException, Owner: "payments", Reason: "not reachable", Ticket: "SEC-1", Until: "2026-12-31"}
	for i := range 3 {
		r.Verdict.Decisions = append(r.Verdict.Decisions, policy.Decision{Image: r.Images[i].Name, Platform: "linux/amd64", Package: "zlib1g", Version: "1", Vulnerability: "CVE-2026-1", Accepted: a})
	}
	r.Compared = &ferry.Comparison{File: "older.tar", Scanned: true}
	text := page(t, r)
	if n := strings.Count(text, `data-label="Accepted by"`); n != 1 {
		t.Errorf("%d lines for one exception", n)
	}
	for i := range 3 { // each on a line of its own
		if want := `<span class="name line">` + r.Images[i].Name + "</span>"; !strings.Contains(text, want) {
			t.Errorf("want %s on the page", want)
		}
	}
	if strings.Contains(text, "more: filter") || strings.Index(text, "New since older.tar") > strings.Index(text, "Accepted, and by whom") {
		t.Error("what is new does not come first, or something is left out")
	}
	for i := range 250 {
		r.Verdict.Decisions = append(r.Verdict.Decisions, policy.Decision{Image: r.Images[0].Name, Package: "p", Version: "1", Vulnerability: fmt.Sprintf("CVE-2026-1%03d", i), Accepted: a})
	}
	if text = page(t, r); !strings.Contains(text, "and 51 more: filter the findings below by “what is accepted”") {
		t.Error("51 are left out, and nobody says so")
	}
}

// TestDatabaseAmongImages: it has no vulnerabilities, and was never looked for any.
func TestDatabaseAmongImages(t *testing.T) {
	r := sample(1, 0)
	r.Findings, r.Images[0].Severities, r.Images[0].Database = nil, [6]int{}, true
	if text := page(t, r); strings.Contains(text, `<span class="num">none</span>`) || !strings.Contains(text, "the vulnerability database: no image") || !strings.Contains(text, "<dt>Images</dt><dd><strong>0</strong>") {
		t.Error("the database is shown as an image without vulnerabilities")
	}
}

// TestWarnings: where less was seen than there may be, stands at the verdict and
// beside the image.
func TestWarnings(t *testing.T) {
	r := sample(2, 0)
	if text := page(t, r); strings.Contains(text, "not everything could be read") {
		t.Error("there is nothing to warn of")
	}
	r.Images[0].Warnings = []string{"could not be read: <b>"}
	text := page(t, r)
	for _, want := range []string{"In 1 image not everything could be read or matched", "could not be read: &lt;b&gt;"} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q on the page", want)
		}
	}
}

// TestEmptyCatalogue: of an image in which no package was found nothing is
// known, which is not the same as no vulnerabilities.
func TestEmptyCatalogue(t *testing.T) {
	r := sample(1, 0)
	r.Findings, r.Images[0].Severities = nil, [6]int{}
	if text := page(t, r); !strings.Contains(text, `<span class="num">none</span>`) {
		t.Error("an image without findings does not say so")
	}
	r.Images[0].Empty = true
	if text := page(t, r); strings.Contains(text, `<span class="num">none</span>`) || !strings.Contains(text, "not known</span>") || !strings.Contains(text, "no package was found in it") {
		t.Error("an image in which nothing was found is shown as one without vulnerabilities")
	}
}
