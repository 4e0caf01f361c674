package diagnose

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ferry/internal/ref"
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
	resolver string
	address  string
	socket   string
	status   int
	from     int // where the wrapping that tells this begins
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
	enter   func(*around)
}

// maxMarks is the most that is recognised in one message.
const maxMarks = 2000

// parse takes a message apart. The time it takes grows with its length alone.
func (v vocabulary) parse(message string) *trace {
	text := clean(unframe(cut(message)))
	t := &trace{text: text}
	low := strings.ToLower(text)
	if len(low) != len(text) { // a letter whose other case is longer
		low = text
	}
	marks := slices.Concat(addresses(text), shapes(text), v.errors(text))
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
	t.runtime = runtimeOf(low)
	t.code, t.secret = codeOf(text), secretOf(text)
	return t
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
		if m.end <= covered {
			continue
		}
		covered = m.end
		if m.status != 0 {
			now.status = m.status
		}
		t.faults = append(t.faults, fault{kind: m.kind, at: m.at, end: m.end, around: now})
	}
}

var (
	// A URL is one that was asked for, and not one for further reading, if a
	// method stands before it or its path is a registry's.
	request  = regexp.MustCompile(`(?i)(?:\b(get|head|post|put|patch) ?|request to ?|registry ?)?"?\b((?:https?|docker)?:/{1,2}[^\s"'|,]+)`)
	lookup   = regexp.MustCompile(`(?i)\blookup ([^\s,;"]+?)(?: on ([^\s,;"]*?:\d+))?(?:[:,;\s]|$)`)
	op       = regexp.MustCompile(`(?i)\b(dial|read|write|proxyconnect|connecting to) ?(tcp|udp|unix)?[46]?\b:?(?: (\[[0-9a-f:.%\w]*\]:\d+|[\w.*<>-]+:\d+|/\S+))?(?:->(\[[0-9a-f:.%\w]*\]:\d+|[\w.*<>-]+:\d+))?`)
	socket   = regexp.MustCompile(`(?i)(?:unix://|npipe:/|\bunix )?(/[\w./-]+\.sock\b|//\./pipe/\S+|[\w%/-]+docker\.sock)`)
	statuses = regexp.MustCompile(`(?i)\b([1-5]\d\d) (continue|ok|moved permanently|found|see other|temporary redirect|permanent redirect|bad request|unauthorized|` +
		`authorization required|payment required|forbidden|not found|method not allowed|not acceptable|proxy authentication required|request time-?out|conflict|gone|` +
		`precondition failed|request entity too large|unsupported media type|requested range not satisfiable|unprocessable entity|too many requests|` +
		`unavailable for legal reasons|internal server error|not implemented|bad gateway|service unavailable|service temporarily unavailable|gateway time-?out)\b`)
	numbered = regexp.MustCompile(`(?i)\b(?:status(?: ?code)?|http(?: ?code)?|http status|status code from registry|responded with|http response code)[:= ]{0,3}([1-5]\d\d)\b`)
	// Go's error for a proxy that refuses CONNECT is the status' text alone.
	connect = regexp.MustCompile(`(?i:get|head|post) ?"?(?i:https)://[^\s"]+"?: (Forbidden|Bad Gateway|Service Unavailable|Proxy Authentication Required|` +
		`Proxy Authorization Required|Gateway Time-?[oO]ut|Bad Request|Internal Server Error|Not Found|Method Not Allowed|Access Denied|Not Implemented|` +
		`Service Temporarily Unavailable|authenticationrequired|Host Not Found|Too Many Requests|Tunnel Connection Failed)\s*(?:$|["'\n,;)\]}])`)
	ended = regexp.MustCompile(`(?:^|[:\s"])EOF\b`)

	tagMissing  = regexp.MustCompile(`(?i)\b(?:manifest for \S+ not found|(?:artifact|tag|image|manifest) "?[^\s":]+(?::[^\s"]+)?"? (?:was )?not found|image \S+ does not exist|tag \S+ (?:is missing|unknown|does not exist))`)
	refMissing  = regexp.MustCompile(`(?i)(?:[\w.-]+(?::\d+)?/)?[\w./-]+(?::[\w.-]+|@sha256:[0-9a-f]+): not found`)
	repoMissing = regexp.MustCompile(`(?i)\b(?:repository|repo|project)(?: with name)? ["']?[^\s"']+["']? (?:was )?(?:not found|does not exist|is unknown)`)
)

