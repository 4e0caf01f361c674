package scanner_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anchore/grype/grype/db/v6"
	"github.com/anchore/grype/grype/db/v6/distribution"
	"github.com/klauspost/compress/zstd"

	"ferry/internal/content/contenttest"
)

// db is a small vulnerability database, built with grype's own writer.
type db struct {
	// built is of when it says it is; zero for now.
	built   time.Time
	records []record
	// model overrides the schema's number.
	model int
	// without is a table that is not in it.
	without string
	// empty is a table that nothing is in.
	empty string
	// gone is a provider that others name, and that is not there.
	gone string
}

// record is a vulnerability in one package.
type record struct {
	id, provider    string
	os              *v6.OperatingSystem
	ecosystem, name string
	affected, form  string // the versions, and how they are written
	fixed           string
	severity        string
	imports         []v6.GoImport
	// cpe is set where it is known of a product, and of no package.
	cpe       *v6.Cpe
	exploited bool
	epss      float64
}

// published is when all of them became known.
var published = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

// elsewhere is known to be exploited, in nothing that an image here has: no
// database is without any.
func elsewhere() *v6.KnownExploitedVulnerabilityHandle {
	return &v6.KnownExploitedVulnerabilityHandle{Cve: "CVE-1999-0001", BlobValue: &v6.KnownExploitedVulnerabilityBlob{Cve: "CVE-1999-0001"}}
}

func debian12() *v6.OperatingSystem {
	return &v6.OperatingSystem{Name: "debian", ReleaseID: "debian", MajorVersion: "12", Codename: "bookworm"}
}

func alpine318() *v6.OperatingSystem {
	return &v6.OperatingSystem{Name: "alpine", ReleaseID: "alpine", MajorVersion: "3", MinorVersion: "18"}
}

func rhel9() *v6.OperatingSystem {
	return &v6.OperatingSystem{Name: "rhel", ReleaseID: "rhel", MajorVersion: "9"}
}

// sample has something about every kind of package that the images have.
func sample() db {
	return db{records: []record{
		{id: "CVE-2024-0001", provider: "debian", os: debian12(), ecosystem: "deb", name: "zlib", affected: "< 1:1.2.13.dfsg-2", form: "dpkg", fixed: "1:1.2.13.dfsg-2", severity: "high", exploited: true, epss: 0.5},
		{id: "CVE-2024-0002", provider: "debian", os: debian12(), ecosystem: "deb", name: "bash", affected: "", form: "dpkg", severity: "low"},
		{id: "CVE-2024-0003", provider: "alpine", os: alpine318(), ecosystem: "apk", name: "openssl", affected: "< 3.1.4-r0", form: "apk", fixed: "3.1.4-r0", severity: "critical"},
		{id: "CVE-2024-0004", provider: "github", ecosystem: "python", name: "django", affected: "<2.2.28", form: "pypi", fixed: "2.2.28", severity: "critical"},
		{
			id: "GO-2099-0001", provider: "govulndb", ecosystem: "go-module", name: "golang.org/x/net", affected: "<99.0.0", form: "go", fixed: "99.0.0",
			imports: []v6.GoImport{{Path: "golang.org/x/net/html", Symbols: []string{"Parse"}}},
		},
		{id: "CVE-2024-0005", provider: "rhel", os: rhel9(), ecosystem: "rpm", name: "openssl", affected: "< 1:3.0.7-25.el9", form: "rpm", fixed: "1:3.0.7-25.el9", severity: "medium"},
	}}
}

// folder writes the database and returns where its file lies.
func (d db) folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	w, err := v6.NewWriter(v6.Config{DBDirPath: dir})
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(w.SetDBMetadata())
	check(w.AddKnownExploitedVulnerabilities(elsewhere()))
	captured := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	for _, r := range d.records {
		p := &v6.Provider{ID: r.provider, Version: "1", Processor: "test", DateCaptured: &captured}
		vuln := &v6.VulnerabilityHandle{
			Name: r.id, Status: v6.VulnerabilityActive, ProviderID: p.ID, Provider: p, PublishedDate: &published,
			BlobValue: &v6.VulnerabilityBlob{ID: r.id, References: []v6.Reference{{URL: "https://example.com/" + r.id}}},
		}
		if r.severity != "" {
			vuln.BlobValue.Severities = []v6.Severity{{Scheme: v6.SeveritySchemeCHMLN, Value: r.severity, Rank: 1}}
		}
		check(w.AddVulnerabilities(vuln))
		fix := &v6.Fix{Version: r.fixed, State: v6.FixedStatus}
		if r.fixed == "" {
			fix.State = v6.NotFixedStatus
		}
		blob := &v6.PackageBlob{CVEs: []string{r.id}, Ranges: []v6.Range{{Version: v6.Version{Type: r.form, Constraint: r.affected}, Fix: fix}}}
		if r.imports != nil {
			blob.Qualifiers = &v6.PackageQualifiers{GoImports: r.imports}
		}
		if r.cpe != nil {
			check(w.AddAffectedCPEs(&v6.AffectedCPEHandle{Vulnerability: vuln, CPE: r.cpe, BlobValue: blob}))
		} else {
			check(w.AddAffectedPackages(&v6.AffectedPackageHandle{
				Vulnerability: vuln, OperatingSystem: r.os, Package: &v6.Package{Ecosystem: r.ecosystem, Name: r.name}, BlobValue: blob,
			}))
		}
		if r.exploited {
			check(w.AddKnownExploitedVulnerabilities(&v6.KnownExploitedVulnerabilityHandle{Cve: r.id, BlobValue: &v6.KnownExploitedVulnerabilityBlob{Cve: r.id}}))
		}
		if r.epss > 0 {
			check(w.AddEpss(&v6.EpssHandle{Cve: r.id, Epss: r.epss, Percentile: 0.9, Date: captured}))
		}
	}
	check(w.Close())
	d.stamp(t, dir)
	return dir
}

