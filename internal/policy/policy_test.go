package policy_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/policy"
)

var moment = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("ferry.policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// image is a sound one: every test spoils what it is about.
func image() policy.Image {
	return policy.Image{
		Name: "docker.io/library/nginx:1.27", Digest: digest.FromString("nginx"), Platform: "linux/amd64",
		User: "101", Created: moment.AddDate(0, 0, -20), Labels: map[string]string{"team": "web"},
		Distribution: policy.Distribution{ID: "debian", Version: "12", Known: true},
		Packages: []policy.Package{
			{Name: "zlib1g", Version: "1:1.2.13", Type: "deb", PURL: "pkg:deb/debian/zlib1g@1%3A1.2.13?arch=amd64&distro=debian-12", Licences: []string{"Zlib"}, System: true},
			{Name: "log4j-core", Version: "2.14.1", Type: "java-archive", PURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", Licences: []string{"Apache-2.0"}},
		},
	}
}

func finding(id string, s policy.Severity) policy.Finding {
	return policy.Finding{ID: id, Severity: s, FixedIn: []string{"9"}, FixState: "fixed"}
}

func question(p *policy.Policy, images ...policy.Image) policy.Question {
	return policy.Question{Policy: p, AsOf: moment, Scan: policy.Scan{
		Images: images, Database: policy.DatabaseInfo{Built: moment.AddDate(0, 0, -1), Checksum: digest.FromString("db"), EPSS: true},
	}}
}

// rules are the names of those that refuse.
func rules(v *policy.Verdict) []string {
	var all []string
	for _, d := range v.Decisions {
		if d.Refuses() {
			for _, r := range d.Reasons {
				all = append(all, r.Rule)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestNoEPSS: a rule that asks for EPSS has no answer in a database without.
func TestNoEPSS(t *testing.T) {
	for expression, want := range map[string]string{
		"finding.epss >= 0.5": "database",
		"finding.fixed && [finding.epssPercentile].exists(p, p > 0.9)": "database",
		"finding.id == 'finding.epss'":                                 "",
	} {
		q := question(parse(t, "version: 1\n"+rule("finding", expression)), image())
		if got := strings.Join(rules(policy.Evaluate(q)), " "); got != "" {
			t.Errorf("%s, with EPSS: refused by %q", expression, got)
		}
		q.Scan.Database.EPSS = false
		if got := strings.Join(rules(policy.Evaluate(q)), " "); got != want {
			t.Errorf("%s, without: refused by %q, want %q", expression, got, want)
		}
	}
}

func TestRules(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string
		spoil  func(*policy.Image)
		want   string
	}{
		"nothing to refuse":             {"", func(*policy.Image) {}, ""},
		"high with fix":                 {"vulnerabilities: {refuse: {withFix: high}}", with(finding("CVE-1", policy.High)), "severity"},
		"medium with fix":               {"vulnerabilities: {refuse: {withFix: high}}", with(finding("CVE-1", policy.Medium)), ""},
		"critical without fix":          {"vulnerabilities: {refuse: {withFix: low}}", with(policy.Finding{ID: "CVE-1", Severity: policy.Critical}), ""},
		"critical without fix, limited": {"vulnerabilities: {refuse: {withoutFix: critical}}", with(policy.Finding{ID: "CVE-1", Severity: policy.Critical}), "severity"},
		"no limit":                      {"", with(finding("CVE-1", policy.Critical)), ""},
		"not rated counts as high":      {"vulnerabilities: {refuse: {withFix: high}}", with(finding("CVE-1", policy.Unknown)), "severity"},
		"not rated, by whoever":         {"vulnerabilities: {refuse: {withFix: high}}", with(finding("CVE-1", "weird")), "severity"},
		"not rated, counted as low":     {"vulnerabilities: {refuse: {withFix: high}, unknownSeverity: low}", with(finding("CVE-1", policy.Unknown)), ""},
		"exploited, whatever its severity": {
			"", with(policy.Finding{ID: "CVE-1", Severity: policy.Negligible, KnownExploited: true}), "known-exploited",
		},
		"a finding of no package":         {"", with(policy.Finding{ID: "CVE-1", Package: 7}), "not-scanned"},
		"could not be scanned":            {"", func(i *policy.Image) { i.Failed = "layer 3 is no tar" }, "not-scanned"},
		"forbidden package":               {"packages: {forbidden: [{name: log4j-core}]}", nil, "forbidden-package"},
		"forbidden by pattern":            {"packages: {forbidden: [{name: log4j*, type: java-*, version: 2.14.*}]}", nil, "forbidden-package"},
		"another version":                 {"packages: {forbidden: [{name: log4j*, version: 2.17.*}]}", nil, ""},
		"another type":                    {"packages: {forbidden: [{name: log4j*, type: deb}]}", nil, ""},
		"registry":                        {"images: {registries: [quay.io]}", nil, "registry"},
		"registry allowed":                {"images: {registries: [docker.io]}", nil, ""},
		"path of a registry":              {"images: {registries: [docker.io/library]}", nil, ""},
		"a path's beginning is no path":   {"images: {registries: [docker.io/lib]}", nil, "registry"},
		"a host's beginning is no host":   {"images: {registries: [docker.i.o]}", nil, "registry"},
		"latest":                          {"images: {latestTag: refuse}", func(i *policy.Image) { i.Name = "quay.io/a/b:latest" }, "latest-tag"},
		"latest by default":               {"images: {latestTag: refuse}", func(i *policy.Image) { i.Name = "nginx" }, "latest-tag"},
		"latest allowed":                  {"images: {latestTag: allow}", func(i *policy.Image) { i.Name = "nginx" }, ""},
		"root by default":                 {"images: {rootUser: refuse}", func(i *policy.Image) { i.User = "" }, "root-user"},
		"root by number":                  {"images: {rootUser: refuse}", func(i *policy.Image) { i.User = "00:5" }, "root-user"},
		"root by name":                    {"images: {rootUser: refuse}", func(i *policy.Image) { i.User = "root:root" }, "root-user"},
		"another user":                    {"images: {rootUser: refuse}", func(i *policy.Image) { i.User = "rooty" }, ""},
		"old":                             {"images: {maxAge: 19d}", nil, "image-age"},
		"not old":                         {"images: {maxAge: 21d}", nil, ""},
		"no date":                         {"images: {maxAge: 21d}", func(i *policy.Image) { i.Created = time.Time{} }, "image-age"},
		"the date of reproducible builds": {"images: {maxAge: 36500d}", func(i *policy.Image) { i.Created = time.Unix(0, 0) }, "image-age"},
		"from the future":                 {"images: {maxAge: 21d}", func(i *policy.Image) { i.Created = moment.AddDate(0, 0, 3) }, "image-age"},
		"unknown distribution":            {"", func(i *policy.Image) { i.Distribution = policy.Distribution{ID: "slackware"} }, "unknown-distribution"},
		"unknown, and no system packages": {"", func(i *policy.Image) {
			i.Distribution, i.Packages = policy.Distribution{ID: "slackware"}, i.Packages[1:]
		}, "unknown-distribution"},
		"system packages of none":        {"", func(i *policy.Image) { i.Distribution = policy.Distribution{} }, "unknown-distribution"},
		"unknown distribution, allowed":  {"images: {unknownDistribution: allow}", func(i *policy.Image) { i.Distribution = policy.Distribution{} }, ""},
		"a program alone has none":       {"", func(i *policy.Image) { i.Distribution = policy.Distribution{}; i.Packages = i.Packages[1:] }, ""},
		"nothing found":                  {"", func(i *policy.Image) { i.Packages = nil }, "empty-catalogue"},
		"nothing found, allowed":         {"images: {emptyCatalogue: allow}", func(i *policy.Image) { i.Packages = nil }, ""},
		"signatures cannot be checked":   {"images: {signatures: required}", nil, "signatures"},
		"provenance cannot be checked":   {"images: {provenance: required}", nil, "provenance"},
		"a name that is none":            {"", func(i *policy.Image) { i.Name = "Bad Name" }, "not-scanned"},
		"own rule, likely exploited":     {rule("finding", "finding.epss >= 0.5"), with(policy.Finding{ID: "CVE-1", EPSS: 0.7}), "mine"},
		"own rule, unlikely":             {rule("finding", "finding.epss >= 0.5"), with(policy.Finding{ID: "CVE-1", EPSS: 0.1}), ""},
		"own rule, licence":              {rule("package", "pkg.licences.exists(l, l.startsWith('Apache'))"), nil, "mine"},
		"own rule, label":                {rule("image", "image.labels['team'] == 'web'"), nil, "mine"},
		"own rule, packages of an image": {rule("image", "image.packages.exists(p, p.name == 'zlib1g')"), nil, "mine"},
		"own rule, age":                  {rule("image", "image.age > duration('240h')"), nil, "mine"},
		"own rule, severity":             {rule("finding", "finding.severity.atLeast('high') && pkg.type == 'deb'"), with(finding("CVE-1", policy.Critical)), "mine"},
		"own rule, severity not rated":   {rule("finding", "finding.severity.atLeast('critical')"), with(finding("CVE-1", policy.Unknown)), ""},
		"own rule, a severity that is none": {
			rule("finding", "finding.severity.atLeast('hgih')"), with(finding("CVE-1", policy.Low)), "mine",
		},
		"own rule that fails refuses":        {rule("image", "image.labels['nobody'] == 'x'"), nil, "mine"},
		"own rule that takes too long":       {rule("image", costly()), nil, "mine"},
		"own rule about published":           {rule("finding", "finding.dated && finding.age > duration('24h')"), with(policy.Finding{ID: "CVE-1", Published: moment.AddDate(0, 0, -2)}), "mine"},
		"two rules refuse one finding":       {"vulnerabilities: {refuse: {withFix: low}}", with(policy.Finding{ID: "C", Severity: policy.High, KnownExploited: true, FixedIn: []string{"1"}}), "known-exploited severity"},
		"the database's own age, in policy":  {"database: {maxAge: 12h}", nil, "database"},
		"the database's own age, in policy ": {"database: {maxAge: 25h}", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			img := image()
			if tc.spoil != nil {
				tc.spoil(&img)
			}
			v := policy.Evaluate(question(parse(t, "version: 1\n"+tc.policy), img))
			if got := strings.Join(rules(v), " "); got != tc.want || v.Passed != (tc.want == "") {
				t.Errorf("refused by %q, passed %v; want %q\n%+v", got, v.Passed, tc.want, v.Decisions)
			}
		})
	}
}

func with(f ...policy.Finding) func(*policy.Image) {
	return func(i *policy.Image) { i.Findings = f }
}

func rule(each, refuse string) string {
	return "rules: [{name: mine, each: " + each + ", refuse: \"" + refuse + "\", because: so}]"
}

// costly is an expression that fits into the limits of length, but whose work
// grows with the sixth power of the packages.
func costly() string {
	s := "false"
	for _, v := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"} {
		s = "image.packages.exists(" + v + ", " + s + ")"
	}
	return s
}

func TestDatabase(t *testing.T) {
	for name, tc := range map[string]struct {
		built time.Time
		limit time.Duration
		want  string
	}{
		"fresh":                     {moment.AddDate(0, 0, -6), 7 * 24 * time.Hour, ""},
		"too old":                   {moment.AddDate(0, 0, -8), 7 * 24 * time.Hour, "is of 2026-11-15 12:00 UTC, 8d old; it may be 7d"},
		"days and hours too old":    {moment.AddDate(0, 0, -9).Add(-5 * time.Hour), 7 * 24 * time.Hour, ", 9d old; it may be 7d"},
		"hours too old":             {moment.AddDate(0, 0, -7).Add(-5 * time.Hour), 7 * 24 * time.Hour, ", 173h old; it may be 7d"},
		"old, nobody asks":          {moment.AddDate(-1, 0, 0), 0, ""},
		"from the future":           {moment.Add(2 * time.Hour), 0, "either it or the clock is wrong"},
		"a clock a little too slow": {moment.Add(30 * time.Minute), 0, ""},
		"unknown":                   {time.Time{}, 0, "it is not known which"},
	} {
		t.Run(name, func(t *testing.T) {
			q := question(parse(t, "version: 1"), image())
			q.Scan.Database.Built, q.DatabaseAge = tc.built, tc.limit
			v := policy.Evaluate(q)
			if v.Passed != (tc.want == "") {
				t.Fatalf("passed %v: %+v", v.Passed, v.Decisions)
			}
			if tc.want != "" && !strings.Contains(v.Decisions[0].Reasons[0].Text, tc.want) {
				t.Errorf("%q, want %q in it", v.Decisions[0].Reasons[0].Text, tc.want)
			}
		})
	}
	q := question(parse(t, "version: 1"), image())
	if q.NotBefore = moment.Add(2 * time.Hour); strings.Join(rules(policy.Evaluate(q)), " ") != "clock" {
		t.Error("a clock that was set back is believed")
	}
	if q.NotBefore = moment.Add(30 * time.Minute); !policy.Evaluate(q).Passed {
		t.Error("a clock that is a little slow is not believed")
	}
	if v := policy.Evaluate(question(parse(t, "version: 1"))); v.Passed {
		t.Error("a scan of nothing passed")
	}
}

const exception = "exceptions: [{vulnerability: CVE-1, owner: payments, reason: not reachable, ticket: SEC-1, expires: 2026-12-31, "

func TestExceptions(t *testing.T) {
	kev := policy.Finding{ID: "CVE-1", Severity: policy.High, KnownExploited: true, FixedIn: []string{"2"}}
	plain := finding("CVE-1", policy.High)
	alias := finding("GHSA-x", policy.High)
	alias.Aliases = []string{"cve-1"}
	for name, tc := range map[string]struct {
		exception string
		finding   policy.Finding
		accepted  bool
		unused    int
		note      string
	}{
		"by package":                   {exception + "package: zlib1g}]", plain, true, 0, ""},
		"by package pattern":           {exception + "package: zlib*}]", plain, true, 0, ""},
		"by another package":           {exception + "package: log4j-core}]", plain, false, 1, ""},
		"by repository":                {exception + "image: docker.io/library/nginx}]", plain, true, 0, ""},
		"by its familiar name":         {exception + "image: nginx}]", plain, true, 0, ""},
		"by tag":                       {exception + "image: 'nginx:1.27'}]", plain, true, 0, ""},
		"by another tag":               {exception + "image: 'nginx:1.26'}]", plain, false, 1, ""},
		"by another image":             {exception + "image: quay.io/library/nginx}]", plain, false, 1, ""},
		"by digest":                    {exception + "image: 'nginx@" + digest.FromString("nginx").String() + "'}]", plain, true, 0, ""},
		"by another digest":            {exception + "image: 'nginx@" + digest.FromString("no").String() + "'}]", plain, false, 1, ""},
		"by pattern":                   {exception + "image: docker.io/*}]", plain, true, 0, ""},
		"by pattern with tag":          {exception + "image: '*:1.27'}]", plain, true, 0, ""},
		"by image and package":         {exception + "image: nginx, package: zlib1g}]", plain, true, 0, ""},
		"by image, not package":        {exception + "image: nginx, package: curl}]", plain, false, 1, ""},
		"by alias":                     {exception + "package: zlib1g}]", alias, true, 0, ""},
		"of another vulnerability":     {exception + "package: zlib1g}]", finding("CVE-12", policy.High), false, 1, ""},
		"exploited, and not said so":   {exception + "package: zlib1g}]", kev, false, 0, "does not say knownExploited"},
		"exploited, and said so":       {exception + "package: zlib1g, knownExploited: true}]", kev, true, 0, ""},
		"expired yesterday":            {strings.Replace(exception, "2026-12-31", "2026-11-22", 1) + "package: zlib1g}]", plain, false, 1, "the exception of payments expired: 2026-11-22"},
		"expires today":                {strings.Replace(exception, "2026-12-31", "2026-11-23", 1) + "package: zlib1g}]", plain, true, 0, ""},
		"expired at noon":              {strings.Replace(exception, "2026-12-31", "2026-11-23T12:00:00Z", 1) + "package: zlib1g}]", plain, false, 1, "expired"},
		"expires a second after":       {strings.Replace(exception, "2026-12-31", "2026-11-23T12:00:01Z", 1) + "package: zlib1g}]", plain, true, 0, ""},
		"in another zone, expired":     {strings.Replace(exception, "2026-12-31", "2026-11-23T12:30:00+01:00", 1) + "package: zlib1g}]", plain, false, 1, "expired"},
		"expired, though one is alive": {strings.Replace(exception, "2026-12-31", "2026-11-22", 1) + "package: zlib1g}, {vulnerability: CVE-1, package: zlib1g, owner: o, reason: r, ticket: t, expires: 2027-01-01}]", plain, true, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			img := image()
			img.Findings = []policy.Finding{tc.finding}
			v := policy.Evaluate(question(parse(t, "version: 1\nvulnerabilities: {refuse: {withFix: high}}\n"+tc.exception), img))
			if v.Passed != tc.accepted || len(v.Unused) != tc.unused {
				t.Fatalf("passed %v, %d unused; want %v, %d\n%+v", v.Passed, len(v.Unused), tc.accepted, tc.unused, v.Decisions)
			}
			// Accepted or not, it is shown.
			d := v.Decisions[0]
			if len(v.Decisions) != 1 || d.Vulnerability != tc.finding.ID || len(d.Reasons) == 0 || (d.Accepted != nil) != tc.accepted {
				t.Errorf("decisions %+v", v.Decisions)
			}
			if !strings.Contains(d.Note, tc.note) || tc.note == "" && d.Note != "" {
				t.Errorf("note %q, want %q", d.Note, tc.note)
			}
		})
	}
}

func TestAcceptedShowsByWhomAndUntilWhen(t *testing.T) {
	img := image()
	img.Findings = []policy.Finding{finding("CVE-1", policy.Low)}
	v := policy.Evaluate(question(parse(t, "version: 1\n"+exception+"package: zlib1g}]"), img))
	want := policy.Acceptance{By: "exception", Owner: "payments", Reason: "not reachable", Ticket: "SEC-1", Until: "2026-12-31"}
	if len(v.Decisions) != 1 || v.Decisions[0].Accepted == nil {
		t.Fatalf("what no rule refuses, but somebody accepted, is not shown: %+v", v)
	}
	got := *v.Decisions[0].Accepted
	if got.By != want.By || got.Owner != want.Owner || got.Reason != want.Reason || got.Ticket != want.Ticket || got.Until != want.Until {
		t.Errorf("%+v, want %+v", got, want)
	}
	if !v.Until.IsZero() {
		t.Errorf("the verdict rests on nothing, but ends at %s", v.Until)
	}
	img.Findings = []policy.Finding{finding("CVE-1", policy.High)}
	v = policy.Evaluate(question(parse(t, "version: 1\nvulnerabilities: {refuse: {withFix: high}}\n"+exception+"package: zlib1g}]"), img))
	if !v.Until.Equal(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("the verdict rests on an exception up to the end of 2026, and says %s", v.Until)
	}
}

func TestExceptionsToRules(t *testing.T) {
	const who = "owner: o, reason: r, ticket: t, expires: 2026-12-31}]"
	img := image()
	img.User = "root"
	for name, tc := range map[string]struct {
		text   string
		passed bool
	}{
		"for the image":         {"exceptions: [{rule: root-user, image: nginx, " + who, true},
		"for another":           {"exceptions: [{rule: root-user, image: redis, " + who, false},
		"for another rule":      {"exceptions: [{rule: latest-tag, image: nginx, " + who, false},
		"expired":               {"exceptions: [{rule: root-user, image: nginx, " + strings.Replace(who, "2026-12-31", "2026-11-01", 1), false},
		"a package is no image": {"exceptions: [{rule: root-user, package: zlib1g, " + who, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := policy.Evaluate(question(parse(t, "version: 1\nimages: {rootUser: refuse}\n"+tc.text), img))
			if v.Passed != tc.passed || len(v.Decisions) != 1 {
				t.Errorf("passed %v: %+v", v.Passed, v)
			}
		})
	}
	forbidden := "version: 1\npackages: {forbidden: [{name: log4j-core}]}\n"
	if v := policy.Evaluate(question(parse(t, forbidden+"exceptions: [{rule: forbidden-package, package: log4j-core, "+who), image())); !v.Passed {
		t.Errorf("%+v", v.Decisions)
	}
}

func TestNamesAlone(t *testing.T) {
	p := parse(t, "version: 1\nimages: {registries: [docker.io], latestTag: refuse, rootUser: refuse}")
	v := policy.Names(p, []string{"docker.io/library/nginx:1.27", "quay.io/a/b:latest"}, moment)
	if got := strings.Join(rules(v), " "); got != "latest-tag registry" {
		t.Errorf("refused by %q", got)
	}
	if !policy.Names(p, []string{"docker.io/library/nginx:1.27"}, moment).Passed {
		t.Error("a good name was refused")
	}
}

func TestEvaluateIsDeterministic(t *testing.T) {
	text := "version: 1\nvulnerabilities: {refuse: {withFix: low, withoutFix: low}}\n" + exception + "package: zlib1g}]"
	a, b := image(), image()
	a.Findings = []policy.Finding{finding("CVE-2", policy.High), finding("CVE-1", policy.High), {ID: "CVE-3", Package: 1, Severity: policy.Critical}}
	b.Name, b.Findings = "quay.io/a/b:1", []policy.Finding{finding("CVE-9", policy.High)}
	x := policy.Evaluate(question(parse(t, text), a, b))
	slices.Reverse(a.Findings)
	y := policy.Evaluate(question(parse(t, text), b, a))
	if len(x.Decisions) != 4 || len(y.Decisions) != 4 {
		t.Fatal(x.Decisions, y.Decisions)
	}
	for i := range x.Decisions {
		if x.Decisions[i].Vulnerability != y.Decisions[i].Vulnerability {
			t.Errorf("the order of what was found changes the order of what is said: %v, %v", x.Decisions, y.Decisions)
		}
	}
	if x.Decisions[0].Vulnerability != "CVE-3" {
		t.Error("the worst does not come first")
	}
}

func TestRefusesToUnderstand(t *testing.T) {
	long := "version: 1\n# " + strings.Repeat("x", policy.MaxSize)
	for name, tc := range map[string]struct{ text, want string }{
		"empty":                  {"", "it is empty; the least is: version: 1"},
		"comment alone":          {"# nothing\n", "it is empty"},
		"a list":                 {"- version: 1", "line 1: write keys and values"},
		"not YAML":               {"version: 1\n  images: {", "line 2"},
		"no version":             {"images: {latestTag: refuse}", "version is 0; this ferry knows version: 1"},
		"another version":        {"version: 2", "line 1: version is 2"},
		"an unknown key":         {"version: 1\nvulnerabilitys: {}", `line 2: "vulnerabilitys" is no key here; did you mean vulnerabilities?`},
		"an unknown key, deep":   {"version: 1\nimages:\n  latestTag: refuse\n  rootuser: refuse", `line 4: "rootuser" is no key here; did you mean rootUser?`},
		"nothing near":           {"version: 1\nimages: {colour: red}", `"colour" is no key here; there are emptyCatalogue, latestTag`},
		"in a list":              {"version: 1\nexceptions:\n- vulnerability: CVE-1\n  pakage: x", `line 4: "pakage" is no key here; did you mean package?`},
		"a key twice":            {"version: 1\nimages: {latestTag: refuse, latestTag: allow}", "already defined"},
		"a key without a value":  {"version: 1\nimages:", "line 2: images has no value"},
		"a wrong kind":           {"version: 1\nimages: [latest]", "line 2: a list stands where keys and values should"},
		"a wrong number":         {"version: one", "line 1: text `one` stands where a number should"},
		"no severity":            {"version: 1\nvulnerabilities: {refuse: {withFix: hihg}}", `line 2: "hihg" is no severity: write critical, high, medium, low, negligible; did you mean high?`},
		"a severity by number":   {"version: 1\nvulnerabilities: {refuse: {withFix: 7}}", "is no severity"},
		"no choice":              {"version: 1\nimages: {latestTag: no}", `"no" is no choice: write allow, refuse`},
		"no age":                 {"version: 1\nimages: {maxAge: 7 days}", `"7 days" is no age: write 7d or 12h`},
		"an age of nothing":      {"version: 1\nimages: {maxAge: 0d}", "is no age"},
		"an age without a unit":  {"version: 1\nimages: {maxAge: 7}", "is no age"},
		"a long age":             {"version: 1\nimages: {maxAge: 999999d}", "is no age"},
		"no demand":              {"version: 1\nimages: {signatures: yes}", `is no demand: write required`},
		"no registry":            {"version: 1\nimages: {registries: [nginx]}", `line 2: "nginx" is no registry`},
		"none of registries":     {"version: 1\nimages:\n  registries: []", "line 3: registries names none"},
		"a registry with scheme": {"version: 1\nimages: {registries: ['https://docker.io']}", "is no registry"},
		"an alias":               {"version: 1\nimages: &a {latestTag: refuse}", "anchors and aliases"},
		"a bomb":                 {"version: 1\nrules: [&a [1,1,1], *a, *a]", "anchors and aliases"},
		"a merge":                {"version: 1\nimages: {<<: {latestTag: allow}}", `"<<" is no key here`},
		"two documents":          {"version: 1\n---\nversion: 1", "a second document begins"},
		"too long":               {long, "ferry reads at most 1048576"},
		"a package of no name":   {"version: 1\npackages: {forbidden: [{reason: x}]}", "a forbidden package has no name"},
		"a document of no file":  {"version: 1\nvex: [{author: x}]", "an OpenVEX document has no file"},

		"rule: no name":        {"version: 1\nrules: [{each: image, refuse: 'true', because: x}]", "give it a name of small letters"},
		"rule: taken":          {"version: 1\nrules: [{name: severity, each: image, refuse: 'true', because: x}]", "the name is taken"},
		"rule: no subject":     {"version: 1\nrules: [{name: x, refuse: 'true', because: x}]", "say what it is asked of"},
		"rule: wrong subject":  {"version: 1\nrules: [{name: x, each: findings, refuse: 'true', because: x}]", `"findings" is no subject of a rule: write image, package, finding; did you mean finding?`},
		"rule: no reason":      {"version: 1\nrules: [{name: x, each: image, refuse: 'true'}]", "say why"},
		"rule: no expression":  {"version: 1\nrules: [{name: x, each: image, because: x}]", "it has no expression"},
		"rule: syntax":         {"version: 1\nrules:\n- name: x\n  each: image\n  because: x\n  refuse: 'image.name =='", `line 6: rule "x": the expression does not fit: Syntax error`},
		"rule: unknown field":  {"version: 1\n" + rule("finding", "finding.epps > 0.5"), "undefined field 'epps'"},
		"rule: wrong subject ": {"version: 1\n" + rule("image", "finding.epss > 0.5"), "undeclared reference to 'finding'"},
		"rule: types":          {"version: 1\n" + rule("finding", "finding.epss > 'high'"), "no matching overload"},
		"rule: no answer":      {"version: 1\n" + rule("finding", "finding.epss"), "it has to be true or false"},
		"rule: too long":       {"version: 1\n" + rule("image", strings.Repeat("true && ", 300)+"true"), "ferry takes at most 2000"},

		"exception: of nothing":       {"version: 1\nexceptions: [{package: x}]", "line 2: an exception is for a vulnerability or for a rule"},
		"exception: of both":          {"version: 1\nexceptions: [{vulnerability: CVE-1, rule: root-user, package: x}]", "name one of both"},
		"exception: everywhere":       {"version: 1\nexceptions: [{vulnerability: CVE-1, owner: o, reason: r, ticket: t, expires: 2026-12-31}]", "holds everywhere"},
		"exception: of all":           {"version: 1\nexceptions: [{vulnerability: 'CVE-*', package: x, owner: o, reason: r, ticket: t, expires: 2026-12-31}]", "more than one vulnerability"},
		"exception: no owner":         {"version: 1\nexceptions: [{vulnerability: CVE-1, package: x, reason: r, ticket: t, expires: 2026-12-31}]", "has no owner"},
		"exception: blank owner":      {"version: 1\nexceptions: [{vulnerability: CVE-1, package: x, owner: ' ', reason: r, ticket: t, expires: 2026-12-31}]", "has no owner"},
		"exception: no reason":        {"version: 1\nexceptions: [{vulnerability: CVE-1, package: x, owner: r, ticket: t, expires: 2026-12-31}]", "has no reason"},
		"exception: no ticket":        {"version: 1\nexceptions: [{vulnerability: CVE-1, package: x, owner: r, reason: t, expires: 2026-12-31}]", "has no ticket"},
		"exception: no end":           {"version: 1\nexceptions: [{vulnerability: CVE-1, package: x, owner: r, reason: t, ticket: t}]", "does not expire"},
		"exception: no date":          {"version: 1\nexceptions: [{vulnerability: CVE-1, package: x, owner: r, reason: t, ticket: t, expires: never}]", `"never" is no date`},
		"exception: no such day":      {"version: 1\nexceptions: [{vulnerability: CVE-1, package: x, owner: r, reason: t, ticket: t, expires: 2026-02-30}]", `is no date`},
		"exception: no such rule":     {"version: 1\nexceptions: [{rule: rootuser, image: x, owner: r, reason: t, ticket: t, expires: 2026-12-31}]", `there is no rule "rootuser"; did you mean root-user?`},
		"exception: of severity":      {"version: 1\nexceptions: [{rule: severity, image: x, owner: r, reason: t, ticket: t, expires: 2026-12-31}]", "accept its vulnerabilities one by one"},
		"exception: of a bad scan":    {"version: 1\nexceptions: [{rule: not-scanned, image: x, owner: r, reason: t, ticket: t, expires: 2026-12-31}]", "there is no exception to not-scanned"},
		"exception: of the clock":     {"version: 1\nexceptions: [{rule: clock, image: x, owner: r, reason: t, ticket: t, expires: 2026-12-31}]", "there is no exception to clock"},
		"exception: of a database":    {"version: 1\nexceptions: [{rule: database, image: x, owner: r, reason: t, ticket: t, expires: 2026-12-31}]", "there is no exception to database"},
		"exception: of the exploited": {"version: 1\nexceptions: [{rule: known-exploited, image: x, owner: r, reason: t, ticket: t, expires: 2026-12-31}]", "accept its vulnerabilities one by one"},
		"exception: of no image":      {"version: 1\nexceptions: [{vulnerability: CVE-1, image: 'Bad Name', owner: r, reason: t, ticket: t, expires: 2026-12-31}]", "Bad Name"},
		"exception: kev for a rule":   {"version: 1\nexceptions: [{rule: root-user, image: x, knownExploited: true, owner: r, reason: t, ticket: t, expires: 2026-12-31}]", "knownExploited is for"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.Parse("ferry.policy.yaml", []byte(tc.text))
			var e *policy.Error
			if !errors.As(err, &e) {
				t.Fatalf("%v is no error of a policy", err)
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "policy ferry.policy.yaml") {
				t.Errorf("%q, want %q in it", err, tc.want)
			}
			if strings.Contains(err.Error(), "Go ") || strings.Contains(err.Error(), "policy.") && !strings.Contains(err.Error(), "policy.yaml") {
				t.Errorf("%q speaks of Go's types", err)
			}
		})
	}
}

func TestExamplesAreUnderstood(t *testing.T) {
	files, err := os.ReadDir("testdata/good")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile("testdata/good/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policy.Parse(f.Name(), b); err != nil {
			t.Error(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("version: 1\nvulnerabilities: {refuse: {withFix: high}}\n" + exception + "package: zlib1g}]")
	f.Add("version: 1\n" + rule("finding", "finding.epss > 0.5"))
	f.Add("version: 1\nvex: [{file: a.json}]\nimages: {registries: [docker.io], maxAge: 7d}")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := policy.Parse("f", []byte(text))
		if err != nil {
			return
		}
		img := image()
		img.Findings = []policy.Finding{finding("CVE-1", policy.High), {ID: "CVE-2", KnownExploited: true}}
		if v := policy.Evaluate(question(p, img)); v.Passed {
			t.Errorf("a known exploited vulnerability passed under\n%s", text)
		}
	})
}
