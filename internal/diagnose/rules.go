package diagnose

import (
	"cmp"
	"slices"
	"strings"
)

// A rule says which cause an error is, in a place, beside another error, from
// a host. What is empty holds for all. The first rule that fits counts.
type rule struct {
	kind   kind
	place  place
	phase  Phase
	status int    // that the answer had; 4 stands for 400 to 499, 5 for 500 to 599
	with   kind   // that the message has too
	host   string // end of the host's name
	login  bool   // credentials were sent
	plain  bool   // the request went over plain HTTP
	// pulling: the message speaks of images.
	pulling bool

	label Label
	sure  Confidence
	// weight says how much an error tells: of several, the heaviest decides,
	// of equals the innermost.
	weight weight
}

type weight int

// The weights, lightest first.
const (
	least   weight = iota + 1 // nothing but its place
	hint                      // a summary, or the tail of something exact
	vague                     // true, but something exact may stand beside it
	loose                     // names two causes in one
	tail                      // what is exact in the tail of loose
	exact                     // an error that means one thing
	wrapper                   // decides whatever it wraps
	sole                      // the text is not about a pull at all
)

func rules() []rule {
	return slices.Concat(resolveRules(), connectRules(), tlsRules(), authRules(), statusRules(), contentRules(), nodeRules(), broadRules(), matterRules())
}

func resolveRules() []rule {
	return []rule{
		{place: inProxy, label: Proxy, sure: Certain, weight: exact},
		{kind: timedOut, place: inLookup, label: DNSTimeout, sure: Certain, weight: exact},
		{kind: deadline, place: inLookup, label: DNSTimeout, sure: Certain, weight: exact},
		{kind: noSuchHost, label: DNSNoSuchHost, sure: Certain, weight: exact},
		{kind: dnsFailure, label: DNSServerMisbehaving, sure: Certain, weight: exact},
		{kind: tryAgain, place: inLookup, label: DNSServerMisbehaving, sure: Certain, weight: exact},
		{kind: systemError, place: inLookup, label: DNSServerMisbehaving, sure: Likely, weight: exact},
		{kind: reset, place: inLookup, label: DNSServerMisbehaving, sure: Likely, weight: exact},
		{kind: eof, place: inLookup, label: DNSServerMisbehaving, sure: Likely, weight: exact},
		{kind: truncated, place: inLookup, label: DNSServerMisbehaving, sure: Likely, weight: exact},
		{kind: refused, place: inLookup, label: DNSServerUnreachable, sure: Certain, weight: exact},
		{kind: noRoute, place: inLookup, label: DNSServerUnreachable, sure: Certain, weight: exact},
		{kind: notPermitted, place: inLookup, label: DNSServerUnreachable, sure: Likely, weight: exact},
		{kind: canceled, place: inLookup, with: deadline, label: Timeout, sure: Likely, weight: vague},
	}
}

func connectRules() []rule {
	return []rule{
		{kind: proxyFailed, label: Proxy, sure: Certain, weight: wrapper},
		{kind: proxyRefused, label: Proxy, sure: Certain, weight: exact},
		{kind: bareText, label: Proxy, sure: Likely, weight: hint},

		{kind: timedOut, place: inSocket, label: RuntimeDown, sure: Certain, weight: exact},
		{kind: deadline, place: inSocket, label: RuntimeDown, sure: Likely, weight: exact},
		{kind: refused, place: inSocket, label: RuntimeDown, sure: Certain, weight: exact},
		{kind: notPermitted, place: inSocket, label: RuntimeDown, sure: Certain, weight: exact},
		{kind: noFile, place: inSocket, label: RuntimeDown, sure: Certain, weight: exact},
		{kind: reset, place: inSocket, label: RuntimeDown, sure: Certain, weight: exact},
		{kind: eof, place: inSocket, label: RuntimeDown, sure: Certain, weight: exact},

		{kind: timedOut, place: inDial, label: ConnectTimeout, sure: Certain, weight: exact},
		{kind: deadline, place: inDial, label: ConnectTimeout, sure: Likely, weight: exact},
		{kind: timedOut, place: inStream, label: Timeout, sure: Likely, weight: exact},
		{kind: timedOut, place: inRequest, label: Timeout, sure: Likely, weight: vague},
		{kind: timedOut, label: Timeout, sure: Likely, weight: vague},
		{kind: refused, place: inDial, label: ConnectRefused, sure: Certain, weight: exact},
		{kind: refused, label: ConnectRefused, sure: Likely, weight: exact},
		{kind: noRoute, place: inDial, label: NoRoute, sure: Certain, weight: exact},
		{kind: noRoute, label: NoRoute, sure: Likely, weight: exact},
		{kind: notPermitted, place: inDial, label: NoRoute, sure: Likely, weight: exact},
		{kind: reset, label: ConnectionReset, sure: Certain, weight: exact},
		{kind: eof, place: inRequest, label: ConnectionReset, sure: Certain, weight: exact},
		{kind: eof, place: inToken, label: ConnectionReset, sure: Certain, weight: exact},
		{kind: eof, place: inDial, label: ConnectionReset, sure: Likely, weight: exact},
		{kind: eof, place: inStream, label: ConnectionReset, sure: Likely, weight: exact},
		{kind: eof, place: inUnpack, label: UnexpectedEOF, sure: Likely, weight: vague},
		{kind: eof, label: ConnectionReset, sure: Possible, weight: hint},
		{kind: truncated, place: inUnpack, label: UnexpectedEOF, sure: Likely, weight: exact},
		{kind: truncated, label: UnexpectedEOF, sure: Certain, weight: exact},
		{kind: deadline, label: Timeout, sure: Certain, weight: vague},
		{kind: canceled, with: deadline, label: Timeout, sure: Likely, weight: hint},
		{kind: canceled, label: Canceled, sure: Certain, weight: vague},
	}
}