// addresses finds the wrapping that is of Go's net and net/http: what was
// asked, dialled, looked up.
func addresses(text string) []mark {
	var marks []mark
	for _, m := range request.FindAllStringSubmatchIndex(text, maxMarks) {
		if enter := asked(group(text, m, 1), group(text, m, 2), text[m[0]:m[4]]); enter != nil {
			marks = append(marks, mark{at: m[0], end: m[1], enter: enter})
		}
	}
	for _, m := range lookup.FindAllStringSubmatchIndex(text, maxMarks) {
		host, server := group(text, m, 1), group(text, m, 2)
		marks = append(marks, mark{at: m[0], end: m[1], enter: func(a *around) {
			a.place, a.phase, a.resolver, a.address = inLookup, PhaseResolve, server, ""
			a.host = host
		}})
	}
	for _, m := range op.FindAllStringSubmatchIndex(text, maxMarks) {
		if enter := dialled(strings.ToLower(group(text, m, 1)), strings.ToLower(group(text, m, 2)), group(text, m, 3), group(text, m, 4)); enter != nil {
			marks = append(marks, mark{at: m[0], end: m[1], enter: enter})
		}
	}
	for _, m := range socket.FindAllStringSubmatchIndex(text, maxMarks) {
		path := group(text, m, 1)
		marks = append(marks, mark{at: m[0], end: m[1], enter: func(a *around) {
			a.place, a.socket = inSocket, path
		}})
	}
	return marks
}

func group(text string, m []int, n int) string {
	if m[2*n] < 0 {
		return ""
	}
	return text[m[2*n]:m[2*n+1]]
}

// asked enters a request.
func asked(method, url, before string) func(*around) {
	url = strings.TrimRight(url, `.:;)]}>`)
	_, rest, ok := strings.Cut(url, "://")
	if !ok { // copied by hand: https:/host
		_, rest, _ = strings.Cut(url, ":/")
	}
	host, path, _ := strings.Cut(rest, "/")
	if host == "" || strings.HasSuffix(host, ".sock") || strings.Contains(host, "%2F") {
		return nil
	}
	phase := phaseOf("/" + path)
	if method == "" && phase == "" && !strings.Contains(strings.ToLower(before), "re") {
		return nil
	}
	return func(a *around) {
		*a = around{place: inRequest, phase: cmp.Or(phase, a.phase), url: url, host: host}
		if phase == PhaseAuth {
			a.place = inToken
		}
	}
}

// phaseOf reads a path of the distribution specification.
func phaseOf(path string) Phase {
	path, _, _ = strings.Cut(path, "?")
	switch {
	case strings.Contains(path, "/manifests/"), strings.Contains(path, "/v1/repositories/"):
		return PhaseManifest
	case strings.Contains(path, "/blobs/"), strings.Contains(path, "/docker/registry/v2/"), strings.Contains(path, "registry-v2"):
		return PhaseBlob
	case strings.Contains(path, "/token"), strings.Contains(path, "/oauth"), strings.HasSuffix(path, "/auth"), strings.Contains(path, "/v2/auth"):
		return PhaseAuth
	case path == "/v2/" || path == "/v2" || path == "/v1/_ping" || strings.HasPrefix(path, "/v2/"):
		return PhasePing
	}
	return ""
}

