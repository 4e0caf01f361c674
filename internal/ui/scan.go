package ui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/quote"
	"ferry/internal/scan"
)

// What fits on a screen.
const (
	shownFindings = 20
	shownUpdates  = 8
)

// SARIF prints findings as SARIF.
func (p *Printer) SARIF(r *ferry.ScanResult, version string) error {
	return p.json(scan.MakeSARIF(r.Images, r.File, version))
}

// Scan shows what was found: each image, what to do, and the worst findings.
func (p *Printer) Scan(r *ferry.ScanResult, all bool) error {
	if p.JSON {
		return p.json(r)
	}
	read := false
	for _, i := range r.Images {
		if i.Failed != "" {
			continue // said as an error, with what it means
		}
		read = true
		p.linef("%s %s  %s", p.scanMark(i), quote.Terminal(i.Name), quote.Terminal(aboutSubject(i)))
		if i.ReferrerOf != "" {
			p.linef("    a referrer of %s", quote.Terminal(i.ReferrerOf))
		}
		p.linef("    %s", p.found(r, i))
		if len(i.Workloads) > 0 {
			p.linef("    in %s", quote.Terminal(few(i.Workloads)))
		}
		for _, w := range i.Warnings {
			p.linef("    %s %s", p.warn(), quote.Terminal(w))
		}
	}
	p.updates(r.Updates)
	p.findings(r.Images, all)
	if !read {
		return nil
	}
	p.since(r)
	p.linef("%s · vulnerability database of %s", counted(r.Count), r.Database.Built.UTC().Format("2006-01-02 15:04 MST"))
	if r.Over > 0 {
		p.linef("%s %s %s or worse", p.bad(), count(r.Over, "finding is", "findings are"), r.FailOn)
	}
	return nil
}

func (p *Printer) found(r *ferry.ScanResult, i scan.Subject) string {
	if r.Since != nil && len(i.Findings) == 0 {
		return "nothing new"
	}
	return counted(scan.CountOf(i.Findings))
}

// since says what has become known.
func (p *Printer) since(r *ferry.ScanResult) {
	if r.Since == nil {
		return
	}
	mark, where := p.good(), ""
	if r.Count.All > 0 {
		mark, where = p.bad(), ", in "+few(r.Since.Workloads)
	}
	p.linef("%s %d new since %s was sealed on %s, %d known exploited%s; %d were known then", mark, r.Count.All, quote.Terminal(r.Since.File),
		r.Since.AsOf.UTC().Format("2006-01-02"), r.Count.Exploited, quote.Terminal(where), r.Since.Known)
}

// few are the first of many.
func few(all []string) string {
	const most = 5
	s := strings.Join(all[:min(len(all), most)], ", ")
	if n := len(all) - most; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

func (p *Printer) scanMark(i scan.Subject) string {
	if len(i.Findings) == 0 && len(i.Warnings) == 0 {
		return p.good()
	}
	return p.warn()
}

func aboutSubject(i scan.Subject) string {
	s := i.Platform
	if i.Distribution.ID != "" {
		s += " · " + strings.TrimSpace(i.Distribution.ID+" "+i.Distribution.Version)
	}
	return strings.TrimPrefix(s+" · "+count(len(i.Packages), "package", "packages"), " · ")
}

func counted(c scan.Count) string {
	if c.All == 0 {
		return "no known vulnerability"
	}
	parts := []string{}
	if c.Exploited > 0 {
		parts = append(parts, fmt.Sprintf("%d known exploited", c.Exploited))
	}
	for _, s := range scan.Severities() {
		if n := c.Severity[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return fmt.Sprintf("%s (%s), %d with a fix", count(c.All, "finding", "findings"), strings.Join(parts, ", "), c.Fixable)
}

// updates says what to do.
func (p *Printer) updates(all []scan.Update) {
	if len(all) == 0 {
		return
	}
	p.linef("what to do")
	for _, u := range all[:min(len(all), shownUpdates)] {
		exploited := ""
		if u.Exploited > 0 {
			exploited = fmt.Sprintf(", %d of them known exploited", u.Exploited)
		}
		p.linef("  → %s: mends %d%s", quote.Terminal(u.Text()), u.Mends, exploited)
	}
	if n := len(all) - shownUpdates; n > 0 {
		p.linef("  → and %s (-o json)", count(n, "more update", "more updates"))
	}
}

type row struct {
	of scan.Subject
	f  policy.Finding
}

// findings lists the worst first.
func (p *Printer) findings(images []scan.Subject, all bool) {
	var rows []row
	for _, i := range images {
		for _, f := range i.Findings {
			rows = append(rows, row{i, f})
		}
	}
	if len(rows) == 0 {
		return
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(worst(b.f), worst(a.f)), cmp.Compare(b.f.EPSS, a.f.EPSS), cmp.Compare(fixable(b.f), fixable(a.f)), strings.Compare(a.f.ID, b.f.ID))
	})
	shown := rows
	if !all {
		shown = rows[:min(len(rows), shownFindings)]
	}
	w := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SEVERITY\tID\tPACKAGE\tINSTALLED\tFIXED IN\tEPSS\tKEV\tLAYER\tIMAGE")
	for _, r := range shown {
		fmt.Fprintln(w, r.line())
	}
	_ = w.Flush()
	if n := len(rows) - len(shown); n > 0 {
		p.linef("and %d more: --all lists them", n)
	}
}

func worst(f policy.Finding) int {
	if f.KnownExploited {
		return 100
	}
	return f.Severity.Rank()
}

func fixable(f policy.Finding) int { return min(len(f.FixedIn), 1) }

func (r row) line() string {
	pkg := r.of.Packages[r.f.Package]
	epss, kev, layer, fixed := "", "", "", "–"
	if r.f.EPSS > 0 {
		epss = fmt.Sprintf("%.1f %%", 100*r.f.EPSS)
	}
	if r.f.KnownExploited {
		kev = "yes"
	}
	if n := r.of.Layer(pkg.Layer); n > 0 {
		layer = fmt.Sprint(n)
	}
	if len(r.f.FixedIn) > 0 {
		fixed = strings.Join(r.f.FixedIn, " or ")
	}
	cells := []string{string(r.f.Severity), r.f.ID, pkg.Name, pkg.Version, fixed, epss, kev, layer, strings.TrimSpace(r.of.Name + " " + r.of.Platform)}
	for i := range cells {
		cells[i] = quote.Terminal(cells[i])
	}
	return strings.Join(cells, "\t")
}
