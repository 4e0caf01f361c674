package ferry_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/evidence"
	"ferry/internal/ferry"
	"ferry/internal/lock"
	"ferry/internal/policy"
)

// reader is a bundle that passed a gate, and a reader with a policy of his own
// and, as long as no test says otherwise, neither scanner nor database.
type reader struct {
	t     *testing.T
	world ferry.World
	req   ferry.VerifyRequest
	pack  *gatedPack
	now   time.Time
}

func startReader(t *testing.T, policyText string, findings ...policy.Finding) *reader {
	t.Helper()
	g := startGated(t, "version: 1\n")
	g.scanner.findings = findings
	g.passes()
	r := &reader{t: t, world: world(t), pack: g, now: moment.AddDate(0, 0, 30)}
	r.world.Now = func() time.Time { return r.now }
	own := filepath.Join(t.TempDir(), "bank.yaml")
	if err := os.WriteFile(own, []byte(policyText), 0o600); err != nil {
		t.Fatal(err)
	}
	r.req = ferry.VerifyRequest{File: g.req.To, Policy: ferry.PolicyRequest{File: own}}
	return r
}

func (r *reader) verify() (*ferry.VerifyResult, error) {
	return ferry.Verify(r.t.Context(), r.world, r.req)
}

func (r *reader) passes() *ferry.EvidenceResult {
	r.t.Helper()
	v, err := r.verify()
	if err != nil {
		if refused, ok := errors.AsType[*ferry.RefusedError](err); ok && refused.Verdict != nil {
			r.t.Fatalf("%v: %+v", err, refused.Verdict.Decisions)
		}
		r.t.Fatal(err)
	}
	return v.Evidence
}

func (r *reader) refuses(texts ...string) {
	r.t.Helper()
	v, err := r.verify()
	refused, ok := errors.AsType[*ferry.RefusedError](err)
	if !ok || v != nil {
		r.t.Fatalf("%v, %+v: want a refusal", err, v)
	}
	said := refused.Error()
	if refused.Verdict != nil {
		for _, d := range refused.Verdict.Decisions {
			for _, reason := range d.Reasons {
				said += "\n" + reason.Rule + " " + reason.Text
			}
		}
	}
	for _, text := range texts {
		if !strings.Contains(said, text) {
			r.t.Errorf("it says\n%s\nwant %q in it", said, text)
		}
	}
}

func TestReadersPolicyDecides(t *testing.T) {
	r := startReader(t, "version: 1\n", high())
	e := r.passes()
	if e.Basis != ferry.BasisEvidence || e.Images != 3 || !e.Verdict.Passed || e.PackedPolicy != digest.FromString("version: 1\n") || !e.Same {
		t.Errorf("%+v", e)
	}
	// What the packer's policy let through, the reader's refuses.
	startReader(t, strict, high()).refuses("high or worse with a fix is refused")
	startReader(t, strict+"images: {rootUser: refuse}").refuses("it runs as root")
	startReader(t, strict+"packages: {forbidden: [{name: zlib1g}]}").refuses("the policy forbids it")
	startReader(t, strict+"database: {maxAge: 7d}").refuses("31d old; it may be 7d")
	aged := startReader(t, strict)
	aged.req.DatabaseAge = 24 * time.Hour
	aged.refuses("it may be 1d")
}

func TestVerifyRefusesWhatWasNotGated(t *testing.T) {
	r := startReader(t, "version: 1\n")
	g := startGated(t, "version: 1\n")
	g.req.Policy = ferry.PolicyRequest{}
	if _, err := g.pack(); err != nil {
		t.Fatal(err)
	}
	r.req.File = g.req.To
	r.refuses("there is no scan report about it in the bundle")
}

func TestVerifyByAClockThatWasSetBack(t *testing.T) {
	r := startReader(t, "version: 1\n")
	r.now = moment.Add(-2 * time.Hour)
	r.refuses("the clock is wrong")

	// What counts is the later of two moments: that of the lock, and that of the
	// verdict.
	const was = "by this clock, and was 2026-"
	g := startGated(t, "version: 1\n")
	g.scanner.built, g.req.AsOf = moment.AddDate(0, 0, -5), moment.AddDate(0, 0, -3)
	g.passes()
	r.req.File = g.req.To
	r.refuses(was + "11-23")
	g.req.Lock, g.req.Places, g.req.To = g.req.To+".lock", nil, filepath.Join(t.TempDir(), "later.tar")
	g.scanner.built, g.now, g.req.AsOf = moment.AddDate(0, 0, 4), moment.AddDate(0, 0, 10), time.Time{}
	g.passes()
	r.req.File, r.now = g.req.To, moment.AddDate(0, 0, 5)
	r.refuses(was + "12-03")
}

