package diagnose

import "ferry/internal/pattern"

// Errors in other words than those that are known: a thing, and within a few
// words what is wrong with it. They count less than a known wording.
const (
	broadLogin     kind = "~login"
	broadPolicy    kind = "~policy"
	broadSignature kind = "~signature"
	broadPlatform  kind = "~platform"
	broadDisk      kind = "~disk"
	broadTrust     kind = "~trust"
	broadExpired   kind = "~expired"
	broadName      kind = "~certificate's name"
	broadDigest    kind = "~digest"
	broadRuntime   kind = "~runtime"
	broadTag       kind = "~tag"
	broadRepo      kind = "~repository"
	broadReference kind = "~reference"
	broadMedia     kind = "~media"
	broadProxy     kind = "~proxy"
	broadAddress   kind = "~address"
	broadTimeout   kind = "~timeout"
	broadNever     kind = "~never"
	broadCloud     kind = "~cloud"
	broadTLS       kind = "~tls"
	broadX509      kind = "~x509"
	broadLookup    kind = "~lookup"
	broadLoginFile kind = "~login file"
)

var (
	loginThenWrong = pattern.New(`^(?:password|credentials?|login|token|user ?name)\b[^.:;]{0,30}\b(?:wrong|invalid|incorrect|revoked|rejected|not valid|not accepted|mismatch)`)
	wrongThenLogin = pattern.New(`^(?:wrong|invalid|incorrect|bad|revoked|unknown)\b[^.:;]{0,25}\b(?:password|credentials?|login|user ?name|token|robot|api key)\b`)
	tokenExpires   = pattern.New(`^(?:token|session|credentials?)\b[^.:;]{0,20}\bexpired`)
	policyForbids  = pattern.New(`^polic(?:y|ies)\b(?:[^.;"\]]|"[^:]){0,60}\b(?:prohibit|reject|den[iy]|forbid|block|disallow|not allow|violat)`)
	forbidsPolicy  = pattern.New(`^(?:prohibited|rejected|denied|forbidden|blocked|disallowed|not allowed|not permitted|violates?)\b[^.;]{0,50}\bpolic(?:y|ies)\b`)
	onlyRegistries = pattern.New(`^only images\b[^.;]{0,60}\ballowed`)
	signatureWrong = pattern.New(`^signatures?\b[^.;]{0,50}\b(?:required|invalid|missing|not found|mismatch|fail|could not|cannot|not accepted|not match|no longer)`)
	wrongSignature = pattern.New(`^(?:no|invalid|missing|unable|cannot|could not|failed|verify\w*|validat\w*|without)\b[^.;]{0,40}\bsignatures?\b`)
	platformWrong  = pattern.New(`^(?:architecture|platform|os/arch|arch)\b[^.;]{0,60}\b(?:mismatch|unsupported|not supported|not match|incompatible|no match|not available)`)
	wrongPlatform  = pattern.New(`^(?:no match\w*|mismatch\w*|incompatible|unsupported|not supported|no image|no manifest|not available)\b[^.;]{0,60}\b(?:architecture|platform|os/arch|operating system)`)
	diskWrong      = pattern.New(`^(?:disk|space|storage|inodes?|filesystem)\b[^.;]{0,30}\b(?:full|exceeded|exhausted|insufficient|not enough|pressure|ran out)`)
	wrongDisk      = pattern.New(`^(?:insufficient|not enough|out of|no free|low on)\b[^.;]{0,20}\b(?:disk|space|storage|inodes?)\b`)
	certUntrusted  = pattern.New(`^certificates?\b[^.;]{0,50}\b(?:not trusted|untrusted|unknown|self[- ]signed|verify failed|verification failed|cannot be verified|could not be verified)`)
	certExpired    = pattern.New(`^certificates?\b[^.;]{0,40}\b(?:expired|not yet valid|no longer valid)`)
	certOtherName  = pattern.New(`^certificates?\b[^.;]{0,60}\b(?:valid for|not match|mismatch|wrong (?:host|name))`)
	digestWrong    = pattern.New(`^(?:digest|checksum|hash|diffid|diff id)\b[^.;]{0,40}\b(?:mismatch|not match|differs?|wrong|verification failed|invalid)`)
	wrongDigest    = pattern.New(`^(?:unexpected|wrong|mismatched|bad|invalid)\b[^.;]{0,15}\b(?:digest|checksum|hash)\b`)
	runtimeAway    = pattern.New(`^(?:daemon|runtime|dockerd|containerd|cri-o|crio|podman)\b[^.;]{0,30}\b(?:not running|is down|not responding|unavailable|not ready|not available|crashed)`)
	awayRuntime    = pattern.New(`^(?:cannot|could not|can't|unable to|failed to)\b[^.;]{0,30}\bconnect\b[^.;]{0,40}\b(?:daemon|runtime|docker|containerd|cri-?o|podman|socket)\b`)
	tagAway        = pattern.New(`^(?:tag|manifest|image)\b[^;]{0,80}\b(?:not found|is unknown|does not exist|doesn't exist|no longer exists|is missing|not exist)`)
	awayTag        = pattern.New(`^(?:no such|unknown|could not find|cannot find|unable to find|missing)\b[^.:;]{0,20}\b(?:tag|manifest)\b`)
	repoAway       = pattern.New(`^(?:repository|repo|project)\b[^;]{0,80}\b(?:not found|is unknown|does not exist|doesn't exist|is missing|not exist)`)
	wrongReference = pattern.New(`^(?:invalid|malformed|illegal|bad|unparsable)\b[^.;]{0,15}\b(?:image|reference|repository|tag)\b`)
	mediaWrong     = pattern.New(`^(?:media ?type|mime ?type|content[- ]type|manifest type)\b:?(?: ?"[^"\s]{0,200}")?[^.;]{0,60}\b(?:unsupported|not supported|unexpected|unknown|invalid|not valid|not allowed|no longer supported)`)
	wrongMedia     = pattern.New(`^(?:unsupported|unexpected|unknown|invalid|unhandled|unrecognized)\b[^.;]{0,25}\b(?:media ?type|mime ?type|content[- ]type|manifest (?:type|version|format)|schema)`)
	proxyWrong     = pattern.New(`^proxy\b[^.;]{0,40}\b(?:refused|failed|failure|authentication|denied|forbidden|unreachable|timed out|error)`)
	addressWrong   = pattern.New(`^ip(?: address)?\b[^.;]{0,40}\b(?:not allowed|blocked|denied|banned|forbidden|restricted|whitelist|allow ?list|not permitted)`)
	placeWrong     = pattern.New(`^(?:region|country|location)\b[^.;]{0,40}\b(?:not available|blocked|restricted|not allowed|denied|forbidden)`)
	policyNeverSet = pattern.New(`^pull ?policy\b[^.;]{0,20}\bnever\b`)
	someTLS        = pattern.New(`^tls: [a-z]`)
	someX509       = pattern.New(`^x509: [a-z]`)
	someLookup     = pattern.New(`^lookup [^\s:"]+`)
	brokenLogins   = pattern.New(`^(?:getting username and password|(?:reading|unmarshaling) json (?:file|at)[^;]{0,60}(?:auth|config)\.json)`)
	scopesLacking  = pattern.New(`^insufficient authentication scopes`)
	timeIsOut      = pattern.New(`^(?:timed out|timeout|time-out|time out|deadline)\b`)
)