// stamp gives the database another date or schema.
func (d db) stamp(t *testing.T, dir string) {
	t.Helper()
	if d.built.IsZero() && d.model == 0 && d.without == "" && d.empty == "" && d.gone == "" {
		return
	}
	g, err := v6.NewLowLevelDB(filepath.Join(dir, v6.VulnerabilityDBFileName), false, true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		sql, err := g.DB()
		if err == nil {
			err = sql.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}()
	if !d.built.IsZero() {
		if err := g.Exec("UPDATE db_metadata SET build_timestamp = ?", d.built).Error; err != nil {
			t.Fatal(err)
		}
	}
	if d.without != "" {
		if err := g.Migrator().DropTable(d.without); err != nil {
			t.Fatal(err)
		}
	}
	if d.empty != "" {
		if err := g.Exec("DELETE FROM " + d.empty).Error; err != nil {
			t.Fatal(err)
		}
	}
	if d.gone != "" {
		if err := g.Exec("PRAGMA foreign_keys = OFF; DELETE FROM providers WHERE id = ?", d.gone).Error; err != nil {
			t.Fatal(err)
		}
	}
	if d.model != 0 {
		if err := g.Exec("UPDATE db_metadata SET model = ?", d.model).Error; err != nil {
			t.Fatal(err)
		}
	}
}

// archive packages the database as grype publishes it; latest.json lies
// beside it.
func (d db) archive(t *testing.T) string {
	t.Helper()
	return packaged(t, d.folder(t))
}

// packaged is what grype's own packaging does: the database in a tar in a
// zstd stream, and the listing of it.
func packaged(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, v6.VulnerabilityDBFileName))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "vulnerability-db_v6.tar.zst")
	if err := os.WriteFile(path, zipped(t, contenttest.Tar(contenttest.File{Name: v6.VulnerabilityDBFileName, Body: b})), 0o600); err != nil {
		t.Fatal(err)
	}
	about, err := v6.ReadDescription(filepath.Join(dir, v6.VulnerabilityDBFileName))
	if err != nil {
		t.Fatal(err)
	}
	listed, err := distribution.NewArchive(path, about.Built.Time, 6, 1, 10)
	if err != nil {
		t.Fatal(err)
	}
	var listing bytes.Buffer
	if err := distribution.NewLatestDocument(*listed).Write(&listing); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, distribution.LatestFileName), listing.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// inUse is the file of the database in use.
func (p *place) inUse() string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "cache", "ferry", "db", "current"))
	if err != nil {
		p.t.Fatal(err)
	}
	return filepath.Join(p.dir, "cache", "ferry", "db", strings.Replace(strings.TrimSpace(string(b)), ":", "-", 1), "6", v6.VulnerabilityDBFileName)
}

// TestDatabaseSaysWhetherItHoldsEPSS: of what nobody has rated, and of what
// grype does not read, nothing is said to be unlikely.
func TestDatabaseSaysWhetherItHoldsEPSS(t *testing.T) {
	const holds = `"epss": true`
	p := newPlace(t).imported(sample())
	p.wants(0, []string{"db", "status", "-o", "json"}, holds)
	for _, without := range []string{"epss_handles", "epss_metadata"} {
		q := newPlace(t).imported(db{records: sample().records, empty: without})
		if s := q.wants(0, []string{"db", "status", "-o", "json"}); strings.Contains(s.out, holds) {
			t.Errorf("without %s it says\n%s", without, s.out)
		}
	}
	// An earlier ferry imported without asking.
	ledger := filepath.Join(filepath.Dir(filepath.Dir(p.inUse())), "ferry.json")
	changeFile(t, ledger, func(b []byte) []byte { return bytes.Replace(b, []byte(`,"epss":true`), nil, 1) })
	p.wants(0, []string{"db", "status", "-o", "json"}, holds)
}