func tlsRules() []rule {
	return []rule{
		{kind: untrusted, label: TLSUnknownAuthority, sure: Certain, weight: exact},
		{kind: otherName, label: TLSHostnameMismatch, sure: Certain, weight: exact},
		{kind: expired, label: TLSExpired, sure: Certain, weight: exact},
		{kind: handshake, label: TLSHandshake, sure: Certain, weight: exact},
		{kind: httpAnswer, label: HTTPToHTTPSClient, sure: Certain, weight: exact},
		{kind: httpsAnswer, label: HTTPSToHTTPClient, sure: Certain, weight: exact},
	}
}

func authRules() []rule {
	return []rule{
		{kind: addressBarred, label: BlockedByRegistry, sure: Certain, weight: wrapper},
		{kind: tokenExpired, label: CloudCredential, sure: Certain, weight: wrapper},
		{kind: badLogin, label: BadCredentials, sure: Certain, weight: wrapper},
		{kind: badLoginMaybe, label: BadCredentials, sure: Likely, weight: exact},
		// Docker Hub answers both to who asks for what is not there.
		{kind: noCredentials, with: deniedHub, label: NotFoundRepoOrDenied, sure: Likely, weight: exact},
		// The kubelet tries one credential after the other: who heard that the tag
		// is unknown was let in.
		{kind: noCredentials, with: tagUnknown, label: AuthRequired, sure: Likely, weight: vague},
		{kind: noCredentials, label: AuthRequired, sure: Certain, weight: exact},
		{kind: unauthorized, with: repoOrDenied, label: NotFoundRepoOrDenied, sure: Likely, weight: loose},
		{kind: unauthorized, with: scopeLacking, label: NotFoundRepoOrDenied, sure: Likely, weight: loose},
		{kind: unauthorized, label: AuthRequired, sure: Likely, weight: vague},
		{kind: denied, label: AuthDenied, sure: Likely, weight: tail},
		{kind: deniedHub, with: repoOrDenied, label: NotFoundRepoOrDenied, sure: Certain, weight: loose},
		{kind: deniedHub, label: NotFoundRepoOrDenied, sure: Likely, weight: loose},
		{kind: secretAbsent, label: SecretMissing, sure: Certain, weight: loose},
	}
}

