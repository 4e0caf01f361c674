package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/quote"
	"ferry/internal/ref"
)

// Doctor shows what keeps images from running: a screen for each cause.
func (p *Printer) Doctor(r *ferry.DoctorResult) error {
	if p.JSON {
		return p.json(r)
	}
	for _, f := range r.Findings {
		p.finding(r, f)
	}
	for _, no := range r.Refused {
		what := no.Kind + " " + no.Namespace + "/" + no.Name + ": the cluster does not let its pods be made: "
		p.answer().say(p.warn(), quote.Terminal(quote.Secrets(what+shortened(no.Text, 600))))
	}
	p.unseen(r.Unseen)
	if r.SkewSeconds > 5 || r.SkewSeconds < -5 {
		p.linef("%s %s", p.warn(), skew(r.SkewSeconds))
	}
	p.linef("%s", doctorSummary(r))
	return nil
}

// unseen says what could not be looked at; what one permission would have
// shown stands together.
func (p *Printer) unseen(all []diagnose.Unseen) {
	var done []string
	for i, u := range all {
		if u.Lacks != "" && slices.Contains(done, u.Lacks) {
			continue
		}
		done = append(done, u.Lacks)
		what := u.What
		if n := sameLack(all[i+1:], u.Lacks); n > 0 {
			what += fmt.Sprintf(" and %d more (%s)", n, u.Lacks)
		}
		p.linef("%s could not look at %s: %s", p.warn(), quote.Terminal(what), quote.Terminal(shortened(u.Why, 200)))
	}
}

func sameLack(all []diagnose.Unseen, lacks string) int {
	n := 0
	for _, u := range all {
		if lacks != "" && u.Lacks == lacks {
			n++
		}
	}
	return n
}

// DoctorAgain shows a result of many, one after another.
func (p *Printer) DoctorAgain(r *ferry.DoctorResult) error {
	if p.JSON {
		return p.jsonLine(r)
	}
	p.linef("%s", p.paint("2", r.Now.Local().Format("15:04:05")))
	return p.Doctor(r)
}

// jsonLine writes v on one line, for whoever reads answer after answer.
func (p *Printer) jsonLine(v any) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(p.Out, plainJSON(b.String()))
	return err
}

func skew(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	direction := "ahead of"
	if d < 0 {
		direction, d = "behind", -d
	}
	return fmt.Sprintf("this machine's clock is %v %s the API server's: ages are counted by the server's, but certificates and tokens are judged by both", d, direction)
}

func doctorSummary(r *ferry.DoctorResult) string {
	where := "namespace " + quote.Terminal(r.Namespace)
	if r.Namespace == "" {
		where = "all namespaces"
	}
	if r.Healthy() {
		return fmt.Sprintf("no image keeps anything from running: %s, %s in %s · %s",
			count(r.Fine, "workload", "workloads"), count(r.Pods, "pod", "pods"), where, duration(r.Took))
	}
	fails := count(r.Failing, "workload fails", "workloads fail")
	return fmt.Sprintf("%s for %s · %s · %s", fails, count(len(r.Findings), "reason", "reasons"),
		count(r.Fine, "workload is fine", "workloads are fine"), duration(r.Took))
}

// finding shows one cause: what it hits, what it is, the proof, what to do.
func (p *Printer) finding(r *ferry.DoctorResult, f diagnose.Finding) {
	p.linef("%s", p.paint("1", quote.Terminal(hits(r, f))))
	to := p.answer()
	to.indent = "  "
	to.say(p.bad(), quote.Terminal(verdict(f)))
	p.linef("")
	p.block("    ", "    ", quote.Terminal(strings.TrimSpace(f.Meaning+" "+f.Because)))
	p.linef("")
	if len(f.Workloads) > 1 {
		p.fact("hits", workloadList(f.Workloads))
	}
	for _, e := range f.Evidence[:min(len(f.Evidence), 2)] {
		p.fact("seen", shortened(e, 360)+times(f))
	}
	for _, c := range f.Checks {
		p.fact("checked", c.Text+took(c.Took))
	}
	p.linef("    %s", f.Confidence)
	p.linef("")
	p.advice(f.Remedies)
}

// hits is the headline: the workload, or how many pods have one cause.
func hits(r *ferry.DoctorResult, f diagnose.Finding) string {
	age := ""
	if !f.Since.IsZero() {
		age = " · for " + Age(r.Now.Sub(f.Since))
	}
	switch {
	case len(f.Workloads) == 1:
		w := f.Workloads[0]
		return fmt.Sprintf("%s  %s · %s%s%s", w.Name, w.Kind, w.Namespace, readiness(w), age)
	case len(f.Workloads) == 0:
		return fmt.Sprintf("%s  Node%s", strings.Join(f.Nodes, ", "), age)
	}
	where := namespacesOf(f.Workloads)
	in := where[0]
	if len(where) > 1 {
		in = count(len(where), "namespace", "namespaces")
	}
	return fmt.Sprintf("%s of %s in %s%s", count(len(f.Pods), "pod", "pods"), count(len(f.Workloads), "workload", "workloads"), in, age)
}

