package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/ref"
)

// Acceptance is who accepted what would be refused, why, and until when.
type Acceptance struct {
	// By is exception or vex.
	By string `json:"by"`
	// Owner is the exception's owner or the document's author.
	Owner  string `json:"owner"`
	Reason string `json:"reason"`
	Ticket string `json:"ticket,omitempty"`
	// Until is when it ends, as it was written; "" for an OpenVEX document
	// that the policy gives no end.
	Until string `json:"until,omitempty"`
	// Document is the OpenVEX document that says so.
	Document string `json:"document,omitempty"`

	end time.Time
}

// Kinds of acceptance.
const (
	ByException = "exception"
	ByVEX       = "vex"
)

// UnusedException is one that accepted nothing.
type UnusedException struct {
	Exception
	// Expired says why; else nothing that was found matches it.
	Expired bool `json:"expired,omitempty"`
}

// acceptances are the exceptions and documents that hold, and what they were
// used for.
type acceptances struct {
	exceptions []Exception
	vex        []*VEX
	asOf       time.Time
	used       []bool
}

// finding looks for one who accepts a vulnerability. note says why somebody
// who would have is not heard.
func (a *acceptances) finding(img *Image, name ref.Name, pkg *Package, f *Finding) (accepted *Acceptance, note string) {
	for i, e := range a.exceptions {
		if e.Vulnerability == "" || !named(e.Vulnerability, f) || !e.covers(img, name, pkg) {
			continue
		}
		switch {
		case e.Expires.Over(a.asOf):
			note = fmt.Sprintf("the exception of %s expired: %s", e.Owner, e.Expires)
		case f.KnownExploited && !e.KnownExploited:
			a.used[i] = true
			note = fmt.Sprintf("the exception of %s does not say knownExploited: true", e.Owner)
		default:
			a.used[i] = true
			accepted = longer(accepted, e.acceptance())
		}
	}
	if accepted != nil {
		return accepted, ""
	}
	if f.KnownExploited {
		return nil, note
	}
	return a.byVEX(img, pkg, f), note
}

// longer keeps of two acceptances the one that lasts longer: the first that
// ends takes nothing away while another holds.
func longer(a, b *Acceptance) *Acceptance {
	if a == nil || b.end.After(a.end) {
		return b
	}
	return a
}

func named(id string, f *Finding) bool {
	return strings.EqualFold(id, f.ID) ||
		slices.ContainsFunc(f.Aliases, func(alias string) bool { return strings.EqualFold(id, alias) })
}

// byVEX asks the documents. What was said last counts; of two that were said
// at the same moment, the one that accepts nothing.
func (a *acceptances) byVEX(img *Image, pkg *Package, f *Finding) *Acceptance {
	var last *statement
	var from *VEX
	for _, v := range a.vex {
		if v.Expires.Over(a.asOf) {
			continue
		}
		for _, s := range v.about(f) {
			newer := last == nil || s.at.After(last.at) || s.at.Equal(last.at) && !s.accepts()
			if newer && s.covers(img, pkg) {
				last, from = s, v
			}
		}
	}
	if last == nil || !last.accepts() {
		return nil
	}
	return &Acceptance{
		By: ByVEX, Owner: from.Author, Reason: last.reason, Until: from.Expires.Text,
		Document: from.File, end: from.Expires.End,
	}
}

// rule looks for one who accepts what a rule says of an image or a package.
func (a *acceptances) rule(rule string, img *Image, name ref.Name, pkg *Package) (accepted *Acceptance, note string) {
	for i, e := range a.exceptions {
		if e.Rule != rule || !e.covers(img, name, pkg) {
			continue
		}
		if e.Expires.Over(a.asOf) {
			note = fmt.Sprintf("the exception of %s expired: %s", e.Owner, e.Expires)
			continue
		}
		a.used[i] = true
		accepted = longer(accepted, e.acceptance())
	}
	if accepted != nil {
		note = ""
	}
	return accepted, note
}

func (a *acceptances) unused() []UnusedException {
	var all []UnusedException
	for i, e := range a.exceptions {
		if !a.used[i] {
			all = append(all, UnusedException{Exception: e, Expired: e.Expires.Over(a.asOf)})
		}
	}
	return all
}

func (e Exception) acceptance() *Acceptance {
	return &Acceptance{By: ByException, Owner: e.Owner, Reason: e.Reason, Ticket: e.Ticket, Until: e.Expires.Text, end: e.Expires.End}
}

// covers says whether e holds there. One that names a package holds for no
// image as such.
func (e Exception) covers(img *Image, name ref.Name, pkg *Package) bool {
	if e.Image != "" && !imageMatches(e.Image, img.Digest, name) {
		return false
	}
	return e.Package == "" || pkg != nil && matches(e.Package, pkg.Name)
}

// imageMatches holds a name against a pattern: a repository means all of its
// tags; * stands for anything.
func imageMatches(pattern string, d digest.Digest, name ref.Name) bool {
	if strings.Contains(pattern, "*") {
		return matches(pattern, name.Repository()) || name.Tag() != "" && matches(pattern, name.Repository()+":"+name.Tag())
	}
	want, err := ref.Parse(pattern)
	if err != nil || want.Repository() != name.Repository() {
		return false
	}
	if want.Digest() != "" {
		return want.Digest() == name.Digest() || want.Digest() == d
	}
	return want.Assumed() || want.Tag() == name.Tag()
}

// matches holds s against a pattern in which * stands for anything.
func matches(pattern, s string) bool {
	first, rest, more := strings.Cut(pattern, "*")
	if !more {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		_, after, ok := strings.Cut(s, part)
		if !ok {
			return false
		}
		s = after
	}
	return strings.HasSuffix(s, last)
}