func TestVerifyWithANewerDatabase(t *testing.T) {
	r := startReader(t, strict)
	newer := newStandIn()
	newer.built, newer.database = moment.AddDate(0, 0, 20), digest.FromString("newer")
	r.world.Scanner = newer
	if e := r.passes(); e.Basis != ferry.BasisSBOMs || e.Used.Checksum != newer.database || e.Come != 0 {
		t.Errorf("%+v", e)
	}
	newer.findings = []policy.Finding{high()}
	r.refuses("high or worse with a fix is refused")
	// An older one says nothing new.
	newer.built = moment.AddDate(0, 0, -20)
	if e := r.passes(); e.Basis != ferry.BasisEvidence {
		t.Errorf("%+v", e)
	}
	newer.err = errors.New("its checksum differs")
	r.refuses("its checksum differs")
	newer.err = ferry.ErrNoDatabase
	r.passes()
	r.req.Rescan = true
	r.refuses("there is no vulnerability database here")
	newer.err, newer.scanErr = nil, errors.New("out of memory")
	r.refuses("out of memory")
	r.req.Rescan, newer.built = false, moment.AddDate(0, 0, 20)
	r.refuses("out of memory")
	newer.scanErr, newer.short = nil, true
	r.refuses("the scanner answered for 2 of 3 SBOMs")
	newer.short, newer.swap = false, digest.FromString("another")
	r.refuses("was exchanged while the SBOMs were matched")
}

func TestRescanDoesNotTrustTheEvidence(t *testing.T) {
	r := startReader(t, strict)
	r.req.Rescan = true
	r.refuses("no scanner")
	s := newStandIn()
	r.world.Scanner = s
	if e := r.passes(); e.Basis != ferry.BasisLayers || s.scans != 3 {
		t.Errorf("%+v, %d scans", e, s.scans)
	}
	s.findings = []policy.Finding{high()}
	r.refuses("high or worse with a fix is refused")
}

// reseal gives the bundle evidence that a test has spoiled, in a form that is
// whole: every digest is right.
func (r *reader) reseal(spoil func(*evidence.Report), keep func(lock.Referrer) bool) {
	r.t.Helper()
	b, err := bundle.Open(r.req.File)
	if err != nil {
		r.t.Fatal(err)
	}
	seal := b.Seal()
	store := evidence.NewStore()
	src := both{store, b}
	var all []lock.Referrer
	for _, e := range seal.Evidence {
		n := b.Contents().Node(e.Digest)
		if e.ArtifactType == evidence.ReportMediaType && spoil != nil {
			parts := inside(r.t, r.req.File, n.Layers...)
			report, err := evidence.DecodeReport(parts[0])
			if err != nil {
				r.t.Fatal(err)
			}
			spoil(&report)
			a, err := store.Report(*n.Subject, report, parts[1], nil)
			if err != nil {
				r.t.Fatal(err)
			}
			e.Digest, e.Size = a.Desc.Digest, a.Desc.Size
		}
		if keep == nil || keep(e) {
			all = append(all, e)
		}
	}
	seal.Evidence = all
	slices.SortFunc(seal.Evidence, func(a, b lock.Referrer) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	if _, _, err := bundle.Reseal(r.t.Context(), r.req.File, seal, src); err != nil {
		r.t.Fatal(err)
	}
	_ = b.Close()
}

func TestEvidenceThatDoesNotFit(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*evidence.Report)
		keep  func(lock.Referrer) bool
		want  string
	}{
		"no reports": {nil, func(r lock.Referrer) bool { return r.ArtifactType != evidence.ReportMediaType }, "there is no scan report about it in the bundle"},
		"no SBOMs":   {nil, func(r lock.Referrer) bool { return r.ArtifactType == evidence.ReportMediaType }, "names an SBOM that is not in the bundle"},
		"of another image": {
			func(r *evidence.Report) { r.Digest = digest.FromString("another") }, nil, "is about another image",
		},
		"of another name":     {func(r *evidence.Report) { r.Image = "docker.io/library/nginx:1" }, nil, "there is no scan report about it"},
		"of another platform": {func(r *evidence.Report) { r.Platform = "linux/riscv64" }, nil, "is about another platform"},
		"of another database": {
			func(r *evidence.Report) { r.Database.Checksum = digest.FromString("x") }, nil, "of another database or policy",
		},
		"of a newer day":    {func(r *evidence.Report) { r.Database.Built = r.Database.Built.Add(time.Hour) }, nil, "bears other dates than the seal"},
		"of another moment": {func(r *evidence.Report) { r.AsOf = r.AsOf.Add(time.Hour) }, nil, "bears other dates than the seal"},
		"that was refused":  {func(r *evidence.Report) { r.Passed = false }, nil, "says that it was refused"},
		"of another policy": {func(r *evidence.Report) { r.Policy = digest.FromString("x") }, nil, "does not carry the policy that it names"},
		"no SBOM named":     {func(r *evidence.Report) { r.SBOMs = nil }, nil, "there is no SBOM of it"},
		"an SBOM in another form": {
			func(r *evidence.Report) {
				r.SBOMs = map[string]digest.Digest{evidence.CycloneDXMediaType: r.SBOMs[evidence.SPDXMediaType]}
			}, nil, "names an SBOM that is not in the bundle",
		},
		"an SBOM elsewhere": {
			func(r *evidence.Report) {
				r.SBOMs = map[string]digest.Digest{evidence.SPDXMediaType: digest.FromString("x")}
			}, nil, "names an SBOM that is not in the bundle",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := startReader(t, "version: 1\n")
			r.passes()
			r.reseal(tc.spoil, tc.keep)
			r.refuses(tc.want)
		})
	}
}

