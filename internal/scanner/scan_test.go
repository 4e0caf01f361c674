package scanner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anchore/grype/grype"
	"github.com/anchore/grype/grype/db/v6/distribution"
	"github.com/anchore/grype/grype/db/v6/installation"
	"github.com/anchore/grype/grype/distro"
	"github.com/anchore/grype/grype/matcher"
	"github.com/anchore/grype/grype/matcher/stock"
	"github.com/anchore/grype/grype/pkg"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content/contenttest"
	"ferry/internal/policy"
	"ferry/internal/scan"
	"ferry/internal/scanner"
)

// answer is what the scanner said about each image, by its name without the
// registry.
type answer struct {
	scan.Answer
	results map[string]scan.Result
}

// ask asks the scanner in this process.
func ask(t *testing.T, r scan.Request) (answer, error) {
	t.Helper()
	r.Protocol, r.Version = scan.Protocol, testVersion
	in, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = scanner.Serve(context.Background(), testVersion, bytes.NewReader(in), &out, func(int) { t.Error("the scanner gave up") })
	a := answer{results: map[string]scan.Result{}}
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var m scan.Message
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if m.Answer != nil {
			a.Answer = *m.Answer
		}
		if m.Result != nil && m.Result.At < len(r.Images) {
			_, name, _ := strings.Cut(r.Images[m.Result.At].Name, "/")
			a.results[name] = *m.Result
		}
	}
	return a, err
}

// request asks about all images of a bundle, one for each name.
func (p *place) request(file string) scan.Request {
	p.t.Helper()
	b, err := bundle.Open(p.path(file))
	if err != nil {
		p.t.Fatal(err)
	}
	defer b.Close()
	r := scan.Request{Op: scan.OpScan, Database: filepath.Dir(filepath.Dir(p.inUse())), Bundle: p.path(file), Dir: p.t.TempDir()}
	for _, img := range b.Lock().Images {
		r.Images = append(r.Images, scan.Image{Name: img.Name, Digest: img.Digest, Platform: "linux/amd64"})
	}
	return r
}

// found are a result's findings as ID PACKAGE VERSION.
func found(r scan.Result) []string {
	var all []string
	for _, f := range r.Findings {
		p := r.Packages[f.Package]
		all = append(all, f.ID+" "+p.Name+" "+p.Version)
	}
	slices.Sort(all)
	return all
}

func TestRealImages(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	all := images(t, s)
	p.pack("release.tar", s, all)
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	net := moduleVersion(t, "golang.org/x/net")
	for name, want := range map[string][]string{
		"team/web:1":        {"CVE-2024-0001 zlib1g 1:1.2.13.dfsg-1", "CVE-2024-0002 bash 5.2.15-2", "CVE-2024-0004 django 2.2.0"},
		"team/api:1":        {"CVE-2024-0001 zlib1g 1:1.2.13.dfsg-1", "CVE-2024-0002 bash 5.2.15-2", "GO-2099-0001 golang.org/x/net " + net},
		"team/names:1":      nil, // the module is there, and not what is wrong with it
		"team/alpine:3.18":  {"CVE-2024-0003 libcrypto3 3.1.3-r0"},
		"team/distroless:1": {"CVE-2024-0001 zlib1g 1:1.2.13.dfsg-1"},
		"team/hostile:1":    {"CVE-2024-0001 zlib1g 1:1.2.13.dfsg-1"},
		"team/rocky:9":      {"CVE-2024-0005 openssl 1:3.0.7-24.el9", "CVE-2024-0005 openssl-libs 1:3.0.7-24.el9"},
		"team/empty:1":      nil,
	} {
		r, ok := a.results[name]
		if !ok || r.Failed != "" {
			t.Errorf("%s: %v %q", name, ok, r.Failed)
			continue
		}
		if got := found(r); !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", name, got, want)
		}
		if len(r.SBOMs) != 3 {
			t.Errorf("%s: %d SBOMs", name, len(r.SBOMs))
		}
	}
	details(t, a.results["team/web:1"], s, all["team/web:1"])
	if w := a.results["team/empty:1"].Warnings; len(w) != 1 || !strings.Contains(w[0], "no package was found") {
		t.Errorf("an empty catalogue is not told of: %q", w)
	}
	names := a.results["team/names:1"]
	if !slices.ContainsFunc(names.Packages, func(p policy.Package) bool { return p.Name == "golang.org/x/net" }) {
		t.Errorf("the Go module is not listed: %+v", names.Packages)
	}
}

