package ui

import (
	"strings"

	"ferry/internal/ferry"
	"ferry/internal/quote"
)

// DeployPlan shows what deploy would do, before it does it.
func (p *Printer) DeployPlan(r *ferry.DeployResult) error {
	p.linef("Plan: %s into %s", count(len(r.Objects), "object", "objects"), quote.Terminal(r.Rewrite.Registry))
	p.rewriteImages(r.Rewrite, p.linef)
	p.rewriteLeft(r.Rewrite, p.linef)
	for _, v := range r.Verdicts {
		for _, problem := range v.Problems {
			p.linef("%s %s: %s  %s", p.bad(), quote.Terminal(v.Workload), quote.Terminal(problem.Image), quote.Terminal(problem.Why))
		}
		if len(v.Problems) == 0 {
			p.linef("%s %s: its images are there, for the nodes that it may run on", p.good(), quote.Terminal(v.Workload))
		}
	}
	for _, o := range r.Objects {
		p.linef("  %-9s  %s", o.State, quote.Terminal(o.String()))
		if o.Err != nil {
			p.linef("  %s %s", p.bad(), quote.Terminal(o.Error))
		}
	}
	switch {
	case r.Refused:
		p.linef("this cannot go well; nothing was applied")
	case r.DryRun:
		p.linef("nothing was applied")
	}
	return nil
}

// DeployStep shows a step that is done.
func (p *Printer) DeployStep(text string) { p.linef("%s %s", p.good(), quote.Terminal(text)) }

// Deploy shows what came of it.
func (p *Printer) Deploy(r *ferry.DeployResult) error {
	if p.JSON {
		return p.json(r)
	}
	if len(r.Waiting) == 0 {
		return nil
	}
	p.linef("%s applied, and not up: %s", p.bad(), quote.Terminal(strings.Join(r.Waiting, ", ")))
	if r.Doctor != nil {
		return p.Doctor(r.Doctor)
	}
	return nil
}
