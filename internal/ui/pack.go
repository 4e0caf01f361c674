package ui

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/ferry"
	"ferry/internal/lock"
	"ferry/internal/quote"
)

// Pack shows what was packed.
func (p *Printer) Pack(r *ferry.PackResult) error {
	if p.JSON {
		return p.json(r)
	}
	for _, w := range r.Warnings {
		p.sayf("%s %s", p.warn(), quote.Terminal(w))
	}
	if r.DryRun {
		p.packPlan(r)
		return nil
	}
	for _, img := range r.Images {
		p.linef("%s %s  %s  %s", p.good(), quote.Terminal(img.Name), short(img.Digest), platforms(img))
	}
	for _, f := range r.Failed {
		p.sayf("%s %s: %s", p.bad(), quote.Terminal(f.Image), errorText(f.Err))
	}
	what := fmt.Sprintf("%s · %s · %s", count(len(r.Images), "image", "images"), count(r.Blobs, "blob", "blobs"), Bytes(r.Size))
	switch {
	case r.Unchanged:
		p.linef("%s holds just these already: nothing was written (%s)", quote.Terminal(r.File), what)
	case r.Resealed:
		p.linef("%s holds just these already: its evidence and its seal were made anew (%s)", quote.Terminal(r.File), what)
	default:
		p.linef("%s  %s · %s fetched, %s were here already", quote.Terminal(r.File), what, Bytes(r.Fetched), Bytes(r.Reused))
	}
	if r.Verdict != nil {
		p.passed(r.PolicyFile, r.Verdict)
	}
	p.linef("digest  %s", r.Digest)
	gate := "not gated"
	if r.Gate == bundle.Passed {
		gate = "gated by your policy"
	}
	p.sayf("%s %s, unsigned. Carry the digest another way than the file, and behind the gap type", p.warn(), gate)
	p.sayf("  %s", quote.Shell("ferry", "verify", filepath.Base(r.File), "--digest", r.Digest.String()))
	return nil
}

func (p *Printer) packPlan(r *ferry.PackResult) {
	p.linef("Plan for %s: %s · %s · at most %s to fetch; nothing was written", quote.Terminal(r.File),
		count(len(r.Images), "image", "images"), count(r.Blobs, "blob", "blobs"), Bytes(r.Size))
	for _, img := range r.Images {
		p.linef("  %s  %s  %s%s", quote.Terminal(img.Name), short(img.Digest), platforms(img), referrers(img))
	}
	if r.Unchanged {
		p.linef("%s holds just these already", quote.Terminal(r.File))
	}
	if r.PolicyFile != "" {
		p.linef("gate  %s lets their names pass; what is in them it is asked once they are pulled", quote.Terminal(r.PolicyFile))
	}
	if len(r.ByHand) > 0 {
		p.linef("By hand, one image after another, about the same is")
		for _, cmd := range r.ByHand {
			p.linef("  %s", quote.Shell(cmd...))
		}
	}
}

// short is a digest for the eye. The whole of it stands in the lock, and in
// what inspect prints.
func short(d digest.Digest) string {
	return d.Algorithm().String() + ":" + d.Encoded()[:12] + "…"
}

func platforms(img lock.Image) string {
	if len(img.Platforms) == 0 {
		return "no platform"
	}
	return quote.Terminal(strings.Join(img.Platforms, " "))
}

func referrers(img lock.Image) string {
	if len(img.Referrers) == 0 {
		return ""
	}
	return "  + " + count(len(img.Referrers), "referrer", "referrers")
}

// Verify shows what a whole bundle says about itself.
func (p *Printer) Verify(r *ferry.VerifyResult) error {
	if p.JSON {
		return p.json(r)
	}
	p.linef("%s %s, %s, every digest right", p.good(), count(r.Blobs, "blob", "blobs"), Bytes(r.Size))
	p.linef("%s lock: %s, resolved at %s, the same as in the index", p.good(),
		count(r.Images, "image", "images"), r.ResolvedAt.Format("2006-01-02 15:04 MST"))
	p.linef("%s every other byte follows from the lock and the seal", p.good())
	if r.Expected {
		p.linef("%s it is the bundle asked for", p.good())
	}
	if r.Evidence != nil {
		p.evidence(r.Evidence)
	} else {
		p.linef("%s %s, unsigned", p.warn(), quote.Terminal(r.Gate))
	}
	p.linef("digest  %s", r.Digest)
	if !r.Expected {
		p.sayf("whole, but a forger could have made it so: compare the digest with the one that pack printed (--digest)")
	}
	return nil
}

// Inspect shows what a bundle holds.
func (p *Printer) Inspect(r *ferry.InspectResult) error {
	if p.JSON {
		return p.json(r)
	}
	p.linef("%s  %s · %s · %s · sharing saves %s", quote.Terminal(r.File), count(len(r.Images), "image", "images"),
		count(r.Blobs, "blob", "blobs"), Bytes(r.Size), Bytes(r.Shared))
	p.linef("digest    %s", r.Digest)
	p.linef("resolved  %s · %s, unsigned", r.ResolvedAt.Format("2006-01-02 15:04 MST"), quote.Terminal(r.Gate))
	if r.Policy != "" {
		p.linef("gate      passed as of %s by policy %s, vulnerability database of %s", r.AsOf.Format("2006-01-02 15:04 MST"),
			short(r.Policy), r.Database.Built.UTC().Format("2006-01-02 15:04 MST"))
	}
	for _, img := range r.Images {
		p.linef("")
		p.inspectImage(img)
	}
	return nil
}

func (p *Printer) inspectImage(img ferry.InspectImage) {
	p.linef("%s", quote.Terminal(img.Name))
	p.linef("  digest     %s  %s", img.Digest, quote.Terminal(img.MediaType))
	p.linef("  platforms  %s", platforms(img.Image))
	p.linef("  size       %s in %s, %s of it shared with no other image", Bytes(img.Bytes), count(img.Layers, "layer", "layers"), Bytes(img.Own))
	p.linef("  source     %s", source(img.Source))
	if img.Upstream != nil {
		p.linef("  upstream   %s, of which only these platforms were taken", img.Upstream.Digest)
	}
	for _, r := range img.Referrers {
		tag := ""
		if r.Tag != "" {
			tag = " (tag " + quote.Terminal(r.Tag) + ")"
		}
		p.linef("  referrer   %s  %s%s", r.Digest, quote.Terminal(r.ArtifactType), tag)
	}
}

func source(s lock.Source) string {
	if s.Type == lock.Registry {
		return "registry, byte for byte"
	}
	t := "local, " + quote.Terminal(s.Kind) + ": the manifest was made anew when it was exported"
	if s.Claimed != "" {
		t += "; the engine claims that upstream it is " + quote.Terminal(s.Claimed.String())
	}
	return t
}

// errorText makes an error safe to print: it may hold foreign text.
func errorText(err error) string {
	return quote.Block(quote.Secrets(err.Error()))
}