func namespacesOf(all []diagnose.Affected) []string {
	var names []string
	for _, w := range all {
		if !slices.Contains(names, w.Namespace) {
			names = append(names, w.Namespace)
		}
	}
	return names
}

func readiness(w diagnose.Affected) string {
	if w.Desired < 0 || w.Kind == "CronJob" {
		return ""
	}
	return fmt.Sprintf(" · %d of %d ready", w.Ready, w.Desired)
}

// workloadList names the workloads, with their namespaces if there are several.
func workloadList(all []diagnose.Affected) string {
	const most = 6
	several := len(namespacesOf(all)) > 1
	var words []string
	for _, w := range all[:min(len(all), most)] {
		name := ferry.ObjectArgument(w.Object)
		if several {
			name += " (" + w.Namespace + ")"
		}
		words = append(words, name)
	}
	if len(all) > most {
		words = append(words, fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(words, ", ")
}

// verdict names the images as people write them, and in full, and says what
// is wrong.
func verdict(f diagnose.Finding) string {
	var names []string
	for _, full := range f.Images[:min(len(f.Images), 3)] {
		names = append(names, bothNames(full))
	}
	if n := len(f.Images) - 3; n > 0 {
		names = append(names, fmt.Sprintf("%d more", n))
	}
	if len(names) == 0 {
		return f.Title
	}
	return strings.Join(names, ", ") + " " + fate(f.Cause.Cause) + ": " + f.Title
}

func bothNames(full string) string {
	n, err := ref.Parse(full)
	if err != nil || n.Familiar() == full {
		return full
	}
	short := n.Familiar()
	if n.Tag() == "latest" && n.Digest() == "" {
		short = strings.TrimSuffix(short, ":latest")
	}
	return short + " (" + full + ")"
}

// fate is what becomes of the images.
func fate(l diagnose.Label) string {
	switch l {
	case diagnose.PlatformMismatch:
		return "cannot run"
	case diagnose.NeverPull:
		return "cannot be used"
	case diagnose.InvalidName:
		return "cannot be named so"
	}
	return "cannot be pulled"
}

// times says how often, and in how long, the evidence was seen.
func times(f diagnose.Finding) string {
	if f.Seen < 2 || f.Since.IsZero() || !f.Last.After(f.Since) {
		return ""
	}
	return fmt.Sprintf("   (%d× in %s)", f.Seen, Age(f.Last.Sub(f.Since)))
}

func took(d time.Duration) string {
	if d < time.Millisecond {
		return "" // looked up, or on this machine: no time worth telling
	}
	return " (" + duration(d) + ")"
}

// shownRemedies is how many remedies are shown: a screen for each cause.
const shownRemedies = 4

// advice shows what to do, the best first.
func (p *Printer) advice(all []diagnose.Remedy) {
	for _, r := range all[:min(len(all), shownRemedies)] {
		p.inner("→", r)
	}
	p.linef("")
}

// inner is a remedy within a finding: a command in full, since it is there to
// be copied, and what it is for.
func (p *Printer) inner(mark string, r diagnose.Remedy) {
	summary := quote.Terminal(r.Summary)
	if r.Command == "" {
		p.block("    "+mark+" ", "      ", summary)
		return
	}
	where := ""
	if r.On != "" {
		where = p.paint("2", "  (on "+quote.Terminal(r.On)+")")
	}
	p.linef("    %s %s%s", mark, p.paint("36", quote.Terminal(r.Command)), where)
	p.block("        ", "        ", summary)
}

func (p *Printer) fact(name, text string) {
	p.block(fmt.Sprintf("    %-9s ", name), strings.Repeat(" ", 14), quote.Terminal(text))
}

// shortened cuts out of the middle: a message begins with what was tried, and
// ends with why it failed.
func shortened(s string, most int) string {
	runes := []rune(strings.Join(strings.Fields(s), " "))
	if len(runes) <= most {
		return string(runes)
	}
	head := most / 4
	return string(runes[:head]) + " … " + string(runes[len(runes)-(most-head):])
}

// Age writes how long ago something was, as kubectl does: 45s, 4m, 3h, 2d. A
// clock that runs ahead gives 0s.
func Age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
