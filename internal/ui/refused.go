package ui

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/quote"
)

// shownRefusals is how much of what is refused a screen holds.
const shownRefusals = 20

// refusedAnswer is what programs get to read of a refusal.
type refusedAnswer struct {
	File    string          `json:"file"`
	Gate    string          `json:"gate"`
	Policy  string          `json:"policyFile"`
	Verdict *policy.Verdict `json:"verdict"`
	// Referrers are the images that hang on another, with that one's name.
	Referrers map[string]string `json:"referrers,omitempty"`
}

// Refused shows what a policy refuses, and what to do about it.
func (p *Printer) Refused(r *ferry.RefusedError) error {
	if p.JSON {
		return p.json(refusedAnswer{File: r.File, Gate: "refused", Policy: r.Policy, Verdict: r.Verdict, Referrers: r.Referrers})
	}
	lines := refusals(r)
	images := map[string]bool{}
	for _, l := range lines {
		images[l.image] = true
	}
	p.linef("gate  refused by %s: %s in %s", quote.Terminal(r.Policy), count(len(lines), "thing", "things"), count(len(images), "image", "images"))
	shown := lines[:min(len(lines), shownRefusals)]
	image := "\x00"
	for _, l := range shown {
		if l.image != image {
			image = l.image
			p.refusedImage(l)
			p.refusedReferrer(r, l.image)
		}
		p.linef("    %s", l.text(r.Layers))
		if l.note != "" {
			p.linef("      %s", quote.Terminal(l.note))
		}
	}
	if n := len(lines) - len(shown); n > 0 {
		p.linef("    and %d more: -o json lists them all", n)
	}
	p.accepted(r.Verdict)
	p.warned(r.Verdict)
	p.whatToDo(r, lines)
	p.linef("%s", quote.Terminal(refusedStanding(r)))
	return nil
}

func (p *Printer) refusedImage(l refusal) {
	if l.image == "" {
		p.linef("%s all images", p.bad())
		return
	}
	p.linef("%s %s  %s", p.bad(), quote.Terminal(l.image), quote.Terminal(strings.Join(l.platforms, " ")))
}

func (p *Printer) refusedReferrer(r *ferry.RefusedError, image string) {
	of := r.Referrers[image]
	switch {
	case of == "":
	case r.Read:
		p.linef("    a referrer of %s", quote.Terminal(of))
	default:
		p.linef("    a referrer of %s (left behind: --no-referrers)", quote.Terminal(of))
	}
}

func refusedStanding(r *ferry.RefusedError) string {
	if r.Read {
		return "do not let " + r.File + " in by this policy; it is unsigned, and so is its evidence"
	}
	s := "nothing was written under the name " + r.File
	if r.Kept {
		s += "; what was pulled is kept for the next try"
	}
	return s
}

// refusal is what is refused on some platforms of one image.
type refusal struct {
	image     string
	platforms []string
	name      string   // the vulnerability's, or the rule's
	pkgs      []string // of one version
	version   string
	severity  policy.Severity
	exploited bool
	fixedIn   []string
	reasons   []string
	own       []string // what the policy's own rules say of a vulnerability
	layers    []digest.Digest
	note      string
}

// refusals are the decisions that refuse; those that differ only in the
// platform, or in the package of one version, as one: a distribution makes
// several packages of one source.
func refusals(r *ferry.RefusedError) []refusal {
	var all []refusal
	at := map[string]int{}
	for _, d := range r.Verdict.Decisions {
		if !d.Refuses() {
			continue
		}
		l := refusal{
			image: d.Image, name: d.Vulnerability, version: d.Version, severity: d.Severity,
			exploited: d.KnownExploited, fixedIn: d.FixedIn, note: d.Note,
		}
		for _, reason := range d.Reasons {
			l.reasons = append(l.reasons, reason.Text)
			if d.Vulnerability != "" && reason.Rule != policy.RuleSeverity && reason.Rule != policy.RuleExploited {
				l.own = append(l.own, reason.Rule+": "+reason.Text)
			}
		}
		if l.name == "" {
			l.name = d.Reasons[0].Rule
		}
		key := strings.Join([]string{l.image, l.name, l.version, strings.Join(l.reasons, "; "), strings.Join(l.fixedIn, ","), l.note}, "\x00")
		i, ok := at[key]
		if !ok {
			i = len(all)
			at[key] = i
			all = append(all, l)
		}
		if d.Package != "" && !slices.Contains(all[i].pkgs, d.Package) {
			all[i].pkgs = append(all[i].pkgs, d.Package)
		}
		if d.Platform != "" && !slices.Contains(all[i].platforms, d.Platform) {
			all[i].platforms = append(all[i].platforms, d.Platform)
		}
		if d.Layer != "" && !slices.Contains(all[i].layers, d.Layer) {
			all[i].layers = append(all[i].layers, d.Layer)
		}
	}
	slices.SortStableFunc(all, func(a, b refusal) int { return strings.Compare(a.image, b.image) })
	return all
}

