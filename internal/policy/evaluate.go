package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/ref"
)

// The rules that every policy has. Their names stand in verdicts and in
// exceptions.
const (
	RuleSeverity     = "severity"
	RuleExploited    = "known-exploited"
	RuleForbidden    = "forbidden-package"
	RuleRegistry     = "registry"
	RuleLatest       = "latest-tag"
	RuleRoot         = "root-user"
	RuleAge          = "image-age"
	RuleDistribution = "unknown-distribution"
	RuleEmpty        = "empty-catalogue"
	RuleSignatures   = "signatures"
	RuleProvenance   = "provenance"
	RuleUnread       = "not-scanned"
	RuleDatabase     = "database"
	RuleClock        = "clock"
)

func builtIn() []string {
	return []string{
		RuleSeverity, RuleExploited, RuleForbidden, RuleRegistry, RuleLatest, RuleRoot, RuleAge, RuleDistribution,
		RuleEmpty, RuleSignatures, RuleProvenance, RuleUnread, RuleDatabase, RuleClock,
	}
}

// Exceptable says whether a rule as such can be excepted from: what is about
// vulnerabilities is accepted one by one, and without a scan there is nothing
// to accept.
func Exceptable(rule string) bool {
	return !slices.Contains([]string{RuleSeverity, RuleExploited, RuleUnread, RuleDatabase, RuleClock}, rule)
}

// ruleNames are all that an exception may name.
func (p *Policy) ruleNames() []string {
	names := builtIn()
	for _, r := range p.Rules {
		if r.Each != EachFinding {
			names = append(names, r.Name)
		}
	}
	return names
}

// tolerance is by how much clocks may differ before a date from the future is
// taken for one.
const tolerance = time.Hour

// Question is what Evaluate answers.
type Question struct {
	Policy *Policy
	VEX    []*VEX
	Scan   Scan
	// AsOf is the moment that counts for every date.
	AsOf time.Time
	// DatabaseAge is how old the database may be where the policy does not
	// say; 0 for any age.
	DatabaseAge time.Duration
	// NotBefore is the latest moment that is known to have passed. An AsOf
	// before it says that a clock is wrong, or was set back.
	NotBefore time.Time
}

// Verdict is the answer, with everything that was refused or accepted.
type Verdict struct {
	Passed   bool          `json:"passed"`
	AsOf     time.Time     `json:"asOf"`
	Policy   digest.Digest `json:"policy"`
	Database DatabaseInfo  `json:"database"`
	// Decisions are sorted by image, the worst first.
	Decisions []Decision `json:"decisions,omitempty"`
	// Unused are exceptions that accepted nothing.
	Unused []UnusedException `json:"unusedExceptions,omitempty"`
	// Warnings say where less was seen than there may be. They refuse nothing.
	Warnings []Warning `json:"warnings,omitempty"`
	// Until is the first moment at which an acceptance that this verdict
	// rests on is over; zero where it rests on none.
	Until time.Time `json:"until,omitzero"`
}

// Warning is what makes the findings in an image worth less.
type Warning struct {
	Image    string `json:"image"`
	Platform string `json:"platform,omitempty"`
	Text     string `json:"text"`
}

// Refused counts the decisions that stand against passing.
func (v *Verdict) Refused() int {
	n := 0
	for _, d := range v.Decisions {
		if d.Refuses() {
			n++
		}
	}
	return n
}

// Decision is what was said about one finding, one package, one image, or, if
// Image is "", about all of them.
type Decision struct {
	Image    string        `json:"image,omitempty"`
	Digest   digest.Digest `json:"digest,omitempty"`
	Platform string        `json:"platform,omitempty"`

	Package string        `json:"package,omitempty"`
	Version string        `json:"version,omitempty"`
	Type    string        `json:"type,omitempty"`
	Layer   digest.Digest `json:"layer,omitempty"`

	Vulnerability  string   `json:"vulnerability,omitempty"`
	Severity       Severity `json:"severity,omitempty"`
	EPSS           float64  `json:"epss,omitempty"`
	KnownExploited bool     `json:"knownExploited,omitempty"`
	FixedIn        []string `json:"fixedIn,omitempty"`

	// Reasons are the rules that refuse it. There may be none, where somebody
	// accepted what no rule refuses.
	Reasons  []Reason    `json:"reasons,omitempty"`
	Accepted *Acceptance `json:"accepted,omitempty"`
	// Note says why an exception that is there does not help.
	Note string `json:"note,omitempty"`
}

