package ferry_test

import (
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
	"ferry/internal/evidence"
	"ferry/internal/ferry"
	"ferry/internal/policy"
)

// asked are the platforms that the scanner was asked about.
func (g *gatedPack) asked() *[]string {
	var all []string
	g.scanner.onImages = func(images []evidence.Wanted) {
		for _, i := range images {
			all = append(all, i.Platform)
		}
	}
	return &all
}

// TestNothingGetsPastTheGate: what calls itself an attestation, or is no image
// at all, is scanned or refused.
func TestNothingGetsPastTheGate(t *testing.T) {
	nowhere := ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	for name, tc := range map[string]struct {
		make   func(s sample) ocispec.Descriptor
		asked  string
		refuse string
	}{
		"an attestation is no image": {func(s sample) ocispec.Descriptor { return s.Index(s.amd64, s.attestation) }, "linux/amd64", ""},
		"an image that calls itself an attestation": {func(s sample) ocispec.Descriptor {
			d := s.Image(nowhere, contenttest.Config{}, s.own)
			d.Annotations = s.attestation.Annotations
			return s.Index(s.amd64, d)
		}, "linux/amd64 unknown/unknown", ""},
		"a layer between statements": {func(s sample) ocispec.Descriptor {
			d := s.Image(nowhere, contenttest.Config{}, s.Add("application/vnd.in-toto+json", []byte("{}")), s.own)
			d.Annotations = s.attestation.Annotations
			return s.Index(s.amd64, d)
		}, "linux/amd64 unknown/unknown", ""},
		"a statement for a platform": {func(s sample) ocispec.Descriptor {
			return s.Index(s.amd64, s.Image(arm64, contenttest.Config{}, s.Add("application/vnd.in-toto+json", []byte("{}"))))
		}, "linux/amd64 linux/arm64", ""},
		"an artifact": {func(s sample) ocispec.Descriptor {
			return s.Artifact(nil, "application/vnd.example.chart", s.Add("text/plain", []byte("x")))
		}, "", "it is no container image, but a \"application/vnd.example.chart\""},
		"an index of attestations": {func(s sample) ocispec.Descriptor { return s.Index(s.attestation) }, "", "there is no container image in it"},
	} {
		t.Run(name, func(t *testing.T) {
			g := startGated(t, "version: 1\n")
			s := newSample()
			g.req.Places = []string{g.up.push(s.Store, "team/odd", "1", tc.make(s))}
			asked := g.asked()
			if tc.refuse != "" {
				g.refuses(tc.refuse)
				return
			}
			g.passes()
			if got := strings.Join(*asked, " "); got != tc.asked {
				t.Errorf("the scanner was asked about %q, want %q", got, tc.asked)
			}
		})
	}
}

// One manifest under two names is scanned once, and judged under both.
func TestTwoNamesOneScan(t *testing.T) {
	g := startGated(t, "version: 1\nexceptions: [{vulnerability: CVE-1, image: '*:2.0', knownExploited: true, owner: o, reason: r, ticket: t, expires: 2026-12-31}]\n")
	s := newSample()
	one, two := g.up.push(s.Store, "team/app", "1.0", s.amd64), g.up.push(s.Store, "team/app", "2.0", s.amd64)
	g.req.Places = []string{one, two}
	f := high()
	f.KnownExploited = true
	g.scanner.findings = append(g.scanner.findings, f)
	r := g.refuses("known-exploited")
	if g.scanner.scans != 1 || r.Verdict.Refused() != 1 {
		t.Errorf("%d scans, %d refusals", g.scanner.scans, r.Verdict.Refused())
	}
	g.req.Places = []string{two}
	g.req.To = filepath.Join(t.TempDir(), "two.tar")
	g.passes()
	v, err := ferry.Verify(t.Context(), g.world, ferry.VerifyRequest{File: g.req.To, Policy: g.req.Policy})
	if err != nil || v.Evidence.Verdict.Decisions[0].Accepted == nil {
		t.Errorf("%v %+v", err, v)
	}
}

// An image that hangs on another as its signature gets a tag inside too, so it
// is judged; a signature, which has an image's config as well, is none.
func TestAnImageAmongReferrersIsJudged(t *testing.T) {
	for name, tc := range map[string]struct {
		layer func(s sample) ocispec.Descriptor
		asked string
	}{
		"an image": {func(s sample) ocispec.Descriptor { return s.own }, "linux/amd64 linux/s390x"},
		"a signature": {func(s sample) ocispec.Descriptor {
			return s.Add("application/vnd.dev.cosign.simplesigning.v1+json", []byte("{}"))
		}, "linux/amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			g := startGated(t, "version: 1\n")
			s := newSample()
			g.req.Places = []string{g.up.push(s.Store, "team/app", "1.0", s.amd64)}
			attached := s.Image(s390x, contenttest.Config{}, tc.layer(s))
			g.up.push(s.Store, "team/app", "sha256-"+s.amd64.Digest.Encoded()+".sig", attached)
			asked := g.asked()
			g.passes()
			if got := strings.Join(*asked, " "); got != tc.asked {
				t.Errorf("the scanner was asked about %q, want %q", got, tc.asked)
			}
			if _, err := ferry.Verify(t.Context(), g.world, ferry.VerifyRequest{File: g.req.To, Policy: g.req.Policy}); err != nil {
				t.Error(err)
			}
			g.scanner.findings = []policy.Finding{{ID: "CVE-1", KnownExploited: true, Severity: policy.High}}
			g.req.To = filepath.Join(t.TempDir(), "refused.tar")
			if n := g.refuses("known-exploited").Verdict.Refused(); n != len(strings.Fields(tc.asked)) {
				t.Errorf("%d refused", n)
			}
		})
	}
}
