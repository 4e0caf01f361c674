//go:build e2e

package scanner_test

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	v6 "github.com/anchore/grype/grype/db/v6"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
	"ferry/internal/scan"
)

// TestSameAsGrypesCommand holds the answer against grype's own command, built
// from the module that ferry links, on the same SBOMs and database.
func TestSameAsGrypesCommand(t *testing.T) {
	command := grypesCommand(t)
	s := contenttest.NewStore()
	d := sample()
	d.records = append(d.records, epochs()...)
	d.records = append(d.records, record{
		id: "CVE-2024-1004", provider: "nvd", cpe: &v6.Cpe{Part: "a", Vendor: "thing", Product: "thing"}, affected: "< 2.0.0", form: "unknown", severity: "high",
	})
	p := newPlace(t).imported(d)
	all := images(t, s)
	all["team/epochs:1"] = s.Image(linux, contenttest.Config{}, s.Layer(file("etc/os-release", bookworm),
		file("var/lib/dpkg/status", dpkg("libssl3", "openssl", "3.0.13-1")+dpkg("curl", "curl", "1:7.88-1"))))
	all["team/product:1"] = s.Image(linux, contenttest.Config{}, s.Layer(
		file("srv/vendor/composer/installed.json", `{"packages":[{"name":"thing","version":"1.0.0","type":"library"}]}`)))
	p.pack("release.tar", s, all)
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	seen := map[string]bool{}
	for name, r := range a.results {
		for _, hit := range p.sameAsGrype(command, name, r) {
			seen[strings.Fields(hit)[0]] = true
		}
	}
	// What is to be found, and what is not: a source package of rpm's without an
	// epoch is compared without one, one of dpkg's has the epoch 0.
	for _, r := range d.records {
		if wanted := r.id != "CVE-2024-1002" && r.id != "CVE-2024-1003"; seen[r.id] != wanted {
			t.Errorf("%s: grype found it: %v, want %v", r.id, seen[r.id], wanted)
		}
	}
}

// sameAsGrype holds a result against what grype's command finds by its SBOM,
// and returns that.
func (p *place) sameAsGrype(command, name string, r scan.Result) []string {
	p.t.Helper()
	i := slices.IndexFunc(r.SBOMs, func(d scan.Document) bool { return d.MediaType == scan.Syft })
	want := askGrype(p.t, command, filepath.Dir(filepath.Dir(p.inUse())), r.SBOMs[i].Path)
	if got := hits(r); !slices.Equal(got, want) {
		p.t.Errorf("%s: ferry found\n\t%s\ngrype\n\t%s", name, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	return want
}

// TestDebianSameAsGrypesCommand: a Debian with nginx as debootstrap makes it,
// and wheels as pip leaves them. Of each package something is known that its
// version still has, and something that it has no more.
func TestDebianSameAsGrypesCommand(t *testing.T) {
	command, root := grypesCommand(t), debian(t, "nginx-light")
	installed := dpkgList(t, root)
	d := sample()
	for source, version := range installed.sources {
		for id, affected := range map[string]string{"CVE-2030-" + source: "< " + version + "+1", "CVE-2031-" + source: "< " + version} {
			d.records = append(d.records, record{id: id, provider: "debian", os: debian12(), ecosystem: "deb", name: source, affected: affected, form: "dpkg", fixed: affected[2:], severity: "medium"})
		}
	}
	d.records = append(d.records, record{id: "CVE-2032-1", provider: "github", ecosystem: "python", name: "urllib3", affected: "<1.24.2", form: "pypi", fixed: "1.24.2", severity: "high"})
	s := contenttest.NewStore()
	p := newPlace(t).imported(d)
	base := s.Add(ocispec.MediaTypeImageLayer, packedRoot(t, root))
	p.pack("release.tar", s, map[string]ocispec.Descriptor{
		"nginx:1": s.Image(linux, contenttest.Config{}, base),
		"app:1":   s.Image(linux, contenttest.Config{}, base, python(s, "Django", "2.2.0"), python(s, "urllib3", "1.24.1")),
	})
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	for name, python := range map[string]int{"nginx:1": 0, "app:1": 2} {
		hits, still, wheels := p.sameAsGrype(command, name, a.results[name]), 0, 0
		for _, hit := range hits {
			switch {
			case strings.HasPrefix(hit, "CVE-2030-"):
				still++
			case strings.HasPrefix(hit, "CVE-2031-"):
				t.Errorf("%s: it was mended: %s", name, hit)
			case strings.Contains(hit, " django 2.2.0") || strings.Contains(hit, " urllib3 1.24.1"):
				wheels++
			}
		}
		if still != installed.packages || wheels != python {
			t.Errorf("%s: %d of %d packages and %d of %d wheels were found:\n\t%s", name, still, installed.packages, wheels, python, strings.Join(hits, "\n\t"))
		}
	}
}

// debian makes a small Debian 12 with some packages, from where this machine
// has its own.
func debian(t *testing.T, packages string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	c := exec.CommandContext(t.Context(), "bash", "-euc", `
		mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "bookworm" {print $2; exit}')
		PATH=$PATH:/usr/sbin:/sbin debootstrap --variant=minbase --include="$2" bookworm "$1" "$mirror"
		rm -rf "$1"/dev "$1"/var/cache/apt`, "bash", root, packages)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("debootstrap: %v\n%s", err, out)
	}
	return root
}

// dpkgHas is what dpkg says is installed: how many packages, and the versions
// of their sources.
type dpkgHas struct {
	packages int
	sources  map[string]string
}

func dpkgList(t *testing.T, root string) dpkgHas {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "dpkg-query", "--admindir="+root+"/var/lib/dpkg", "-W", "-f", "${source:Package} ${source:Version}\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	has := dpkgHas{sources: map[string]string{}}
	for line := range strings.Lines(string(out)) {
		source, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		has.packages++
		has.sources[source] = version
	}
	if has.sources["nginx"] == "" || has.packages < 60 {
		t.Fatalf("this is no Debian with nginx: %v", has)
	}
	return has
}

func packedRoot(t *testing.T, root string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tar", "-C", root, "-c", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// epochs are records that packages without an epoch, or with one, are held
// against.
func epochs() []record {
	return []record{
		{id: "CVE-2024-1001", provider: "debian", os: debian12(), ecosystem: "deb", name: "openssl", affected: "< 1:3.0.12-1", form: "dpkg", fixed: "1:3.0.12-1", severity: "high"},
		{id: "CVE-2024-1002", provider: "debian", os: debian12(), ecosystem: "deb", name: "curl", affected: "< 8.0-1", form: "dpkg", fixed: "8.0-1", severity: "low"},
		{id: "CVE-2024-1003", provider: "rhel", os: rhel9(), ecosystem: "rpm", name: "openssl", affected: "< 1:2.0-1.el9", form: "rpm", fixed: "1:2.0-1.el9", severity: "low"},
	}
}

// grypesCommand builds grype from a module of its own, which has nothing but
// it, and makes sure that it is the one that ferry links.
func grypesCommand(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "grype")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, "github.com/anchore/grype/cmd/grype")
	build.Dir, build.Env = "../../test/grype", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build grype: %v\n%s", err, out)
	}
	theirs, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := buildinfo.ReadFile(filepath.Join(programs, "ferry-scanner"))
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"github.com/anchore/grype", "github.com/anchore/syft"} {
		if a, b := builtOf(theirs, module), builtOf(ours, module); a == "" || a != b {
			t.Fatalf("%s: grype's command was built of %q, ferry of %q: test/grype/go.mod has to follow go.mod", module, a, b)
		}
	}
	return program
}