// The seal names the policy that was asked, and the reports another.
func TestSealOfAnotherPolicy(t *testing.T) {
	r := startReader(t, "version: 1\n")
	b, err := bundle.Open(r.req.File)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	seal := b.Seal()
	seal.Policy = digest.FromString("another")
	if _, _, err := bundle.Reseal(t.Context(), r.req.File, seal, both{evidence.NewStore(), b}); err != nil {
		t.Fatal(err)
	}
	r.refuses("its scan report is of another database or policy than the seal names")
}

// A consistent forgery passes until somebody reads the layers: that is what
// unsigned means, and what --rescan and --digest are for. Findings alone that
// were taken out are found by the SBOMs, with the same database or a newer one.
func TestForgedEvidence(t *testing.T) {
	r := startReader(t, strict)
	r.reseal(func(e *evidence.Report) { e.Findings, e.Decisions = nil, nil }, nil)
	scanner := newStandIn()
	scanner.findings = []policy.Finding{high()}
	if e := r.passes(); e.Basis != ferry.BasisEvidence {
		t.Errorf("with no database here: %+v", e)
	}
	r.world.Scanner = scanner // the same database
	r.refuses("high or worse with a fix is refused")
	// A database that is older is not asked, and verify says so.
	scanner.built = scanner.built.Add(-time.Hour)
	if e := r.passes(); e.Basis != ferry.BasisEvidence || e.Older == nil || !e.Older.Built.Equal(scanner.built) {
		t.Errorf("with an older database: %+v", e)
	}
	r.req.Rescan = true
	r.refuses("high or worse with a fix is refused")
}

// What the evidence says of a distribution is no help to layers that name none.
func TestRescanTakesNoDistributionFromTheEvidence(t *testing.T) {
	r := startReader(t, "version: 1\n")
	r.world.Scanner = r.pack.scanner
	r.req.Rescan = true
	r.passes()
	r.pack.scanner.noDistribution = true
	r.refuses("unknown-distribution")
	// An SBOM in a form that names none has that of its report.
	r.req.Rescan = false
	r.passes()
}

func TestTamperedEvidenceIsDamage(t *testing.T) {
	r := startReader(t, "version: 1\n")
	b, err := os.ReadFile(r.req.File)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), `"findings"`)
	if at < 0 {
		at = strings.Index(string(b), `"passed": true`)
	}
	b[at+1] ^= 1
	if err := os.WriteFile(r.req.File, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = r.verify()
	var damage *bundle.DamageError
	if !errors.As(err, &damage) {
		t.Errorf("%v is no damage", err)
	}
}

// both is a source of what several hold.
type both []content.Source

func (b both) Open(ctx context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	var errs []error
	for _, s := range b {
		r, err := s.Open(ctx, d, offset)
		if err == nil {
			return r, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
