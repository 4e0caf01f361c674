package ui

import (
	"fmt"
	"slices"
	"strings"

	"ferry/internal/ferry"
	"ferry/internal/preflight"
	"ferry/internal/quote"
)

// deployIn is where the lines below a step begin.
const deployIn = "     "

// DeployPlan shows what deploy would do, before it does it: step by step, each
// with what a person would type instead.
func (p *Printer) DeployPlan(r *ferry.DeployResult) error {
	p.linef("Plan: %s into the cluster of context %s,\n      images from %s", count(len(r.Objects), "object", "objects"),
		quote.Terminal(r.Context), quote.Terminal(r.Rewrite.Registry))
	s := &fixLines{p: p}
	s.step("rewrite", rewriteSum(r.Rewrite), nil)
	to := p.answer()
	to.indent = deployIn
	p.rewriteImages(r.Rewrite, to)
	p.rewriteLeft(r.Rewrite, to)
	p.byHand(r.ByHand.Rewrite)
	if len(r.Verdicts) > 0 {
		s.step("look", "whether the registry has them, with this machine's login", nil)
		for _, v := range r.Verdicts {
			p.deployVerdict(v)
		}
		p.byHand(r.ByHand.Trust...)
		p.byHand(r.ByHand.Images...)
	}
	if len(r.Logins) > 0 {
		s.step("log in", "to the registry, as the pods will", nil)
		for _, l := range r.Logins {
			p.deployLogin(l)
		}
	}
	how := "on the server; each was rehearsed there"
	if slices.ContainsFunc(r.Objects, func(o ferry.DeployObject) bool { return o.State == ferry.ObjectUnchecked }) {
		how = "on the server; what could be rehearsed there was"
	}
	s.step("apply", how, nil)
	for _, o := range r.Objects {
		p.deployObject(o)
	}
	if !r.Refused {
		p.deployWait(s, r)
	}
	switch {
	case r.Refused:
		p.linef("this cannot go well; nothing was applied")
	case r.DryRun:
		p.linef("nothing was applied")
	}
	return nil
}

// below prints a line below a step.
func (p *Printer) below(format string, args ...any) { p.linef(deployIn+format, args...) }

// said prints foreign text below a step, broken to fit.
func (p *Printer) said(mark, text string) {
	p.block(deployIn+mark+" ", deployIn+strings.Repeat(" ", visibleWidth(mark)+1), quote.Terminal(text))
}

// byHand prints what a person would type; of many alike the first few.
func (p *Printer) byHand(all ...[]string) {
	const most = 3
	for i, argv := range all {
		if i == most {
			p.below("%s", p.paint("2", fmt.Sprintf("and so on for %d more", len(all)-most)))
			return
		}
		if len(argv) > 0 {
			p.below("%s", p.paint("2", quote.Shell(argv...)))
		}
	}
}

func (p *Printer) deployVerdict(v preflight.Verdict) {
	for _, problem := range v.Problems {
		p.said(p.bad(), fmt.Sprintf("%s: %s  %s", v.Workload, shortDigest(problem.Image), problem.Why))
	}
	if len(v.Problems) == 0 {
		there := "its image is there"
		if v.Images > 1 {
			there = fmt.Sprintf("its %d images are there", v.Images)
		}
		if len(v.Platforms) > 0 {
			there += ", for " + strings.Join(v.Platforms, ", ")
		}
		p.said(p.good(), v.Workload+": "+there)
	}
	for _, n := range v.Notes {
		p.said(p.warn(), v.Workload+": "+n)
	}
}

func (p *Printer) deployLogin(l ferry.DeployLogin) {
	mark := map[string]string{ferry.LoginRefused: p.bad(), ferry.LoginUnchecked: p.warn()}[l.State]
	if mark == "" {
		mark = p.good()
	}
	const most = 3
	who := strings.Join(l.Workloads[:min(len(l.Workloads), most)], ", ")
	if n := len(l.Workloads) - most; n > 0 {
		who += fmt.Sprintf(" and %d more", n)
	}
	p.said(mark, who+": "+l.Text)
	p.byHand(l.ByHand)
	for _, argv := range l.Remedy {
		p.below("→ %s", p.paint("36", quote.Shell(argv...)))
	}
}

func (p *Printer) deployObject(o ferry.DeployObject) {
	why := ""
	if o.Why != "" {
		why = "  not rehearsed: " + o.Why
	}
	p.below("%-9s  %s%s", o.State, quote.Terminal(o.String()), quote.Terminal(why))
	if o.Err != nil {
		p.said(p.bad(), o.Error)
	}
	if o.Hint != "" {
		p.said("→", o.Hint)
	}
	p.byHand(o.ByHand...)
}

func (p *Printer) deployWait(s *fixLines, r *ferry.DeployResult) {
	first := true
	var idle []ferry.DeployObject
	for _, o := range r.Objects {
		if o.Suspended && (o.Kind == "Deployment" || o.Kind == "Job") {
			idle = append(idle, o)
		}
		if !o.Waits {
			continue
		}
		if first {
			s.step("wait", "until they run, or say why they do not", nil)
			first = false
		}
		p.below("%s", quote.Terminal(o.String()))
		p.byHand(o.Watch)
	}
	for _, o := range idle {
		word := "suspended"
		if o.Kind == "Deployment" {
			word = "paused"
		}
		p.said(p.warn(), o.String()+" is "+word+": it is applied, and its pods are not waited for")
	}
}

// deployDone says how it went, where it went well.
func (p *Printer) deployDone(r *ferry.DeployResult) {
	up, applied := 0, 0
	for _, o := range r.Objects {
		if o.Outcome != "" {
			up++
		}
		if o.State == ferry.ObjectApplied {
			applied++
		}
	}
	if applied < len(r.Objects) {
		return // it was refused, tried or declined, or an error says more
	}
	s := count(applied, "object", "objects") + " applied"
	if up > 0 {
		s += ", " + count(up, "workload is", "workloads are") + " up"
	}
	p.linef("%s · %s", s, duration(r.Took))
}

// DeployStep shows a step that is done.
func (p *Printer) DeployStep(text string) { p.linef("%s %s", p.good(), quote.Terminal(text)) }

// Deploy shows what came of it.
func (p *Printer) Deploy(r *ferry.DeployResult) error {
	if p.JSON {
		return p.json(r)
	}
	if len(r.Waiting) == 0 {
		p.deployDone(r)
		return nil
	}
	p.linef("%s applied, and not up: %s", p.bad(), quote.Terminal(strings.Join(r.Waiting, ", ")))
	for _, o := range r.Objects {
		if strings.HasPrefix(o.Outcome, "failed") {
			p.said(p.bad(), o.String()+" "+o.Outcome)
		}
	}
	if r.Doctor != nil {
		if err := p.Doctor(r.Doctor); err != nil {
			return err
		}
	}
	if len(r.Next) > 0 {
		p.linef("→ %s", p.paint("36", quote.Shell(r.Next...)))
	}
	return nil
}
