package ui

import (
	"fmt"

	"ferry/internal/ferry"
	"ferry/internal/quote"
)

// Push shows what is in the registry now. Images that failed are errors, and
// not part of the answer in words.
func (p *Printer) Push(r *ferry.PushResult) error {
	if p.JSON {
		return p.json(r)
	}
	if r.DryRun {
		p.pushPlan(r)
		return nil
	}
	for _, i := range r.Images {
		switch i.State {
		case ferry.PushDone:
			p.linef("%s %s  %s%s", p.good(), arrow(i), short(i.Digest), replaces(i))
		case ferry.PushThere:
			p.linef("%s %s  %s, was there", p.good(), arrow(i), short(i.Digest))
		}
	}
	p.linef("%s → %s  %s · %s", quote.Terminal(r.File), quote.Terminal(r.To),
		count(len(r.Images)-r.Failed(), "image", "images"), moved(r))
	p.sayf("%s %s, unsigned: its bytes are whole, but who packed it only ferry verify --digest can tell", p.warn(), quote.Terminal(r.Gate))
	return nil
}

func arrow(i ferry.PushImage) string {
	return quote.Terminal(i.Name) + " → " + quote.Terminal(i.Inside)
}

func replaces(i ferry.PushImage) string {
	if i.Replaces == "" {
		return ""
	}
	return ", instead of " + short(i.Replaces)
}

func moved(r *ferry.PushResult) string {
	s := Bytes(r.Sent) + " sent"
	if r.Mounted > 0 {
		s += fmt.Sprintf(", %s taken from other repositories there", Bytes(r.Mounted))
	}
	if r.Present > 0 {
		s += fmt.Sprintf(", %s were there already", Bytes(r.Present))
	}
	return s
}

func (p *Printer) pushPlan(r *ferry.PushResult) {
	p.linef("Plan for %s → %s: %s · at most %s to send; nothing was sent", quote.Terminal(r.File), quote.Terminal(r.To),
		count(len(r.Images), "image", "images"), Bytes(r.Planned))
	for _, i := range r.Images {
		state := "is missing there"
		switch {
		case i.State == ferry.PushThere:
			state = "is there"
		case i.State == ferry.PushFailed:
			state = "could not be looked up"
		case i.EvidenceOnly:
			state = "is there, its evidence is missing"
		case i.Replaces != "":
			state = "another digest is there: " + short(i.Replaces) + " is replaced"
		}
		p.linef("  %s  %s  %s", arrow(i), short(i.Digest), state)
	}
	if len(r.ByHand) > 0 {
		p.linef("By hand, one image after another, without signatures, about the same is")
		for _, cmd := range r.ByHand {
			p.linef("  %s", quote.Shell(cmd...))
		}
	}
}