// Reason is a rule with what it says.
type Reason struct {
	Rule string `json:"rule"`
	Text string `json:"text"`
}

// Refuses says whether the decision stands against passing.
func (d Decision) Refuses() bool { return len(d.Reasons) > 0 && d.Accepted == nil }

// Evaluate holds the policy against what was found. It fails towards refusal:
// what cannot be judged is refused.
func Evaluate(q Question) *Verdict {
	e := &evaluation{Question: q, verdict: &Verdict{AsOf: q.AsOf.UTC().Truncate(time.Second), Policy: q.Policy.Digest, Database: q.Scan.Database}}
	n := len(q.Policy.Exceptions)
	e.accept = acceptances{exceptions: q.Policy.Exceptions, vex: q.VEX, asOf: q.AsOf, used: make([]bool, n)}
	e.database()
	e.clock()
	for i := range q.Scan.Images {
		e.image(&q.Scan.Images[i])
	}
	if len(q.Scan.Images) == 0 {
		e.add(Decision{Reasons: []Reason{{RuleUnread, "nothing was scanned"}}})
	}
	return e.close()
}

// Names judges images by their names alone, before anything is pulled.
func Names(p *Policy, names []string, asOf time.Time) *Verdict {
	e := &evaluation{Question: Question{Policy: p, AsOf: asOf}, verdict: &Verdict{AsOf: asOf.UTC().Truncate(time.Second), Policy: p.Digest}}
	n := len(p.Exceptions)
	e.accept = acceptances{exceptions: p.Exceptions, asOf: asOf, used: make([]bool, n)}
	for _, s := range names {
		img := &Image{Name: s}
		name, err := ref.Parse(s)
		if err != nil {
			e.ofImage(img, name, RuleUnread, "%v", err)
			continue
		}
		e.byName(img, name)
	}
	v := e.close()
	v.Unused = nil
	return v
}

// evaluation is one run of Evaluate.
type evaluation struct {
	Question
	accept  acceptances
	verdict *Verdict
}

func (e *evaluation) add(d Decision) { e.verdict.Decisions = append(e.verdict.Decisions, d) }

func (e *evaluation) close() *Verdict {
	v := e.verdict
	slices.SortStableFunc(v.Decisions, compareDecisions)
	slices.SortStableFunc(v.Warnings, func(a, b Warning) int {
		return cmp.Or(strings.Compare(a.Image, b.Image), strings.Compare(a.Platform, b.Platform))
	})
	v.Passed = v.Refused() == 0
	v.Unused = e.accept.unused()
	for _, d := range v.Decisions {
		if len(d.Reasons) > 0 && d.Accepted != nil && !d.Accepted.end.IsZero() && (v.Until.IsZero() || d.Accepted.end.Before(v.Until)) {
			v.Until = d.Accepted.end
		}
	}
	return v
}

func compareDecisions(a, b Decision) int {
	return cmp.Or(
		strings.Compare(a.Image, b.Image), strings.Compare(a.Platform, b.Platform),
		strings.Compare(string(a.Digest), string(b.Digest)),
		cmp.Compare(b.Severity.Rank(), a.Severity.Rank()), strings.Compare(a.Vulnerability, b.Vulnerability),
		strings.Compare(a.Package, b.Package), strings.Compare(a.Version, b.Version), strings.Compare(a.Type, b.Type),
		strings.Compare(string(a.Layer), string(b.Layer)),
	)
}

func (e *evaluation) database() {
	refuse := func(format string, args ...any) {
		e.add(Decision{Reasons: []Reason{{RuleDatabase, fmt.Sprintf(format, args...)}}})
	}
	db, limit := e.Scan.Database, time.Duration(e.Policy.Database.MaxAge)
	if limit == 0 {
		limit = e.DatabaseAge
	}
	switch age := e.AsOf.Sub(db.Built); {
	case db.Built.IsZero():
		refuse("it is not known which vulnerability database the scan used")
	case age < -tolerance:
		refuse("the vulnerability database is of %s, which is after %s: either it or the clock is wrong", day(db.Built), day(e.AsOf))
	case limit > 0 && age > limit:
		whole := age.Truncate(24 * time.Hour)
		if whole <= limit {
			whole = age.Truncate(time.Hour)
		}
		refuse("the vulnerability database is of %s, %s old; it may be %s", day(db.Built), Age(whole), Age(limit))
	}
	for _, r := range e.Policy.Rules {
		if r.asksEPSS && !db.EPSS {
			refuse("the rule %s asks for EPSS, and the vulnerability database of %s holds none: take one that does, or the rule out", r.Name, day(db.Built))
		}
	}
}

