package diagnose

// kind is what an error says, whoever says it.
type kind string

// The kinds of errors.
const (
	timedOut     kind = "timed out"
	deadline     kind = "deadline"
	canceled     kind = "canceled"
	refused      kind = "refused"
	reset        kind = "reset"
	eof          kind = "eof"
	truncated    kind = "truncated"
	noRoute      kind = "no route"
	notPermitted kind = "not permitted"
	noFile       kind = "no such file"

	noSuchHost   kind = "no such host"
	dnsFailure   kind = "dns failure"
	tryAgain     kind = "try again"
	systemError  kind = "system error"
	proxyFailed  kind = "proxy failed"
	proxyRefused kind = "proxy refused"
	bareText     kind = "bare text"

	untrusted     kind = "untrusted"
	otherName     kind = "other name"
	expired       kind = "expired"
	handshake     kind = "handshake"
	httpAnswer    kind = "http answer"
	httpsAnswer   kind = "https answer"
	noCredentials kind = "no credentials"
	unauthorized  kind = "unauthorized"
	denied        kind = "denied"
	deniedHub     kind = "denied by the hub"
	badLogin      kind = "bad login"
	badLoginMaybe kind = "bad login, perhaps"
	tokenExpired  kind = "token expired"
	secretAbsent  kind = "secret absent"
	addressBarred kind = "address barred"

	repoOrDenied  kind = "repository or denied"
	scopeLacking  kind = "scope lacking"
	tagUnknown    kind = "tag unknown"
	notFound      kind = "not found"
	repoUnknown   kind = "repository unknown"
	badName       kind = "bad name"
	parsing       kind = "parsing"
	shortName     kind = "short name"
	otherPlatform kind = "other platform"
	schema1       kind = "schema 1"
	mediaType     kind = "media type"
	html          kind = "html"
	notJSON       kind = "not json"
	badDigest     kind = "bad digest"
	badArchive    kind = "bad archive"
	unpacking     kind = "unpacking"
	windowsLayer  kind = "windows layer"
	noMapping     kind = "no mapping"
	unsigned      kind = "unsigned"
	mirrorFault   kind = "mirror"
	tooMany       kind = "too many"
	status        kind = "status"
	unavailable   kind = "unavailable"
	serverError   kind = "server error"
	full          kind = "full"
	diskFault     kind = "disk fault"
	runtimeGone   kind = "runtime gone"
	notReady      kind = "not ready"
	sandbox       kind = "sandbox"
	sandboxImage  kind = "sandbox image"
	policyNever   kind = "never"
	throttled     kind = "throttled"
	backOff       kind = "back-off"
	relayed       kind = "relayed"
	summary       kind = "summary"
)

// words are the wordings of each kind of error: in lower case, where white
// space and line breaks do not count. A new wording of a known error is one
// more string here.
type words struct {
	kind kind
	// whole says that letters and digits must not adjoin.
	whole bool
	texts []string
	// enter is set for words that are wrapping, and no error.
	enter func(*around)
}

func networkWords() []words {
	return []words{
		{kind: timedOut, texts: []string{
			"i/o timeout", "connection timed out", "operation timed out", "did not properly respond after a period of time",
			"i/o deadline reached", "timeout period expired",
		}},
		{kind: deadline, texts: []string{
			"context deadline exceeded", "client.timeout exceeded", "no progress in", "no progress for", "timeout awaiting response headers",
			"request timed out", "image pull progress timeout", "timeout was reached", "deadline exceeded", "pull timed out",
			"timed out pulling", "timed out while pulling", "timeout expired while", "408 request time",
		}},
		{kind: canceled, texts: []string{
			"context canceled", "context cancelled", "request canceled", "request cancelled", "operation was canceled",
			"pull canceled", "pulling canceled", "code = canceled",
		}},
		{kind: refused, texts: []string{"connection refused", "actively refused"}},
		{kind: reset, texts: []string{
			"connection reset by peer", "forcibly closed by the remote host", "broken pipe", "use of closed network connection",
			"sent goaway", "transport connection broken", "server closed idle connection", "client connection lost",
			"stream error: stream id", "connection was aborted", "software caused connection abort", "connection reset",
			"http2: response body closed",
		}},
		{kind: truncated, texts: []string{"unexpected eof", "short read", "unexpected end of file"}},
		{kind: noRoute, texts: []string{
			"no route to host", "network is unreachable", "host is unreachable", "network is down", "host is down",
			"unreachable network", "unreachable host", "cannot assign requested address", "no suitable address",
			"address family not supported by protocol",
		}},
		{kind: noSuchHost, texts: []string{
			"no such host", "name or service not known", "nodename nor servname provided", "name does not resolve",
			"no address associated with hostname", "dns name does not exist", "could not resolve host", "nxdomain",
		}},
		{kind: dnsFailure, texts: []string{
			"server misbehaving", "temporary failure in name resolution", "non-recoverable failure in name resolution",
			"cannot unmarshal dns message", "lame referral", "servfail", "dns server failure",
		}},
		{kind: tryAgain, texts: []string{"try again"}},
		{kind: systemError, texts: []string{"system error", "device or resource busy", "too many open files", "resource temporarily unavailable"}},
		{kind: proxyFailed, texts: []string{
			"error connecting to proxy", "proxy authentication required", "invalid proxy address", "invalid proxy url", "proxy error",
			"connecting to proxy", "407 proxy", "error parsing proxy", "proxy refused",
		}},
		{kind: notPermitted, texts: []string{"permission denied", "operation not permitted", "access is denied"}},
		{kind: noFile, texts: []string{"no such file or directory", "the system cannot find the file specified"}},
	}
}