func statusRules() []rule {
	return []rule{
		{kind: status, status: 401, with: deniedHub, label: NotFoundRepoOrDenied, sure: Likely, weight: exact},
		{kind: status, status: 401, login: true, host: "azurecr.io", label: CloudCredential, sure: Likely, weight: exact},
		{kind: status, status: 401, login: true, host: "pkg.dev", label: CloudCredential, sure: Likely, weight: exact},
		{kind: status, status: 401, login: true, host: "gcr.io", label: CloudCredential, sure: Likely, weight: exact},
		{kind: status, status: 401, login: true, label: BadCredentials, sure: Likely, weight: exact},
		{kind: status, status: 401, label: AuthRequired, sure: Certain, weight: exact},
		{kind: status, status: 403, with: html, label: BlockedByRegistry, sure: Likely, weight: tail},
		{kind: status, status: 403, label: AuthDenied, sure: Certain, weight: tail},
		{kind: status, status: 404, with: html, label: NonRegistryResponse, sure: Likely, weight: tail},
		{kind: status, status: 404, with: notJSON, label: NonRegistryResponse, sure: Likely, weight: tail},
		{kind: status, status: 404, phase: PhaseManifest, label: NotFoundTag, sure: Certain, weight: exact},
		{kind: status, status: 404, label: NotFoundTag, sure: Likely, weight: tail},
		{kind: status, status: 406, label: MediaTypeUnsupported, sure: Likely, weight: tail},
		{kind: status, status: 407, label: Proxy, sure: Certain, weight: exact},
		{kind: status, status: 408, with: html, label: NonRegistryResponse, sure: Likely, weight: tail},
		{kind: status, status: 408, label: Timeout, sure: Likely, weight: tail},
		{kind: status, status: 429, label: RateLimited, sure: Certain, weight: exact},
		{kind: status, status: 451, label: BlockedByRegistry, sure: Certain, weight: exact},
		{kind: status, status: 5, label: Registry5xx, sure: Certain, weight: exact},
		// So answers a server that speaks TLS; and what serves no manifests. Who has
		// served the manifest is a registry.
		{kind: status, status: 400, plain: true, label: HTTPSToHTTPClient, sure: Possible, weight: hint},
		{kind: status, status: 4, phase: PhaseManifest, label: NonRegistryResponse, sure: Possible, weight: hint},
		{kind: status, status: 4, phase: PhasePing, label: NonRegistryResponse, sure: Possible, weight: hint},
		{kind: status, status: 3, label: NonRegistryResponse, sure: Likely, weight: vague},
		{kind: serverError, label: Registry5xx, sure: Likely, weight: vague},
		{kind: tooMany, label: RateLimited, sure: Certain, weight: exact},
		{kind: mirrorFault, label: MirrorMisconfigured, sure: Likely, weight: wrapper},
	}
}

func contentRules() []rule {
	return []rule{
		{kind: repoOrDenied, label: NotFoundRepoOrDenied, sure: Certain, weight: loose},
		{kind: scopeLacking, label: NotFoundRepoOrDenied, sure: Likely, weight: loose},
		{kind: tagUnknown, label: NotFoundTag, sure: Certain, weight: exact},
		{kind: repoUnknown, with: repoOrDenied, label: NotFoundRepoOrDenied, sure: Certain, weight: loose},
		{kind: repoUnknown, label: NotFoundRepo, sure: Certain, weight: exact},
		{kind: badName, label: InvalidName, sure: Certain, weight: exact},
		{kind: parsing, label: InvalidName, sure: Likely, weight: hint},
		{kind: shortName, label: ShortNameAmbiguous, sure: Certain, weight: wrapper},
		{kind: otherPlatform, label: PlatformMismatch, sure: Certain, weight: exact},
		{kind: schema1, label: Schema1Unsupported, sure: Certain, weight: wrapper},
		{kind: html, status: 401, label: AuthRequired, sure: Likely, weight: exact},
		{kind: html, status: 429, label: RateLimited, sure: Certain, weight: exact},
		{kind: html, status: 5, label: Registry5xx, sure: Likely, weight: exact},
		// A page that forbids comes from what stands before a registry, and is for
		// the address that asks: a registry itself answers in JSON.
		{kind: html, status: 403, label: BlockedByRegistry, sure: Likely, weight: exact},
		{kind: html, label: NonRegistryResponse, sure: Likely, weight: exact},
		{kind: mediaType, with: html, label: NonRegistryResponse, sure: Likely, weight: exact},
		{kind: mediaType, label: MediaTypeUnsupported, sure: Certain, weight: exact},
		{kind: notJSON, status: 401, with: deniedHub, label: NotFoundRepoOrDenied, sure: Likely, weight: exact},
		{kind: notJSON, status: 401, label: AuthRequired, sure: Certain, weight: exact},
		{kind: notJSON, status: 429, label: RateLimited, sure: Certain, weight: exact},
		{kind: notJSON, status: 5, label: Registry5xx, sure: Likely, weight: exact},
		{kind: notJSON, status: 403, label: AuthDenied, sure: Likely, weight: exact},
		{kind: notJSON, label: NonRegistryResponse, sure: Likely, weight: exact},
		{kind: badDigest, label: CorruptLayer, sure: Certain, weight: exact},
		{kind: badArchive, label: CorruptLayer, sure: Certain, weight: exact},
		{kind: unpacking, label: CorruptLayer, sure: Likely, weight: hint},
		{kind: noMapping, label: UnpackPermission, sure: Certain, weight: exact},
		{kind: notPermitted, place: inUnpack, with: windowsLayer, label: CorruptLayer, sure: Likely, weight: exact}, // no ids are mapped there
		{kind: notPermitted, place: inUnpack, label: UnpackPermission, sure: Likely, weight: exact},
		{kind: unsigned, label: SignaturePolicy, sure: Likely, weight: wrapper},
		// What is not found while a layer is unpacked is a part of the image on the node.
		{kind: notFound, place: inUnpack, label: CorruptLayer, sure: Likely, weight: hint},
		{kind: notFound, place: inRequest, phase: PhaseManifest, label: NotFoundTag, sure: Likely, weight: vague},
		{kind: notFound, phase: PhaseManifest, label: NotFoundTag, sure: Likely, weight: vague},
		{kind: notFound, pulling: true, label: NotFoundTag, sure: Possible, weight: hint},
	}
}

