package diagnose

import (
	"slices"
	"strconv"
	"strings"
)

// Phase is how far a pull came.
type Phase string

// The phases of a pull, in their order.
const (
	PhaseName     Phase = "name"     // the image's name is read
	PhaseResolve  Phase = "resolve"  // the registry's name becomes an address
	PhaseConnect  Phase = "connect"  // a connection is made
	PhaseTLS      Phase = "tls"      // it becomes a secure one
	PhasePing     Phase = "ping"     // the registry is asked whether it is one
	PhaseAuth     Phase = "auth"     // a token is fetched, a login shown
	PhaseManifest Phase = "manifest" // what the image consists of is asked for
	PhaseBlob     Phase = "blob"     // layers and config are downloaded
	PhaseUnpack   Phase = "unpack"   // layers are unpacked
	PhaseStart    Phase = "start"    // the container is started
)

// place says what the program was doing when an error came, as far as it
// changes what the error means.
type place string

const (
	anywhere  place = ""
	inLookup  place = "lookup" // asking the resolver
	inDial    place = "dial"
	inStream  place = "stream" // reading or writing an open connection
	inProxy   place = "proxy"
	inSocket  place = "socket" // talking to the runtime on the node itself
	inToken   place = "token"  // asking the token service
	inRequest place = "request"
	inUnpack  place = "unpack"
)

// around is what the wrapping tells of an error.
type around struct {
	place    place
	phase    Phase
	url      string
	host     string // that was asked, of the URL or the look-up
	registry string // of the image, where no host is named
	resolver string
	address  string
	socket   string
	status   int
	login    bool // a token was asked for with a user's name and password
	from     int  // where the wrapping that tells this begins
}

// fault is an error that a message tells, with what is around it.
type fault struct {
	kind    kind
	at, end int
	around
}

// trace is a message taken apart.
type trace struct {
	text   string // cleaned
	faults []fault
	// images are the names that the message names images by, in its order.
	images  []string
	runtime string
	code    string // the registry's error code, or gRPC's
	secret  string // the pull secret that is named
	pulling bool   // it speaks of images
}

func (t *trace) has(k kind) bool {
	return slices.ContainsFunc(t.faults, func(f fault) bool { return f.kind == k })
}

// mark is something that was recognised in a text: part of the wrapping, if
// enter is set, or an error.
type mark struct {
	at, end int
	kind    kind
	status  int
	// wide marks reach over other words: they neither hide others nor are
	// hidden.
	wide  bool
	enter func(*around)
}

// maxMarks is the most that is recognised in one message.
const maxMarks = 2000

// parse takes a message apart. The time it takes grows with its length alone.
func (v vocabulary) parse(message string) *trace {
	text := source{text: withoutAsides(clean(unlinked(unwrap(unframe(cut(message))))))}
	text.low = lower(text.text)
	t := &trace{text: text.text}
	marks := slices.Concat(requests(text), operations(text), statuses(text), absences(text), broad(text), v.errors(text.text))
	slices.SortStableFunc(marks, func(a, b mark) int {
		switch {
		case a.at != b.at:
			return a.at - b.at
		case (a.enter != nil) != (b.enter != nil):
			if a.enter != nil {
				return -1
			}
			return 1
		}
		return b.end - a.end
	})
	t.walk(marks)
	t.images = images(text)
	for i := range t.faults {
		if f := &t.faults[i]; f.host == "" && len(t.images) > 0 {
			f.registry = registry(t.images[0])
		}
	}
	t.runtime, t.pulling = runtimeOf(text.low), aboutPulling(text.low)
	t.code, t.secret = codeOf(text), secretOf(text)
	return t
}

func aboutPulling(low string) bool {
	return slices.ContainsFunc([]string{"pull", "image", "manifest", "registry", "repository", "sha256:", "/v2/"}, func(sign string) bool {
		return strings.Contains(low, sign)
	})
}

// walk goes through the marks from the outermost on and notes for each error
// what was around it. A mark within another one's text says nothing of its own.
func (t *trace) walk(marks []mark) {
	var now around
	covered := 0
	for _, m := range marks {
		if m.enter != nil {
			before := now
			m.enter(&now)
			if now.place != before.place || now.url != before.url {
				now.from = m.at
			}
			continue
		}
		if m.end <= covered && !m.wide {
			continue
		}
		if !m.wide {
			covered = m.end
		}
		if m.status != 0 {
			now.status = m.status
		}
		t.faults = append(t.faults, fault{kind: m.kind, at: m.at, end: m.end, around: now})
	}
}

// maxQuote is how long a quotation may be, in bytes.
const maxQuote = 640

// quote returns the part of the message that shows a fault: all of a short
// one; of a long one how it begins, and the innermost part.
func (t *trace) quote(f fault) string {
	const short, part = 240, 400
	if len(t.text) <= short {
		return t.text
	}
	head := t.text
	if i := strings.Index(head, ": "); i >= 0 {
		head = head[:i+1]
	}
	head = shortened(head, part/4)
	from := max(f.from, f.at-part/2)
	if from > f.from { // in the middle of something: from the next word on
		from += max(strings.IndexByte(t.text[from:], ' ')+1, 0)
	}
	if from <= len(head)+10 {
		return shortened(t.text, min(max(part, f.end+part/4), maxQuote))
	}
	for from > 0 && from < len(t.text) && t.text[from]&0xc0 == 0x80 {
		from--
	}
	return head + " … " + shortened(t.text[from:], min(max(f.end-from+part/8, part/2), maxQuote-part/4))
}

// shortened cuts s at a character's end, at most n bytes.
func shortened(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

func statusText(code int) string {
	if code == 0 {
		return ""
	}
	return strconv.Itoa(code)
}
