package ui_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/ui"
)

func refusedVerdict() *policy.Verdict {
	layer := digest.FromString("layer")
	xz := policy.Decision{
		Image: "quay.io/acme/api:2.3", Platform: "linux/amd64", Package: "liblzma5", Version: "5.6.0", Layer: layer,
		Vulnerability: "CVE-2024-3094", Severity: policy.Critical, KnownExploited: true, FixedIn: []string{"5.6.1+really5.4.5-1"},
		Reasons: []policy.Reason{{Rule: "known-exploited", Text: "it is known to be exploited"}},
	}
	other := xz
	other.Platform = "linux/arm64"
	none := policy.Decision{
		Image: "quay.io/acme/api:2.3", Platform: "linux/amd64", Package: "zlib1g", Version: "1:1.2.13", Vulnerability: "CVE-2023-45853",
		Severity: policy.Critical, Reasons: []policy.Reason{{Rule: "severity", Text: "critical or worse without a fix is refused"}},
		Note: "the exception of payments expired: 2026-11-01",
	}
	root := policy.Decision{Image: "docker.io/library/nginx:1.27", Platform: "linux/amd64", Reasons: []policy.Reason{{Rule: "root-user", Text: "it runs as root, as its config says"}}}
	both := xz
	both.Vulnerability, both.KnownExploited = "CVE-2025-1", false
	both.Reasons = []policy.Reason{{Rule: "severity", Text: "high or worse with a fix is refused"}, {Rule: "old-news", Text: "it was published a month ago"}}
	taken := none
	taken.Vulnerability, taken.Accepted = "CVE-1", &policy.Acceptance{Owner: "web"}
	return &policy.Verdict{Decisions: []policy.Decision{xz, other, both, none, taken, root}, AsOf: moment}
}

func TestRefused(t *testing.T) {
	v := refusedVerdict()
	// A slip in an id is why something is refused still.
	v.Unused = []policy.UnusedException{{Exception: policy.Exception{Vulnerability: "CVE-2024-3049", Package: "liblzma5", Owner: "web"}}}
	r := &ferry.RefusedError{
		File: "release.tar", Policy: "ferry.policy.yaml", Verdict: v, Kept: true,
		Layers: map[digest.Digest]int{digest.FromString("layer"): 3},
	}
	golden(t, ui.Printer{}, func(p *ui.Printer) error { return p.Refused(r) }, `
gate  refused by ferry.policy.yaml: 4 things in 2 images
✗ docker.io/library/nginx:1.27  linux/amd64
    root-user: it runs as root, as its config says
✗ quay.io/acme/api:2.3  linux/amd64 linux/arm64
    CVE-2024-3094 in liblzma5 5.6.0 — critical, known exploited, fixed in 5.6.1+really5.4.5-1 (layer 3)
    CVE-2025-1 in liblzma5 5.6.0 — critical, fixed in 5.6.1+really5.4.5-1; old-news: it was published a month ago (layer 3)
    CVE-2023-45853 in zlib1g 1:1.2.13 — critical, no fix
      the exception of payments expired: 2026-11-01
! 1 finding is accepted by web
  → update liblzma5 5.6.0 in quay.io/acme/api:2.3: mends 2
  → or accept it for a while: an exception in ferry.policy.yaml with owner, reason, ticket and end (ferry policy explain ferry.policy.yaml)
nothing was written under the name release.tar; what was pulled is kept for the next try
`, "! unused exception for CVE-2024-3049 in liblzma5 (owner: web): nothing that was found matches it\n")
}

