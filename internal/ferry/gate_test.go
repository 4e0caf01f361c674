package ferry_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/evidence"
	"ferry/internal/ferry"
	"ferry/internal/policy"
)

// standInScanner stands in for the scanner: it finds what a test tells it to,
// in every image. The real one is tested with its own package.
type standInScanner struct {
	built    time.Time
	database digest.Digest
	// swap is another database that takes the place of the first one when a
	// scan begins.
	swap     digest.Digest
	err      error // of Database
	scanErr  error
	findings []policy.Finding
	failed   string
	// onScan is called when a scan begins.
	onScan   func(file string)
	onImages func([]evidence.Wanted)
	sbom     func(dir string) evidence.Document
	scans    int
	// noDistribution leaves out which distribution an image is of.
	noDistribution bool
	warnings       []string
	// short leaves out the last answer, noSBOM the SBOMs.
	short, noSBOM bool
}

func newStandIn() *standInScanner {
	return &standInScanner{built: moment.AddDate(0, 0, -1), database: digest.FromString("database")}
}

func (s *standInScanner) Database(context.Context) (policy.DatabaseInfo, error) {
	return policy.DatabaseInfo{Built: s.built, Checksum: s.database}, s.err
}

func (s *standInScanner) Scan(_ context.Context, file string, images []evidence.Wanted, dir string) ([]ferry.Scanned, error) {
	s.scans += len(images)
	if s.onScan != nil {
		s.onScan(file)
	}
	if s.onImages != nil {
		s.onImages(images)
	}
	if s.scanErr != nil {
		return nil, s.scanErr
	}
	if s.swap != "" {
		s.database = s.swap
	}
	var all []ferry.Scanned
	for _, i := range images {
		doc := evidence.Document{MediaType: evidence.SPDXMediaType, Data: []byte("the SBOM of " + i.Digest)}
		if s.sbom != nil {
			doc = s.sbom(dir)
		}
		all = append(all, s.found(doc))
	}
	return s.given(all), nil
}

func (s *standInScanner) given(all []ferry.Scanned) []ferry.Scanned {
	if s.short {
		return all[:len(all)-1]
	}
	return all
}

func (s *standInScanner) Match(_ context.Context, sboms []evidence.Document) ([]ferry.Scanned, error) {
	if s.swap != "" {
		s.database = s.swap
	}
	var all []ferry.Scanned
	for range sboms {
		all = append(all, s.found(evidence.Document{}))
	}
	return s.given(all), s.scanErr
}

func (s *standInScanner) found(doc evidence.Document) ferry.Scanned {
	d := policy.Distribution{ID: "debian", Version: "12", Known: true}
	if s.noDistribution {
		d = policy.Distribution{}
	}
	docs := []evidence.Document{doc}
	if s.noSBOM {
		docs = nil
	}
	return ferry.Scanned{
		Tool: evidence.Tool{Name: "stand-in", Version: "1"}, Database: policy.DatabaseInfo{Built: s.built, Checksum: s.database},
		Distribution: d,
		Packages:     []policy.Package{{Name: "zlib1g", Version: "1.2.13", Type: "deb", System: true}},
		Findings:     s.findings, Failed: s.failed, SBOMs: docs, Warnings: s.warnings,
	}
}

// gated is a world with a scanner, an upstream image, and a request to pack it
// under a policy.
type gatedPack struct {
	t       *testing.T
	world   ferry.World
	scanner *standInScanner
	req     ferry.PackRequest
	now     time.Time
	up      *upstream
}

func startGated(t *testing.T, policyText string) *gatedPack {
	t.Helper()
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	g := &gatedPack{t: t, world: world(t), scanner: newStandIn(), now: moment, up: u}
	g.world.Scanner = g.scanner
	g.world.Now = func() time.Time { return g.now }
	dir := t.TempDir()
	g.req = ferry.PackRequest{Places: []string{name}, To: filepath.Join(dir, "release.tar"), Policy: ferry.PolicyRequest{Dir: dir}}
	g.policy(policyText)
	return g
}

func (g *gatedPack) policy(text string) {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(g.req.Policy.Dir, policy.FileName), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gatedPack) pack() (*ferry.PackResult, error) {
	return ferry.Pack(g.t.Context(), g.world, g.req)
}

