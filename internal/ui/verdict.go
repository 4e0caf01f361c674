package ui

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/quote"
)

// passed shows what a verdict rests on.
func (p *Printer) passed(file string, v *policy.Verdict) {
	p.linef("%s gate: passed %s, by the vulnerability database of %s", p.good(), quote.Terminal(file), v.Database.Built.UTC().Format("2006-01-02 15:04 MST"))
	p.accepted(v)
	p.warned(v)
}

// shownWarnings is how many of them a screen holds.
const shownWarnings = 10

// warned shows where less was seen than there may be.
func (p *Printer) warned(v *policy.Verdict) {
	for _, w := range v.Warnings[:min(len(v.Warnings), shownWarnings)] {
		p.linef("%s %s: %s", p.warn(), quote.Terminal(strings.TrimSpace(w.Image+" "+w.Platform)), quote.Terminal(w.Text))
	}
	if n := len(v.Warnings) - shownWarnings; n > 0 {
		p.linef("  and %s (-o json)", count(n, "more warning", "more warnings"))
	}
}

// accepted shows what somebody accepted, and what nobody uses.
func (p *Printer) accepted(v *policy.Verdict) {
	accepted, by := 0, map[string]int{}
	for _, d := range v.Decisions {
		if d.Accepted != nil {
			accepted++
			by[d.Accepted.Owner]++
		}
	}
	if accepted > 0 {
		next := ""
		if !v.Until.IsZero() {
			next = ", the next ends at " + v.Until.UTC().Format("2006-01-02 15:04 MST")
		}
		p.linef("%s %s accepted by %s%s", p.warn(), count(accepted, "finding is", "findings are"), quote.Terminal(owners(by)), next)
	}
	// What was not seen may be what an exception is for.
	unread := slices.ContainsFunc(v.Decisions, func(d policy.Decision) bool {
		return slices.ContainsFunc(d.Reasons, func(r policy.Reason) bool { return r.Rule == policy.RuleUnread })
	})
	if unread {
		return
	}
	for _, e := range v.Unused {
		why := "nothing that was found matches it"
		if e.Expired {
			why = "it has expired: " + e.Expires.String()
		}
		p.sayf("%s unused exception for %s (owner: %s): %s", p.warn(), exceptionFor(ferry.PolicyException{Exception: e.Exception}),
			quote.Terminal(e.Owner), quote.Terminal(why))
	}
}

// owners are those who accepted findings, and how many where there are several.
func owners(by map[string]int) string {
	all := slices.Sorted(maps.Keys(by))
	for i, owner := range all {
		if len(by) > 1 {
			all[i] = fmt.Sprintf("%s (%d)", owner, by[owner])
		}
	}
	return few(all)
}

// evidence shows what a reader's policy made of a bundle's evidence.
func (p *Printer) evidence(e *ferry.EvidenceResult) {
	day := func(d policy.DatabaseInfo) string { return d.Built.UTC().Format("2006-01-02") }
	how := "judged by " + quote.Terminal(e.Policy)
	if e.Same {
		how += ", the one that the packer asked"
	}
	switch e.Basis {
	case ferry.BasisSBOMs:
		how += ", its SBOMs matched anew with your database of " + day(e.Used)
	case ferry.BasisLayers:
		how += ", its layers read anew with your database of " + day(e.Used)
	}
	if e.Basis != ferry.BasisEvidence {
		how += ": " + count(e.Come, "finding is new", "findings are new")
	}
	p.linef("%s evidence: %d of %d scanned with the database of %s, %s: passed", p.good(), e.Images, e.Images, day(e.Packed), how)
	p.accepted(e.Verdict)
	p.warned(e.Verdict)
	if e.Older != nil {
		p.linef("%s your database of %s is older, so it was not asked", p.warn(), day(*e.Older))
	}
	if e.Basis == ferry.BasisLayers {
		p.linef("%s unsigned: nothing proves who packed it", p.warn())
		return
	}
	p.linef("%s unsigned, and so is its evidence: nothing proves who scanned; --rescan reads the layers themselves", p.warn())
}
