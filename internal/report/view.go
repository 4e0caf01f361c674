package report

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/quote"
)

// firstRows are how many findings stand in the page itself. The rest is data,
// which the page's script shows on demand.
const firstRows = 50

// pageView is what the template is filled with. Foreign text in it went
// through quote, so that nothing hides in it; the template escapes it.
type pageView struct {
	ContentPolicy string
	Style         template.CSS
	Script        template.JS

	File, Digest, Title string
	Verdict             verdictView
	Facts               []factView
	Severities          []severityView
	Total               int
	Scanned             bool

	Refused  []decisionView
	Accepted []decisionView
	// How many more there are than are shown.
	MoreRefused, MoreAccepted int
	Unused                    []unusedView
	Clauses                   []policy.Clause
	Compared                  *comparedView
	Images                    []imageView
	First                     []rowView
	Rows                      int
	Data                      template.JS
	Provenance                []factView
	ByHand                    []string
}

type factView struct{ Name, Value, Note string }

type verdictView struct {
	Class, Mark, Word string
	Sentence          string
	Notes             []string
}

type severityView struct {
	Class, Name string
	Count       int
	// X and Width are of 1000.
	X, Width float64
}

func view(r *ferry.ReportResult) (pageView, error) {
	all, err := viewData(r)
	if err != nil {
		return pageView{}, err
	}
	p := pageView{
		ContentPolicy: contentPolicy(), Style: template.CSS(style), Script: template.JS(script), //nolint:gosec // this package's own files
		File: show(r.File), Digest: r.Digest.String(), Title: "Report on " + show(r.File),
		Scanned: !r.Database.Built.IsZero(),
		Images:  viewImages(r), Compared: viewCompared(r.Compared), Data: all, Rows: len(r.Findings),
		Provenance: provenance(r),
		ByHand: []string{
			quote.Shell("ferry", "verify", r.File, "--digest", r.Digest.String()),
			quote.Shell("ferry", "inspect", r.File),
		},
	}
	p.Severities, p.Total = viewSeverities(r)
	p.Facts = facts(r)
	for _, c := range r.Clauses {
		p.Clauses = append(p.Clauses, policy.Clause{Rule: show(c.Rule), Text: show(c.Text)})
	}
	for _, f := range r.Findings[:min(len(r.Findings), firstRows)] {
		p.First = append(p.First, viewRow(r, f))
	}
	things := p.decisions(r)
	p.Verdict = viewVerdict(r, things)
	return p, nil
}

// show makes foreign text fit to be seen: what could hide or turn it around
// stands as a visible escape.
func show(s string) string { return quote.Terminal(s) }

func day(t time.Time) string {
	if t.IsZero() {
		return "not known"
	}
	return t.UTC().Format("2006-01-02")
}

