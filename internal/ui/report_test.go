package ui_test

import (
	"strings"
	"testing"

	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/ui"
)

func TestReport(t *testing.T) {
	r := &ferry.ReportResult{
		File: evil, Digest: top, Images: []ferry.ReportImage{{}}, Findings: []ferry.ReportFinding{{Finding: policy.Finding{KnownExploited: true}}, {}},
		Verdict:  &policy.Verdict{Decisions: refusedVerdict().Decisions},
		Compared: &ferry.Comparison{File: evil, Scanned: true, Come: make([]ferry.ReportFinding, 2)},
	}
	golden(t, ui.Printer{}, func(p *ui.Printer) error { return p.Report(r, "report.html") }, `
✗ `+seen+`  refused · 1 image · 2 findings, 1 known exploited
  against `+seen+`: 2 findings come, 0 gone
report.html
`, `
! unsigned: the page says what is in the bundle, and not who put it there
`)
	r.Compared.Scanned = false
	out, _, err := printed(ui.Printer{}, func(p *ui.Printer) error { return p.Report(r, "report.html") })
	if want := "  against " + seen + ": it carries no scan reports, so only its images are compared\n"; err != nil || !strings.Contains(out, want) {
		t.Errorf("%v: want %q in\n%s", err, want, out)
	}
	out, _, err = printed(ui.Printer{JSON: true}, func(p *ui.Printer) error { return p.Report(r, evil) })
	if err != nil {
		t.Fatal(err)
	}
	harmless(t, out)
}
