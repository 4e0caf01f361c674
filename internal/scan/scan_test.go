package scan_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/policy"
	"ferry/internal/scan"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestUsable(t *testing.T) {
	for name, tc := range map[string]struct {
		built time.Time
		limit time.Duration
		want  string
	}{
		"of yesterday":                    {now.AddDate(0, 0, -1), scan.DefaultAge, ""},
		"eight days old":                  {now.AddDate(0, 0, -8), scan.DefaultAge, "which is 8 days old; it may be 7 days"},
		"of last year, any age":           {now.AddDate(-1, 0, 0), 0, ""},
		"of last year":                    {now.AddDate(-1, 0, 0), scan.DefaultAge, "365 days old"},
		"from the future":                 {now.Add(2 * time.Hour), 0, "either it or the clock is wrong"},
		"clocks that differ by a little":  {now.Add(time.Minute), scan.DefaultAge, ""},
		"it does not say of when it is":   {time.Time{}, 0, "does not say of when it is"},
		"half a day, where hours are few": {now.Add(-12 * time.Hour), 6 * time.Hour, "12 h old; it may be 6 h"},
	} {
		t.Run(name, func(t *testing.T) {
			err := scan.Database{Built: tc.built}.Usable(now, tc.limit)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func subject(name string) scan.Subject {
	base, top := digest.FromString("base"), digest.FromString(name)
	return scan.Subject{
		Name: name, Layers: []digest.Digest{base, top},
		Packages: []policy.Package{
			{Name: "zlib1g", Version: "1.2", Type: "deb", System: true, Layer: base},
			{Name: "curl", Version: "7", Type: "deb", System: true, Layer: base},
			{Name: "django", Version: "2.2", Type: "python", Layer: top},
		},
		Findings: []policy.Finding{
			{ID: "CVE-1", Package: 0, Severity: policy.Low, FixedIn: []string{"1.3"}},
			{ID: "CVE-2", Package: 1, Severity: policy.High, FixedIn: []string{"8"}},
			{ID: "CVE-3", Package: 2, Severity: policy.Medium, FixedIn: []string{"2.2.1"}},
			{ID: "CVE-4", Package: 2, Severity: policy.Critical},
		},
	}
}

func TestUpdates(t *testing.T) {
	a, b := subject("a"), subject("b")
	got := scan.Updates([]scan.Subject{a, b})
	if len(got) != 2 {
		t.Fatalf("%d things to do, want a base and a package: %+v", len(got), got)
	}
	if got[0].Base != a.Layers[0] || got[0].Mends != 4 || got[0].Worst != policy.High || got[0].Text() != "take a newer base image (layer 1) in 2 images" {
		t.Errorf("%+v %s", got[0], got[0].Text())
	}
	if got[1].Mends != 2 || got[1].Text() != "update django 2.2 to 2.2.1 in 2 images" {
		t.Errorf("%+v %s", got[1], got[1].Text())
	}
	// Each finding names the version that mends it alone.
	a.Findings = append(a.Findings, policy.Finding{ID: "CVE-5", Package: 2, FixedIn: []string{"2.2.28"}})
	if got = scan.Updates([]scan.Subject{a}); got[1].Text() != "update django 2.2 to the highest of 2.2.1, 2.2.28 in a" {
		t.Errorf("%s", got[1].Text())
	}
	// What is being exploited stands before what is many.
	a.Findings[2].KnownExploited = true
	if got = scan.Updates([]scan.Subject{a, b}); got[0].Package != "django" || got[0].Exploited != 1 {
		t.Errorf("%+v", got)
	}
}

func TestCount(t *testing.T) {
	c := scan.CountOf(append(subject("a").Findings, policy.Finding{KnownExploited: true}))
	if c.All != 5 || c.Fixable != 3 || c.Exploited != 1 || c.Severity[policy.Unknown] != 1 || c.Severity[policy.High] != 1 {
		t.Errorf("%+v", c)
	}
}

func TestSARIF(t *testing.T) {
	failed := scan.Subject{Name: "c", Failed: "layer 2 expands without end"}
	log := scan.MakeSARIF([]scan.Subject{subject("a"), subject("b"), failed}, "release.tar", "v1")
	b, err := json.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if len(run.Tool.Driver.Rules) != 4 || len(run.Results) != 8 {
		t.Errorf("%d rules, %d results", len(run.Tool.Driver.Rules), len(run.Results))
	}
	for _, r := range run.Results {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("%s leads to rule %d", r.RuleID, r.RuleIndex)
		}
	}
	odd := scan.MakeSARIF([]scan.Subject{subject("a")}, "my release #1.tar", "v1")
	if at := odd.Runs[0].Results[0].Locations[0].Physical.Artifact.URI; at != "my%20release%20%231.tar" {
		t.Errorf("the file is called %s", at)
	}
	if run.Invocations[0].Done || !strings.Contains(string(b), "c could not be scanned: layer 2 expands without end") {
		t.Error("an image that failed is not told of")
	}
}
