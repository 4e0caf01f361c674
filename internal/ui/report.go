package ui

import (
	"github.com/opencontainers/go-digest"

	"ferry/internal/ferry"
	"ferry/internal/quote"
)

// reportAnswer is what programs get to read of a report that was written.
type reportAnswer struct {
	File     string        `json:"file"`
	Digest   digest.Digest `json:"digest"`
	To       string        `json:"to"`
	Verdict  string        `json:"verdict"`
	Images   int           `json:"images"`
	Findings int           `json:"findings"`
	// Exploited are known to be.
	Exploited int `json:"knownExploited"`
	Refused   int `json:"refused"`
	Accepted  int `json:"accepted"`
	// Come and Gone compare with another bundle.
	Compared string `json:"comparedWith,omitempty"`
	Come     int    `json:"come,omitempty"`
	Gone     int    `json:"gone,omitempty"`
}

// Report says what a report that was written says.
func (p *Printer) Report(r *ferry.ReportResult, to string) error {
	a := reportAnswer{File: r.File, Digest: r.Digest, To: to, Verdict: "not gated", Images: len(r.Images), Findings: len(r.Findings)}
	for _, f := range r.Findings {
		if f.KnownExploited {
			a.Exploited++
		}
	}
	mark := p.warn()
	if r.Verdict != nil {
		a.Verdict, mark = "passed", p.good()
		if !r.Verdict.Passed {
			a.Verdict, mark = "refused", p.bad()
		}
		a.Refused = r.Verdict.Refused()
		for _, d := range r.Verdict.Decisions {
			if d.Accepted != nil {
				a.Accepted++
			}
		}
	}
	if c := r.Compared; c != nil {
		a.Compared, a.Come, a.Gone = c.File, len(c.Come), len(c.Gone)
	}
	if p.JSON {
		return p.json(a)
	}
	p.linef("%s %s  %s · %s · %s, %d known exploited", mark, quote.Terminal(r.File), a.Verdict,
		count(a.Images, "image", "images"), count(a.Findings, "finding", "findings"), a.Exploited)
	switch {
	case a.Compared == "":
	case !r.Compared.Scanned:
		p.linef("  against %s: it carries no scan reports, so only its images are compared", quote.Terminal(a.Compared))
	default:
		p.linef("  against %s: %s come, %d gone", quote.Terminal(a.Compared), count(a.Come, "finding", "findings"), a.Gone)
	}
	p.linef("%s", quote.Terminal(to))
	p.sayf("%s unsigned: the page says what is in the bundle, and not who put it there", p.warn())
	return nil
}