func minute(t time.Time) string {
	if t.IsZero() {
		return "not known"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func days(d time.Duration) string {
	switch n := int(d.Hours() / 24); n {
	case 0:
		return "less than a day"
	case 1:
		return "1 day"
	default:
		return fmt.Sprintf("%d days", n)
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

func noun(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// thousands groups digits: 12,345.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func size(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if f < 999.5 || unit == "GB" {
			if f < 9.995 && unit != "B" {
				return fmt.Sprintf("%.2f %s", f, unit)
			}
			if f < 99.95 && unit != "B" {
				return fmt.Sprintf("%.1f %s", f, unit)
			}
			return fmt.Sprintf("%.0f %s", f, unit)
		}
		f /= 1000
	}
	return ""
}

func viewVerdict(r *ferry.ReportResult, things int) verdictView {
	v := viewAnswer(r, things)
	if r.Verdict == nil {
		return v
	}
	db := r.Database
	if !db.Built.IsZero() {
		v.Notes = append(v.Notes, fmt.Sprintf("The vulnerability database was made on %s, %s before this report.", day(db.Built), days(r.MadeAt.Sub(db.Built))))
	}
	if n := accepted(r.Verdict); n > 0 {
		s := count(n, "finding was", "findings were") + " accepted in somebody's name."
		if !r.Verdict.Until.IsZero() {
			s += " The first of them that counts ends on " + minute(r.Verdict.Until) + "."
		}
		v.Notes = append(v.Notes, s)
	}
	if n := warned(r.Images); n > 0 {
		v.Notes = append(v.Notes, "In "+count(n, "image", "images")+" not everything could be read or matched, as said among the images below: there may be more than was found.")
	}
	return v
}

// warned counts the images of which less was seen than there may be.
func warned(images []ferry.ReportImage) int {
	n := 0
	for _, i := range images {
		n += min(len(i.Warnings), 1)
	}
	return n
}

func viewAnswer(r *ferry.ReportResult, n int) verdictView {
	whose := "the policy of whoever packed it, as of " + minute(r.AsOf)
	if r.PolicyFile != "" {
		whose = "your policy " + show(r.PolicyFile) + ", as of " + minute(r.MadeAt)
	}
	switch {
	case r.Verdict == nil:
		return verdictView{
			Class: "open", Mark: "!", Word: "Not gated",
			Sentence: "No policy was asked when this bundle was packed, and it carries no scan reports: nothing is known of what is in its images.",
		}
	case r.Verdict.Passed:
		return verdictView{Class: "passed", Mark: "✓", Word: "Passed", Sentence: "Nothing in it is refused by " + whose + "."}
	}
	return verdictView{Class: "refused", Mark: "✗", Word: "Refused", Sentence: count(n, "thing in it is", "things in it are") + " refused by " + whose + "."}
}

func accepted(v *policy.Verdict) int {
	n := 0
	for _, d := range v.Decisions {
		if d.Accepted != nil {
			n++
		}
	}
	return n
}

func facts(r *ferry.ReportResult) []factView {
	platforms, images := map[string]bool{}, 0
	for _, i := range r.Images {
		if !i.Database {
			images++
		}
		for _, p := range i.Platforms {
			platforms[p] = true
		}
	}
	exploited, fixable := 0, 0
	for _, f := range r.Findings {
		if f.KnownExploited {
			exploited++
		}
		if len(f.FixedIn) > 0 {
			fixable++
		}
	}
	all := []factView{
		{Name: "Images", Value: thousands(images), Note: "for " + count(len(platforms), "platform", "platforms")},
		{Name: "Size", Value: size(r.Size), Note: count(r.Blobs, "blob", "blobs") + ", every digest right"},
	}
	if r.Database.Built.IsZero() {
		return append(all, factView{Name: "Known exploited", Value: "?", Note: "not scanned"})
	}
	return append(all,
		factView{Name: "Known exploited", Value: thousands(exploited), Note: noun(exploited, "finding", "findings")},
		factView{Name: "With a fix", Value: thousands(fixable), Note: "of " + count(len(r.Findings), "finding", "findings")},
	)
}

func severityNames() []string {
	return []string{"critical", "high", "medium", "low", "negligible", "unknown"}
}

func rankOf(name string) int { return policy.Severity(name).Rank() }

func viewSeverities(r *ferry.ReportResult) ([]severityView, int) {
	var counts [6]int
	for _, f := range r.Findings {
		counts[f.Severity.Rank()]++
	}
	return stack(counts), len(r.Findings)
}

// stack lays counts side by side, to a thousand in all.
func stack(counts [6]int) []severityView {
	total := 0
	for _, n := range counts {
		total += n
	}
	var all []severityView
	x := 0.0
	for _, name := range severityNames() {
		n := counts[rankOf(name)]
		s := severityView{Class: name, Name: name, Count: n, X: x}
		if total > 0 {
			s.Width = 1000 * float64(n) / float64(total)
		}
		x += s.Width
		all = append(all, s)
	}
	return all
}

type imageView struct {
	Index           int
	Name            string
	Digest, Short   string
	Platforms       string
	Size            string
	SizeWidth       float64 // of 1000, against the largest
	Bar             []severityView
	BarWidth        float64 // of 1000, against the one with most findings
	Total           int
	Counts          string
	Problem         string
	Empty           bool // nothing was found in it that could be matched
	Database        bool
	Warnings        []string
	Exploited       int
	Refused         int
	Accepted        int
	Base, Layers    string
	Created, Source string
}

func viewImages(r *ferry.ReportResult) []imageView {
	var largest int64 = 1
	most := 1
	for _, i := range r.Images {
		largest, most = max(largest, i.Bytes), max(most, sum(i.Severities))
	}
	var all []imageView
	for n, i := range r.Images {
		v := imageView{
			Index: n, Name: show(i.Name), Digest: i.Digest.String(), Short: i.Digest.Encoded()[:12], Platforms: show(strings.Join(i.Platforms, ", ")),
			Size: size(i.Bytes), SizeWidth: 1000 * float64(i.Bytes) / float64(largest),
			Bar: stack(i.Severities), Layers: count(i.Layers, "layer", "layers"), BarWidth: 1000 * float64(sum(i.Severities)) / float64(most), Total: sum(i.Severities),
			Problem: show(i.Problem), Empty: i.Empty, Database: i.Database, Exploited: i.Exploited, Refused: i.Refused, Accepted: i.Accepted,
			Base: show(i.Distribution), Created: day(i.Created), Source: source(i),
		}
		v.Counts = counts(i.Severities)
		for _, w := range i.Warnings {
			v.Warnings = append(v.Warnings, show(w))
		}
		all = append(all, v)
	}
	slices.SortStableFunc(all, func(a, b imageView) int { return worse(r.Images[a.Index], r.Images[b.Index]) })
	return all
}

// worse puts first what asks for attention: what is refused, exploited, bad,
// many, large.
func worse(a, b ferry.ReportImage) int {
	problem := func(i ferry.ReportImage) int { return min(len(i.Problem), 1) }
	for _, d := range []int{problem(b) - problem(a), b.Refused - a.Refused, b.Exploited - a.Exploited} {
		if d != 0 {
			return d
		}
	}
	for rank := 5; rank >= 0; rank-- {
		if d := b.Severities[rank] - a.Severities[rank]; d != 0 {
			return d
		}
	}
	if a.Bytes != b.Bytes {
		if a.Bytes > b.Bytes {
			return -1
		}
		return 1
	}
	return strings.Compare(a.Name, b.Name)
}

func sum(counts [6]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

func counts(c [6]int) string {
	var all []string
	for _, name := range severityNames() {
		if n := c[rankOf(name)]; n > 0 {
			// A number stays with its word.
			all = append(all, fmt.Sprintf("%d\u00a0%s", n, name))
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

func source(i ferry.ReportImage) string {
	if i.ReferrerOf != "" {
		return "a referrer of " + show(i.ReferrerOf)
	}
	if i.Source.Type == "registry" {
		return "registry, byte for byte"
	}
	return "local: " + show(i.Source.Kind)
}

func provenance(r *ferry.ReportResult) []factView {
	all := []factView{
		{"Bundle", r.Digest.String(), "the digest that pack printed; compare it with one that came another way"},
		{"Lock", r.LockDigest.String(), "names resolved at " + minute(r.ResolvedAt)},
		{"Sealed", minute(r.AsOf), "the moment that counted for dates; gate: " + show(r.Gate)},
		{"Packed by", "not known", "the bundle is not signed, and neither is its evidence: nothing proves who made it"},
	}
	if r.Verdict != nil {
		all = append(all, factView{"Policy", r.Verdict.Policy.String(), "SHA-256 of the file that decided"})
	}
	if !r.Database.Built.IsZero() {
		all = append(all,
			factView{"Vulnerability database", r.Database.Checksum.String(), "made " + minute(r.Database.Built)},
			factView{"Scanned by", strings.TrimSpace(show(r.Tool.Name) + " " + show(r.Tool.Version)), "as the scan reports in the bundle say"})
	}
	return append(all, factView{"This report", minute(r.MadeAt), "ferry report verified every byte of the bundle first"})
}
