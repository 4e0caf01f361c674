package report

import (
	"slices"
	"strings"
	"time"

	"ferry/internal/ferry"
	"ferry/internal/policy"
)

// shownDecisions is how many refusals and acceptances stand at the top; all
// of them are among the findings.
const shownDecisions = 200

type decisionView struct {
	Image, Platforms string // Image has a line for each
	What             string // the vulnerability or the rule
	Package, Version string
	Severity         string
	Exploited        bool
	FixedIn          string
	Why              string
	Finding          bool // and not a rule about an image
	Note             string
	// of what was accepted
	Owner, Reason, Ticket, Until, Left, Document string
}

// Images are the lines of Image.
func (v decisionView) Images() []string { return strings.Split(v.Image, "\n") }

type unusedView struct{ What, Owner, Why string }

// group is what stands in one line: what differs in the platform alone, or in
// the package of one version, since a distribution makes several packages of
// one source. What one exception accepts in several images is one too: it is
// one thing that somebody answers for.
type group struct {
	list                        *[]decisionView
	at                          int
	images, platforms, packages []string
}

func (g *group) add(d policy.Decision) {
	v := &(*g.list)[g.at]
	if image := whole(d.Image); !slices.Contains(g.images, image) {
		g.images = append(g.images, image)
		v.Image = strings.Join(g.images, "\n")
	}
	if d.Platform != "" && !slices.Contains(g.platforms, d.Platform) {
		g.platforms = append(g.platforms, d.Platform)
		v.Platforms = show(strings.Join(g.platforms, ", "))
	}
	if d.Package != "" && !slices.Contains(g.packages, d.Package) {
		g.packages = append(g.packages, d.Package)
		v.Package = show(strings.TrimSpace(strings.Join(g.packages, ", ") + " " + d.Version))
	}
}

// decisions fills in what was refused and what was accepted, and counts what
// was refused.
func (p *pageView) decisions(r *ferry.ReportResult) (refused int) {
	if r.Verdict == nil {
		return 0
	}
	groups := map[decisionView]*group{}
	for _, d := range r.Verdict.Decisions {
		v := viewDecision(d, r.MadeAt)
		if d.Accepted != nil {
			v.Image = ""
		}
		g := groups[v]
		if g == nil {
			g = &group{list: &p.Refused}
			if d.Accepted != nil {
				g.list = &p.Accepted
			}
			groups[v] = g
			g.at = len(*g.list)
			*g.list = append(*g.list, v)
		}
		g.add(d)
	}
	refused = len(p.Refused)
	p.MoreRefused, p.MoreAccepted = max(0, refused-shownDecisions), max(0, len(p.Accepted)-shownDecisions)
	p.Refused = p.Refused[:min(len(p.Refused), shownDecisions)]
	p.Accepted = p.Accepted[:min(len(p.Accepted), shownDecisions)]
	for _, e := range r.Verdict.Unused {
		p.Unused = append(p.Unused, viewUnused(e))
	}
	return refused
}

func viewDecision(d policy.Decision, now time.Time) decisionView {
	v := decisionView{
		Image: whole(d.Image), What: show(d.Vulnerability), Version: show(d.Version),
		Exploited: d.KnownExploited, FixedIn: show(strings.Join(d.FixedIn, ", ")), Note: show(d.Note),
	}
	if d.Severity != "" {
		v.Severity = severityNames()[5-d.Severity.Rank()]
	}
	var why []string
	for _, reason := range d.Reasons {
		why = append(why, reason.Text)
	}
	v.Finding = d.Vulnerability != ""
	v.Why = show(strings.Join(why, "; "))
	if v.What == "" && len(d.Reasons) > 0 {
		v.What = show(d.Reasons[0].Rule)
	}
	if a := d.Accepted; a != nil {
		v.Owner, v.Reason, v.Ticket, v.Until, v.Document = show(a.Owner), show(a.Reason), show(a.Ticket), show(a.Until), show(a.Document)
		v.Left = left(a.Until, now)
	}
	return v
}

// whole is where a decision applies.
func whole(image string) string {
	if image == "" {
		return "the whole bundle"
	}
	return show(image)
}

// left says how long something still holds.
func left(until string, now time.Time) string {
	var u policy.Until
	if until == "" || u.UnmarshalText([]byte(until)) != nil {
		return ""
	}
	if u.Over(now) {
		return "expired"
	}
	return days(u.End.Sub(now)) + " left"
}

func viewUnused(e policy.UnusedException) unusedView {
	what := e.Vulnerability + e.Rule
	for _, where := range []string{e.Package, e.Image} {
		if where != "" {
			what += " in " + where
		}
	}
	why := "matches nothing that was found"
	if e.Expired {
		why = "expired on " + e.Expires.String()
	}
	return unusedView{What: show(what), Owner: show(e.Owner), Why: show(why)}
}

type comparedView struct {
	File, Digest, AsOf string
	Scanned            bool
	Added, Removed     []string
	Updated            []updatedView
	Same               int
	Come, Gone         []rowView
	MoreCome, MoreGone int
	AllCome, AllGone   int
}

type updatedView struct{ From, To, FromDigest, ToDigest string }

// How many findings are shown that came, all of which a filter of the list
// below shows, and how many that went.
const (
	shownCome = 15
	shownGone = 50
)

func viewCompared(c *ferry.Comparison) *comparedView {
	if c == nil {
		return nil
	}
	v := &comparedView{File: show(c.File), Digest: c.Digest.String(), AsOf: minute(c.AsOf), Scanned: c.Scanned, Same: c.Same}
	for _, name := range c.Added {
		v.Added = append(v.Added, show(name))
	}
	for _, name := range c.Removed {
		v.Removed = append(v.Removed, show(name))
	}
	for _, u := range c.Updated {
		v.Updated = append(v.Updated, updatedView{show(u.From), show(u.To), u.FromDigest.Encoded()[:12], u.ToDigest.Encoded()[:12]})
	}
	v.AllCome, v.AllGone = len(c.Come), len(c.Gone)
	v.Come, v.MoreCome = firstOf(c.Come, shownCome)
	v.Gone, v.MoreGone = firstOf(c.Gone, shownGone)
	return v
}

func firstOf(all []ferry.ReportFinding, most int) (rows []rowView, more int) {
	for _, f := range all[:min(len(all), most)] {
		rows = append(rows, viewRow(nil, f))
	}
	return rows, len(all) - len(rows)
}