// details looks at all that is told of a finding.
func details(t *testing.T, r scan.Result, s *contenttest.Store, img ocispec.Descriptor) {
	t.Helper()
	raw, _ := s.Get(img.Digest)
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if r.Distribution != (policy.Distribution{ID: "debian", Version: "12", Known: true}) {
		t.Errorf("%+v", r.Distribution)
	}
	for _, f := range r.Findings {
		p := r.Packages[f.Package]
		if !f.Published.Equal(published) {
			t.Errorf("%s is said to be of %s, and the database says %s", f.ID, f.Published, published)
		}
		switch f.ID {
		case "CVE-2024-0001":
			if f.Severity != policy.High || !f.KnownExploited || f.EPSS != 0.5 || f.Percentile != 0.9 || f.FixState != "fixed" || !slices.Equal(f.FixedIn, []string{"1:1.2.13.dfsg-2"}) {
				t.Errorf("%+v", f)
			}
			if p.Layer != m.Layers[0].Digest || !p.System || p.Type != "deb" {
				t.Errorf("%+v", p)
			}
		case "CVE-2024-0002":
			if f.FixState != "not-fixed" || len(f.FixedIn) > 0 || f.KnownExploited {
				t.Errorf("%+v", f)
			}
		case "CVE-2024-0004":
			if p.Layer != m.Layers[1].Digest || p.System {
				t.Errorf("%+v", p)
			}
		}
	}
}

// TestUnknownDistribution: of one that nobody here knows, syft may not know the
// list of packages either. An empty answer is no good news.
func TestUnknownDistribution(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	release := s.Layer(file("etc/os-release", "ID=plan9\nVERSION_ID=4\n"))
	p.pack("release.tar", s, map[string]ocispec.Descriptor{
		"a:1": s.Image(linux, contenttest.Config{}, release, python(s, "django", "5.0.0")),
		"b:1": s.Image(linux, contenttest.Config{}, release, s.Layer(file("var/lib/dpkg/status", dpkg("bash", "bash", "5.2.15-2")))),
	})
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	for name, want := range map[string]string{
		"a:1": "the database knows nothing about its distribution, plan9 4, and none of its system packages was found",
		"b:1": "the database knows nothing about its distribution, plan9 4: its system packages were not matched",
	} {
		if got := a.results[name].Warnings; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: it warns %q, want %q", name, got, want)
		}
	}
}

// TestHeadersAreNoKernel: what is known against a kernel is not said of its
// headers, as grype's command has it.
func TestHeadersAreNoKernel(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(db{records: append(sample().records, record{
		id: "CVE-2024-0006", provider: "debian", os: debian12(), ecosystem: "deb", name: "linux", affected: "< 6.1.90-1", form: "dpkg", fixed: "6.1.90-1", severity: "high",
	})})
	with := func(name string) ocispec.Descriptor {
		return s.Image(linux, contenttest.Config{}, s.Layer(file("etc/os-release", bookworm), file("var/lib/dpkg/status", dpkg(name, "linux", "6.1.85-1"))))
	}
	p.pack("release.tar", s, map[string]ocispec.Descriptor{"headers:1": with("linux-libc-dev"), "kernel:1": with("linux-image-6.1.0-20-amd64")})
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	if h, k := found(a.results["headers:1"]), found(a.results["kernel:1"]); len(h) != 0 || len(k) != 1 {
		t.Errorf("found %q and %q", h, k)
	}
}

// TestVersionThatCannotBeCompared: the package is named, so that somebody can
// look.
func TestVersionThatCannotBeCompared(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	p.pack("release.tar", s, map[string]ocispec.Descriptor{
		"a:1": s.Image(linux, contenttest.Config{}, debianBase(s), python(s, "django", "not-a-version!"), python(s, "other", "not-a-version!")),
	})
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	want := []string{"a version could not be compared, so what it may be vulnerable to is not all listed: django not-a-version!"}
	if got := a.results["a:1"].Warnings; !slices.Equal(got, want) {
		t.Errorf("it warns %q, want %q", got, want)
	}
}