func builtOf(b *buildinfo.BuildInfo, module string) string {
	for _, m := range append([]*debug.Module{&b.Main}, b.Deps...) {
		if m.Path == module {
			return m.Version
		}
	}
	return ""
}

// askGrype is what grype's command finds by an SBOM, as hits says it.
func askGrype(t *testing.T, program, database, sbom string) []string {
	t.Helper()
	c := exec.CommandContext(t.Context(), program, "sbom:"+sbom, "-o", "json", "-q")
	c.Dir = t.TempDir()
	c.Env = []string{
		"HOME=" + c.Dir, "GRYPE_DB_CACHE_DIR=" + database, "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_DB_VALIDATE_AGE=false",
		"GRYPE_CHECK_FOR_APP_UPDATE=false",
	}
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		t.Fatalf("grype: %v\n%s", err, said.String())
	}
	var answer struct {
		Matches []struct {
			Vulnerability struct {
				ID, Severity string
				Fix          struct {
					Versions []string
					State    string
				}
				KnownExploited []any
				Epss           []struct{ Epss float64 }
			}
			Artifact struct{ Name, Version string }
		}
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range answer.Matches {
		v := m.Vulnerability
		h := hit{v.ID, m.Artifact.Name, m.Artifact.Version, strings.ToLower(v.Severity), v.Fix.State, v.Fix.Versions, len(v.KnownExploited) > 0, 0}
		if len(v.Epss) > 0 {
			h.epss = v.Epss[0].Epss
		}
		all = append(all, h.String())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// hit is what is said of one vulnerability in one package.
type hit struct {
	id, name, version, severity, state string
	fixed                              []string
	exploited                          bool
	epss                               float64
}

func (h hit) String() string {
	return fmt.Sprintf("%s %s %s: %s, %s %q, exploited: %v, EPSS %v", h.id, h.name, h.version, h.severity, h.state, h.fixed, h.exploited, h.epss)
}

func hits(r scan.Result) []string {
	var all []string
	for _, f := range r.Findings {
		p := r.Packages[f.Package]
		all = append(all, hit{f.ID, p.Name, p.Version, string(f.Severity), f.FixState, f.FixedIn, f.KnownExploited, f.EPSS}.String())
	}
	slices.Sort(all)
	return slices.Compact(all)
}
