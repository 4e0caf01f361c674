package ui

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"ferry/internal/ferry"
	"ferry/internal/quote"
)

// Rewrite shows what became of manifests: themselves on stdout where they are
// not written to files, what was done on stderr.
func (p *Printer) Rewrite(r *ferry.RewriteResult) error {
	if p.JSON {
		return p.json(r)
	}
	if r.DryRun {
		to := p.answer()
		p.rewriteImages(r, to)
		p.rewriteLeft(r, to)
		to.say("", rewriteSum(r)+"; nothing was written")
		return nil
	}
	if !r.ToFiles {
		if _, err := io.WriteString(p.Out, p.foreign(r.Stream())); err != nil {
			return err
		}
	}
	to := p.conversation()
	p.rewriteImages(r, to)
	p.rewriteLeft(r, to)
	to.say("", rewriteSum(r)+rewriteWritten(r))
	return nil
}

// RewriteDiff shows what would change as a diff.
func (p *Printer) RewriteDiff(r *ferry.RewriteResult) error {
	if p.JSON {
		return p.json(r)
	}
	for _, f := range r.Files {
		if _, err := io.WriteString(p.Out, p.diff(f.Diff)); err != nil {
			return err
		}
	}
	to := p.conversation()
	p.rewriteLeft(r, to)
	to.say("", rewriteSum(r)+"; nothing was written")
	return nil
}

// diff colours a diff for a terminal.
func (p *Printer) diff(s string) string {
	if !IsTerminal(p.Out) {
		return s
	}
	var b strings.Builder
	for line := range strings.Lines(s) {
		safe := p.foreign(strings.TrimRight(line, "\r\n"))
		switch {
		case strings.HasPrefix(line, "+"):
			safe = p.paint("32", safe)
		case strings.HasPrefix(line, "-"):
			safe = p.paint("31", safe)
		}
		b.WriteString(safe + "\n")
	}
	return b.String()
}

// foreign makes text of others fit for where it goes: it must not steer a
// terminal, and goes byte for byte to a program.
func (p *Printer) foreign(s string) string {
	if IsTerminal(p.Out) {
		return quote.Block(s)
	}
	return s
}

// rewriteImages shows each image once, and where its pull policy changes.
func (p *Printer) rewriteImages(r *ferry.RewriteResult, to flow) {
	type pair struct{ name, inside, state string }
	places := map[pair]int{}
	var order []pair
	for _, i := range r.Images {
		k := pair{i.Name, i.Inside, i.State}
		if places[k] == 0 {
			order = append(order, k)
		}
		places[k]++
	}
	for _, k := range order {
		switch k.state {
		case ferry.Renamed:
			to.say(p.good(), fmt.Sprintf("%s → %s%s", quote.Terminal(k.name), quote.Terminal(shortDigest(k.inside)), timesOver(places[k])))
		case ferry.Unlocked:
			lacks := "is not in " + quote.Terminal(r.Lock)
			if !strings.Contains(k.inside, "@") {
				lacks += ": not pinned"
			}
			to.say(p.warn(), fmt.Sprintf("%s → %s%s  %s", quote.Terminal(shortDigest(k.name)), quote.Terminal(shortDigest(k.inside)), timesOver(places[k]), lacks))
		case ferry.Inside:
			to.say(p.good(), fmt.Sprintf("%s%s  was so already", quote.Terminal(shortDigest(k.name)), timesOver(places[k])))
		}
	}
}

// shortDigest shortens the digest of a name, for reading alone.
func shortDigest(name string) string {
	if at := strings.LastIndex(name, "@sha256:"); at >= 0 && len(name) > at+20 {
		return name[:at+20] + "…"
	}
	return name
}

// shortDigests shortens all digests in a text, for reading alone.
func shortDigests(text string) string {
	const algorithm, whole, short = "sha256:", 64, 12
	parts := strings.Split(text, algorithm)
	for i, p := range parts[1:] {
		if len(p) >= whole && strings.Trim(p[:whole], "0123456789abcdef") == "" {
			parts[i+1] = p[:short] + "…" + p[whole:]
		}
	}
	return strings.Join(parts, algorithm)
}

func timesOver(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf("  %d×", n)
}

func (p *Printer) rewriteLeft(r *ferry.RewriteResult, to flow) {
	for _, l := range r.Left {
		mark := p.warn()
		if l.Missing {
			mark = p.bad()
		}
		at := l.File
		if l.Line > 0 {
			at = fmt.Sprintf("%s:%d", l.File, l.Line)
		}
		to.say(mark, quote.Terminal(at)+"  "+quote.Terminal(strings.Join(nonEmpty(l.Object, l.Path, l.Text, l.Why), "  ")))
		switch {
		case l.ImagePath != "":
			to.line(to.indent + "    → " + quote.Shell("--image-path", l.ImagePath))
		case l.Inside != "":
			to.line("    → inside it is " + quote.Terminal(l.Inside))
		}
	}
}

func nonEmpty(all ...string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

func rewriteSum(r *ferry.RewriteResult) string {
	renamed, policies := 0, 0
	for _, i := range r.Images {
		if i.State == ferry.Renamed || i.State == ferry.Unlocked {
			renamed++
		}
		if i.PolicySet {
			policies++
		}
	}
	s := fmt.Sprintf("%s in %s (%s): %d renamed, %s set", count(len(r.Images), "image", "images"),
		count(r.Objects, "object", "objects"), count(len(r.Files), "file", "files"), renamed, count(policies, "pull policy", "pull policies"))
	if n := len(r.Left); n > 0 {
		s += fmt.Sprintf(", %d left alone", n)
	}
	return s
}

func rewriteWritten(r *ferry.RewriteResult) string {
	n := 0
	for _, f := range r.Files {
		if f.Written != "" {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return " · " + count(n, "file", "files") + " written"
}