func tlsWords() []words {
	return []words{
		{kind: untrusted, texts: []string{
			"certificate signed by unknown authority", "certificate is not trusted", "unable to get local issuer certificate",
			"self signed certificate", "self-signed certificate", "unable to verify the first certificate",
			"certificate is not standards compliant", "parent certificate cannot sign", "insecure algorithm", "unknown authority",
			"not authorized to sign other certificates", "unable to get issuer certificate", "certificate was signed by an unknown", "not authorized to sign for this name", "unhandled critical extension",
		}},
		{kind: otherName, texts: []string{
			"certificate is valid for", "doesn't contain any ip sans", "legacy common name", "not valid for any names",
			"hostname mismatch", "cannot validate certificate for", "certificate is not valid for", "certificate name does not match",
			"name in the certificate",
		}},
		{kind: expired, texts: []string{
			"certificate has expired or is not yet valid", "certificate has expired", "certificate is not yet valid", "certificate expired",
			"expired certificate",
		}},
		{kind: handshake, texts: []string{
			"tls handshake timeout", "tls: handshake failure", "remote error: tls", "local error: tls",
			"first record does not look like a tls handshake", "oversized record received", "protocol version not supported",
			"unsupported protocol version", "tls: unexpected message", "tls: internal error", "tls: bad record mac", "tls: bad certificate",
			"ssl handshake", "tls: no application protocol", "tls: failed to parse certificate", "handshake failed", "ssl_error",
			"incompatible key usage", "x509 key pair", "tls: server selected", "tls: protocol version", "wrong version number", "failed to parse certificate from server", "invalid signature by the server certificate",
			"tls: server's certificate", "missing client certificate",
		}},
		{kind: httpAnswer, texts: []string{"server gave http response to https client", "server gave http response"}},
		{kind: httpsAnswer, texts: []string{
			"sent an http request to an https server", "plain http request was sent to https port", `malformed http response "\x15`,
		}},
	}
}