// broad finds errors by a thing and what is wrong with it.
func broad(s source) []mark {
	var marks []mark
	for _, f := range []struct {
		re    *pattern.Pattern
		kind  kind
		words []string
	}{
		{loginThenWrong, broadLogin, []string{"password", "credential", "login", "token", "user name", "username"}},
		{wrongThenLogin, broadLogin, []string{"wrong", "invalid", "incorrect", "bad", "revoked", "unknown"}},
		{tokenExpires, broadCloud, []string{"token", "session", "credential"}},
		{policyForbids, broadPolicy, []string{"policy", "policies"}},
		{forbidsPolicy, broadPolicy, []string{"prohibited", "rejected", "denied", "forbidden", "blocked", "disallowed", "not allowed", "not permitted", "violate"}},
		{onlyRegistries, broadPolicy, []string{"only images"}},
		{signatureWrong, broadSignature, []string{"signature"}},
		{wrongSignature, broadSignature, []string{"no ", "invalid", "missing", "unable", "cannot", "could not", "failed", "verif", "validat", "without"}},
		{platformWrong, broadPlatform, []string{"architecture", "platform", "os/arch", "arch "}},
		{wrongPlatform, broadPlatform, []string{"no match", "mismatch", "incompatible", "unsupported", "not supported", "no image", "no manifest", "not available"}},
		{diskWrong, broadDisk, []string{"disk", "space", "storage", "inode", "filesystem"}},
		{wrongDisk, broadDisk, []string{"insufficient", "not enough", "out of", "no free", "low on"}},
		{certUntrusted, broadTrust, []string{"certificate"}},
		{certExpired, broadExpired, []string{"certificate"}},
		{certOtherName, broadName, []string{"certificate"}},
		{digestWrong, broadDigest, []string{"digest", "checksum", "hash", "diffid", "diff id"}},
		{wrongDigest, broadDigest, []string{"unexpected", "wrong", "mismatched", "bad", "invalid"}},
		{runtimeAway, broadRuntime, []string{"daemon", "runtime", "dockerd", "containerd", "cri-o", "crio", "podman"}},
		{awayRuntime, broadRuntime, []string{"cannot", "could not", "can't", "unable to", "failed to"}},
		{tagAway, broadTag, []string{"tag ", "manifest ", "image "}},
		{awayTag, broadTag, []string{"no such", "unknown", "could not find", "cannot find", "unable to find", "missing"}},
		{repoAway, broadRepo, []string{"repository", "repo ", "project"}},
		{wrongReference, broadReference, []string{"invalid", "malformed", "illegal", "unparsable"}},
		{mediaWrong, broadMedia, []string{"media", "mime", "content", "manifest type"}},
		{wrongMedia, broadMedia, []string{"unsupported", "unexpected", "unknown", "invalid", "unhandled", "unrecognized"}},
		{proxyWrong, broadProxy, []string{"proxy"}},
		{addressWrong, broadAddress, []string{"ip "}},
		{placeWrong, broadAddress, []string{"region", "country", "location"}},
		{someTLS, broadTLS, []string{"tls: "}},
		{someX509, broadX509, []string{"x509: "}},
		{someLookup, broadLookup, []string{"lookup "}},
		{brokenLogins, broadLoginFile, []string{"getting username", "reading json", "unmarshaling json"}},
		{scopesLacking, broadCloud, []string{"insufficient authentication"}},
		{policyNeverSet, broadNever, []string{"pull policy", "pullpolicy"}},
		{timeIsOut, broadTimeout, []string{"timed out", "timeout", "time-out", "time out", "deadline"}},
	} {
		s.each(f.re, func(at int, m match) {
			marks = append(marks, mark{at: at, end: at + m.end(), kind: f.kind, wide: true})
		}, f.words...)
	}
	return marks[:min(len(marks), maxMarks)]
}