// TestLayerOfAPackage: the list of packages is written anew by every layer
// that installs some, and the packages of the base are the base's all the same.
func TestLayerOfAPackage(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	base := debianBase(s)
	top := s.Layer(
		file("var/lib/dpkg/status", dpkg("zlib1g", "zlib", "1:1.2.13.dfsg-1")+dpkg("bash", "bash", "5.2.15-2")+dpkg("curl", "curl", "7")),
		file("var/lib/dpkg/info/curl.md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/bin/curl\n"), file("usr/bin/curl", "c"),
	)
	p.pack("release.tar", s, map[string]ocispec.Descriptor{"a:1": s.Image(linux, contenttest.Config{}, base, top)})
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	for _, pkg := range a.results["a:1"].Packages {
		if want := map[string]ocispec.Descriptor{"zlib1g": base, "curl": top}[pkg.Name]; want.Digest != "" && pkg.Layer != want.Digest {
			t.Errorf("%s is said to be of %s, and is of %s", pkg.Name, pkg.Layer, want.Digest)
		}
	}
}

// TestSameAsGrype holds the answer against grype's library, used as its own
// command uses it, on the same SBOMs and database.
func TestSameAsGrype(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	p.pack("release.tar", s, images(t, s))
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	provider, _, err := grype.LoadVulnerabilityDB(distribution.DefaultConfig(),
		installation.Config{DBRootDir: filepath.Dir(filepath.Dir(p.inUse())), ValidateChecksum: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer provider.Close()
	total := 0
	for name, r := range a.results {
		i := slices.IndexFunc(r.SBOMs, func(d scan.Document) bool { return d.MediaType == scan.Syft })
		b, err := os.ReadFile(r.SBOMs[i].Path)
		if err != nil {
			t.Fatal(err)
		}
		packages, about, _, err := pkg.ProvideFromReader(bytes.NewReader(b), pkg.ProviderConfig{
			SynthesisConfig: pkg.SynthesisConfig{Distro: pkg.DistroConfig{FixChannels: distro.DefaultFixChannels()}},
		})
		if err != nil {
			t.Fatal(err)
		}
		m := grype.VulnerabilityMatcher{VulnerabilityProvider: provider, Matchers: matcher.NewDefaultMatchers(matcher.Config{Stock: stock.MatcherConfig{UseCPEs: true}})}
		matches, _, err := m.FindMatches(packages, about)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, hit := range matches.Sorted() {
			want = append(want, hit.Vulnerability.ID+" "+hit.Package.Name+" "+hit.Package.Version)
		}
		slices.Sort(want)
		if got := found(r); !slices.Equal(got, want) {
			t.Errorf("%s: ferry found %q, grype %q", name, got, want)
		}
		total += len(want)
	}
	if total < 8 {
		t.Errorf("only %d matches were compared", total)
	}
}

// TestSBOMsAgain: an SBOM says what the layers said, and the same image gives
// the same bytes.
func TestSBOMsAgain(t *testing.T) {
	schemas, s := formats(t), contenttest.NewStore()
	p := newPlace(t).imported(sample())
	p.pack("release.tar", s, images(t, s))
	first, err := ask(t, p.request("release.tar"))
	if err != nil || first.Error != "" {
		t.Fatal(err, first.Error)
	}
	second, err := ask(t, p.request("release.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range first.results {
		for k, doc := range r.SBOMs {
			a, errA := os.ReadFile(doc.Path)
			b, errB := os.ReadFile(second.results[name].SBOMs[k].Path)
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Errorf("%s: two runs, two SBOMs as %s: %v %v", name, doc.MediaType, errA, errB)
			}
			wellFormed(t, schemas, name, doc.MediaType, a)
			if doc.MediaType != scan.Syft {
				continue
			}
			again := rematch(t, p, doc.Path)
			if !slices.Equal(found(again), found(r)) || again.Distribution != r.Distribution {
				t.Errorf("%s: its SBOM gives %q, its layers %q", name, found(again), found(r))
			}
		}
	}
}

// TestSBOMsOfBrokenArchives: what syft says of a file that it could not read
// names its own temporary files. The same image gives the same bytes all the
// same.
func TestSBOMsOfBrokenArchives(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	// The name of an entry is whole, and what is packed behind it is not.
	spoilt := func(name string) string {
		b := []byte(jar(t, map[string]string{"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\n", name: strings.Repeat("Implementation-Title: odd\n", 50)}))
		at := bytes.Index(b, []byte(name)) + len(name)
		copy(b[at+2:], "spoilt spoilt spoilt")
		return string(b)
	}
	p.pack("release.tar", s, map[string]ocispec.Descriptor{"a:1": s.Image(linux, contenttest.Config{}, debianBase(s), s.Layer(
		file("app/maven.jar", spoilt("META-INF/maven/a/odd/pom.properties")), file("app/manifest.jar", spoilt("META-INF/MANIFEST.MF"))))})
	var warnings, documents []string
	for range 2 {
		a, err := ask(t, p.request("release.tar"))
		if err != nil || a.Error != "" {
			t.Fatal(err, a.Error)
		}
		r := a.results["a:1"]
		all := ""
		for _, d := range r.SBOMs {
			b, err := os.ReadFile(d.Path)
			if err != nil {
				t.Fatal(err)
			}
			all += string(b)
		}
		if len(r.Warnings) == 0 || !strings.Contains(all, "java-archive-cataloger") {
			t.Fatalf("nothing is said of the archives: %q", r.Warnings)
		}
		warnings, documents = append(warnings, strings.Join(r.Warnings, "\n")), append(documents, all)
	}
	if warnings[0] != warnings[1] || documents[0] != documents[1] {
		t.Errorf("two runs, two answers:\n%s\n%s", warnings[0], warnings[1])
	}
}

// TestSameBundleOnTwoMachines: the same image, lock, database, policy and moment
// make the same file, whoever packs it and wherever. What is found out about an
// image tells nothing of the machine that looked.
func TestSameBundleOnTwoMachines(t *testing.T) {
	archive, at := sample().archive(t), time.Now().UTC().Format(time.RFC3339)
	var files [][]byte
	var lock []byte
	for _, env := range [][]string{
		{"TZ=UTC", "LC_ALL=C"},
		{"TZ=Asia/Kathmandu", "LC_ALL=tr_TR.UTF-8", "GOPROXY=https://goproxy.example", "GOPRIVATE=bank.example", "GOFLAGS=-mod=mod"},
	} {
		p := newPlace(t)
		p.env = append(p.env, env...)
		p.wants(0, []string{"db", "import", archive})
		if err := os.WriteFile(p.path("p.yaml"), []byte("version: 1\nimages: {emptyCatalogue: allow}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"pack", p.archive(t), "--to", "release.tar", "--policy", "p.yaml", "--as-of", at}
		if lock != nil {
			args = append(args, "--lock", "first.lock")
			if err := os.WriteFile(p.path("first.lock"), lock, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p.wants(0, args, "gate: passed")
		b, err := os.ReadFile(p.path("release.tar"))
		if err == nil && lock == nil {
			lock, err = os.ReadFile(p.path("release.tar.lock"))
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(p.dir)) {
			t.Errorf("the bundle names the folder that it was made in, %s", p.dir)
		}
		files = append(files, b)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two machines, two bundles")
	}
}

func rematch(t *testing.T, p *place, sbom string) scan.Result {
	t.Helper()
	in, err := json.Marshal(scan.Request{
		Protocol: scan.Protocol, Version: testVersion, Op: scan.OpMatch, Database: filepath.Dir(filepath.Dir(p.inUse())), SBOMs: []string{sbom},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := scanner.Serve(t.Context(), testVersion, bytes.NewReader(in), &out, nil); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(out.String(), "\n") {
		var m scan.Message
		if json.Unmarshal([]byte(line), &m) == nil && m.Result != nil {
			return *m.Result
		}
	}
	t.Fatalf("no result in %s", out.String())
	return scan.Result{}
}
