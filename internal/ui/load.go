package ui

import (
	"ferry/internal/ferry"
	"ferry/internal/quote"
)

// Load shows what each target holds now. What failed is an error, and not
// part of the answer in words.
func (p *Printer) Load(r *ferry.LoadResult) error {
	if p.JSON {
		return p.json(r)
	}
	for _, t := range r.Targets {
		if r.DryRun {
			p.loadPlan(r, t)
			continue
		}
		for _, i := range t.Images {
			switch i.State {
			case ferry.LoadDone:
				p.linef("%s %s → %s  %s%s%s", p.good(), quote.Terminal(i.Name), quote.Terminal(t.Name), short(i.Digest), instead(i), seen(i))
			case ferry.LoadThere:
				p.linef("%s %s → %s  %s, was there%s", p.good(), quote.Terminal(i.Name), quote.Terminal(t.Name), short(i.Digest), seen(i))
			}
		}
		if !t.Failed() {
			p.linef("%s  %s · %s sent", quote.Terminal(t.Name), count(len(t.Images), "image", "images"), Bytes(t.Sent))
		}
	}
	return nil
}

func instead(i ferry.LoadedImage) string {
	if i.Replaces == "" {
		return ""
	}
	return ", instead of " + short(i.Replaces)
}

func seen(i ferry.LoadedImage) string {
	s := ""
	for _, word := range []string{i.Platform, i.As, i.Pin} {
		if word != "" {
			s += " · " + quote.Terminal(word)
		}
	}
	return s
}

func (p *Printer) loadPlan(r *ferry.LoadResult, t ferry.LoadTarget) {
	about := t.Platform
	if about == "" {
		about = "all platforms"
	}
	p.linef("Plan for %s → %s (%s): at most %s to send; nothing was loaded", quote.Terminal(r.File), quote.Terminal(t.Name),
		quote.Terminal(about), Bytes(t.Planned))
	for _, i := range t.Images {
		state := "is missing there"
		switch {
		case i.State == ferry.LoadThere:
			state = "is there" + seen(i)
		case i.State == ferry.LoadFailed:
			state = "cannot be loaded"
		case i.Replaces != "":
			state = "another digest is there: " + short(i.Replaces) + " is replaced"
		}
		p.linef("  %s  %s  %s", quote.Terminal(i.Name), short(i.Digest), state)
	}
	if len(t.ByHand) > 0 {
		p.linef("By hand, about the same is")
		for _, cmd := range t.ByHand {
			p.linef("  %s", quote.Shell(cmd...))
		}
	}
}
