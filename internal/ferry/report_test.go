package ferry_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/content/contenttest"
	"ferry/internal/ferry"
	"ferry/internal/policy"
)

func reported(t *testing.T, w ferry.World, req ferry.ReportRequest) *ferry.ReportResult {
	t.Helper()
	r, err := ferry.Report(t.Context(), w, req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReportOnAGatedBundle(t *testing.T) {
	g := startGated(t, excepted)
	g.scanner.findings = []policy.Finding{high(), {ID: "CVE-2", Severity: policy.Low}}
	g.passes()
	g.now = moment.AddDate(0, 1, 0)
	r := reported(t, g.world, ferry.ReportRequest{File: g.req.To})
	if !r.Verdict.Passed || r.PolicyFile != "" || !r.AsOf.Equal(moment) || len(r.Clauses) < 3 || len(r.Exceptions) != 1 {
		t.Errorf("%+v", r)
	}
	if len(r.Findings) != 2 || r.Findings[0].ID != "CVE-1" || r.Findings[0].Accepted == nil || r.Findings[0].Accepted.Owner != "payments" || r.Findings[0].Refused {
		t.Errorf("findings %+v", r.Findings)
	}
	img := r.Images[0]
	if len(r.Images) != 1 || img.Severities != [6]int{0, 0, 1, 0, 1, 0} || img.Accepted != 1 || img.Problem != "" || img.Empty || img.Distribution != "debian 12" || img.Bytes == 0 {
		t.Errorf("images %+v", r.Images)
	}
	if r.Tool.Name != "stand-in" || r.Database.Checksum != g.scanner.database {
		t.Errorf("%+v %+v", r.Tool, r.Database)
	}
	// By the reader's policy, at his own time: the exception is not his.
	own := filepath.Join(t.TempDir(), "bank.yaml")
	if err := os.WriteFile(own, []byte(strict), 0o600); err != nil {
		t.Fatal(err)
	}
	r = reported(t, g.world, ferry.ReportRequest{File: g.req.To, Policy: ferry.PolicyRequest{File: own}})
	if r.Verdict.Passed || r.PolicyFile != own || !r.Findings[0].Refused || r.Images[0].Refused != 1 {
		t.Errorf("%+v", r)
	}
}

// TestWarningsCross: where less was seen than there may be, is said at the gate,
// behind the gap and on the page, and not only by scan.
func TestWarningsCross(t *testing.T) {
	g := startGated(t, "version: 1\n")
	const unread = "could not be read: /app.jar: zip: not a valid zip file"
	g.scanner.warnings = []string{unread}
	said := func(where string, v *policy.Verdict, want ...string) {
		t.Helper()
		var got []string
		for _, w := range v.Warnings {
			if w.Image != g.req.Places[0] || w.Platform == "" {
				t.Errorf("%s: %+v", where, w)
			}
			if w.Platform == "linux/amd64" {
				got = append(got, w.Text)
			}
		}
		if !v.Passed || !slices.Equal(got, want) {
			t.Errorf("%s: it warns %q, want %q", where, got, want)
		}
	}
	r := g.passes()
	said("pack", r.Verdict, unread)
	page := reported(t, g.world, ferry.ReportRequest{File: g.req.To})
	said("report", page.Verdict, unread)
	if !slices.Equal(page.Images[0].Warnings, []string{unread}) {
		t.Errorf("%+v", page.Images[0])
	}
	verified := func() *policy.Verdict {
		t.Helper()
		r, err := ferry.Verify(t.Context(), g.world, ferry.VerifyRequest{File: g.req.To, Policy: g.req.Policy})
		if err != nil {
			t.Fatal(err)
		}
		return r.Evidence.Verdict
	}
	// SBOMs do not say what could not be read: the report does.
	const unknown = "the database knows nothing about its distribution"
	g.scanner.warnings = []string{unknown}
	said("verify, SBOMs", verified(), unknown, unread)
	g.world.Scanner = nil
	said("verify, evidence", verified(), unread)
}

func TestReportOnABundleThatWasNotGated(t *testing.T) {
	g := startGated(t, strict)
	g.req.Policy = ferry.PolicyRequest{}
	if _, err := g.pack(); err != nil {
		t.Fatal(err)
	}
	r := reported(t, g.world, ferry.ReportRequest{File: g.req.To})
	if r.Verdict != nil || len(r.Images) != 1 || r.Images[0].Problem == "" || !r.Database.Built.IsZero() {
		t.Errorf("%+v", r)
	}
}

func TestReportOnADamagedBundle(t *testing.T) {
	g := startGated(t, strict)
	g.passes()
	b, err := os.ReadFile(g.req.To)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(g.req.To, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ferry.Report(t.Context(), g.world, ferry.ReportRequest{File: g.req.To}); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("%v", err)
	}
}

// TestReportAgainstADamagedBundle: what cannot be read of the earlier bundle is no
// bundle without findings.
func TestReportAgainstADamagedBundle(t *testing.T) {
	g := startGated(t, "version: 1\n")
	g.scanner.findings = []policy.Finding{high()}
	g.passes()
	b, err := os.ReadFile(g.req.To)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("CVE-1"))
	b[at+4] = '2'
	old := filepath.Join(t.TempDir(), "old.tar")
	if err := os.WriteFile(old, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = ferry.Report(t.Context(), g.world, ferry.ReportRequest{File: g.req.To, Compare: old})
	if err == nil || !strings.Contains(err.Error(), "compare with "+old) || !strings.Contains(err.Error(), "does not hold") {
		t.Errorf("%v", err)
	}
}

func TestReportCompares(t *testing.T) {
	g, s := startGated(t, "version: 1\n"), newSample()
	g.req.Places = append(g.req.Places, g.up.push(s.Store, "team/same", "1", s.amd64), g.up.push(s.Store, "team/gone", "1", s.arm64))
	g.scanner.findings = []policy.Finding{high(), {ID: "CVE-OLD", Severity: policy.Low}}
	old := g.req.To
	g.passes()

	next := contenttest.NewStore()
	changed := next.Image(amd64, contenttest.Config{}, next.Layer(contenttest.File{Name: "new", Body: contenttest.Random(9, 900)}))
	g.req.Places = []string{g.up.push(next, "team/app", "2.0", changed), g.req.Places[1], g.up.push(next, "team/new", "1", changed)}
	g.req.To = filepath.Join(filepath.Dir(old), "next.tar")
	g.scanner.findings = []policy.Finding{high(), {ID: "CVE-NEW", Severity: policy.Critical}}
	g.scanner.database = digest.FromString("newer")
	g.passes()

	c := reported(t, g.world, ferry.ReportRequest{File: g.req.To, Compare: old}).Compared
	host := g.up.Host()
	if c.Same != 1 || len(c.Added) != 1 || c.Added[0] != host+"/team/new:1" || len(c.Removed) != 1 || c.Removed[0] != host+"/team/gone:1" {
		t.Errorf("%+v", c)
	}
	if len(c.Updated) != 1 || c.Updated[0].From != host+"/team/app:1.0" || c.Updated[0].To != host+"/team/app:2.0" || c.Updated[0].ToDigest != changed.Digest {
		t.Errorf("updated %+v", c.Updated)
	}
	ids := func(all []ferry.ReportFinding) string {
		var s []string
		for _, f := range all {
			s = append(s, f.ID)
		}
		return strings.Join(s, " ")
	}
	// CVE-1 is in team/new too, where it was not before.
	if ids(c.Come) != "CVE-NEW CVE-1" || ids(c.Gone) != "CVE-OLD" || !c.Scanned {
		t.Errorf("come %q, gone %q", ids(c.Come), ids(c.Gone))
	}
}

func TestSaveReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.html")
	for range 2 {
		if err := ferry.SaveReport(path, []byte("<!doctype html>page")); err != nil {
			t.Fatal(err)
		}
	}
	other := filepath.Join(filepath.Dir(path), "release.tar")
	if err := os.WriteFile(other, []byte("oci-layout and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ferry.SaveReport(other, []byte("<!doctype html>")); err == nil {
		t.Error("what is no page was replaced")
	}
}