// dialled enters an operation of Go's package net.
func dialled(verb, network, from, to string) func(*around) {
	addr := strings.TrimRight(cmp.Or(to, from), `:,"`)
	switch {
	case verb == "proxyconnect":
		return func(a *around) { a.place = inProxy }
	case network == "unix":
		return func(a *around) { a.place, a.socket = inSocket, addr }
	case network == "" && verb != "connecting to" || network == "" && addr == "":
		return nil
	}
	return func(a *around) {
		if a.place == inLookup && (addr == "" || network == "udp" || strings.HasSuffix(addr, ":53")) {
			return // the look-up's own connection
		}
		if network == "udp" && strings.HasSuffix(addr, ":53") {
			a.place, a.phase, a.resolver = inLookup, PhaseResolve, addr
			return
		}
		a.address = cmp.Or(addr, a.address)
		switch {
		case a.place == inProxy:
		case verb == "read" || verb == "write":
			a.place = inStream
		default:
			a.place, a.phase = inDial, PhaseConnect
		}
	}
}

// shapes finds the errors that a fixed wording does not tell.
func shapes(text string) []mark {
	var marks []mark
	for _, m := range statuses.FindAllStringSubmatchIndex(text, maxMarks) {
		marks = append(marks, statusMark(text, m))
	}
	for _, m := range numbered.FindAllStringSubmatchIndex(text, maxMarks) {
		marks = append(marks, statusMark(text, m))
	}
	for _, s := range []struct {
		re   *regexp.Regexp
		kind kind
	}{{connect, proxyRefused}, {ended, eof}, {tagMissing, tagUnknown}, {refMissing, tagUnknown}, {repoMissing, repoUnknown}} {
		for _, m := range s.re.FindAllStringSubmatchIndex(text, maxMarks) {
			at := m[0]
			if s.kind == proxyRefused {
				at = m[2]
			}
			if s.re == refMissing && strings.HasPrefix(text[at:], "sha256:") {
				continue // content, not an image
			}
			marks = append(marks, mark{at: at, end: m[1], kind: s.kind})
		}
	}
	return marks
}

func statusMark(text string, m []int) mark {
	code, _ := strconv.Atoi(group(text, m, 1))
	return mark{at: m[0], end: m[1], kind: status, status: code}
}

// vocabulary are the wordings, ready to be looked for.
type vocabulary struct{ words []words }

func newVocabulary() vocabulary {
	v := vocabulary{slices.Concat(networkWords(), tlsWords(), authWords(), contentWords(), formatWords(), nodeWords(), phaseWords())}
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
			"failed to authorize", "anonymous token", "oauth token", "requesting bearer token", "retrieve auth token", "token response",
		}},
		{enter: in(anywhere, PhaseManifest), texts: []string{
			"failed to resolve reference", "failed to resolve image", "reading manifest", "determining manifest mime type",
		}},
		{enter: in(anywhere, PhasePing), texts: []string{"pinging container registry", "pinging docker registry"}},
		{enter: in(anywhere, PhaseBlob), texts: []string{
			"httpreadseeker", "failed to copy", "reading blob", "copying blob", "writing blob", "storing blob", "error pulling image configuration",
			"download failed after", "failed commit on ref",
		}},
		{enter: in(inUnpack, PhaseUnpack), texts: []string{
			"failed to extract layer", "failed to register layer", "applylayer", "error applying layer", "prepare extraction snapshot",
			"applying layer", "error processing tar file", "unpacking failed", "error committing the finished image", "adding layer",
		}},
		{enter: in(anywhere, PhaseStart), texts: []string{"exec user process", "starting container process", "create containerd task"}},
		{enter: func(a *around) { a.place = inProxy }, texts: []string{"proxyconnect", "error connecting to proxy", "socks connect"}},
	}
}