func nodeRules() []rule {
	return []rule{
		{kind: unavailable, label: RegistryUnavailable, sure: Likely, weight: vague},
		{kind: full, label: DiskFull, sure: Certain, weight: exact},
		{kind: diskFault, label: DiskFull, sure: Likely, weight: exact},
		{kind: runtimeGone, label: RuntimeDown, sure: Certain, weight: loose},
		{kind: policyNever, label: NeverPull, sure: Certain, weight: exact},
		{kind: throttled, label: PullQPSExceeded, sure: Certain, weight: exact},
	}
}

// verdict is the cause that a rule finds in a fault.
type verdict struct {
	label  Label
	sure   Confidence
	weight weight
	fault  fault
}

// judge finds the causes in a trace, the one that decides first. It may find
// none.
func judge(t *trace, s Setting, table []rule) []verdict {
	var all []verdict
	pull := pullFailed(lower(t.text))
	for _, f := range t.faults {
		i := slices.IndexFunc(table, func(r rule) bool { return r.fits(f, t) })
		switch {
		case i < 0 || table[i].weight == sole && pull:
		case t.foreign(f):
			f.kind = otherRequest
			all = append(all, verdict{Unknown, Possible, table[i].weight, f})
		default:
			all = append(all, verdict{table[i].label, t.asSure(table[i].sure, f), table[i].weight, f})
		}
	}
	slices.Reverse(all) // the innermost first
	slices.SortStableFunc(all, func(a, b verdict) int { return int(b.weight - a.weight) })
	if v, ok := sandboxed(t, s, all); ok {
		all = append([]verdict{v}, all...)
	}
	return all
}

// asSure is how sure an error's meaning is in a text: of one that speaks of
// something else before it, and never of images, nothing is certain.
func (t *trace) asSure(sure Confidence, f fault) Confidence {
	const leaf = 80 // bytes; a bare error has less before it
	if f.at > leaf && !t.ofImages() {
		return weaker(sure, Likely)
	}
	return sure
}

func (r rule) fits(f fault, t *trace) bool {
	return (r.kind == "" || r.kind == f.kind) && (r.place == anywhere || r.place == f.place) && (r.phase == "" || r.phase == f.phase) &&
		(r.status == 0 || r.status == f.status || r.status == f.status/100) && (r.with == "" || t.has(r.with)) &&
		(r.host == "" || strings.HasSuffix(cmp.Or(f.host, f.registry), r.host)) && (!r.login || f.login) && (!r.plain || strings.HasPrefix(f.url, "http://")) && (!r.pulling || t.pulling)
}

// sandboxed says whether it is the pause image that could not be had, while a
// pod's sandbox was made: that decides, whatever the error beneath.
func sandboxed(t *trace, s Setting, all []verdict) (verdict, bool) {
	making := t.has(sandbox) || strings.EqualFold(s.Reason, "FailedCreatePodSandBox")
	if len(all) > 0 && all[0].weight == sole {
		return verdict{}, false
	}
	pulling := len(all) > 0 && all[0].label != RuntimeDown && len(t.images) > 0
	if !t.has(sandboxImage) && !(making && (pulling || slices.ContainsFunc(t.images, isPause))) {
		return verdict{}, false
	}
	v := verdict{label: SandboxImage, sure: Certain, weight: wrapper}
	if len(all) > 0 {
		v.fault = all[0].fault
	} else if len(t.faults) > 0 {
		v.fault = t.faults[len(t.faults)-1]
	}
	return v, true
}

// isPause says whether an image's name is one that pause images go by.
func isPause(image string) bool {
	name := image[strings.LastIndexByte(image, '/')+1:]
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	return name == "pause" || strings.HasPrefix(name, "pause-") || strings.HasSuffix(name, "-pause") || name == "mirrored-pause" || name == "pod-infrastructure"
}
