package ferry_test

import (
	"fmt"
	"testing"
	"time"

	"ferry/internal/content/contenttest"
	"ferry/internal/ferry"
	"ferry/internal/policy"
)

// TestReportOnTwoHundredImages is about what gathering costs: the page itself
// is measured with its package.
func TestReportOnTwoHundredImages(t *testing.T) {
	if testing.Short() {
		t.Skip("it packs 200 images")
	}
	g, s := startGated(t, "version: 1\n"), contenttest.NewStore()
	g.req.Places = nil
	for i := range 200 {
		d := s.Image(amd64, contenttest.Config{}, s.Layer(contenttest.File{Name: "app", Body: contenttest.Random(uint64(i), 2000)}))
		g.req.Places = append(g.req.Places, g.up.push(s, fmt.Sprintf("team/app%d", i), "1", d))
	}
	for i := range 300 {
		g.scanner.findings = append(g.scanner.findings, policy.Finding{ID: fmt.Sprintf("CVE-2026-%d", i), Severity: policy.High, FixedIn: []string{"9"}})
	}
	began := time.Now()
	g.passes()
	t.Logf("packed, gated and verified in %v", time.Since(began))
	began = time.Now()
	r := reported(t, g.world, ferry.ReportRequest{File: g.req.To})
	t.Logf("gathered in %v", time.Since(began))
	if len(r.Images) != 200 || len(r.Findings) != 300 || len(r.Findings[0].Images) != 200 {
		t.Errorf("%d images, %d findings", len(r.Images), len(r.Findings))
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}