// clock refuses to judge dates by a clock that cannot be right: one that was
// set back revives what has expired.
func (e *evaluation) clock() {
	if e.AsOf.Before(e.NotBefore.Add(-tolerance)) {
		e.add(Decision{Reasons: []Reason{{RuleClock, fmt.Sprintf("it is %s by this clock, and was %s before: the clock is wrong", day(e.AsOf), day(e.NotBefore))}}})
	}
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func (e *evaluation) image(img *Image) {
	name, err := ref.Parse(img.Name)
	if err != nil || img.Failed != "" {
		why := img.Failed
		if err != nil {
			why = err.Error()
		}
		e.ofImage(img, name, RuleUnread, "%s", why)
		return
	}
	for _, w := range img.Warnings {
		e.verdict.Warnings = append(e.verdict.Warnings, Warning{Image: img.Name, Platform: img.Platform, Text: w})
	}
	e.byName(img, name)
	e.byConfig(img, name)
	view := viewImage(img, name, e.AsOf)
	views := view.Packages
	e.own(EachImage, img, name, nil, map[string]any{"image": view})
	for i := range img.Packages {
		e.ofPackage(img, name, &img.Packages[i], map[string]any{"image": view, "pkg": views[i]})
	}
	for i := range img.Findings {
		f := &img.Findings[i]
		if f.Package < 0 || f.Package >= len(img.Packages) {
			e.ofImage(img, name, RuleUnread, "the scan names a vulnerability of no package: %s", f.ID)
			continue
		}
		vars := map[string]any{"image": view, "pkg": views[f.Package], "finding": viewFinding(f, e.AsOf)}
		e.ofFinding(img, name, &img.Packages[f.Package], f, vars)
	}
}

// about is a decision's beginning.
func about(img *Image, pkg *Package) Decision {
	d := Decision{Image: img.Name, Digest: img.Digest, Platform: img.Platform}
	if pkg != nil {
		d.Package, d.Version, d.Type, d.Layer = pkg.Name, pkg.Version, pkg.Type, pkg.Layer
	}
	return d
}

// ofImage refuses an image, unless somebody accepts that.
func (e *evaluation) ofImage(img *Image, name ref.Name, rule, format string, args ...any) {
	e.refuse(img, name, nil, Reason{rule, fmt.Sprintf(format, args...)})
}

func (e *evaluation) refuse(img *Image, name ref.Name, pkg *Package, r Reason) {
	d := about(img, pkg)
	d.Reasons = []Reason{r}
	if Exceptable(r.Rule) {
		d.Accepted, d.Note = e.accept.rule(r.Rule, img, name, pkg)
	}
	e.add(d)
}

func (e *evaluation) byName(img *Image, name ref.Name) {
	in := e.Policy.Images
	if len(in.Registries) > 0 && !slices.ContainsFunc(in.Registries, func(r string) bool {
		return name.Repository() == r || strings.HasPrefix(name.Repository(), r+"/")
	}) {
		e.ofImage(img, name, RuleRegistry, "%s is not among the registries that the policy allows", name.Registry())
	}
	if in.LatestTag == Refuse && name.Tag() == "latest" {
		e.ofImage(img, name, RuleLatest, "the tag latest names no release")
	}
	if in.Signatures == Required {
		e.ofImage(img, name, RuleSignatures, "a signature is required, and this ferry cannot check signatures")
	}
	if in.Provenance == Required {
		e.ofImage(img, name, RuleProvenance, "provenance is required, and this ferry cannot check provenance")
	}
}

func (e *evaluation) byConfig(img *Image, name ref.Name) {
	in := e.Policy.Images
	if in.RootUser == Refuse && isRoot(img.User) {
		e.ofImage(img, name, RuleRoot, "it runs as root, as its config says")
	}
	if limit := time.Duration(in.MaxAge); limit > 0 {
		switch age := e.AsOf.Sub(img.Created); {
		case img.Created.Unix() <= 0:
			e.ofImage(img, name, RuleAge, "it may be %s old, and its config has no date", in.MaxAge)
		case age < -24*time.Hour:
			e.ofImage(img, name, RuleAge, "it may be %s old, and its config is dated in the future: %s", in.MaxAge, day(img.Created))
		case age > limit:
			e.ofImage(img, name, RuleAge, "it is of %s, %s old; it may be %s", img.Created.UTC().Format(time.DateOnly), Age(age.Truncate(24*time.Hour)), in.MaxAge)
		}
	}
	system := slices.ContainsFunc(img.Packages, func(p Package) bool { return p.System })
	d := img.Distribution
	if in.UnknownDistribution != Allow && !d.Known && (d.ID != "" || system) {
		called := "no distribution that it names"
		if d.ID != "" {
			called = strings.TrimSpace(d.ID + " " + d.Version)
		}
		e.ofImage(img, name, RuleDistribution, "its system packages are of %s, which the database does not know: nothing is known of their vulnerabilities", called)
	}
	if in.EmptyCatalogue != Allow && len(img.Packages) == 0 {
		e.ofImage(img, name, RuleEmpty, "no package was found in it, so nothing is known of its vulnerabilities")
	}
}

// isRoot says whether a config's user is root: by name, by number, or by
// default.
func isRoot(user string) bool {
	u, _, _ := strings.Cut(strings.TrimSpace(user), ":")
	return strings.Trim(u, "0") == "" || u == "root"
}

func (e *evaluation) ofPackage(img *Image, name ref.Name, pkg *Package, vars map[string]any) {
	for _, f := range e.Policy.Packages.Forbidden {
		if !matches(f.Name, pkg.Name) || f.Type != "" && !matches(f.Type, pkg.Type) || f.Version != "" && !matches(f.Version, pkg.Version) {
			continue
		}
		why := "the policy forbids it"
		if f.Reason != "" {
			why += ": " + f.Reason
		}
		e.refuse(img, name, pkg, Reason{RuleForbidden, why})
		break
	}
	e.own(EachPackage, img, name, pkg, vars)
}

// own asks the policy's own rules about an image or a package.
func (e *evaluation) own(each Subject, img *Image, name ref.Name, pkg *Package, vars map[string]any) {
	for i := range e.Policy.Rules {
		if r := &e.Policy.Rules[i]; r.Each == each {
			if reason, refused := r.ask(vars); refused {
				e.refuse(img, name, pkg, reason)
			}
		}
	}
}

// ask asks the rule of one thing. An expression that cannot be worked out
// refuses.
func (r *Rule) ask(vars map[string]any) (Reason, bool) {
	refused, err := r.refuses(vars)
	if err != nil {
		return Reason{r.Name, "the rule could not be worked out: " + err.Error()}, true
	}
	return Reason{r.Name, r.Because}, refused
}

func (e *evaluation) ofFinding(img *Image, name ref.Name, pkg *Package, f *Finding, vars map[string]any) {
	d := about(img, pkg)
	d.Vulnerability, d.Severity, d.EPSS = f.ID, f.Severity, f.EPSS
	d.KnownExploited, d.FixedIn = f.KnownExploited, f.FixedIn
	if f.KnownExploited {
		d.Reasons = append(d.Reasons, Reason{RuleExploited, "it is known to be exploited"})
	}
	if text := e.limit(f); text != "" {
		d.Reasons = append(d.Reasons, Reason{RuleSeverity, text})
	}
	for i := range e.Policy.Rules {
		if r := &e.Policy.Rules[i]; r.Each == EachFinding {
			if reason, refused := r.ask(vars); refused {
				d.Reasons = append(d.Reasons, reason)
			}
		}
	}
	d.Accepted, d.Note = e.accept.finding(img, name, pkg, f)
	if len(d.Reasons) > 0 || d.Accepted != nil {
		e.add(d)
	}
}

// limit says why a finding's severity is too high; "" where it is not.
func (e *evaluation) limit(f *Finding) string {
	limit, fix := e.Policy.Vulnerabilities.Refuse.WithoutFix, "without a fix"
	if len(f.FixedIn) > 0 {
		limit, fix = e.Policy.Vulnerabilities.Refuse.WithFix, "with a fix"
	}
	s := e.Policy.counts(f.Severity)
	if limit == "" || !s.AtLeast(limit) {
		return ""
	}
	if f.Severity.Rank() == 0 {
		return fmt.Sprintf("nobody has rated it, so it counts as %s; %s or worse %s is refused", s, limit, fix)
	}
	return fmt.Sprintf("%s or worse %s is refused", limit, fix)
}
