package evidence_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/evidence"
	"ferry/internal/policy"
)

var (
	moment  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	subject = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("image"), Size: 5}
)

const policyText = "version: 1\n"

func report(doc digest.Digest) evidence.Report {
	return evidence.Report{
		Image: "docker.io/library/nginx:1.27", Digest: subject.Digest, Platform: "linux/amd64", AsOf: moment,
		Tool: evidence.Tool{Name: "t", Version: "1"}, Database: policy.DatabaseInfo{Built: moment, Checksum: digest.FromString("db")},
		Policy: digest.FromString(policyText), SBOMs: map[string]digest.Digest{evidence.SPDXMediaType: doc},
		Packages: []policy.Package{{Name: "zlib"}, {Name: "curl", Licences: []string{"curl"}}, {Name: "bash"}},
		Findings: []policy.Finding{
			{ID: "CVE-2", Package: 0}, {ID: "CVE-1", Package: 0, Severity: policy.High}, {ID: "CVE-3", Package: 2},
		},
		Passed: true,
	}
}

func TestReportHasOneForm(t *testing.T) {
	r := report("sha256:x")
	a, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := evidence.DecodeReport(a)
	if err != nil {
		t.Fatal(err)
	}
	of := func(r evidence.Report, id string) string {
		for _, f := range r.Findings {
			if f.ID == id {
				return r.Packages[f.Package].Name
			}
		}
		return ""
	}
	for id, name := range map[string]string{"CVE-1": "zlib", "CVE-2": "zlib", "CVE-3": "bash"} {
		if of(got, id) != name {
			t.Errorf("%s is in %s, want %s", id, of(got, id), name)
		}
	}
	// The same, found in another order.
	slices.Reverse(r.Packages)
	slices.Reverse(r.Findings)
	for i := range r.Findings {
		r.Findings[i].Package = 2 - r.Findings[i].Package
	}
	b, err := r.Encode()
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("another order of finding makes another report: %v\n%s\n%s", err, a, b)
	}
	if r.Packages[0].Name != "bash" || r.Findings[0].ID != "CVE-3" {
		t.Error("Encode changed what it was given")
	}
}

func TestReportThatIsNone(t *testing.T) {
	good, err := report("sha256:x").Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no JSON":               "x",
		"another version":       strings.Replace(string(good), `"version": 1`, `"version": 2`, 1),
		"something added":       strings.Replace(string(good), `"passed"`, `"hidden": 1, "passed"`, 1),
		"another indentation":   strings.ReplaceAll(string(good), "\n ", "\n"),
		"a package out of line": strings.Replace(string(good), `"package": 0`, `"package": 7`, 1),
		"before the first":      strings.Replace(string(good), `"package": 0`, `"package": -1`, 1),
	} {
		if text == string(good) {
			t.Errorf("%s: nothing was changed", name)
		}
		if _, err := evidence.DecodeReport([]byte(text)); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// store makes the evidence about one image, and the nodes a bundle would have.
func store(t *testing.T, change func(*evidence.Report)) (*evidence.Store, []*content.Node) {
	t.Helper()
	s := evidence.NewStore()
	path := filepath.Join(t.TempDir(), "sbom.json")
	if err := os.WriteFile(path, []byte("the SBOM"), 0o600); err != nil {
		t.Fatal(err)
	}
	sbom, doc, err := s.SBOM(subject, evidence.Document{MediaType: evidence.SPDXMediaType, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	r := report(doc)
	if change != nil {
		change(&r)
	}
	about, err := s.Report(subject, r, []byte(policyText), [][]byte{[]byte("a VEX document")})
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*content.Node
	for _, a := range []evidence.Artifact{sbom, about} {
		raw, err := content.ReadAll(t.Context(), s, a.Desc, content.MaxManifest)
		if err != nil {
			t.Fatal(err)
		}
		n, err := content.Parse(a.Desc, raw)
		if err != nil {
			t.Fatal(err)
		}
		if n.Subject.Digest != subject.Digest || a.Subject != subject.Digest || n.ArtifactType != a.Desc.ArtifactType {
			t.Errorf("%+v is no artifact about the image", n)
		}
		nodes = append(nodes, n)
	}
	return s, nodes
}

func wanted() []evidence.Wanted {
	return []evidence.Wanted{{Image: "docker.io/library/nginx:1.27", Digest: subject.Digest, Platform: "linux/amd64"}}
}

func TestWrittenAndRead(t *testing.T) {
	s, nodes := store(t, nil)
	about, errs := evidence.Read(t.Context(), s, nodes, wanted())
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	if string(about[0].Policy) != policyText || len(about[0].Report.Findings) != 3 {
		t.Errorf("%+v", about[0])
	}
	b, err := content.ReadAll(t.Context(), s, about[0].SBOMs[evidence.SPDXMediaType], evidence.MaxSBOM)
	if err != nil || string(b) != "the SBOM" {
		t.Errorf("%q %v", b, err)
	}
	missing := append(wanted(), evidence.Wanted{Image: "quay.io/a/b:1", Digest: digest.FromString("b")})
	if _, errs = evidence.Read(t.Context(), s, nodes, missing); errs[0] != nil || !errors.Is(errs[1], evidence.ErrNone) {
		t.Errorf("%v", errs)
	}
	if _, errs = evidence.Read(t.Context(), s, append(nodes, nodes[1]), wanted()); errs[0] == nil {
		t.Error("two reports about one image are taken")
	}
}

// TestTwoReportsInOne: which of two counts would be for each reader to choose.
func TestTwoReportsInOne(t *testing.T) {
	for _, which := range []int{0, 1} { // the report, the policy
		s, nodes := store(t, nil)
		nodes[1].Layers = append(nodes[1].Layers, nodes[1].Layers[which])
		if _, errs := evidence.Read(t.Context(), s, nodes, wanted()); errs[0] == nil || !strings.Contains(errs[0].Error(), "is there twice") {
			t.Errorf("%s twice: %v", nodes[1].Layers[which].MediaType, errs[0])
		}
	}
}

func TestTooLarge(t *testing.T) {
	s := evidence.NewStore()
	path := filepath.Join(t.TempDir(), "sbom.json")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(evidence.MaxSBOM+1), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	var large *content.TooLargeError
	if _, _, err = s.SBOM(subject, evidence.Document{Path: path}); !errors.As(err, &large) {
		t.Errorf("from a file: %v", err)
	}
	if _, _, err = s.SBOM(subject, evidence.Document{Data: make([]byte, evidence.MaxSBOM+1)}); !errors.As(err, &large) {
		t.Errorf("from memory: %v", err)
	}
	r := report("sha256:x")
	r.Packages[0].Name = strings.Repeat("x", evidence.MaxReport)
	if _, err = r.Encode(); !errors.As(err, &large) {
		t.Errorf("a report: %v", err)
	}
}

func FuzzDecodeReport(f *testing.F) {
	good, err := report("sha256:x").Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := evidence.DecodeReport(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%v: it is taken, and written in another form", err)
		}
	})
}
