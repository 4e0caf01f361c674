package ui_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/lock"
	"ferry/internal/quote"
	"ferry/internal/ui"
	"ferry/internal/workload"
)

var (
	top      = digest.FromString("top")
	upstream = digest.FromString("upstream")
	sealed   = digest.FromString("sealed")
	moment   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

// short is top as it stands in a list.
var short = top.String()[:len("sha256:")+12] + "…"

// evil is what a stranger may have written anywhere: it clears the screen,
// goes back to the line's start, turns the text around, ends the line.
const evil = "a\x1b[2Jb\rc\u202ed\ne\u009bf\x00"

// seen is evil as it may be shown.
const seen = `a\x1b[2Jb\rc\u202ed\ne\u009bf\x00`

// printed returns what show prints: the answer and the conversation.
func printed(p ui.Printer, show func(*ui.Printer) error) (out, conversation string, err error) {
	var o, e bytes.Buffer
	p.Out, p.Err = &o, &e
	err = show(&p)
	return o.String(), e.String(), err
}

func golden(t *testing.T, p ui.Printer, show func(*ui.Printer) error, out, conversation string) {
	t.Helper()
	gotOut, gotConversation, err := printed(p, show)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{out, gotOut}, {conversation, gotConversation}} {
		if diff := cmp.Diff(strings.TrimPrefix(c[0], "\n"), c[1]); diff != "" {
			t.Errorf("-want +printed:\n%s", diff)
		}
	}
}

func harmless(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && quote.Unsafe(r) {
			t.Fatalf("%U is printed as it is:\n%q", r, text)
		}
	}
}

