package diagnose

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"ferry/internal/pattern"
)

// source is a cleaned text, and the same in lower case.
type source struct{ text, low string }

// lower makes a text's ASCII letters small; its length stays.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// window is how far a pattern looks, in bytes: what is found in a message of
// any length costs the same.
const window = 1024

// each finds where one of words begins, as a word, and what the pattern,
// which begins with ^, reads from there. Patterns see lower case.
func (s source) each(re *pattern.Pattern, found func(at int, m match), words ...string) {
	for _, w := range words {
		for from, n := 0, 0; n < maxMarks; n++ {
			i := strings.Index(s.low[from:], w)
			if i < 0 {
				break
			}
			i += from
			from = i + len(w)
			if i > 0 && wordly(s.low[i-1]) && wordly(w[0]) {
				continue
			}
			end := min(len(s.low), i+window)
			if at := re.FindStringSubmatchIndex(s.low[i:end]); at != nil {
				found(i, match{s.text[i:end], at})
			}
		}
	}
}

// match is what a pattern read, in the text's own case.
type match struct {
	text string
	at   []int
}

// group returns the n-th group; the 0th is all.
func (m match) group(n int) string {
	if m.at[2*n] < 0 {
		return ""
	}
	return m.text[m.at[2*n]:m.at[2*n+1]]
}

// end is where the match ends, counted from its beginning.
func (m match) end() int { return m.at[1] }

var (
	address   = pattern.New(`^(?:https?|docker):/{1,2}[^\s"'|,]+`)
	answered  = pattern.New(`^"?: ([A-Za-z][A-Za-z]+(?:[ -][A-Za-z][a-z]+){0,4})\s*(?:$|["'\n,;)\]}]|\. )`)
	lookup    = pattern.New(`^lookup ([^\s,;"]+?)(?: on ([^\s,;"]*?:\d+))?(?:[:,;\s]|$)`)
	connectTo = pattern.New(`^connect to ([\w.-]+|\[[0-9a-f:.]*\]) port (\d+)\b`) // as curl says it
	operation = pattern.New(`^(dial|read|write|proxyconnect|connecting to) ?(tcp|udp|unix)?[46]?\b:?(?: (\[[0-9a-f:.%\w]*\]:\d+|[\w.*<>-]+:\d+|/\S+))?(?:->(\[[0-9a-f:.%\w]*\]:\d+|[\w.*<>-]+:\d+))?`)
	numbered  = pattern.New(`^(?:status(?: ?code)?"?(?: from registry)?|http(?: ?(?:code|status))?|responded with|http response code)[:= ]{0,3}([1-5]\d\d)\b`)
	texted    = pattern.New(`^[1-5]\d\d (?:continue|ok|moved permanently|found|see other|temporary redirect|permanent redirect|bad request|unauthorized|` +
		`authorization required|payment required|forbidden|not found|method not allowed|not acceptable|proxy authentication required|request time-?out|conflict|gone|` +
		`precondition failed|request entity too large|unsupported media type|requested range not satisfiable|unprocessable entity|too many requests|` +
		`unavailable for legal reasons|internal server error|not implemented|bad gateway|service unavailable|service temporarily unavailable|gateway time-?out)\b`)
	lastNumber = pattern.New(`^: [1-5]\d\d$`)
	tagMissing = pattern.New(`^(?:manifest for \S+ not found|(?:artifact|tag|image|manifest) "?[^\s":]+(?::[^\s"]+)?"? (?:was )?not found|` +
		`image \S+ does not exist|tag \S+ (?:is missing|unknown|does not exist))`)
	repoMissing = pattern.New(`^(?:repository|repo|project)(?: with name)? ["']?[^\s"']+["']? (?:was )?(?:not found|does not exist|is unknown)`)
	wholeName   = pattern.New(`^(?:[\w.-]+(?::\d+)?/)?[\w./-]+(?::[\w.-]+|@sha256:[0-9a-f]+)$`)
)

// requests finds the URLs that were asked for.
func requests(s source) []mark {
	var marks []mark
	s.each(address, func(at int, m match) {
		method := methodBefore(s.low[max(0, at-24):at])
		enter := asked(method, m.group(0))
		if enter == nil {
			return
		}
		end := at + len(strings.TrimRight(m.group(0), ":"))
		marks = append(marks, mark{at: at, end: end, enter: enter})
		if method != "" && !strings.HasPrefix(m.group(0), "docker") {
			marks = append(marks, answer(s.text, end)...)
		}
	}, "http:", "https:", "docker:")
	return marks
}

