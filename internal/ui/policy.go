package ui

import (
	"ferry/internal/ferry"
	"ferry/internal/quote"
)

// PolicyCheck shows that a policy is sound, and what of it no longer holds.
func (p *Printer) PolicyCheck(r *ferry.PolicyResult) error {
	if p.JSON {
		return p.json(r)
	}
	p.linef("%s %s: %s, %s, %s", p.good(), quote.Terminal(r.File), count(len(r.Clauses), "rule", "rules"),
		count(len(r.Exceptions), "exception", "exceptions"), count(len(r.VEX), "OpenVEX document", "OpenVEX documents"))
	for _, e := range r.Exceptions {
		if e.Expired {
			p.linef("%s expired on %s: the exception for %s (owner: %s, %s). It accepts nothing any more", p.warn(),
				quote.Terminal(e.Expires.String()), exceptionFor(e), quote.Terminal(e.Owner), quote.Terminal(e.Ticket))
		}
	}
	for _, v := range r.VEX {
		if v.Expired {
			p.linef("%s expired on %s: %s of %s. It accepts nothing any more", p.warn(),
				quote.Terminal(v.Expires), quote.Terminal(v.File), quote.Terminal(v.Author))
		}
	}
	if r.Next != "" {
		p.linef("next to expire  %s", quote.Terminal(r.Next))
	}
	p.linef("digest  %s", r.Digest)
	return nil
}

func exceptionFor(e ferry.PolicyException) string {
	s := e.Vulnerability
	if s == "" {
		s = e.Rule
	}
	if e.Package != "" {
		s += " in " + e.Package
	}
	if e.Image != "" {
		s += " in " + e.Image
	}
	return quote.Terminal(s)
}

const exceptionSample = `
To accept what is refused for a while, in somebody's name:

  exceptions:
    - vulnerability: CVE-2024-3094    # or rule: root-user
      image: quay.io/acme/api         # or package: liblzma5, or both; * stands for anything
      owner: payments
      reason: sshd does not run in it
      ticket: SEC-1300
      expires: 2026-12-31
      knownExploited: true            # only where it is known to be exploited`

// PolicyExplain shows in words what a policy refuses, and how to be excepted.
func (p *Printer) PolicyExplain(r *ferry.PolicyResult) error {
	if p.JSON {
		return p.json(r)
	}
	p.linef("%s refuses:", quote.Terminal(r.File))
	width := 0
	for _, c := range r.Clauses {
		width = max(width, len(c.Rule))
	}
	for _, c := range r.Clauses {
		p.linef("  %-*s  %s", width, quote.Terminal(c.Rule), quote.Terminal(c.Text))
	}
	if len(r.Exceptions)+len(r.VEX) > 0 {
		p.linef("")
		p.linef("It accepts:")
	}
	for _, e := range r.Exceptions {
		until := "until " + e.Expires.String()
		if e.Expired {
			until = "EXPIRED on " + e.Expires.String()
		}
		p.linef("  %s  %s: %s (%s)  %s", exceptionFor(e), quote.Terminal(e.Owner), quote.Terminal(e.Reason), quote.Terminal(e.Ticket), quote.Terminal(until))
	}
	for _, v := range r.VEX {
		p.linef("  %s in %s  %s", count(v.Statements, "statement", "statements"), quote.Terminal(v.File), quote.Terminal(v.Author))
	}
	p.linef("%s", exceptionSample)
	return nil
}