func (g *gatedPack) passes() *ferry.PackResult {
	g.t.Helper()
	r, err := g.pack()
	if err != nil {
		g.t.Fatal(err)
	}
	if b := g.open(); b.Seal().Gate != bundle.Passed || r.Gate != bundle.Passed {
		g.t.Errorf("the seal says %q, pack %q", b.Seal().Gate, r.Gate)
	}
	if _, err := ferry.Verify(g.t.Context(), g.world, ferry.VerifyRequest{File: g.req.To, Digest: r.Digest.String()}); err != nil {
		g.t.Error(err)
	}
	g.clean()
	return r
}

// refuses wants no bundle, exit code 3's error, and nothing left of the scan.
func (g *gatedPack) refuses(texts ...string) *ferry.RefusedError {
	g.t.Helper()
	r, err := g.pack()
	refused, ok := errors.AsType[*ferry.RefusedError](err)
	if !ok {
		g.t.Fatalf("%v, %+v: want a refusal", err, r)
	}
	said := refused.Error()
	if refused.Verdict != nil {
		for _, d := range refused.Verdict.Decisions {
			for _, reason := range d.Reasons {
				said += "\n" + reason.Rule + " " + reason.Text
			}
			said += d.Note
		}
	}
	for _, text := range texts {
		if !strings.Contains(said, text) {
			g.t.Errorf("it says\n%s\nwant %q in it", said, text)
		}
	}
	g.clean()
	return refused
}

// clean wants no folder of a scan to be left.
func (g *gatedPack) clean() {
	g.t.Helper()
	for _, name := range files(g.t, g.req.To) {
		if strings.Contains(name, ".scan-") || strings.Contains(name, "reseal") {
			g.t.Errorf("left behind: %s", name)
		}
	}
}

func (g *gatedPack) open() *bundle.Bundle {
	g.t.Helper()
	b, err := bundle.Open(g.req.To)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = b.Close() })
	return b
}

func (g *gatedPack) missing() {
	g.t.Helper()
	if _, err := os.Stat(g.req.To); err == nil {
		g.t.Error("a bundle stands under the name")
	}
}

const strict = "version: 1\nvulnerabilities: {refuse: {withFix: high}}\n"

func high() policy.Finding {
	return policy.Finding{ID: "CVE-1", Severity: policy.High, FixedIn: []string{"1.3"}, FixState: "fixed"}
}

func TestGatePasses(t *testing.T) {
	g := startGated(t, strict)
	r := g.passes()
	seal := g.open().Seal()
	if seal.Policy != r.Verdict.Policy || seal.Database.Checksum != g.scanner.database || len(seal.Evidence) != 6 {
		t.Errorf("the seal says %+v", seal)
	}
	if g.scanner.scans != 3 {
		t.Errorf("%d scans for three platforms and an attestation", g.scanner.scans)
	}
}

func TestWithoutAPolicyNothingIsGated(t *testing.T) {
	g := startGated(t, strict)
	if err := os.Remove(filepath.Join(g.req.Policy.Dir, policy.FileName)); err != nil {
		t.Fatal(err)
	}
	g.scanner.findings = []policy.Finding{high()}
	r, err := g.pack()
	if err != nil || r.Gate != bundle.NotGated || g.open().Seal().Gate != bundle.NotGated {
		t.Errorf("%v %+v", err, r)
	}
	if g.scanner.scans > 0 {
		t.Error("it was scanned")
	}
	// A policy that comes later gates what is there.
	g.policy(strict)
	g.refuses("high or worse with a fix is refused")
	if g.open().Seal().Gate != bundle.NotGated {
		t.Error("what was refused has another seal")
	}
	g.scanner.findings = nil
	if r := g.passes(); !r.Resealed || r.Fetched != 0 {
		t.Errorf("%+v", r)
	}
}

func TestGateRefusesAndKeepsTheLayers(t *testing.T) {
	g := startGated(t, strict)
	g.scanner.findings = []policy.Finding{high()}
	if r := g.refuses("high or worse with a fix is refused"); !r.Kept || r.Verdict.Refused() != 3 {
		t.Errorf("%+v", r)
	}
	g.missing()
	// The next try takes what was pulled.
	g.up.ResetRequests()
	g.scanner.findings = nil
	if r := g.passes(); r.Fetched != 0 {
		t.Errorf("%d bytes were fetched again", r.Fetched)
	}
	for d, n := range g.up.blobGets() {
		t.Errorf("%s was fetched %d times again", d, n)
	}
}