func authWords() []words {
	return []words{
		{kind: noCredentials, texts: []string{
			"no basic auth credentials", "authentication required", "authentication is required", "authorization required",
			"authorization header is missing", "unauthenticated request", "no credentials provided", "credentials not found",
			"need to login", "please login", "login required", "requires authentication", "error getting credentials",
			"no auth credentials", "must be authenticated", "unable to find credentials", "anonymous access",
			"may have invalid credentials",
		}},
		{kind: unauthorized, whole: true, texts: []string{
			"unauthorized", "not authorized", "unauthenticated", "authorization failed", "did not include a token",
		}},
		{kind: denied, whole: true, texts: []string{
			"denied", "access forbidden", "not authorized to perform", "does not have permission", "do not have permission",
			"insufficient permission", "insufficient permissions", "no permission", "lacks permission", "forbidden",
			"don't have the needed permissions", "not allowed to pull", "user is not allowed", "accessdeniedexception", "permission_denied",
		}},
		{kind: deniedHub, texts: []string{"denied: requested access to the resource is denied", "requested access to the resource is denied"}},
		{kind: badLogin, texts: []string{
			"incorrect username or password", "invalid username or password", "bad username or password",
			"wrong username or password", "wrong login", "invalid user name or password", "password or token is incorrect", "invalid credentials",
			"wrong credentials", "bad credentials", "bad_credential", "incorrect credentials", "invalid token", "personal access token is",
			"http basic: access denied", "authentication failure", "login failed", "password is incorrect",
			"incorrect password", "credentials are invalid", "username or password is", "invalid login", "invalid password",
			"personal access token was", "token is invalid", "invalid header field value for \"authorization\"", "unknown user or",
		}},
		{kind: badLoginMaybe, texts: []string{"invalid username/password", "authentication failed"}},
		{kind: tokenExpired, texts: []string{
			"authorization token has expired", "expiredtoken", "security token included in the request is expired", "token has expired",
			"token is expired", "expired token", "token expired", "failed to get ecr token", "invalid_grant", "aadsts", "refresh token has",
			"error execing credential provider plugin", "error executing credential provider plugin", "error running credential provider plugin",
			"getauthorizationtoken", // by which a node of AWS gets its registry's token
			"unable to load aws credentials", "no ec2 imds role found", "security token included in the request is invalid",
		}},
		{kind: secretAbsent, texts: []string{
			"unable to retrieve some image pull secrets", "unable to retrieve pull secret", "failedtoretrieveimagepullsecret",
			"couldn't find key .dockerconfigjson", "invalid dockerconfigjson", "unable to decode pull secret",
		}},
		{kind: addressBarred, texts: []string{
			"does not have permission to get url", "is not allowed access", "aka.ms/acr/firewall", "export control", "unavailable for legal reasons",
			"not available in your country", "not available in your location", "not available in your region",
			"only available within", "ip address is not allowed", "ip is not allowed", "not in whitelist", "not in the allowlist",
			"not in allowlist", "client ip", "your ip address", "prohibited by organization's policy", "ip has been blocked",
			"blocked by geo", "only azure china",
		}},
	}
}

func contentWords() []words {
	return []words{
		{kind: repoOrDenied, texts: []string{
			"repository does not exist or may require", "may require 'docker login'", "may require authorization",
			"may not exist or may require", "pull access denied", "does not exist or no pull access", "do not have pull access",
		}},
		{kind: scopeLacking, texts: []string{"insufficient_scope", "insufficient scope"}},
		{kind: tagUnknown, texts: []string{
			"manifest unknown", "manifest_unknown", "manifest not found", "manifest tagged by", "tag unknown", "tag does not exist", "unknown manifest",
			"image not found", "tag not found", "tag_invalid", "no such manifest", "artifact not found", "requested image not found",
			"manifest is unknown", "not known to the registry", "imagenotfoundexception", "could not find manifest", "does not have a tag", "manifest does not exist",
		}},
		{kind: notFound, whole: true, texts: []string{"not found", "notfound", "blob unknown", "blob_unknown", "does not exist", "no such image"}},
		{kind: repoUnknown, texts: []string{
			"name unknown", "name_unknown", "repository name not known", "repository not found", "repository not known",
			"unknown repository", "project not found", "no such repository", "repository is unknown", "repositorynotfoundexception",
		}},
		{kind: badName, texts: []string{
			"invalidimagename", "couldn't parse image", "could not parse image", "invalid reference format", "failed to apply default image tag",
			"must be lowercase", "invalid tag format", "is not a valid repository/tag", "invalid checksum digest", "invalid repository name",
			"repository name must", "invalid image name", "illegal image name", "invalid name", "name_invalid", "could not parse reference",
			"couldn't parse reference", "not a valid image reference", "object required", "invalid reference", "invalid image reference", "name invalid",
		}},
		{kind: parsing, texts: []string{
			"failed to parse image", "error parsing reference", "parsing image name", "parse image reference", "parse reference", "parsing reference",
		}},
		{kind: shortName, texts: []string{
			"short name mode is enforcing", "short-name resolution enforced", "short-name", "ambiguous list", "unqualified-search registries",
			"unqualified search registries", "unqualified image",
		}},
		{kind: otherPlatform, texts: []string{
			"no match for platform", "no matching manifest for", "in manifest list for architecture", "in image index for architecture",
			"exec format error", "cannot be used on this platform", "does not match the specified platform",
			"does not match the expected platform", "does not match the detected host platform", "cannot execute binary file",
			"no suitable image found in manifest list", "image operating system", "does not match the host", "no match for architecture",
			"no child with platform", "platform mismatch", "does not provide the specified platform", "unsupported platform",
			"no image found for architecture", "incompatible architecture", "-based image is incompatible with", "wrong architecture", "not supported on this platform",
		}},
	}
}