// broadRules are for them.
func broadRules() []rule {
	return []rule{
		{kind: broadLogin, label: BadCredentials, sure: Likely, weight: tail},
		{kind: broadCloud, label: CloudCredential, sure: Likely, weight: tail},
		{kind: broadPolicy, label: SignaturePolicy, sure: Likely, weight: exact},
		{kind: broadSignature, label: SignaturePolicy, sure: Likely, weight: tail},
		{kind: broadPlatform, label: PlatformMismatch, sure: Likely, weight: tail},
		{kind: broadDisk, label: DiskFull, sure: Likely, weight: tail},
		{kind: broadTrust, label: TLSUnknownAuthority, sure: Likely, weight: tail},
		{kind: broadExpired, label: TLSExpired, sure: Likely, weight: tail},
		{kind: broadName, label: TLSHostnameMismatch, sure: Likely, weight: tail},
		{kind: broadDigest, label: CorruptLayer, sure: Likely, weight: tail},
		{kind: broadRuntime, label: RuntimeDown, sure: Likely, weight: vague},
		{kind: broadTag, label: NotFoundTag, sure: Likely, weight: vague},
		{kind: broadRepo, label: NotFoundRepo, sure: Likely, weight: vague},
		{kind: broadReference, label: InvalidName, sure: Likely, weight: vague},
		{kind: broadMedia, label: MediaTypeUnsupported, sure: Likely, weight: tail},
		{kind: broadProxy, label: Proxy, sure: Likely, weight: tail},
		{kind: broadAddress, label: BlockedByRegistry, sure: Likely, weight: tail},
		{kind: broadNever, label: NeverPull, sure: Likely, weight: tail},
		{kind: broadTLS, label: TLSHandshake, sure: Likely, weight: hint},
		{kind: broadX509, label: TLSUnknownAuthority, sure: Likely, weight: hint},
		{kind: broadLookup, label: DNSServerMisbehaving, sure: Possible, weight: least},
		{kind: broadLoginFile, label: AuthRequired, sure: Likely, weight: hint},
		{kind: broadTimeout, place: inLookup, label: DNSTimeout, sure: Likely, weight: hint},
		{kind: broadTimeout, place: inDial, label: ConnectTimeout, sure: Likely, weight: hint},
		{kind: broadTimeout, label: Timeout, sure: Possible, weight: hint},
	}
}