// methodBefore returns what stands before a URL that was asked for: the
// request's method, or a word that ends so in prose.
func methodBefore(before string) string {
	squeezed := strings.ReplaceAll(strings.TrimRight(before, ` "'`), " ", "")
	for _, m := range []string{"get", "head", "post", "put", "patch", "requestto", "registry", "statuscode", "initializingsource"} {
		if strings.HasSuffix(squeezed, m) {
			return m
		}
	}
	return ""
}

// answer is what stands alone after a URL: Go's error for a proxy that
// refuses CONNECT is the text of its status.
func answer(text string, end int) []mark {
	rest := text[end:min(len(text), end+120)]
	m := answered.FindStringSubmatchIndex(rest)
	if m == nil {
		return nil
	}
	said := rest[m[2]:m[3]]
	kind := bareText
	switch said {
	case "EOF", "Unauthorized", "unauthorized", "denied":
		return nil
	case "Forbidden", "Bad Gateway", "Service Unavailable", "Proxy Authentication Required", "Proxy Authorization Required", "Gateway Timeout",
		"Gateway Time-out", "Bad Request", "Internal Server Error", "Not Found", "Method Not Allowed", "Access Denied", "Not Implemented",
		"Service Temporarily Unavailable", "authenticationrequired", "Host Not Found", "Too Many Requests", "Tunnel Connection Failed":
		kind = proxyRefused
	default:
		if said[0] < 'A' || said[0] > 'Z' {
			return nil
		}
	}
	return []mark{{at: end + m[2], end: end + m[3], kind: kind}}
}

// asked enters a request.
func asked(method, url string) func(*around) {
	url = strings.TrimRight(url, `.:;)]}>`)
	_, rest, ok := strings.Cut(url, "://")
	if !ok { // copied by hand: https:/host
		_, rest, _ = strings.Cut(url, ":/")
	}
	host, path, _ := strings.Cut(rest, "/")
	phase := phaseOf("/" + path)
	if host == "" || strings.HasSuffix(host, ".sock") || strings.Contains(host, "%2F") || method == "" && phase == "" {
		return nil
	}
	if strings.HasPrefix(url, "docker:") {
		return nil
	}
	return func(a *around) {
		login := a.login && (phase == PhaseAuth || phase == PhasePing)
		*a = around{place: inRequest, phase: cmp.Or(phase, a.phase), url: url, host: host, login: login}
		if phase == PhaseAuth {
			a.place = inToken
		}
	}
}

// pipes is where Windows has the sockets of its runtimes.
const pipes = "//./pipe/"

// operations finds what Go's package net did: look-ups, connections, and the
// runtime's socket.
func operations(s source) []mark {
	var marks []mark
	add := func(at int, m match, enter func(*around)) {
		if enter != nil {
			marks = append(marks, mark{at: at, end: at + m.end(), enter: enter})
		}
	}
	s.each(lookup, func(at int, m match) { add(at, m, lookedUp(m.group(1), m.group(2))) }, "lookup ")
	s.each(operation, func(at int, m match) {
		add(at, m, dialled(lower(m.group(1)), lower(m.group(2)), m.group(3), m.group(4)))
	}, "dial", "read", "write", "proxyconnect", "connecting to")
	s.each(connectTo, func(at int, m match) { add(at, m, dialled("connect", "tcp", m.group(1)+":"+m.group(2), "")) }, "connect to ")
	for _, end := range []string{".sock", "/pipe/"} {
		for from := 0; len(marks) < maxMarks; {
			i := strings.Index(s.low[from:], end)
			if i < 0 {
				break
			}
			from += i + len(end)
			if end == "/pipe/" {
				from += nameEnd(s.text[from:])
			}
			begin := strings.LastIndexAny(s.text[:from], " \"'=(") + 1
			if path := s.text[begin:from]; strings.Contains(path, "/") {
				marks = append(marks, mark{at: begin, end: from, enter: func(a *around) { a.place, a.socket = inSocket, socketPath(path) }})
			}
		}
	}
	return marks
}

// nameEnd is where the name of a pipe ends that s begins with.
func nameEnd(s string) int {
	n := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' })
	if n < 0 {
		return len(s)
	}
	return n
}

// socketPath is a socket's path without its scheme and the escapes of a URL.
func socketPath(s string) string {
	s = strings.ReplaceAll(s, "%2F", "/")
	if i := strings.Index(s, pipes); i >= 0 {
		return s[i:]
	}
	if i := strings.Index(s, "://"); i >= 0 {
		s = strings.TrimLeft(s[i+3:], "/")
	}
	return "/" + strings.TrimLeft(s, "/")
}

