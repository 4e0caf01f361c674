package policy

import (
	"fmt"
	"strings"
)

// Clause is what one rule of a policy says, in words.
type Clause struct {
	Rule string `json:"rule"`
	Text string `json:"text"`
}

// Explain says in words what p refuses, in the order of the documentation.
func Explain(p *Policy) []Clause {
	var all []Clause
	say := func(rule, format string, args ...any) {
		all = append(all, Clause{rule, fmt.Sprintf(format, args...)})
	}
	say(RuleExploited, "a vulnerability that is known to be exploited is refused, whatever its severity")
	limits := p.Vulnerabilities.Refuse
	say(RuleSeverity, "%s; what nobody has rated counts as %s", explainLimits(limits), p.unknownAs())
	for _, f := range p.Packages.Forbidden {
		say(RuleForbidden, "%s", explainForbidden(f))
	}
	in := p.Images
	if len(in.Registries) > 0 {
		say(RuleRegistry, "an image from anywhere but %s is refused", strings.Join(in.Registries, ", "))
	}
	if in.LatestTag == Refuse {
		say(RuleLatest, "an image with the tag latest, or without one, is refused")
	}
	if in.RootUser == Refuse {
		say(RuleRoot, "an image that runs as root is refused: user 0, root, or none")
	}
	if in.MaxAge > 0 {
		say(RuleAge, "an image older than %s, or without a date, is refused", in.MaxAge)
	}
	if in.UnknownDistribution != Allow {
		say(RuleDistribution, "an image of a distribution that the database does not know is refused")
	}
	if in.EmptyCatalogue != Allow {
		say(RuleEmpty, "an image in which no package is found is refused")
	}
	if in.Signatures == Required {
		say(RuleSignatures, "signatures are required; this ferry cannot check them, so every image is refused")
	}
	if in.Provenance == Required {
		say(RuleProvenance, "provenance is required; this ferry cannot check it, so every image is refused")
	}
	for _, r := range p.Rules {
		say(r.Name, "%s is refused where %s: %s", article(r.Each), strings.Join(strings.Fields(r.Refuse), " "), r.Because)
	}
	if p.Database.MaxAge > 0 {
		say(RuleDatabase, "a vulnerability database older than %s is refused", p.Database.MaxAge)
	} else {
		say(RuleDatabase, "pack refuses a vulnerability database older than 7d; verify takes any age, and says it")
	}
	return all
}

func explainLimits(l Limits) string {
	with := func(s Severity, fix string) string {
		if s == "" {
			return "any severity passes " + fix
		}
		return string(s) + " or worse is refused " + fix
	}
	if l == (Limits{}) {
		return "a vulnerability of any severity passes"
	}
	return with(l.WithFix, "where there is a fix") + ", " + with(l.WithoutFix, "where there is none")
}

func explainForbidden(f Forbidden) string {
	s := "package " + f.Name
	if f.Version != "" {
		s += " " + f.Version
	}
	if f.Type != "" {
		s += " (" + f.Type + ")"
	}
	s += " is refused"
	if f.Reason != "" {
		s += ": " + f.Reason
	}
	return s
}

func article(s Subject) string {
	if s == EachImage {
		return "an image"
	}
	return "a " + string(s)
}
