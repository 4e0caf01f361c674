//go:build e2e

package scanner_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"
)

// gateWorld is a folder in which ferry and its scanner are used as they are
// installed, with a database of a few facts and an image of a few packages.
type gateWorld struct {
	t   *testing.T
	bin string
	dir string
	env []string
	// cache is the folder of its caches.
	cache string
	// program is what its images run, if they are to run.
	program []byte
}

func newGateWorld(t *testing.T) *gateWorld {
	t.Helper()
	w := &gateWorld{t: t, bin: t.TempDir(), dir: t.TempDir()}
	home := t.TempDir()
	w.cache = home + "/cache"
	w.env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+w.cache, "XDG_DATA_HOME="+home+"/data", "NO_COLOR=1")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", w.bin+"/", "./cmd/ferry", "./cmd/ferry-scanner")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return w
}

func (w *gateWorld) path(name string) string { return filepath.Join(w.dir, name) }

func (w *gateWorld) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// ferry runs ferry, wants an exit code, and returns what it said.
func (w *gateWorld) ferry(code int, args ...string) string {
	w.t.Helper()
	c := exec.CommandContext(w.t.Context(), filepath.Join(w.bin, "ferry"), args...)
	c.Dir, c.Env = w.dir, w.env
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		w.t.Fatal(err)
	}
	if got != code {
		w.t.Fatalf("ferry %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, &out)
	}
	return out.String()
}

func (w *gateWorld) says(text string, want ...string) {
	w.t.Helper()
	for _, s := range want {
		if !strings.Contains(text, s) {
			w.t.Errorf("it says\n%s\nwant %q in it", text, s)
		}
	}
}

// fact is a vulnerability in a Debian 12 package.
type fact struct {
	id, pkg, fixed, severity string
	exploited                bool
}

// database writes a small database with grype's own writer, as an archive. It
// is of this moment.
func (w *gateWorld) database(name string, facts ...fact) {
	w.t.Helper()
	dir := w.t.TempDir()
	db, err := v6.NewWriter(v6.Config{DBDirPath: dir})
	if err == nil {
		err = fill(db, facts)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, v6.VulnerabilityDBFileName))
	if err != nil {
		w.t.Fatal(err)
	}
	w.tar(name, map[string][]byte{v6.VulnerabilityDBFileName: b})
}

func fill(db v6.ReadWriter, facts []fact) error {
	now := time.Now().UTC()
	debian := v6.Provider{ID: "debian", Version: "1", Processor: "test", DateCaptured: &now}
	errs := []error{db.SetDBMetadata(), db.AddProvider(debian), db.AddKnownExploitedVulnerabilities(elsewhere())}
	for _, f := range facts {
		vulnerability := &v6.VulnerabilityHandle{
			Name: f.id, Status: v6.VulnerabilityActive, ProviderID: "debian", Provider: &debian, PublishedDate: &now,
			BlobValue: &v6.VulnerabilityBlob{ID: f.id, Severities: []v6.Severity{{Scheme: v6.SeveritySchemeCHMLN, Value: f.severity, Rank: 1}}},
		}
		errs = append(errs, db.AddVulnerabilities(vulnerability))
		errs = append(errs, db.AddAffectedPackages(&v6.AffectedPackageHandle{
			Vulnerability: vulnerability, VulnerabilityID: vulnerability.ID,
			OperatingSystem: &v6.OperatingSystem{Name: "debian", ReleaseID: "debian", MajorVersion: "12", Codename: "bookworm"},
			Package:         &v6.Package{Ecosystem: "deb", Name: f.pkg},
			BlobValue: &v6.PackageBlob{Ranges: []v6.Range{{
				Version: v6.Version{Type: "dpkg", Constraint: "< " + f.fixed}, Fix: &v6.Fix{Version: f.fixed, State: v6.FixedStatus},
			}}},
		}))
		if f.exploited {
			errs = append(errs, db.AddKnownExploitedVulnerabilities(&v6.KnownExploitedVulnerabilityHandle{
				Cve: f.id, BlobValue: &v6.KnownExploitedVulnerabilityBlob{Cve: f.id, DateAdded: &now},
			}))
		}
	}
	return errors.Join(append(errs, db.Close())...)
}

