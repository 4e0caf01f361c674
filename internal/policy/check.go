package policy

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"ferry/internal/near"
	"ferry/internal/ref"
)

// check holds for every policy that is used; root tells the lines.
func (r reading) check(root *yaml.Node, p *Policy) error {
	if p.Version != Version {
		return r.errorf(lineOf(root, "version"), "version is %d; this ferry knows version: %d", p.Version, Version)
	}
	if len(p.Exceptions) > maxExceptions {
		return r.errorf(lineOf(root, "exceptions"), "there are %d exceptions; ferry takes at most %d", len(p.Exceptions), maxExceptions)
	}
	if len(p.Rules) > maxRules {
		return r.errorf(lineOf(root, "rules"), "there are %d rules; ferry takes at most %d", len(p.Rules), maxRules)
	}
	for i, f := range p.Packages.Forbidden {
		if f.Name == "" {
			return r.errorf(lineOf(root, "packages", "forbidden", i), "a forbidden package has no name")
		}
	}
	if p.Images.Registries != nil && len(p.Images.Registries) == 0 {
		return r.errorf(lineOf(root, "images", "registries"), "registries names none: fill it in or leave it out")
	}
	for i, registry := range p.Images.Registries {
		if err := checkRegistry(registry); err != nil {
			return r.errorf(lineOf(root, "images", "registries", i), "%v", err)
		}
	}
	for i, v := range p.VEX {
		if v.File == "" {
			return r.errorf(lineOf(root, "vex", i), "an OpenVEX document has no file")
		}
	}
	if err := r.checkRules(root, p); err != nil {
		return err
	}
	for i, e := range p.Exceptions {
		if err := e.check(p.ruleNames()); err != nil {
			return r.errorf(lineOf(root, "exceptions", i), "%v", err)
		}
	}
	return nil
}

var registryPart = regexp.MustCompile(`^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?$`)

func checkRegistry(s string) error {
	host, _, _ := strings.Cut(s, "/")
	if !registryPart.MatchString(s) || !strings.ContainsAny(host, ".:") && host != "localhost" || strings.HasSuffix(s, "/") {
		return fmt.Errorf("%q is no registry: write docker.io/library or registry.bank.internal", s)
	}
	return nil
}

var ruleName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

func (r reading) checkRules(root *yaml.Node, p *Policy) error {
	seen := map[string]bool{}
	for _, name := range builtIn() {
		seen[name] = true
	}
	for i := range p.Rules {
		rule := &p.Rules[i]
		line := lineOf(root, "rules", i)
		switch {
		case !ruleName.MatchString(rule.Name):
			return r.errorf(line, "rule %q: give it a name of small letters, digits and hyphens", rule.Name)
		case seen[rule.Name]:
			return r.errorf(line, "rule %q: the name is taken", rule.Name)
		case rule.Each == "":
			return r.errorf(line, "rule %q: say what it is asked of, as in each: finding", rule.Name)
		case rule.Refuse == "":
			return r.errorf(line, "rule %q: it has no expression: refuse: finding.epss > 0.5", rule.Name)
		case blank(rule.Because):
			return r.errorf(line, "rule %q: say why, for whoever is refused: because: …", rule.Name)
		}
		seen[rule.Name] = true
		if err := rule.compile(p.unknownAs()); err != nil {
			return r.errorf(lineOf(root, "rules", i, "refuse"), "rule %q: %v", rule.Name, err)
		}
	}
	return nil
}

// check wants somebody to stand for the exception, for one thing, for a while.
func (e Exception) check(rules []string) error {
	what := e.Vulnerability
	if what == "" {
		what = e.Rule
	}
	switch {
	case (e.Vulnerability == "") == (e.Rule == ""):
		return fmt.Errorf("an exception is for a vulnerability or for a rule: name one of both")
	case strings.Contains(e.Vulnerability, "*"):
		return fmt.Errorf("the exception for %s is for more than one vulnerability: write one for each", what)
	case e.Rule != "" && nearestExact(e.Rule, rules) != nil:
		return nearestExact(e.Rule, rules)
	case e.Rule != "" && !Exceptable(e.Rule):
		return fmt.Errorf("there is no exception to %s: accept its vulnerabilities one by one", e.Rule)
	case e.Image == "" && e.Package == "":
		return fmt.Errorf("the exception for %s holds everywhere: name an image or a package", what)
	case e.Image != "" && !strings.Contains(e.Image, "*") && nameError(e.Image) != nil:
		return fmt.Errorf("the exception for %s is for an image that is none: %w", what, nameError(e.Image))
	case blank(e.Owner):
		return fmt.Errorf("the exception for %s has no owner: who stands for it?", what)
	case blank(e.Reason):
		return fmt.Errorf("the exception for %s has no reason", what)
	case blank(e.Ticket):
		return fmt.Errorf("the exception for %s has no ticket", what)
	case e.Expires.End.IsZero():
		return fmt.Errorf("the exception for %s does not expire: write expires: 2026-12-31", what)
	case e.Rule != "" && e.KnownExploited:
		return fmt.Errorf("knownExploited is for exceptions for a vulnerability")
	}
	return nil
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

func nameError(s string) error {
	_, err := ref.Parse(s)
	return err
}

func nearestExact(name string, names []string) error {
	for _, n := range names {
		if n == name {
			return nil
		}
	}
	if meant := near.Names(name, names); len(meant) > 0 {
		return fmt.Errorf("there is no rule %q; did you mean %s?", name, meant[0])
	}
	return fmt.Errorf("there is no rule %q; there are %s", name, strings.Join(names, ", "))
}

// lineOf is the line of what a path of keys and numbers leads to, or of the
// last that is there.
func lineOf(n *yaml.Node, path ...any) int {
	line := n.Line
	for _, step := range path {
		n = child(n, step)
		if n == nil {
			return line
		}
		line = n.Line
	}
	return line
}

func child(n *yaml.Node, step any) *yaml.Node {
	if i, ok := step.(int); ok {
		if i < len(n.Content) {
			return n.Content[i]
		}
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == step {
			return n.Content[i+1]
		}
	}
	return nil
}