func image(name string) lock.Image {
	return lock.Image{
		Name: name, Digest: top, MediaType: "a/b", Size: 10,
		Platforms: []string{"linux/amd64", "linux/arm64"}, Source: lock.Source{Type: lock.Registry},
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0:                   "0 B",
		1:                   "1 B",
		999:                 "999 B",
		1000:                "1.00 kB",
		1005:                "1.00 kB",
		9994:                "9.99 kB",
		9995:                "10.0 kB",
		72_449:              "72.4 kB",
		99_949:              "99.9 kB",
		99_950:              "100 kB",
		999_499:             "999 kB",
		999_500:             "1.00 MB",
		1_000_000:           "1.00 MB",
		72_400_000:          "72.4 MB",
		1_500_000_000:       "1.50 GB",
		999_499_999_999:     "999 GB",
		999_500_000_000:     "1.00 TB",
		3_000_000_000_000:   "3.00 TB",
		1 << 62:             "4612 PB",
		1_000_000_000_000e3: "1.00 PB",
	} {
		if got := ui.Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func packResult() *ferry.PackResult {
	return &ferry.PackResult{
		File: "my release.tar", Digest: sealed, Size: 72_400_000, Blobs: 7, Fetched: 70_000_000, Reused: 0,
		Images: []lock.Image{image("docker.io/library/nginx:1.27")},
	}
}

func TestPack(t *testing.T) {
	golden(t, ui.Printer{}, func(p *ui.Printer) error { return p.Pack(packResult()) }, `
✓ docker.io/library/nginx:1.27  `+short+`  linux/amd64 linux/arm64
my release.tar  1 image · 7 blobs · 72.4 MB · 70.0 MB fetched, 0 B were here already
digest  `+sealed.String()+`
`, `
! not gated, unsigned. Carry the digest another way than the file, and behind the gap type
  ferry verify 'my release.tar' --digest `+sealed.String()+`
`)
}

func TestPackUnchanged(t *testing.T) {
	r := packResult()
	r.Unchanged = true
	out, _, _ := printed(ui.Printer{}, func(p *ui.Printer) error { return p.Pack(r) })
	if !strings.Contains(out, "my release.tar holds just these already: nothing was written (1 image · 7 blobs · 72.4 MB)\n") {
		t.Errorf("%s", out)
	}
}

func TestPackPlan(t *testing.T) {
	r := packResult()
	r.DryRun, r.Digest = true, ""
	r.ByHand = [][]string{{"skopeo", "copy", "docker://x", "oci-archive:my release.tar:x"}}
	r.Images[0].Referrers = []lock.Referrer{{}, {}}
	golden(t, ui.Printer{}, func(p *ui.Printer) error { return p.Pack(r) }, `
Plan for my release.tar: 1 image · 7 blobs · at most 72.4 MB to fetch; nothing was written
  docker.io/library/nginx:1.27  `+short+`  linux/amd64 linux/arm64  + 2 referrers
By hand, one image after another, about the same is
  skopeo copy docker://x 'oci-archive:my release.tar:x'
`, "")
}

func TestPackPartly(t *testing.T) {
	r := packResult()
	r.Warnings = []string{"nginx: latest names no release"}
	r.Failed = []ferry.ImageError{{Image: "quay.io/gone:1", Err: errors.New("404 Not Found"), Text: "404 Not Found"}}
	_, conversation, _ := printed(ui.Printer{}, func(p *ui.Printer) error { return p.Pack(r) })
	for _, want := range []string{"! nginx: latest names no release\n", "✗ quay.io/gone:1: 404 Not Found\n"} {
		if !strings.Contains(conversation, want) {
			t.Errorf("no %q in\n%s", want, conversation)
		}
	}
}

func verifyResult() *ferry.VerifyResult {
	return &ferry.VerifyResult{
		File: "release.tar", Digest: sealed, Size: 1_500_000, Blobs: 1, Images: 2, ResolvedAt: moment, Gate: "not gated",
	}
}

func TestVerify(t *testing.T) {
	const lines = `
✓ 1 blob, 1.50 MB, every digest right
✓ lock: 2 images, resolved at 2026-11-23 12:00 UTC, the same as in the index
✓ every other byte follows from the lock and the seal
`
	golden(t, ui.Printer{}, func(p *ui.Printer) error { return p.Verify(verifyResult()) }, lines+`! not gated, unsigned
digest  `+sealed.String()+`
`, `
whole, but a forger could have made it so: compare the digest with the one that pack printed (--digest)
`)
	r := verifyResult()
	r.Expected = true
	golden(t, ui.Printer{}, func(p *ui.Printer) error { return p.Verify(r) }, lines+`✓ it is the bundle asked for
! not gated, unsigned
digest  `+sealed.String()+`
`, "")
}

func TestInspect(t *testing.T) {
	one := image("docker.io/library/nginx:1.27")
	one.Upstream = &lock.Descriptor{Digest: upstream}
	one.Referrers = []lock.Referrer{{Digest: sealed, ArtifactType: "application/sig", Tag: "sha256-x.sig"}}
	two := image("localhost/app:1")
	two.Platforms = nil
	two.Source = lock.Source{Type: lock.Local, Kind: "docker-archive", Claimed: upstream}
	r := &ferry.InspectResult{
		File: "release.tar", Digest: sealed, Size: 2000, Blobs: 9, ResolvedAt: moment, Gate: "not gated", Shared: 500,
		Images: []ferry.InspectImage{{Image: one, Bytes: 1500, Own: 1000, Layers: 1}, {Image: two, Bytes: 999, Own: 1, Layers: 3}},
	}
	golden(t, ui.Printer{}, func(p *ui.Printer) error { return p.Inspect(r) }, `
release.tar  2 images · 9 blobs · 2.00 kB · sharing saves 500 B
digest    `+sealed.String()+`
resolved  2026-11-23 12:00 UTC · not gated, unsigned

docker.io/library/nginx:1.27
  digest     `+top.String()+`  a/b
  platforms  linux/amd64 linux/arm64
  size       1.50 kB in 1 layer, 1.00 kB of it shared with no other image
  source     registry, byte for byte
  upstream   `+upstream.String()+`, of which only these platforms were taken
  referrer   `+sealed.String()+`  application/sig (tag sha256-x.sig)

localhost/app:1
  digest     `+top.String()+`  a/b
  platforms  no platform
  size       999 B in 3 layers, 1 B of it shared with no other image
  source     local, docker-archive: the manifest was made anew when it was exported; the engine claims that upstream it is `+upstream.String()+`
`, "")
}

// TestNothingForeignSteersATerminal fills every text of every result.
func TestNothingForeignSteersATerminal(t *testing.T) {
	img := image(evil)
	img.MediaType, img.Platforms = evil, []string{evil}
	img.Source = lock.Source{Type: lock.Local, Kind: evil, Claimed: digest.Digest(evil)}
	img.Referrers = []lock.Referrer{{Digest: top, ArtifactType: evil, Tag: evil, MediaType: evil}}
	failed := ferry.ImageError{Image: evil, Err: errors.New(evil), Text: evil}
	result := &ferry.PackResult{
		File: evil, Digest: top, Images: []lock.Image{img}, Warnings: []string{evil},
		Failed: []ferry.ImageError{failed}, ByHand: [][]string{{"skopeo", evil}},
	}
	plan := *result
	plan.DryRun, plan.Unchanged = true, true
	unchanged := *result
	unchanged.Unchanged = true
	shows := map[string]func(*ui.Printer) error{
		"pack":      func(p *ui.Printer) error { return p.Pack(result) },
		"plan":      func(p *ui.Printer) error { return p.Pack(&plan) },
		"unchanged": func(p *ui.Printer) error { return p.Pack(&unchanged) },
		"verify":    func(p *ui.Printer) error { return p.Verify(&ferry.VerifyResult{File: evil, Digest: top, Gate: evil}) },
		"inspect": func(p *ui.Printer) error {
			return p.Inspect(&ferry.InspectResult{File: evil, Digest: top, Gate: evil, Images: []ferry.InspectImage{{Image: img}}})
		},
		"error": func(p *ui.Printer) error { p.Error(evil, evil); return nil },
	}
	for name, show := range shows {
		t.Run(name, func(t *testing.T) {
			out, conversation, err := printed(ui.Printer{}, show)
			if err != nil {
				t.Fatal(err)
			}
			harmless(t, out+conversation)
			if name != "error" && !strings.Contains(out, seen) {
				t.Errorf("the text is not shown as %s:\n%s", seen, out)
			}
			if name == "error" {
				return
			}
			out, conversation, err = printed(ui.Printer{JSON: true}, show)
			if err != nil || conversation != "" {
				t.Fatalf("%v, %q", err, conversation)
			}
			harmless(t, out)
			var v any
			if err := json.Unmarshal([]byte(out), &v); err != nil || !holds(v, evil) {
				t.Errorf("%v: the text is not in the document:\n%s", err, out)
			}
		})
	}
}

// holds says whether text is one of the strings in v.
func holds(v any, text string) bool {
	switch v := v.(type) {
	case string:
		return v == text
	case []any:
		for _, c := range v {
			if holds(c, text) {
				return true
			}
		}
	case map[string]any:
		for _, c := range v {
			if holds(c, text) {
				return true
			}
		}
	}
	return false
}

// TestQuiet: the answer stays, the conversation goes, errors are heard.
func TestQuiet(t *testing.T) {
	r := packResult()
	r.Warnings = []string{"careful"}
	out, conversation, err := printed(ui.Printer{Quiet: true}, func(p *ui.Printer) error { return p.Pack(r) })
	if err != nil || conversation != "" || !strings.Contains(out, sealed.String()) {
		t.Errorf("%q, %q, %v", out, conversation, err)
	}
	out, conversation, _ = printed(ui.Printer{Quiet: true}, func(p *ui.Printer) error { p.Error("broken", "mend it"); return nil })
	if out != "" || conversation != "✗ broken\n  mend it\n" {
		t.Errorf("%q, %q", out, conversation)
	}
}

func TestErrorKeepsSecrets(t *testing.T) {
	_, conversation, _ := printed(ui.Printer{}, func(p *ui.Printer) error {
		p.Error("GET https://user:hunter2@quay.io/v2/: denied\nsecond line", "try https://user:hunter2@quay.io\nagain")
		return nil
	})
	if strings.Contains(conversation, "hunter2") {
		t.Errorf("a password is printed: %s", conversation)
	}
	for i, line := range strings.Split(strings.TrimSuffix(conversation, "\n"), "\n") {
		if prefix := map[bool]string{true: "✗ ", false: "  "}[i == 0]; !strings.HasPrefix(line, prefix) {
			t.Errorf("line %d does not begin with %q: %q", i, prefix, line)
		}
	}
}

func TestColour(t *testing.T) {
	for color, want := range map[bool]string{true: "\x1b[32m✓\x1b[0m", false: "✓"} {
		p := ui.Printer{Color: color}
		if got := p.Mark(true); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if p := (&ui.Printer{}); p.Mark(false) != "✗" {
		t.Error("what failed has the mark of what went well")
	}
}

func TestVersion(t *testing.T) {
	show := func(p *ui.Printer) error { return p.Version("v1", "abc") }
	golden(t, ui.Printer{}, show, "ferry v1 (abc)\n", "")
	golden(t, ui.Printer{JSON: true}, show, "{\n  \"commit\": \"abc\",\n  \"version\": \"v1\"\n}\n", "")
}

func TestABufferIsNoTerminal(t *testing.T) {
	if ui.IsTerminal(&bytes.Buffer{}) {
		t.Error("a buffer in memory is taken for a terminal")
	}
}

// TestFixManagers: who manages a workload is named where its policy changes,
// since that may be put back, and not where it is left alone.
func TestFixManagers(t *testing.T) {
	w := ferry.FixWorkload{Object: diagnose.Object{Kind: "Deployment", Namespace: "shop", Name: "web"}, Managers: []string{"Helm"}}
	shown := func() string {
		out, _, err := printed(ui.Printer{}, func(p *ui.Printer) error { return p.FixPlan(&ferry.FixPlan{Workloads: []ferry.FixWorkload{w}}) })
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if strings.Contains(shown(), "Helm") {
		t.Errorf("nothing is patched, and it says\n%s", shown())
	}
	w.Changes = []workload.Change{{Place: workload.Place{Name: "web", Policy: "Always"}, To: "IfNotPresent"}}
	w.ByHand = [][]string{{"kubectl", "patch"}}
	if !strings.Contains(shown(), "Helm holds this workload too") {
		t.Errorf("got\n%s", shown())
	}
}