func (w *gateWorld) tar(name string, files map[string][]byte) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), tarOf(w.t, files), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func tarOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for name, body := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(body)), Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// image writes what docker save would, of a Debian 12 with these packages.
func (w *gateWorld) image(archive, name string, packages ...string) {
	w.t.Helper()
	var status strings.Builder
	for _, p := range packages {
		pkg, version, _ := strings.Cut(p, "=")
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nMaintainer: test\nArchitecture: amd64\nVersion: %s\nDescription: test\n\n", pkg, version)
	}
	layer := tarOf(w.t, map[string][]byte{
		"etc/os-release":      []byte("ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
		"var/lib/dpkg/status": []byte(status.String()),
		"program":             w.program,
	})
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "created": "2026-11-01T00:00:00Z", "config": map[string]any{"User": "1000", "Cmd": []string{"/program"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.tar(archive, map[string][]byte{"config.json": config, "layer.tar": layer, "manifest.json": manifest})
}

const gatePolicy = "version: 1\nvulnerabilities:\n  refuse: {withFix: high}\n"

// TestGateWithTheRealScanner goes both ways over the gap: refused, accepted,
// packed twice to the same byte, verified behind it, with a newer database,
// with another policy, from the layers, and reported on.
func TestGateWithTheRealScanner(t *testing.T) {
	w := newGateWorld(t)
	w.image("app.tar", "quay.io/acme/app:1.0", "zlib1g=1:1.2.13", "curl=7.88.0", "bash=5.2")
	w.write("ferry.policy.yaml", gatePolicy)
	w.says(w.ferry(3, "pack", "app.tar", "--to", "release.tar"), "there is no vulnerability database here", "ferry db import FILE")

	first := []fact{{"CVE-2026-1", "zlib1g", "1:1.2.14", "high", false}, {"CVE-2026-2", "curl", "7.88.1", "low", false}}
	w.database("one.tar", first...)
	w.ferry(0, "db", "import", "one.tar")
	w.says(w.ferry(3, "pack", "app.tar", "--to", "release.tar"),
		"gate  refused by ferry.policy.yaml: 1 thing in 1 image", "CVE-2026-1 in zlib1g 1:1.2.13 — high, fixed in 1:1.2.14 (layer 1)",
		"update zlib1g 1:1.2.13 in quay.io/acme/app:1.0: mends 1", "nothing was written under the name release.tar")
	if _, err := os.Stat(w.path("release.tar")); err == nil {
		t.Fatal("what was refused has its name")
	}

	end := time.Now().UTC().AddDate(0, 0, 30).Format(time.DateOnly)
	w.write("ferry.policy.yaml", gatePolicy+"exceptions:\n  - {vulnerability: CVE-2026-1, package: zlib1g, owner: payments, reason: r, ticket: T-1, expires: "+end+"}\n")
	at := time.Now().UTC().Format(time.RFC3339)
	w.says(w.ferry(0, "pack", "app.tar", "--to", "release.tar", "--as-of", at), "gate: passed", "1 finding is accepted")
	w.ferry(0, "pack", "app.tar", "--lock", "release.tar.lock", "--to", "again.tar", "--as-of", at)
	if a, b := w.read("release.tar"), w.read("again.tar"); !bytes.Equal(a, b) {
		t.Error("the same lock, database, policy and as-of made another file")
	}
	w.says(w.ferry(0, "verify", "release.tar"), "evidence: 1 of 1 scanned", "the one that the packer asked, its SBOMs matched anew", "0 findings are new: passed", "unsigned, and so is its evidence")
	w.says(w.ferry(0, "verify", "release.tar", "--rescan"), "its layers read anew", "0 findings are new")
	w.write("bank.yaml", gatePolicy)
	w.says(w.ferry(3, "verify", "release.tar", "--policy", "bank.yaml"), "CVE-2026-1 in zlib1g", "do not let release.tar in")

	// What became known since: from the SBOM in the bundle, without the layers.
	time.Sleep(1100 * time.Millisecond) // a database's date has whole seconds
	w.database("two.tar", append(first, fact{"CVE-2026-3", "bash", "5.3", "medium", true})...)
	w.ferry(0, "db", "import", "two.tar")
	w.says(w.ferry(3, "verify", "release.tar"), "CVE-2026-3 in bash 5.2 — medium, known exploited, fixed in 5.3")
	w.says(w.ferry(0, "report", "release.tar", "--to", "report.html"), "release.tar  passed · 1 image · 2 findings, 0 known exploited")
	w.says(string(w.read("report.html")), "CVE-2026-1", "payments", "quay.io/acme/app:1.0")
	w.says(w.ferry(3, "pack", "app.tar", "--lock", "release.tar.lock", "--to", "release.tar"), "CVE-2026-3 in bash", "known exploited")

	w.damaged()
}

func (w *gateWorld) read(name string) []byte {
	w.t.Helper()
	b, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// damaged flips one bit in the database in use: pack and verify say no.
func (w *gateWorld) damaged() {
	w.t.Helper()
	var found []string
	for _, e := range w.env {
		if dir, ok := strings.CutPrefix(e, "HOME="); ok {
			found = nil
			_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
				if d != nil && d.Name() == v6.VulnerabilityDBFileName {
					found = append(found, path)
				}
				return nil
			})
		}
	}
	if len(found) == 0 {
		w.t.Fatal("there is no database to damage")
	}
	for _, path := range found {
		b, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, b, 0o600)); err != nil {
			w.t.Fatal(err)
		}
	}
	w.says(w.ferry(3, "pack", "app.tar", "--to", "other.tar"), "could not be asked, so the answer is no")
	w.says(w.ferry(3, "verify", "release.tar", "--policy", "ferry.policy.yaml"), "could not be asked, so the answer is no")
	if _, err := os.Stat(w.path("other.tar")); err == nil {
		w.t.Error("a damaged database let a bundle through")
	}
}
