package ui

import (
	"time"

	"ferry/internal/ferry"
	"ferry/internal/quote"
	"ferry/internal/scan"
)

// Database shows which vulnerability database is in use.
func (p *Printer) Database(r *ferry.DatabaseResult) error {
	for _, w := range r.Warnings {
		p.sayf("%s %s", p.warn(), quote.Terminal(w))
	}
	if p.JSON {
		return p.json(r)
	}
	p.linef("%s vulnerability database of %s, %s old, schema %s", p.good(), r.Built.UTC().Format("2006-01-02 15:04 MST"),
		scan.Age(time.Duration(r.AgeHours)*time.Hour), quote.Terminal(r.Schema))
	switch {
	case r.Unchanged:
		p.linef("  it was in use already")
	case r.Before != nil:
		p.linef("  instead of the one of %s", r.Before.Built.UTC().Format("2006-01-02 15:04 MST"))
	}
	p.linef("digest  %s", r.Checksum)
	return nil
}
