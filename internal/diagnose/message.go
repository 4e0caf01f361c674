package diagnose

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"ferry/internal/quote"
	"ferry/internal/ref"
)

// Reader reads texts and tells causes. It holds the tables, and may be used
// for many texts, one after another.
type Reader struct {
	vocabulary vocabulary
	rules      []rule
	catalogue  []entry
}

// NewReader returns a Reader.
func NewReader() *Reader {
	return &Reader{newVocabulary(), rules(), catalogue()}
}

// Message says what one message of a failed pull means. Where the text
// carries no cause it says so, by the label unknown.
func (r *Reader) Message(text string, s Setting) Report {
	t := r.vocabulary.parse(quote.Secrets(cut(text)))
	s = t.complete(s)
	causes := r.causes(t, s)
	return Report{Image: s.Image, Causes: causes}
}

// Message says what one message of a failed pull means.
func Message(text string, s Setting) Report { return NewReader().Message(text, s) }

// complete adds to s what the text tells of the image and the runtime.
func (t *trace) complete(s Setting) Setting {
	if s.Image == "" && len(t.images) > 0 {
		s.Image = t.images[0]
	}
	s.Runtime = cmp.Or(s.Runtime, t.runtime)
	return s
}

// causes are those that the trace tells, or unknown.
func (r *Reader) causes(t *trace, s Setting) []Cause {
	all := judge(t, s, r.rules)
	if len(all) == 0 {
		return []Cause{r.cause(verdict{label: Unknown, sure: Possible, fault: fault{end: len(t.text)}}, t, s)}
	}
	causes := []Cause{r.cause(all[0], t, s)}
	for _, v := range all[1:] {
		if beside(all[0], v) && !slices.ContainsFunc(causes, func(c Cause) bool { return c.Cause == v.label }) {
			c := r.cause(v, t, s)
			c.Confidence = weaker(c.Confidence, Likely)
			c.Remedies = without(c.Remedies, causes[0].Remedies)
			causes = append(causes, c)
		}
	}
	if causes[0].Cause == SandboxImage && len(causes) > 1 {
		causes[0].Meaning = strings.Replace(causes[0].Meaning, "The error beneath it says why.", "Beneath it: "+causes[1].Title+".", 1)
		causes[0].Detail[DetailUnder] = string(causes[1].Cause)
	}
	return causes
}

// beside says whether a second cause is worth telling: the error beneath a
// summary, or another one as telling as the first. What the first already says
// is not.
func beside(first, second verdict) bool {
	if slices.Contains(says(first.label), second.label) {
		return false
	}
	return first.weight == wrapper && second.weight >= vague || second.weight >= loose && first.weight <= exact && second.weight >= first.weight
}

// says are the causes that another one says already, in closer words.
func says(l Label) []Label {
	switch l {
	case BadCredentials, CloudCredential:
		return []Label{AuthRequired, AuthDenied, BadCredentials, NotFoundRepoOrDenied}
	case BlockedByRegistry, SignaturePolicy:
		return []Label{AuthRequired, AuthDenied, NonRegistryResponse}
	case Schema1Unsupported:
		return []Label{MediaTypeUnsupported}
	case MirrorMisconfigured:
		return []Label{Proxy}
	case ShortNameAmbiguous:
		return []Label{InvalidName}
	}
	return nil
}

// without leaves out the remedies that others has too.
func without(all, others []Remedy) []Remedy {
	return slices.DeleteFunc(all, func(r Remedy) bool {
		return slices.ContainsFunc(others, func(o Remedy) bool { return o.Summary == r.Summary && o.Command == r.Command })
	})
}

func weaker(a, b Confidence) Confidence {
	if a.rank() > b.rank() {
		return a
	}
	return b
}

// cause makes a cause of a verdict.
func (r *Reader) cause(v verdict, t *trace, s Setting) Cause {
	i := slices.IndexFunc(r.catalogue, func(e entry) bool { return e.label == v.label })
	e := r.catalogue[i]
	detail := v.detail(t, s)
	texts := maps.Clone(detail)
	texts["image"] = s.Image
	if n, err := ref.Parse(s.Image); err == nil {
		texts["repository"] = n.Repository()
		texts[DetailHost] = cmp.Or(texts[DetailHost], n.Registry())
	}
	c := Cause{
		Cause: v.label, Confidence: v.sure, Image: s.Image, Detail: detail, Seen: 1, Remedies: []Remedy{},
		Title: fill(e.title, texts), Meaning: paragraph(fill(e.meaning, texts)), Evidence: []string{t.quote(v.fault)},
	}
	if m, ok := matterOf(v.fault.kind); ok && v.label == Unknown {
		m.tell(&c)
		return c
	}
	in := newEnv(v.label, detail, s)
	for _, f := range e.remedies {
		c.Remedies = append(c.Remedies, f(in)...)
	}
	if e.verify != nil {
		if rs := without(e.verify(in), c.Remedies); len(rs) > 0 {
			c.Verify = &rs[0]
		}
	}
	return c
}

// detail are the parts of the error that the text tells.
func (v verdict) detail(t *trace, s Setting) map[string]string {
	a := v.fault.around
	d := map[string]string{}
	if n, err := ref.Parse(s.Image); err == nil && a.host == "" && a.phase != "" && a.phase != PhaseUnpack && a.phase != PhaseStart {
		a.host = registryOf(n)
	}
	for key, value := range map[string]string{
		DetailHost: strings.TrimSuffix(a.host, "."), DetailResolver: a.resolver, DetailAddress: a.address, DetailURL: a.url,
		DetailPhase: string(a.phase), DetailRuntime: s.Runtime, DetailSocket: a.socket, DetailPlatform: s.Platform,
		DetailStatus: statusText(a.status), DetailCode: t.code, DetailSecret: t.secret,
	} {
		if value != "" {
			d[key] = value
		}
	}
	if a.place == inProxy {
		d[DetailProxy] = a.address
	}
	return d
}

// paragraph begins its sentences with capitals.
func paragraph(s string) string {
	if s == "" {
		return s
	}
	parts := strings.SplitAfter(s, ". ")
	for i, p := range parts {
		parts[i] = sentence(p)
	}
	return strings.Join(parts, "")
}