func TestGateAsksBeforeItPulls(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string
		spoil  func(*gatedPack)
		want   string
	}{
		"another registry":          {strict + "images: {registries: [quay.io]}", func(*gatedPack) {}, "registry"},
		"signatures":                {strict + "images: {signatures: required}", func(*gatedPack) {}, "this ferry cannot check signatures"},
		"no scanner":                {strict, func(g *gatedPack) { g.world.Scanner = nil }, "no scanner"},
		"no database":               {strict, func(g *gatedPack) { g.scanner.err = ferry.ErrNoDatabase }, "no vulnerability database"},
		"a damaged database":        {strict, func(g *gatedPack) { g.scanner.err = errors.New("checksum differs") }, "checksum differs"},
		"a database of last year":   {strict, func(g *gatedPack) { g.scanner.built = moment.AddDate(-1, 0, 0) }, "database"},
		"eight days old":            {strict, func(g *gatedPack) { g.scanner.built = moment.AddDate(0, 0, -8) }, "it may be 7d"},
		"older than the policy has": {strict + "database: {maxAge: 12h}", func(*gatedPack) {}, "it may be 12h"},
		"a database of the future":  {strict, func(g *gatedPack) { g.scanner.built = moment.Add(3 * time.Hour) }, "either it or the clock is wrong"},
		"a clock that was set back": {strict, func(g *gatedPack) { g.now = moment.AddDate(-1, 0, 0) }, "either it or the clock is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			g := startGated(t, tc.policy)
			tc.spoil(g)
			g.refuses(tc.want)
			g.missing()
			if n := len(g.up.blobGets()); n > 0 || g.scanner.scans > 0 {
				t.Errorf("%d blobs were pulled, %d images scanned", n, g.scanner.scans)
			}
		})
	}
}

// Before anything was scanned no exception is one that nobody uses.
func TestNothingIsUnusedBeforeAScan(t *testing.T) {
	g := startGated(t, excepted)
	g.scanner.built = moment.AddDate(-1, 0, 0)
	_, err := g.pack()
	refused, ok := errors.AsType[*ferry.RefusedError](err)
	if !ok || refused.Verdict == nil || len(refused.Verdict.Unused) > 0 {
		t.Errorf("%v: %+v", err, refused)
	}
}

func TestPolicyThatIsNotUnderstoodStopsPack(t *testing.T) {
	g := startGated(t, "version: 1\nvulnerabilitys: {}")
	_, err := g.pack()
	var e *policy.Error
	if !errors.As(err, &e) || e.Line != 2 {
		t.Errorf("%v", err)
	}
	g.missing()
}

func TestGateFailsClosedWhileScanning(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*gatedPack)
		want  string
	}{
		"the scanner fails":              {func(g *gatedPack) { g.scanner.scanErr = errors.New("out of memory") }, "out of memory"},
		"the database goes away":         {func(g *gatedPack) { g.scanner.scanErr = ferry.ErrNoDatabase }, "could not be asked"},
		"the database is exchanged":      {func(g *gatedPack) { g.scanner.swap = digest.FromString("another") }, "was exchanged while"},
		"an image cannot be read":        {func(g *gatedPack) { g.scanner.failed = "layer 2 expands without end" }, "layer 2 expands without end"},
		"a finding in no package":        {func(g *gatedPack) { g.scanner.findings = []policy.Finding{{ID: "CVE-1", Package: 9}} }, "not-scanned"},
		"an SBOM that is too large":      {func(g *gatedPack) { g.scanner.sbom = hugeSBOM }, "ferry reads at most 134217728"},
		"an image has no answer":         {func(g *gatedPack) { g.scanner.short = true }, "the scanner answered for 2 of 3 images"},
		"an image has no SBOM":           {func(g *gatedPack) { g.scanner.noSBOM = true }, "the scanner made no SBOM of"},
		"an SBOM that is not there":      {func(g *gatedPack) { g.scanner.sbom = lostSBOM }, "no such file"},
		"known to be exploited":          {func(g *gatedPack) { g.scanner.findings = []policy.Finding{{ID: "CVE-1", KnownExploited: true}} }, "known-exploited"},
		"an exception that ran out then": {expireWhileScanning, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			g := startGated(t, strict)
			tc.spoil(g)
			if r := g.refuses(tc.want); !r.Kept {
				t.Error("it does not say that what was pulled is kept")
			}
			g.missing()
		})
	}
}

func hugeSBOM(dir string) evidence.Document {
	path := filepath.Join(dir, "huge.json")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(evidence.MaxSBOM+1), f.Close())
	}
	if err != nil {
		panic(err)
	}
	return evidence.Document{MediaType: evidence.SPDXMediaType, Path: path}
}

func lostSBOM(dir string) evidence.Document {
	return evidence.Document{MediaType: evidence.SPDXMediaType, Path: filepath.Join(dir, "lost.json")}
}

