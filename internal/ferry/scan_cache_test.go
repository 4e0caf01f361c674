package ferry_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/content/contenttest"
	"ferry/internal/evidence"
	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/scan"
)

// TestScanRemembers: the same image by the same database and scanner is looked
// into once; by another, or where what was kept is not whole, again.
func TestScanRemembers(t *testing.T) {
	g := startGated(t, "version: 1\n")
	g.scanner.findings = []policy.Finding{high()}
	g.passes()
	g.world.CacheDir, g.world.ScannerVersion = t.TempDir(), "v1 c0ffee"
	const images = 3
	scanned := func(want int, req ferry.ScanRequest) {
		t.Helper()
		before := g.scanner.scans
		req.Places = []string{g.req.To}
		r, err := ferry.Scan(t.Context(), g.world, req)
		if err != nil {
			t.Fatal(err)
		}
		if r.Count.All != images || r.Tool.Name != "stand-in" || len(r.Images) != images || r.Images[0].Findings[0].ID != "CVE-1" || len(r.Images[0].Packages) != 1 {
			t.Errorf("%+v", r)
		}
		if n := g.scanner.scans - before; n != want {
			t.Errorf("%d images were looked into, want %d", n, want)
		}
	}
	scanned(images, ferry.ScanRequest{})
	scanned(0, ferry.ScanRequest{})
	// An SBOM is made anew.
	g.scanner.sbom = func(dir string) evidence.Document {
		path := filepath.Join(dir, "sbom.json")
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		return evidence.Document{MediaType: scan.SPDX, Path: path}
	}
	scanned(images, ferry.ScanRequest{Form: scan.SPDX})
	g.scanner.sbom = nil
	// Neither the gate nor a reader who wants the layers read is answered from it.
	before := g.scanner.scans
	g.req.To = filepath.Join(t.TempDir(), "again.tar")
	g.passes()
	if _, err := ferry.Verify(t.Context(), g.world, ferry.VerifyRequest{File: g.req.To, Policy: g.req.Policy, Rescan: true}); err != nil {
		t.Fatal(err)
	}
	if n := g.scanner.scans - before; n != 2*images {
		t.Errorf("gate and verify looked into %d images, want %d", n, 2*images)
	}
	scanned(0, ferry.ScanRequest{})

	kept, err := filepath.Glob(filepath.Join(g.world.CacheDir, "scanned", "*.json"))
	if err != nil || len(kept) != images {
		t.Fatalf("%q, %v", kept, err)
	}
	b, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, spoilt := range map[string][]byte{
		"changed": bytes.Replace(b, []byte("CVE-1"), []byte("CVE-2"), 1), "cut off": b[:len(b)/2], "empty": nil,
	} {
		if err := os.WriteFile(kept[0], spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Log(name)
		scanned(1, ferry.ScanRequest{})
	}

	old, year := filepath.Join(g.world.CacheDir, "scanned", "old.json"), moment.AddDate(-1, 0, 0)
	if err := errors.Join(os.WriteFile(old, b, 0o600), os.Chtimes(old, year, year)); err != nil {
		t.Fatal(err)
	}
	g.world.ScannerVersion = "v2 c0ffee"
	scanned(images, ferry.ScanRequest{})
	if _, err := os.Stat(old); err == nil {
		t.Error("what nobody asked for in a year is kept")
	}
	g.scanner.database = digest.FromString("another")
	scanned(images, ferry.ScanRequest{})
	// What nobody can name is not kept: the second time is as the first.
	g.scanner.database = ""
	scanned(images, ferry.ScanRequest{})
	scanned(images, ferry.ScanRequest{})
	g.scanner.database, g.world.ScannerVersion = digest.FromString("another"), ""
	scanned(images, ferry.ScanRequest{})
	scanned(images, ferry.ScanRequest{})
}

// TestScanKnowsImagesApart: one image is not answered for by another.
func TestScanKnowsImagesApart(t *testing.T) {
	g := startGated(t, "version: 1\n")
	g.passes()
	g.world.CacheDir, g.world.ScannerVersion = t.TempDir(), "v1 c0ffee"
	first, s := g.req.To, newSample()
	other := s.Image(amd64, contenttest.Config{}, s.layer(9, 100))
	g.req.Places, g.req.To = []string{g.up.push(s.Store, "team/other", "1.0", other)}, filepath.Join(t.TempDir(), "other.tar")
	g.passes()
	if _, err := ferry.Scan(t.Context(), g.world, ferry.ScanRequest{Places: []string{first}}); err != nil {
		t.Fatal(err)
	}
	before := g.scanner.scans
	g.scanner.findings = []policy.Finding{high()}
	r, err := ferry.Scan(t.Context(), g.world, ferry.ScanRequest{Places: []string{g.req.To}})
	if err != nil || r.Count.All != 1 || g.scanner.scans-before != 1 {
		t.Errorf("%+v, %v: %d images were looked into", r, err, g.scanner.scans-before)
	}
}

// TestScanForgetsAnotherDatabase: where the database is exchanged during a scan,
// its answer is not kept as that of the one that was checked.
func TestScanForgetsAnotherDatabase(t *testing.T) {
	g := startGated(t, "version: 1\n")
	g.passes()
	g.world.CacheDir, g.world.ScannerVersion = t.TempDir(), "v1 c0ffee"
	req, checked := ferry.ScanRequest{Places: []string{g.req.To}}, g.scanner.database
	g.scanner.swap = digest.FromString("another")
	if _, err := ferry.Scan(t.Context(), g.world, req); err == nil || !strings.Contains(err.Error(), "was exchanged while the images were scanned") {
		t.Error(err)
	}
	g.scanner.swap, g.scanner.database = "", checked
	if _, err := ferry.Scan(t.Context(), g.world, req); err != nil {
		t.Error(err)
	}
}

// TestScanForgetsFailures: what could not be read is tried again, and a database
// that cannot be asked is no less of an error for what was found before.
func TestScanForgetsFailures(t *testing.T) {
	g := startGated(t, "version: 1\n")
	g.passes()
	g.world.CacheDir, g.world.ScannerVersion = t.TempDir(), "v1 c0ffee"
	req := ferry.ScanRequest{Places: []string{g.req.To}}
	g.scanner.failed = "no room"
	var unscanned *ferry.UnscannedError
	if _, err := ferry.Scan(t.Context(), g.world, req); !errors.As(err, &unscanned) {
		t.Fatal(err)
	}
	g.scanner.failed, g.scanner.short = "", true
	if _, err := ferry.Scan(t.Context(), g.world, req); err == nil || !strings.Contains(err.Error(), "the scanner answered for 2 of 3 images") {
		t.Fatal(err)
	}
	g.scanner.short = false
	if _, err := ferry.Scan(t.Context(), g.world, req); err != nil {
		t.Fatal(err)
	}
	g.scanner.err = errors.New("its checksum differs")
	if _, err := ferry.Scan(t.Context(), g.world, req); err == nil {
		t.Error("a damaged database is believed for what it said before")
	}
}

// TestScanCountsWhatNobodyRated: as high, which is what a policy takes it for.
func TestScanCountsWhatNobodyRated(t *testing.T) {
	g := startGated(t, "version: 1\n")
	g.passes()
	g.scanner.findings = []policy.Finding{{ID: "CVE-1", Severity: policy.Unknown}}
	for limit, want := range map[policy.Severity]int{policy.High: 3, policy.Critical: 0} {
		r, err := ferry.Scan(t.Context(), g.world, ferry.ScanRequest{Places: []string{g.req.To}, FailOn: limit})
		if err != nil || r.Over != want {
			t.Errorf("%s: %+v, %v", limit, r, err)
		}
	}
	g.scanner.built = moment.AddDate(0, 0, -8)
	if _, err := ferry.Scan(t.Context(), g.world, ferry.ScanRequest{Places: []string{g.req.To}, MaxAge: 7 * 24 * time.Hour}); err == nil || !strings.Contains(err.Error(), "it may be 7") {
		t.Error("a database that is too old is asked", err)
	}
}
