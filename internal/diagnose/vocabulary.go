package diagnose

import (
	"slices"
	"strings"
)

// vocabulary are the wordings, ready to be looked for.
type vocabulary struct{ words []words }

func newVocabulary() vocabulary {
	v := vocabulary{slices.Concat(networkWords(), tlsWords(), authWords(), contentWords(), formatWords(), nodeWords(), matterWords(), phaseWords())}
	for _, w := range v.words {
		for i, s := range w.texts {
			w.texts[i] = strings.ReplaceAll(s, " ", "")
		}
	}
	return v
}

// errors finds the wordings in a text, in whatever case and however wrapped.
func (v vocabulary) errors(text string) []mark {
	t := tighten(text)
	var marks []mark
	for _, w := range v.words {
		for _, s := range w.texts {
			for from := 0; len(marks) < maxMarks; {
				i := strings.Index(t.bytes[from:], s)
				if i < 0 {
					break
				}
				i += from
				from = i + len(s)
				m := mark{at: int(t.at[i]), end: int(t.at[from-1]) + 1, kind: w.kind, enter: w.enter}
				if !w.whole || !adjoined(text, m) {
					marks = append(marks, m)
				}
			}
		}
	}
	return marks
}

// adjoined says whether a mark is part of a longer word.
func adjoined(text string, m mark) bool {
	return m.at > 0 && wordly(text[m.at-1]) || m.end < len(text) && wordly(text[m.end])
}

func wordly(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// phaseWords are the runtimes' words for what they were doing.
func phaseWords() []words {
	in := func(p place, ph Phase) func(*around) {
		return func(a *around) {
			a.phase = ph
			if p != anywhere {
				a.place = p
			}
		}
	}
	return []words{
		{enter: in(inToken, PhaseAuth), texts: []string{
			"failed to authorize", "anonymous token", "requesting bearer token", "retrieve auth token", "token response",
		}},
		{enter: func(a *around) { a.place, a.phase, a.login = inToken, PhaseAuth, true }, texts: []string{"fetch oauth token", "login attempt to"}},
		{enter: in(anywhere, PhaseManifest), texts: []string{
			"failed to resolve reference", "failed to resolve image", "reading manifest", "determining manifest mime type",
		}},
		{enter: in(anywhere, PhasePing), texts: []string{"pinging container registry", "pinging docker registry"}},
		{enter: in(anywhere, PhaseBlob), texts: []string{
			"httpreadseeker", "failed to copy", "reading blob", "copying blob", "writing blob", "storing blob", "error pulling image configuration",
			"download failed after", "failed commit on ref",
		}},
		{enter: in(inUnpack, PhaseUnpack), texts: []string{
			"failed to extract layer", "failed to register layer", "applylayer", "error applying layer", "prepare extraction",
			"applying layer", "error processing tar file", "unpacking failed", "error committing the finished image", "adding layer",
			"content digest", "reading status of resume write",
		}},
		{enter: in(anywhere, PhaseStart), texts: []string{"exec user process", "starting container process", "create containerd task"}},
		{enter: func(a *around) { a.place = inProxy }, texts: []string{"proxyconnect", "error connecting to proxy", "socks connect"}},
	}
}
