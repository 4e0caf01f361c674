package ferry_test

import (
	"path/filepath"
	"slices"
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
		"files that call themselves statements": {func(s sample) ocispec.Descriptor {
			d := s.Image(nowhere, contenttest.Config{}, called(s.own, "application/vnd.in-toto+json"))
			d.Annotations = s.attestation.Annotations
			return s.Index(s.amd64, d)
		}, "linux/amd64 unknown/unknown", ""},
		"an index that names what is neither image nor index": {func(s sample) ocispec.Descriptor {
			return s.Index(s.amd64, called(s.arm64, "application/vnd.example.other"))
		}, "", "its index names a \"application/vnd.example.other\""},
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

// called is d under another media type: what somebody says that it is.
func called(d ocispec.Descriptor, mediaType string) ocispec.Descriptor {
	d.MediaType = mediaType
	return d
}

// referrers are what may hang on an image: asked are the platforms that the
// scanner is asked about beside the image's own, or refuse says why it is a no.
var referrers = map[string]struct {
	make          func(s sample) ocispec.Descriptor
	asked, refuse string
}{
	"an image": {make: func(s sample) ocispec.Descriptor { return s.Image(s390x, contenttest.Config{}, s.own) }, asked: "linux/s390x"},
	"an image for containerd alone": {make: func(s sample) ocispec.Descriptor {
		return s.Image(s390x, contenttest.Config{}, s.Add("application/vnd.erofs.layer.v1", []byte("EROFS")))
	}, asked: "linux/s390x"},
	"a layer that calls itself a file": {make: func(s sample) ocispec.Descriptor {
		return s.Image(s390x, contenttest.Config{}, called(s.own, "application/octet-stream"))
	}, asked: "linux/s390x"},
	"a tar that calls itself a signature": {make: func(s sample) ocispec.Descriptor {
		return s.Image(s390x, contenttest.Config{}, s.Add("application/vnd.dev.cosign.simplesigning.v1+json", contenttest.Tar(contenttest.File{Name: "a"})))
	}, asked: "linux/s390x"},
	"files behind a statement": {make: func(s sample) ocispec.Descriptor {
		return s.Image(s390x, contenttest.Config{}, s.Add("application/vnd.in-toto+json", []byte("{}")), called(s.own, "text/plain"))
	}, asked: "linux/s390x"},
	"a zstd layer that calls itself a file": {make: func(s sample) ocispec.Descriptor {
		return s.Image(s390x, contenttest.Config{}, s.Add("text/plain", contenttest.Zstd(contenttest.Tar(contenttest.File{Name: "a"}))))
	}, asked: "linux/s390x"},
	// containerd 1.7 and 2 read the config whatever it calls itself.
	"a config that calls itself another": {make: func(s sample) ocispec.Descriptor {
		return s.reconfigured(s.s390x, "application/vnd.example.config")
	}, refuse: `it calls itself a "application/vnd.example.config", and a node would run it all the same`},

	"a signature": {make: func(s sample) ocispec.Descriptor {
		return s.Image(s390x, contenttest.Config{}, s.Add("application/vnd.dev.cosign.simplesigning.v1+json", []byte("{}")))
	}},
	"an SBOM": {make: func(s sample) ocispec.Descriptor {
		return s.Image(s390x, contenttest.Config{}, s.Add("text/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`)), s.Add("text/spdx+gzip", contenttest.Gzip([]byte("{}"))))
	}},
	// oras gives files and folders a layer's media type, and no config.
	"files that oras attached": {make: func(s sample) ocispec.Descriptor {
		return s.Artifact(nil, "application/vnd.example.notes", s.own, s.Add(ocispec.MediaTypeImageLayer, []byte("notes")))
	}},
	"an attestation": {make: func(s sample) ocispec.Descriptor { return s.attestation }},
}

// TestImagesAmongReferrers: an image that hangs on another as its signature
// gets a tag inside too, so what a node would run is judged, whatever it calls
// itself; signatures and SBOMs, which have an image's config as well, cross.
func TestImagesAmongReferrers(t *testing.T) {
	for name, tc := range referrers {
		t.Run(name, func(t *testing.T) {
			g := startGated(t, "version: 1\n")
			s := newSample()
			g.req.Places = []string{g.up.push(s.Store, "team/app", "1.0", s.amd64)}
			attached := tc.make(s)
			g.up.push(s.Store, "team/app", "sha256-"+s.amd64.Digest.Encoded()+".sig", attached)
			asked := g.asked()
			if tc.refuse != "" {
				g.refuses(tc.refuse)
				return
			}
			g.passes()
			want := strings.TrimSpace("linux/amd64 " + tc.asked)
			if got := strings.Join(*asked, " "); got != want {
				t.Errorf("the scanner was asked about %q, want %q", got, want)
			}
			if _, err := ferry.Verify(t.Context(), g.world, ferry.VerifyRequest{File: g.req.To, Policy: g.req.Policy}); err != nil {
				t.Error(err)
			}
			g.scanner.findings = []policy.Finding{{ID: "CVE-1", KnownExploited: true, Severity: policy.High}}
			g.req.To = filepath.Join(t.TempDir(), "refused.tar")
			if n := g.refuses("known-exploited").Verdict.Refused(); n != len(strings.Fields(want)) {
				t.Errorf("%d refused", n)
			}
		})
	}
}

// TestReferrersHaveTheirOwnName: what is found in a referrer is said of it, and
// not of the image that it hangs on.
func TestReferrersHaveTheirOwnName(t *testing.T) {
	g := startGated(t, "version: 1\n")
	s := newSample()
	one := g.up.push(s.Store, "team/app", "1.0", s.amd64)
	two := g.up.push(s.Store, "team/app", "2.0", s.amd64)
	g.req.Places = []string{one, two}
	attached := s.Image(s390x, contenttest.Config{}, s.own)
	g.up.push(s.Store, "team/app", "sha256-"+s.amd64.Digest.Encoded()+".sig", attached)
	g.passes()
	name := strings.TrimSuffix(one, ":1.0") + "@" + attached.Digest.String()
	report, err := ferry.Report(t.Context(), g.world, ferry.ReportRequest{File: g.req.To})
	if err != nil || len(report.Images) != 3 || report.Images[2].Name != name || report.Images[2].ReferrerOf != one {
		t.Errorf("the report: %v %+v", err, report)
	}
	scanned, err := ferry.Scan(t.Context(), g.world, ferry.ScanRequest{Places: []string{g.req.To}, Images: []string{one}})
	if err != nil || len(scanned.Images) != 2 || scanned.Images[1].Name != name || scanned.Images[1].ReferrerOf != one {
		t.Errorf("the scan: %v %+v", err, scanned)
	}
	g.scanner.findings = []policy.Finding{{ID: "CVE-1", KnownExploited: true, Severity: policy.High}}
	g.req.To = filepath.Join(t.TempDir(), "refused.tar")
	r := g.refuses("known-exploited")
	var refused []string
	for _, d := range r.Verdict.Decisions {
		refused = append(refused, d.Image)
	}
	slices.Sort(refused)
	want := []string{one, two, name}
	if slices.Sort(want); !slices.Equal(refused, want) || r.Referrers[name] != one {
		t.Errorf("refused are %q, want %q; referrers %q", refused, want, r.Referrers)
	}
}