func formatWords() []words {
	return []words{
		{kind: schema1, texts: []string{
			"manifest.v1+prettyjws", "distribution.manifest.v1+json", "schema version 1", "schema 1", "schema1", "no signatures",
			"image format v1", "image manifest version 2, schema 1", "schemaversion 1",
		}},
		{kind: mediaType, texts: []string{
			"unsupported media type", "unsupported manifest", "unsupported mediatype", "unexpected media type", "unknown media type",
			"mediatype in manifest", "invalid rootfs", "missing signature key", "unsupported schema version", "no processor for media-type",
			"unsupported mime type", "manifest invalid", "manifest_invalid", "mismatched image rootfs and manifest layers",
			"vnd.cncf.helm", "vnd.in-toto", "unsupported config", "invalid media type", "unrecognized media type", "is not a container image",
			"unsupported layer", "unsupported compression", "unknown manifest class", "no default available", "cannot unpack media type",
			"unsupported docker v2 schema", "application/vnd.unknown", "unhandled media type", "media type is not supported",
			"unsupported content type", "unknown layer type",
		}},
		{kind: html, texts: []string{
			"invalid character '<'", "text/html", "<html", "<!doctype", "<?xml", "text/plain", "<head>", "<title>", "application/xml",
		}},
		{kind: notJSON, texts: []string{
			"looking for beginning of value", "after top-level value", "unexpected end of json input", "unexpected content type",
			"error unmarshalling content", "malformed http", "invalid character", "not a registry", "invalid v2 registry",
			"not a docker registry", "talk to a v1 container registry", "does not appear to be a v2", "not a v2 registry", "unexpected response from registry",
			"does not support v2 registry", "malformed mime header", "not a valid digest", "stopped after 10 redirects", "no location header",
		}},
		{kind: badDigest, texts: []string{
			"unexpected commit digest", "layer verification failed", "failed size validation", "digest mismatch", "digest did not match",
			"digests did not match", "verification failed for digest", "wrong diff id", "content digest mismatch", "unexpected commit size",
			"does not match digest", "digest verification", "unexpected digest", "blob size mismatch", "digest does not match",
			"layers from manifest don't match", "manifest verification failed", "checksum mismatch", "does not match expected digest",
			"digest_invalid", "size_invalid",
		}},
		{kind: badArchive, texts: []string{
			"invalid tar header", "gzip: invalid", "invalid checksum", "corrupt input", "invalid magic", "archive/tar", "magic number mismatch",
			"layer does not exist", "parent snapshot", "unknown compression", "corrupted", "is corrupt",
			"zlib: invalid", "bzip2 data invalid", "missing blob", "layer not known", "failed to find layer",
		}},
		{kind: unpacking, texts: []string{
			"failed to extract layer", "failed to register layer", "error applying layer", "failed to apply layer", "error processing tar file",
			"error unpacking", "failed to unpack image on snapshotter", "applylayer", "failed to prepare extraction", "content digest",
			"error creating overlay mount", "readlink /var/lib", "untar re-exec error", "untar error",
		}},
		{kind: windowsLayer, texts: []string{"hcsshim", "windowsfilter", "snapshotter.v1.windows"}},
		{kind: noMapping, texts: []string{
			"lchown", "insufficient uids or gids", "not be enough ids available", "cannot be mapped to a host id", "uid/gid mapping",
			"subuid", "subgid", "uid mapping", "id mapping", "idmapping", "outside of the user namespace",
		}},
		{kind: unsigned, texts: []string{
			"source image rejected", "signature was required", "rejected by policy", "signaturevalidationfailed", "no trust data",
			"trust data does not exist", "no matching signatures", "image is not signed", "not signed", "signature verification",
			"invalid gpg signature", "reading signature", "error reading signature", "getting signatures", "failed to verify image",
			"denied the request", "not from an allowed registry", "imagepolicywebhook", "image policy", "signature validation",
			"verifying signature", "disallowed registry", "not an allowed registry", "allowed registries", "registry is not allowed",
			"notary", "signatures required", "content trust", "policy.json", "blocking policy", "due to configured policy", "blocked by xray", "failed signature verification", "no signature", "untrusted registry",
			"image signature", "blocked by policy", "registrysources", "verify signature", "is blocked in",
			"blocked due to the following policies", "image verification failed", "signature mismatch", "signature not found",
			"invalid signature", "none of the signatures", "verify image signature", "image is not allowed", "signature does not", "unsigned image",
		}},
	}
}