func lookedUp(host, server string) func(*around) {
	return func(a *around) {
		if a.place != inProxy { // else it is the proxy's name
			a.place, a.host = inLookup, host
		}
		a.phase, a.resolver, a.address = PhaseResolve, server, ""
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

// statuses finds HTTP statuses, by their number with its text, or with a word
// before it.
func statuses(s source) []mark {
	var marks []mark
	for i := 0; i+4 < len(s.low); i++ {
		if c := s.low[i]; c < '1' || c > '5' || i > 0 && wordly(s.low[i-1]) || s.low[i+3] != ' ' {
			continue
		}
		if m := texted.FindStringIndex(s.low[i:min(len(s.low), i+64)]); m != nil {
			marks = append(marks, statusMark(i, i+m[1], s.low[i:i+3]))
		}
	}
	// The number alone, at the end: "unexpected status from GET request to URL: 401".
	if n := len(s.low); n > 5 && lastNumber.MatchString(s.low[n-5:]) && strings.Contains(s.low, "status") {
		marks = append(marks, statusMark(n-3, n, s.low[n-3:]))
	}
	s.each(numbered, func(at int, m match) {
		marks = append(marks, statusMark(at, at+m.end(), m.group(1)))
	}, "status", "http", "responded with")
	return marks[:min(len(marks), maxMarks)]
}

func statusMark(at, end int, digits string) mark {
	code, _ := strconv.Atoi(digits)
	return mark{at: at, end: end, kind: status, status: code}
}

// absences finds errors whose wording has a name in its middle, and the one
// that is hardly a word: EOF.
func absences(s source) []mark {
	var marks []mark
	s.each(tagMissing, func(at int, m match) {
		if said := m.group(0); !strings.Contains(said, "sha256:") || strings.Contains(said, "@") { // else content, not an image
			marks = append(marks, mark{at: at, end: at + m.end(), kind: tagUnknown})
		}
	}, "manifest ", "artifact ", "tag ", "image ")
	s.each(repoMissing, func(at int, m match) {
		marks = append(marks, mark{at: at, end: at + m.end(), kind: repoUnknown})
	}, "repository", "repo ", "project")
	for _, end := range wholeWords(s.low, ": not found") {
		begin := strings.LastIndexAny(s.text[:end-len(": not found")], " \"'") + 1
		name := s.low[begin : end-len(": not found")]
		if !strings.HasPrefix(name, "sha256:") && wholeName.MatchString(name) {
			marks = append(marks, mark{at: begin, end: end, kind: tagUnknown})
		}
	}
	for _, end := range wholeWords(s.text, "EOF") {
		if at := end - 3; at == 0 || strings.ContainsRune(": \"", rune(s.text[at-1])) {
			marks = append(marks, mark{at: at, end: end, kind: eof})
		}
	}
	return marks
}

// wholeWords returns where the phrase ends in s, if no letter or digit follows.
func wholeWords(s, phrase string) []int {
	var ends []int
	for from := 0; len(ends) < maxMarks; {
		i := strings.Index(s[from:], phrase)
		if i < 0 {
			break
		}
		from += i + len(phrase)
		if from == len(s) || !wordly(s[from]) {
			ends = append(ends, from)
		}
	}
	return ends
}

var (
	quotedImage = pattern.New(`^(?:images?|reference|of) ?["']([^"'\s]{1,512})["']`)
	schemeImage = pattern.New(`^docker://([^\s"',]{1,512})`)
	namedImage  = pattern.New(`^(?:manifest for|access denied for|image name|pull image|pulling image|image pull failed for|image) \[?([\w.-]+(?::\d+)?(?:/[\w./-]+)?(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?)\]?(?: not found|,| returns| failed|:|$| because)`)
	readImage   = pattern.New(`^reading manifest (\S+) in ([^\s:]+(?::\d+)?[^\s:]*)`)
)

// images returns the names of images in a text, in its order, each once.
func images(s source) []string {
	type found struct {
		at   int
		name string
	}
	var all []found
	add := func(at int, name string) {
		name = strings.TrimRight(name, ":,.")
		if registryName(name) {
			all = append(all, found{at, name})
		}
	}
	first := func(at int, m match) { add(at, m.group(1)) }
	s.each(quotedImage, first, "image", "reference", `of "`)
	s.each(schemeImage, first, "docker://")
	s.each(namedImage, func(at int, m match) {
		if strings.ContainsAny(m.group(1), ":/.") { // else any word
			first(at, m)
		}
	}, "manifest for", "access denied for", "image ", "pull image", "pulling image")
	s.each(readImage, func(at int, m match) { add(at, strings.TrimSuffix(m.group(2), ":")+tagged(m.group(1))) }, "reading manifest ")
	for _, end := range wholeWords(s.low, ": not found") {
		begin := strings.LastIndexAny(s.text[:end-len(": not found")], " \"'") + 1
		if name := s.text[begin : end-len(": not found")]; wholeName.MatchString(lower(name)) && !strings.HasPrefix(name, "sha256:") {
			add(begin, name)
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