var (
	quotedImage = regexp.MustCompile(`(?i)\b(?:images?|reference|of) ?"([^"\s]{1,512})"`)
	schemeImage = regexp.MustCompile(`\bdocker://([^\s"',]{1,512})`)
	namedImage  = regexp.MustCompile(`(?i)\b(?:manifest for|access denied for|image name|pull image|pulling image|image pull failed for|image) \[?([\w.-]+(?::\d+)?(?:/[\w./-]+)?(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?)\]?(?: not found|,| returns| failed|:|$| because)`)
	readImage   = regexp.MustCompile(`(?i)\breading manifest (\S+) in ([^\s:]+(?::\d+)?[^\s:]*)`)
	bareImage   = regexp.MustCompile(`(?i)((?:[\w.-]+(?::\d+)?/)?[\w./-]+(?::[\w.-]+|@sha256:[0-9a-f]{64})): not found`)
)

// images returns the names of images in a text, in its order, each once.
func images(text string) []string {
	type found struct {
		at   int
		name string
	}
	var all []found
	for _, re := range []*regexp.Regexp{quotedImage, schemeImage, namedImage, readImage, bareImage} {
		for _, m := range re.FindAllStringSubmatchIndex(text, 50) {
			name := group(text, m, 1)
			if re == readImage {
				name = strings.TrimSuffix(group(text, m, 2), ":") + tagged(name)
			}
			name = strings.TrimRight(name, ":,.")
			if _, err := ref.Parse(name); err == nil {
				all = append(all, found{m[0], name})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return a.at - b.at })
	var names []string
	for _, f := range all {
		if !slices.Contains(names, f.name) {
			names = append(names, f.name)
		}
	}
	return names
}

func tagged(reference string) string {
	if strings.HasPrefix(reference, "sha256:") {
		return "@" + reference
	}
	return ":" + reference
}

// runtimeOf tells a runtime by its way of putting things.
func runtimeOf(low string) string {
	for _, r := range []struct {
		name  string
		signs []string
	}{
		{"docker", []string{"response from daemon", "docker daemon", "error pulling image configuration", "download failed after attempts"}},
		{"containerd", []string{"failed to pull and unpack image", "httpreadseeker", "containerd", "failed to resolve reference"}},
		{"podman", []string{"error: initializing source", "error: unable to pull", "unable to pull", "error: creating build container", "error: copying"}},
		{"cri-o", []string{"pinging container registry", "initializing source docker://", "reading manifest", "pinging docker registry", "copying system image", "short name mode", "choosing image", "crio"}},
	} {
		for _, sign := range r.signs {
			if strings.Contains(low, sign) {
				return r.name
			}
		}
	}
	return ""
}

var (
	rpcCode      = regexp.MustCompile(`(?i)\brpc error: code ?=? ?(\w+)`)
	registryCode = regexp.MustCompile(`\b(UNAUTHORIZED|DENIED|MANIFEST_UNKNOWN|NAME_UNKNOWN|NAME_INVALID|BLOB_UNKNOWN|TOOMANYREQUESTS|UNSUPPORTED|MANIFEST_INVALID|TAG_INVALID)\b`)
	humanCode    = regexp.MustCompile(`(?i)(?:^|[:;*] ?)(unauthorized|denied|manifest unknown|name unknown|name invalid|blob unknown|toomanyrequests|manifest invalid):? `)
	secretName   = regexp.MustCompile(`(?i)(?:image pull secrets \(|pull secret (?:[a-z0-9.-]+/)?|secrets? ")([a-z0-9][a-z0-9.-]*(?:, [a-z0-9.-]+)*)`)
)

// codeOf returns the distribution specification's code, as it writes it; else
// the one of gRPC.
func codeOf(text string) string {
	if m := registryCode.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	if m := humanCode.FindStringSubmatch(text); m != nil {
		return strings.ToUpper(strings.ReplaceAll(m[1], " ", "_"))
	}
	if m := rpcCode.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func secretOf(text string) string {
	if m := secretName.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

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
		return shortened(t.text, max(part, f.end+part/4))
	}
	for from > 0 && from < len(t.text) && t.text[from]&0xc0 == 0x80 {
		from--
	}
	return head + " … " + shortened(t.text[from:], max(f.end-from+part/8, part/2))
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