// packages names what a vulnerability is in: a few, and how many more.
func (l refusal) packages() string {
	s := strings.Join(l.pkgs[:min(len(l.pkgs), 2)], ", ")
	if n := len(l.pkgs) - 2; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return strings.TrimSpace(s + " " + l.version)
}

func (l refusal) text(layers map[digest.Digest]int) string {
	s := l.name
	if len(l.pkgs) > 0 {
		s += " in " + l.packages()
	}
	if l.severity == "" {
		s += ": " + strings.Join(l.reasons, "; ")
	} else {
		s += " — " + string(l.severity)
		if l.exploited {
			s += ", known exploited"
		}
		if len(l.fixedIn) > 0 {
			s += ", fixed in " + strings.Join(l.fixedIn, " or ")
		} else {
			s += ", no fix"
		}
		for _, o := range l.own {
			s += "; " + o
		}
	}
	var numbers []string
	for _, d := range l.layers {
		if n := layers[d]; n > 0 {
			numbers = append(numbers, fmt.Sprint(n))
		}
	}
	slices.Sort(numbers)
	if numbers = slices.Compact(numbers); len(numbers) > 0 {
		s += " (layer " + strings.Join(numbers, " or ") + ")"
	}
	return quote.Terminal(s)
}

// whatToDo says which updates mend most, and how to be excepted.
func (p *Printer) whatToDo(r *ferry.RefusedError, lines []refusal) {
	type update struct {
		text  string
		mends int
	}
	var updates []update
	excepted := false
	for _, l := range lines {
		if l.severity == "" || len(l.fixedIn) == 0 {
			excepted = excepted || l.severity != "" || policy.Exceptable(l.name)
			continue
		}
		text := fmt.Sprintf("update %s in %s", l.packages(), l.image)
		if i := slices.IndexFunc(updates, func(u update) bool { return u.text == text }); i >= 0 {
			updates[i].mends++
		} else {
			updates = append(updates, update{text, 1})
		}
	}
	slices.SortStableFunc(updates, func(a, b update) int { return b.mends - a.mends })
	for _, u := range updates[:min(len(updates), 5)] {
		p.linef("  → %s: mends %d", quote.Terminal(u.text), u.mends)
	}
	if n := len(updates) - 5; n > 0 {
		p.linef("  → and %s", count(n, "update", "updates"))
	}
	named := func(rule string) bool {
		return slices.ContainsFunc(lines, func(l refusal) bool { return l.name == rule })
	}
	switch unread := named(policy.RuleUnread); {
	case unread && r.Read:
		p.linef("  → what has no evidence has to be packed again with a policy: ferry pack … --policy %s", quote.Terminal(r.Policy))
	case unread:
		p.linef("  → what could not be scanned: leave it out, or have it built again")
	}
	if named(policy.RuleClock) {
		p.linef("  → set the clock here right (date)")
	}
	switch {
	case !named(policy.RuleDatabase) || r.Read && named(policy.RuleUnread):
	case r.Verdict.Database.Built.After(r.Verdict.AsOf):
		p.linef("  → judge a later moment (--as-of), or take the database of that time: ferry db import FILE --older; without --as-of, look at the clock (date)")
	default:
		p.linef("  → if the clock here is right (date), take a newer database: ferry db pull, or ferry db import FILE")
	}
	if len(updates) > 0 || excepted {
		p.linef("  → or accept it for a while: an exception in %s with owner, reason, ticket and end (%s)", quote.Terminal(r.Policy),
			quote.Shell("ferry", "policy", "explain", r.Policy))
	}
}