const excepted = strict + "exceptions: [{vulnerability: CVE-1, package: zlib1g, owner: payments, reason: r, ticket: t, expires: '2026-11-23T12:30:00Z'}]"

func expireWhileScanning(g *gatedPack) {
	g.policy(excepted)
	g.scanner.findings = []policy.Finding{high()}
	g.scanner.onScan = func(string) { g.now = moment.Add(time.Hour) }
}

func TestAnExceptionHoldsAndEnds(t *testing.T) {
	g := startGated(t, excepted)
	g.scanner.findings = []policy.Finding{high()}
	g.passes()
	// With the same moment for dates, but a clock that says that it has ended.
	g.req.AsOf = moment
	g.now = moment.Add(time.Hour)
	g.refuses("the exception of payments expired: 2026-11-23T12:30:00Z")
	// And the other way round.
	g.req.AsOf, g.now = moment.Add(time.Hour), moment
	g.refuses("the exception of payments expired: 2026-11-23T12:30:00Z")
}

// It runs out between the verdict and the seal.
func TestAnExceptionRunsOutAtTheLastMoment(t *testing.T) {
	g := startGated(t, excepted)
	g.scanner.findings = []policy.Finding{high()}
	asked := -1000
	g.scanner.onScan = func(string) { asked = 0 }
	g.world.Now = func() time.Time {
		// The first look at the clock after the scan is the verdict's.
		if asked++; asked > 1 {
			return moment.Add(time.Hour)
		}
		return moment
	}
	g.req.AsOf = moment
	g.refuses("ran out at 2026-11-23T12:30:00Z")
	g.missing()
}

// TestTheClockIsSetBack: while images are scanned, or on a machine that is given
// a lock from later. It would revive what has expired.
func TestTheClockIsSetBack(t *testing.T) {
	g := startGated(t, excepted)
	g.scanner.findings = []policy.Finding{high()}
	g.scanner.onScan = func(string) { g.now = moment.Add(-2 * time.Hour) }
	g.refuses("it is 2026-11-23 10:00 UTC by this clock, and was 2026-11-23 12:00 UTC before: the clock is wrong")
	g.missing()

	g = startGated(t, excepted)
	g.scanner.findings = []policy.Finding{high()}
	g.passes()
	g.req.To, g.req.Lock, g.req.Places = filepath.Join(t.TempDir(), "again.tar"), g.req.To+".lock", nil
	g.now, g.req.AsOf = moment.Add(-2*time.Hour), moment
	g.refuses("the clock is wrong")
	g.missing()
}

func TestSameInputsSameFile(t *testing.T) {
	g := startGated(t, excepted)
	g.scanner.findings = []policy.Finding{high(), {ID: "CVE-2", Severity: policy.Low}}
	g.req.AsOf = moment
	g.passes()
	first, err := os.ReadFile(g.req.To)
	if err != nil {
		t.Fatal(err)
	}
	// On another machine, found in another order, at another time.
	g.req.To = filepath.Join(t.TempDir(), "again.tar")
	slices.Reverse(g.scanner.findings)
	g.now = moment.Add(10 * time.Minute)
	g.req.Lock, g.req.Places = filepath.Join(g.req.Policy.Dir, "release.tar.lock"), nil
	g.passes()
	second, err := os.ReadFile(g.req.To)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the same lock, database, policy and as-of made another file")
	}
}

func TestGatedAgain(t *testing.T) {
	g := startGated(t, strict)
	first := g.passes()
	g.now = moment.Add(time.Hour)
	if again := g.passes(); !again.Unchanged || again.Digest != first.Digest {
		t.Errorf("with the same policy and database: %+v", again)
	}
	g.scanner.database = digest.FromString("newer")
	if again := g.passes(); !again.Resealed || again.Digest == first.Digest || again.Fetched != 0 {
		t.Errorf("with a newer database: %+v", again)
	}
	g.scanner.findings = []policy.Finding{high()}
	g.refuses()
	if g.open().Seal().Database.Checksum != g.scanner.database {
		t.Error("the bundle that was refused this time was changed")
	}
}

func TestTheScannerSeesAWholeBundleThatWasNotGated(t *testing.T) {
	g := startGated(t, strict)
	g.scanner.onScan = func(file string) {
		b, err := bundle.Verify(t.Context(), file, bundle.VerifyOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		defer b.Close()
		if file == g.req.To || b.Seal().Gate != bundle.NotGated {
			t.Errorf("%s says %q", file, b.Seal().Gate)
		}
	}
	g.passes()
}