func nodeWords() []words {
	return []words{
		{kind: mirrorFault, texts: []string{
			"request to mirror failed", "no resolve hosts", "unsupported protocol scheme", "expected mirror to respond", "mirror resolution", "could not resolve mirror", "mirror resolve",
			"hosts.toml", "failed to load host config", "invalid mirror", "invalid registry host", "mirror for key",
			"failed to load registry mirror", "registry mirror is", "proxy to remote failed", "mirror with image",
		}},
		{kind: tooMany, texts: []string{
			"toomanyrequests", "too many requests", "pull rate limit", "rate exceeded", "rate limit", "429 too many", "rate-limit",
			"throttlingexception", "requests have been throttled", "too many pulls", "quota exceeded",
		}},
		{kind: unavailable, texts: []string{
			"registryunavailable", "registry is unavailable", "registry is temporarily unavailable", "registry unavailable",
			"registry is not available", "could not reach any registry endpoint", "no available registry endpoint",
			"unable to ping registry endpoint",
		}},
		{kind: serverError, texts: []string{
			"internal server error", "bad gateway", "service unavailable", "gateway timeout", "gateway time-out",
		}},
		{kind: full, texts: []string{
			"no space left", "disk quota exceeded", "diskpressure", "low on resource: ephemeral-storage", "failed to garbage collect required amount",
			"freediskspacefailed", "not enough space", "insufficient space", "not enough disk space", "there is not enough space on the disk",
			"insufficient disk", "disk is full", "free data blocks", "no free space", "enospc", "imagegcfailed", "not enough free space",
		}},
		{kind: diskFault, texts: []string{"input/output error", "read-only file system"}},
		{kind: runtimeGone, texts: []string{
			"cannot connect to the docker daemon", "is the docker daemon running", "allsubconnsareintransientfailure",
			"error while dialing", "container runtime is down", "server is not initialized yet", "transport is closing", "container runtime is not running",
			"image api is not implemented", "runtime api is not implemented", "error reading from server: eof", "runtime is unavailable",
			"error during connect", "docker desktop is not running", "failed to connect to containerd", "unable to connect to the runtime", "runtime service failed",
			"connect endpoint 'unix", "runtime network not ready", "cni plugin not initialized", "cannot connect to podman",
			"docker daemon is not running", "unable to connect to podman", "the connection is unavailable", "containerd is not running", "cannot connect to the container",
			"cri plugin is not", "name=unix://", "failed to dial", "connection closed before server preface",
			"unable to determine runtime api version", "pleg is not healthy", "getting status of runtime", "is crio running",
			"the runtime has been started", "unknown service",
		}},
		{kind: sandbox, texts: []string{
			"create pod sandbox", "failedcreatepodsandbox", "failed to get sandbox image", "create sandbox for pod", "run pod sandbox",
			"create a sandbox for pod", "pod sandbox", "createpodsandbox", "start sandbox container", "sandbox for pod",
		}},
		{kind: sandboxImage, texts: []string{
			"get sandbox image", "sandbox image", "failed pulling image", "infra image", "pause image", "infrastructure image", "pod-infrastructure", "pod infra container image",
			// Before there were sandboxes, the pause container was one that goes by POD.
			`"startcontainer" for "pod" with errimagepull`, `"startcontainer" for "pod" with imagepullbackoff`,
			"create pod infra container: errimagepull", "create pod infra container: imagepullbackoff",
		}},
		{kind: policyNever, texts: []string{
			"pull policy of never", "errimageneverpull", "pull policy is never", "pullpolicy: never", "imagepullpolicy is never",
			"pull policy never",
		}},
		{kind: throttled, texts: []string{"pull qps exceeded"}},
		// The docker engine's API answers 500 to its own client and hands on
		// another's error: no registry said that.
		{kind: relayed, texts: []string{
			"(http code 500) server error", "api error (500)", "500 server error", `500 internal server error: {"message"`,
			`internal server error ("`, `status 500: {"message"`, `status code 500: {"message"`,
		}},
		{kind: backOff, texts: []string{"back-off pulling image", "imagepullbackoff", "back-off restarting"}},
		{kind: summary, texts: []string{
			"errimagepull", "error pulling image", "failed to pull image", "exit status", "image pull failed", "imageinspecterror",
			"failed to inspect image", "unable to pull", "error syncing pod",
		}},
	}
}
