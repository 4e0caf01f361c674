package ui

import (
	"fmt"
	"strings"

	"ferry/internal/ferry"
	"ferry/internal/quote"
)

// FixPlan shows what fix would do, a line a step, with the command that a
// person would type instead.
func (p *Printer) FixPlan(plan *ferry.FixPlan) error {
	for _, w := range plan.Workloads {
		p.answer().hang("", "  ", fmt.Sprintf("Plan for %s %s/%s%s", quote.Terminal(w.Kind), quote.Terminal(w.Namespace), quote.Terminal(w.Name), onNodes(plan)))
	}
	s := &fixLines{p: p}
	for _, l := range plan.Pull {
		size := ""
		if l.Bytes > 0 {
			size = "  " + Bytes(l.Bytes)
		}
		s.step("pull", fmt.Sprintf("%s%s from %s", quote.Terminal(l.Image), size, quote.Terminal(l.From)), l.ByHand)
	}
	if plan.Scan != "" {
		s.step("scan", quote.Terminal(plan.Scan), nil)
	}
	for _, n := range plan.Nodes {
		s.step("load", "into "+quote.Terminal(n.Name)+"  "+quote.Terminal(n.Platform+", "+n.Runtime), n.ByHand)
	}
	for _, w := range plan.Workloads {
		p.fixWorkload(s, plan, w)
	}
	p.passedOver(plan)
	for _, n := range plan.Notes {
		to := p.answer()
		to.indent = "  "
		to.say(p.warn(), quote.Terminal(n))
	}
	return nil
}

// passedOver says what --all does not fix, and why.
func (p *Printer) passedOver(plan *ferry.FixPlan) {
	for _, b := range plan.Left {
		to := p.answer()
		to.indent = "  "
		to.say(p.bad(), quote.Terminal(quote.Secrets(b.Object+" is left as it is: "+b.Text)))
		if b.Next != "" {
			p.answer().hang("    ", "    ", quote.Terminal(quote.Secrets(b.Next)))
		}
	}
}

// fixIn is where the lines below a step begin.
const fixIn = "             "

func onNodes(plan *ferry.FixPlan) string {
	switch len(plan.Nodes) {
	case 0:
		return ""
	case 1:
		n := plan.Nodes[0]
		return fmt.Sprintf(" on %s (1 node, %s, %s)", quote.Terminal(n.Name), quote.Terminal(n.Platform), quote.Terminal(n.Runtime))
	}
	var names []string
	for _, n := range plan.Nodes {
		names = append(names, quote.Terminal(n.Name))
	}
	return fmt.Sprintf(" on %s (%d nodes)", strings.Join(names, ", "), len(names))
}

// fixLines numbers the steps.
type fixLines struct {
	p *Printer
	n int
}

func (s *fixLines) step(word, text string, byHand [][]string) {
	s.n++
	s.p.answer().hang(fmt.Sprintf("%3d  %-8s", s.n, word), fixIn, text)
	for _, argv := range byHand {
		s.p.linef("%s%s", fixIn, s.p.paint("2", quote.Shell(argv...)))
	}
}

func (p *Printer) fixWorkload(s *fixLines, plan *ferry.FixPlan, w ferry.FixWorkload) {
	name := quote.Terminal(ferry.ObjectArgument(w.Object))
	byHand := w.ByHand
	var watch [][]string
	if len(w.Watch) > 0 {
		watch = append(watch, w.Watch)
	}
	switch {
	case w.Recreate:
		s.step("replace", name+": it is deleted and made anew; what is in it is lost", byHand)
		return
	case len(w.Changes) > 0:
		var changes []string
		for _, c := range w.Changes {
			changes = append(changes, fmt.Sprintf("%s: %s → %s", quote.Terminal(c.Name), quote.Terminal(c.Policy), quote.Terminal(c.To)))
		}
		s.step("patch", name+"  imagePullPolicy of "+strings.Join(changes, ", "), byHand[:1])
		if !plan.Undo && w.Changes[0].Policy == "Always" {
			p.answer().hang(fixIn, fixIn, "because Always would ask the registry again, though the image is there")
		}
		byHand = byHand[1:]
	case plan.Undo:
		s.step("patch", name+"  the policies are what they were already: the note goes", nil)
	}
	for _, m := range managers(w) {
		to := p.answer()
		to.indent = fixIn
		to.say(p.warn(), quote.Terminal(m)+" holds this workload too, and may put the old policy back: change it there as well")
	}
	if len(w.Restart) > 0 {
		s.step("restart", count(len(w.Restart), "waiting pod", "waiting pods")+" of "+name, byHand)
	}
	switch {
	case plan.Undo:
	case w.Kind == "Job" || w.Kind == "CronJob":
		s.step("wait", "until the pods of "+name+" have started", watch)
	default:
		s.step("wait", fmt.Sprintf("for %d of %d ready", w.Desired, w.Desired), watch)
	}
}

// managers are those that may put back what is patched.
func managers(w ferry.FixWorkload) []string {
	if len(w.Changes) == 0 {
		return nil
	}
	return w.Managers
}

// FixStep shows a step that was done.
func (p *Printer) FixStep(s ferry.FixStep) {
	took := ""
	if s.Took > 0 {
		took = "  " + strings.ReplaceAll(duration(s.Took), " ", together)
	}
	text := quote.Terminal(s.Text)
	if IsTerminal(p.Out) {
		text = shortDigests(text)
	}
	p.answer().hang(fmt.Sprintf("  %s %-9s ", p.good(), s.Step), strings.Repeat(" ", 14), text+took)
}

// Fix shows what came of a fix: the steps were shown as they were done.
func (p *Printer) Fix(r *ferry.FixResult) error {
	if p.JSON {
		return p.json(r)
	}
	switch {
	case len(r.Plan.Blocked) > 0:
		p.sayf("Nothing was changed.") // why not are errors
	case r.Nothing && r.Plan.Undo:
		p.linef("There is nothing to undo: ferry has changed no policy here, or it was undone.")
	case r.Nothing:
		p.linef("There is nothing to fix: no pod waits for an image.")
	case r.DryRun:
		p.linef("Nothing was changed.")
	}
	for _, f := range r.Findings {
		p.linef("  %s %s", p.bad(), quote.Terminal(f.Title))
		for _, e := range f.Evidence[:min(len(f.Evidence), 1)] {
			p.linef("    seen  %s", quote.Terminal(shortened(e, 360)))
		}
	}
	if len(r.Undo) > 0 {
		p.sayf("\n%s in all. Undo the patch: %s", duration(r.Took), quote.Shell(r.Undo...))
	}
	return nil
}