// Who reads that nothing is refused has to know what was not seen.
func TestWarningsOfAVerdict(t *testing.T) {
	v := &policy.Verdict{Passed: true, AsOf: moment, Database: policy.DatabaseInfo{Built: moment}}
	for range 12 {
		v.Warnings = append(v.Warnings, policy.Warning{Image: "quay.io/acme/api:2.3", Platform: "linux/amd64", Text: "could not be read: /app.jar"})
	}
	for name, show := range map[string]func(*ui.Printer) error{
		"pack": func(p *ui.Printer) error { return p.Pack(&ferry.PackResult{File: "f", Digest: top, Verdict: v}) },
		"verify": func(p *ui.Printer) error {
			return p.Verify(&ferry.VerifyResult{Digest: top, Evidence: &ferry.EvidenceResult{Verdict: v}})
		},
		"refused": func(p *ui.Printer) error { return p.Refused(&ferry.RefusedError{File: "f", Verdict: v}) },
	} {
		out, _, err := printed(ui.Printer{}, show)
		if err != nil || strings.Count(out, "! quay.io/acme/api:2.3 linux/amd64: could not be read: /app.jar\n") != 10 || !strings.Contains(out, "  and 2 more warnings (-o json)\n") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// Nobody accepts anything without a name.
func TestAcceptedBy(t *testing.T) {
	v := &policy.Verdict{Passed: true, AsOf: moment, Database: policy.DatabaseInfo{Built: moment}, Until: moment}
	for _, owner := range []string{"payments", "Acme Security", "payments"} {
		v.Decisions = append(v.Decisions, policy.Decision{Vulnerability: "CVE-1", Accepted: &policy.Acceptance{Owner: owner}})
	}
	for want, n := range map[string]int{
		"! 1 finding is accepted by payments, the next ends at ":                          1,
		"! 3 findings are accepted by Acme Security (1), payments (2), the next ends at ": 3,
	} {
		few := *v
		few.Decisions = v.Decisions[:n]
		out, _, err := printed(ui.Printer{}, func(p *ui.Printer) error { return p.Pack(&ferry.PackResult{File: "f", Digest: top, Verdict: &few}) })
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: want %q in\n%s", err, want, out)
		}
	}
}

// What no update mends has a next step too.
func TestRefusedForWhatNoExceptionCovers(t *testing.T) {
	r := &ferry.RefusedError{File: "release.tar", Policy: "bank.yaml", Verdict: &policy.Verdict{Decisions: []policy.Decision{
		{Reasons: []policy.Reason{{Rule: policy.RuleDatabase, Text: "the vulnerability database is old"}}},
		{Image: "quay.io/acme/api@sha256:8c2e", Platform: "linux/amd64", Reasons: []policy.Reason{{Rule: policy.RuleUnread, Text: "layer 1: it is no whole tar"}}},
	}, AsOf: moment}, Referrers: map[string]string{"quay.io/acme/api@sha256:8c2e": "quay.io/acme/api:2.3"}}
	golden(t, ui.Printer{}, func(p *ui.Printer) error { return p.Refused(r) }, `
gate  refused by bank.yaml: 2 things in 2 images
✗ all images
    database: the vulnerability database is old
✗ quay.io/acme/api@sha256:8c2e  linux/amd64
    a referrer of quay.io/acme/api:2.3 (left behind: --no-referrers)
    not-scanned: layer 1: it is no whole tar
  → what could not be scanned: leave it out, or have it built again
  → if the clock here is right (date), take a newer database: ferry db pull, or ferry db import FILE
nothing was written under the name release.tar
`, "")
}

// A database from after the moment that is judged is not mended by a newer one.
func TestRefusedForAMomentBeforeTheDatabase(t *testing.T) {
	r := &ferry.RefusedError{File: "release.tar", Policy: "bank.yaml", Verdict: &policy.Verdict{
		Decisions: []policy.Decision{{Reasons: []policy.Reason{{Rule: policy.RuleDatabase, Text: "the vulnerability database is of tomorrow"}}}},
		AsOf:      moment, Database: policy.DatabaseInfo{Built: moment.AddDate(0, 0, 1)},
	}}
	golden(t, ui.Printer{}, func(p *ui.Printer) error { return p.Refused(r) }, `
gate  refused by bank.yaml: 1 thing in 1 image
✗ all images
    database: the vulnerability database is of tomorrow
  → judge a later moment (--as-of), or take the database of that time: ferry db import FILE --older; without --as-of, look at the clock (date)
nothing was written under the name release.tar
`, "")
}

func TestRefusedForTheClock(t *testing.T) {
	r := &ferry.RefusedError{File: "release.tar", Policy: "bank.yaml", Verdict: &policy.Verdict{
		Decisions: []policy.Decision{{Reasons: []policy.Reason{{Rule: policy.RuleClock, Text: "the clock is wrong"}}}},
	}}
	golden(t, ui.Printer{}, func(p *ui.Printer) error { return p.Refused(r) }, `
gate  refused by bank.yaml: 1 thing in 1 image
✗ all images
    clock: the clock is wrong
  → set the clock here right (date)
nothing was written under the name release.tar
`, "")
}

func TestNoExceptionIsUnusedWhereAnImageWasNotRead(t *testing.T) {
	r := &ferry.RefusedError{File: "release.tar", Policy: "bank.yaml", Verdict: &policy.Verdict{
		Decisions: []policy.Decision{{Image: "a", Reasons: []policy.Reason{{Rule: policy.RuleUnread, Text: "it is no whole tar"}}}},
		Unused:    []policy.UnusedException{{Exception: policy.Exception{Vulnerability: "CVE-1", Package: "p", Owner: "web"}}},
	}}
	if _, conversation, err := printed(ui.Printer{}, func(p *ui.Printer) error { return p.Refused(r) }); err != nil || conversation != "" {
		t.Errorf("%v: it says %q", err, conversation)
	}
}

func TestVerdictTextCannotSteerTheTerminal(t *testing.T) {
	d := policy.Decision{
		Image: evil, Platform: evil, Package: evil, Version: evil, Vulnerability: evil, Severity: policy.Severity(evil), FixedIn: []string{evil},
		Reasons: []policy.Reason{{Rule: evil, Text: evil}}, Note: evil,
	}
	rule := policy.Decision{Image: evil, Reasons: []policy.Reason{{Rule: evil, Text: evil}}}
	taken := d
	taken.Accepted = &policy.Acceptance{Owner: evil, Reason: evil, Ticket: evil, Until: evil}
	v := &policy.Verdict{Decisions: []policy.Decision{d, rule, taken}, Warnings: []policy.Warning{{Image: evil, Platform: evil, Text: evil}}, Unused: []policy.UnusedException{{Exception: policy.Exception{Rule: evil, Owner: evil, Image: evil}}}}
	refused := &ferry.RefusedError{File: evil, Policy: evil, Verdict: v}
	packed := &ferry.PackResult{File: "f", Digest: top, Gate: bundle.Passed, Verdict: v}
	verified := &ferry.VerifyResult{Digest: top, Evidence: &ferry.EvidenceResult{Policy: evil, Verdict: v}}
	for _, json := range []bool{false, true} {
		for _, show := range []func(*ui.Printer) error{
			func(p *ui.Printer) error { return p.Refused(refused) },
			func(p *ui.Printer) error { return p.Pack(packed) },
			func(p *ui.Printer) error { return p.Verify(verified) },
		} {
			out, conversation, err := printed(ui.Printer{JSON: json}, show)
			if err != nil {
				t.Fatal(err)
			}
			harmless(t, out+conversation)
		}
	}
}

func TestRefusalsFitOnAScreen(t *testing.T) {
	v := &policy.Verdict{}
	for i := range 500 {
		d := refusedVerdict().Decisions[0]
		d.Vulnerability += string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		v.Decisions = append(v.Decisions, d)
	}
	out, _, err := printed(ui.Printer{}, func(p *ui.Printer) error { return p.Refused(&ferry.RefusedError{Verdict: v}) })
	if err != nil || strings.Count(out, "\n") > 30 || !strings.Contains(out, "and 480 more") {
		t.Errorf("%v\n%s", err, out)
	}
}
