package diagnose

import (
	"strings"
)

// An entry says what a cause is called and means, and what helps. In the
// texts {host|the registry} stands for a detail, or for the words after the
// bar where it is not known. Remedies stand best first.
type entry struct {
	label    Label
	title    string
	meaning  string
	remedies []remedyFunc
	verify   remedyFunc
}

// catalogue are all causes.
func catalogue() []entry {
	var all []entry
	for _, part := range [][]entry{resolveCauses(), connectCauses(), tlsCauses(), authCauses(), nameCauses(), contentCauses(), registryCauses(), nodeCauses()} {
		all = append(all, part...)
	}
	return all
}

// Labels are the labels of all causes.
func Labels() []Label {
	var all []Label
	for _, e := range catalogue() {
		all = append(all, e.label)
	}
	return all
}

func resolveCauses() []entry {
	return []entry{
		{
			DNSTimeout, "the node's DNS server does not answer",
			"The node asked {resolver|its DNS server} for {host|the registry's name} and got no reply. The image was never asked for, so neither its name nor any password is the problem.",
			[]remedyFunc{carry, nodeDNS, mirror, lesson},
			lookUp,
		},
		{
			DNSNoSuchHost, "the node's DNS server says that {host|the registry's name} does not exist",
			"{resolver|The node's DNS server} answered, and knows no such name. Either the name is misspelled, or it is only known to another DNS server than the one that the node asks.",
			[]remedyFunc{setImage, nodeDNS, carry, mirror, lesson},
			lookUp,
		},
		{
			DNSServerMisbehaving, "the node's DNS server gives no usable answer",
			"{resolver|The node's DNS server} answered the question for {host|the registry's name} with a failure of its own, often because it cannot reach the server that it asks itself. The image was never asked for.",
			[]remedyFunc{carry, nodeDNS, retry, mirror, lesson},
			lookUp,
		},
		{
			DNSServerUnreachable, "the node cannot reach its DNS server",
			"Nothing takes questions at {resolver|the address of the DNS server that the node uses}, or there is no way to it. The registry was never asked, so neither the image's name nor any password is the problem.",
			[]remedyFunc{carry, nodeDNS, mirror, lesson},
			lookUp,
		},
	}
}

func connectCauses() []entry {
	return []entry{
		{
			ConnectTimeout, "{host|the registry} does not answer when the node connects",
			"The name was resolved, but {address|the address} never answered: a firewall drops the packets, or the node has no way to the internet.",
			[]remedyFunc{carry, mirror, proxySetting, lesson},
			dial,
		},
		{
			ConnectRefused, "{host|the registry} refuses the connection",
			"{address|The address} is there and says that nothing listens on that port. The registry is not running, listens elsewhere, or localhost is meant, which on a node is the node itself.",
			[]remedyFunc{setImage, carry, lesson},
			dial,
		},
		{
			NoRoute, "the node has no way to {host|the registry}",
			"The node's own network says that {address|the address} cannot be reached: no route, or a firewall that says so. With an IPv6 address it often means that the node has IPv4 alone.",
			[]remedyFunc{carry, mirror, lesson},
			route,
		},
		{
			ConnectionReset, "the connection to {host|the registry} was cut",
			"A connection was made and then cut in mid-talk, by the other side or by something between: a firewall, a proxy, a registry that restarts. If it happens each time at the same place, it is a filter.",
			[]remedyFunc{retry, carry, mirror, lesson},
			tryRegistry,
		},
		{
			Timeout, "the pull took longer than its deadline",
			"The runtime gave up waiting, and the text does not say for what: a slow network, a very large image, or a registry that stopped answering.",
			[]remedyFunc{carry, retry, mirror, lesson},
			tryRegistry,
		},
		{
			Canceled, "the pull was called off before it ended",
			"Whoever asked for the pull stopped waiting: the kubelet or the runtime was restarted, the pod was deleted, or a deadline passed. It says nothing of the registry.",
			[]remedyFunc{retry, carry, lesson},
			tryRegistry,
		},
		{
			Proxy, "the proxy that the node uses does not let it through",
			"The runtime goes through {proxy|the HTTP proxy of its settings}, and it is the proxy that failed or refused, before the registry was reached.",
			[]remedyFunc{proxySetting, carry, mirror, lesson},
			showProxy,
		},
	}
}

func tlsCauses() []entry {
	return []entry{
		{
			TLSUnknownAuthority, "the node does not trust the certificate of {host|the registry}",
			"The certificate was signed by an authority that the node does not know: the registry's own, or that of a proxy that opens TLS on the way. Nothing was sent to it.",
			[]remedyFunc{trustCA, carry, lesson},
			showCertificate,
		},
		{
			TLSHostnameMismatch, "the certificate of {host|the registry} is for another name",
			"Whoever answered at {host|that address} showed a certificate for other names. Either it is not the registry that was meant, or its certificate lacks the name or address that the image uses.",
			[]remedyFunc{certificateName, carry, lesson},
			showCertificate,
		},
		{
			TLSExpired, "the certificate of {host|the registry} is not valid now",
			"By the node's clock the certificate is not valid yet, or no longer. Either it has to be renewed, or the node's clock is wrong.",
			[]remedyFunc{nodeClock, carry, lesson},
			showCertificate,
		},
		{
			TLSHandshake, "no secure connection to {host|the registry} came about",
			"The node reached something there, but they could not agree on TLS: it does not speak TLS on that port, is too slow, or accepts none of what the node offers.",
			[]remedyFunc{retry, carry, proxySetting, lesson},
			showCertificate,
		},
		{
			HTTPToHTTPSClient, "{host|the registry} speaks plain HTTP, and the node insists on HTTPS",
			"The node connected by HTTPS, as it does unless told otherwise, and got an answer in plain HTTP. The runtime has to be told that this registry is without TLS, or the registry has to get a certificate.",
			[]remedyFunc{plainHTTP, carry, lesson},
			tryPlain,
		},
		{
			HTTPSToHTTPClient, "{host|the registry} speaks HTTPS, and the node tried plain HTTP",
			"The runtime is set to use plain HTTP for this registry, which wants TLS: an insecure-registry or http:// setting too many.",
			[]remedyFunc{plainSetting, carry, lesson},
			showCertificate,
		},
	}
}

func authCauses() []entry {
	return []entry{
		{
			AuthRequired, "{host|the registry} wants a login, and none was accepted",
			"The registry is reached and answers 401: no credentials were sent, or none that it takes. The pull secret is missing in this namespace, not named by the pod, or for another host.",
			[]remedyFunc{cloudLogin, loginFile, pullSecret, serviceAccount, carry, lesson},
			showSecrets,
		},
		{
			AuthDenied, "{host|the registry} does not let this identity pull the image",
			"Whoever asked is known, or nobody, and may not read this repository. Logging in again with the same account does not help; the account needs the right to pull.",
			[]remedyFunc{grant, loginFile, pullSecret, carry, lesson},
			tryRegistry,
		},
		{
			BadCredentials, "{host|the registry} rejects the user name or password",
			"Credentials were sent, and they are wrong: mistyped, revoked, expired, or of another registry.",
			[]remedyFunc{loginFile, replaceSecret, carry, lesson},
			tryLogin,
		},
		{
			SecretMissing, "the pull secret {secret|that the pod names} cannot be read",
			"The pod names a pull secret that is not in its own namespace, or that holds no login. The kubelet pulls without it, which fails where the registry wants a login.",
			[]remedyFunc{loginFile, pullSecret, copySecret, lesson},
			showSecrets,
		},
		{
			CloudCredential, "the cloud's login for {host|the registry} has expired or is not accepted",
			"Tokens of cloud registries live for hours (ECR: 12) and have to be fetched anew by the node's own identity. That identity is missing, lacks the right to pull, or an old token was stored as a pull secret.",
			[]remedyFunc{cloudLogin, grant, carry, lesson},
			showSecrets,
		},
		{
			BlockedByRegistry, "{host|the registry} refuses the address that the node comes from",
			"The registry, or what stands in front of it, turns this network away: a firewall of its own, a country, a cloud. Credentials would not help.",
			[]remedyFunc{carry, mirror, lesson},
			tryRegistry,
		},
	}
}

func nameCauses() []entry {
	return []entry{
		{
			NotFoundTag, "the registry has nothing under this name",
			"The registry was reached, and let the question pass. The repository may be right and the tag or digest wrong, or never pushed; some registries say the same of a repository that is not there.",
			[]remedyFunc{listTags, setImage, pushIt, lesson},
			seeImage,
		},
		{
			NotFoundRepo, "the registry has no repository {repository|of that name}",
			"The registry answered that the repository itself does not exist: a misspelled path, a project that was never made, or another registry is meant.",
			[]remedyFunc{setImage, pushIt, lesson},
			seeImage,
		},
		{
			NotFoundRepoOrDenied, "the repository {repository|that was asked for} does not exist, or wants a login",
			"The registry does not tell strangers which of the two it is. Check the spelling first; if the repository is private, the pod needs a pull secret.",
			[]remedyFunc{setImage, loginFile, pullSecret, carry, lesson},
			seeImage,
		},
		{
			InvalidName, "this is not an image name",
			"The kubelet could not even read the name, so nothing was asked for: upper case letters, a scheme such as https://, a blank, or a variable that nobody filled in.",
			[]remedyFunc{setImage, lesson},
			showImage,
		},
		{
			ShortNameAmbiguous, "the node does not know which registry this name belongs to",
			"CRI-O and podman do not add docker.io by themselves where their configuration forbids guessing. The full name, with the registry in front, always works.",
			[]remedyFunc{fullName, lesson},
			showShortNames,
		},
	}
}

func contentCauses() []entry {
	return []entry{
		{
			PlatformMismatch, "the image is not made for the node's platform{platform| }",
			"The registry has the image, but not for this operating system and processor; or it was pulled and its program cannot run here (exec format error).",
			[]remedyFunc{otherBuild, nodeArch, lesson},
			showPlatforms,
		},
		{
			Schema1Unsupported, "the image is stored in Docker's old schema 1 format",
			"Runtimes have given that format up. The image has to be pushed again by a newer tool, which stores it in today's format.",
			[]remedyFunc{copyAgain, lesson},
			showPlatforms,
		},
		{
			MediaTypeUnsupported, "what the registry has under this name is not an image that the runtime can run",
			"The manifest or config is of another kind: a Helm chart, an attestation, a newer compression, or a broken push.",
			[]remedyFunc{setImage, copyAgain, lesson},
			showPlatforms,
		},
		{
			NonRegistryResponse, "something that is not a registry answered in the place of {host|the registry}",
			"The answer was a web page or plain text: a captive portal, a proxy's page, a load balancer without a back end, or a mirror that stores such pages as images.",
			[]remedyFunc{seeAnswer, carry, mirror, lesson},
			seeAnswer,
		},
		{
			CorruptLayer, "what was downloaded is not what the image says",
			"A layer's digest or contents are wrong: damaged on the way, in a proxy's or mirror's cache, in the registry, or on the node's disk.",
			[]remedyFunc{removeImage, carry, lesson},
			tryRegistry,
		},
		{
			UnexpectedEOF, "the download ended before all of it had come",
			"The connection to {host|the registry} was closed in the middle of a layer: a proxy with a size or time limit, an unstable network, or a full disk at a mirror.",
			[]remedyFunc{retry, carry, mirror, lesson},
			tryRegistry,
		},
		{
			SignaturePolicy, "a policy does not let this image run",
			"The runtime, the registry or an admission check wants a signature or an allowed registry, and did not find it. The image may be there and whole.",
			[]remedyFunc{showPolicy, lesson},
			showPolicy,
		},
		{
			MirrorMisconfigured, "the mirror that the node asks is at fault",
			"The node asks a mirror before the registry itself, and the mirror's settings or answers are wrong.",
			[]remedyFunc{mirrorSetting, carry, lesson},
			showMirrors,
		},
	}
}

func registryCauses() []entry {
	return []entry{
		{
			RateLimited, "{host|the registry} limits how often the node may pull",
			"The registry answered 429: too many pulls from this address or account. Docker Hub counts all that comes from behind one address as one.",
			[]remedyFunc{carry, loginFile, pullSecret, mirror, lesson},
			tryRegistry,
		},
		{
			Registry5xx, "{host|the registry} has a failure of its own{status| }",
			"The registry, or what stands in front of it, answered with a server error. Nothing is wrong with the image's name or the pod.",
			[]remedyFunc{retry, carry, mirror, lesson},
			tryRegistry,
		},
		{
			RegistryUnavailable, "the runtime says that {host|the registry} is not available",
			"That is a summary; the error beneath it is in the node's log. Nothing says that the name or the login is wrong.",
			[]remedyFunc{nodeLog, retry, carry, lesson},
			tryRegistry,
		},
	}
}

func nodeCauses() []entry {
	return []entry{
		{
			DiskFull, "the node's disk is full or failing",
			"The image was being written when the node's disk took no more. Everything else of the pull went well.",
			[]remedyFunc{pruneImages, lesson},
			showDisk,
		},
		{
			UnpackPermission, "the node may not give the image's files their owners",
			"The image has files of a user or group that a rootless or user-namespaced runtime has no mapping for, so the layer cannot be unpacked.",
			[]remedyFunc{moreIDs, lesson},
			showIDs,
		},
		{
			RuntimeDown, "the node's container runtime does not answer",
			"The kubelet or the tool could not talk to {socket|the runtime's socket}: it is not running, just starting, or does not offer this interface. The registry has nothing to do with it.",
			[]remedyFunc{restartRuntime, nodeLog, lesson},
			showRuntime,
		},
		{
			SandboxImage, "the pause image, which every pod needs first, cannot be had",
			"Before a pod's own images the runtime needs the small pause image, and that pull failed, so no pod starts on this node. {under|The error beneath it says why.}",
			[]remedyFunc{carry, sandboxSetting, lesson},
			showSandbox,
		},
		{
			NeverPull, "the image is not on the node, and the pull policy Never forbids to fetch it",
			"The kubelet found no image under exactly this name, in the place where it looks. It was never loaded on this node, was loaded under another name or for another runtime namespace, or was cleaned up since; from Kubernetes 1.35 on, an image that was once pulled with a secret this pod lacks looks the same.",
			[]remedyFunc{builtHere, carry, allowPull, lesson},
			showNodeImages,
		},
		{
			PullQPSExceeded, "the kubelet itself slows its pulls down",
			"Too many pulls were started on this node at once, and the kubelet's own limit (registryPullQPS) put this one off. It tries again by itself.",
			[]remedyFunc{wait, qps, lesson},
			showPods,
		},
		{
			Unknown, "the text does not say why",
			"It says that an image could not be had, or less, but not what went wrong. The cause stands in the event \"Failed to pull image\" or in the node's log.",
			[]remedyFunc{askEvents, askDoctor},
			nil,
		},
	}
}

// fill puts details into a text.
func fill(text string, detail map[string]string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		hole, after, _ := strings.Cut(rest, "}")
		key, otherwise, _ := strings.Cut(hole, "|")
		switch v := detail[key]; {
		case v == "":
			b.WriteString(strings.TrimSpace(otherwise))
		case otherwise == " ":
			b.WriteString(" (" + v + ")")
		default:
			b.WriteString(v)
		}
		text = after
	}
}

// upper makes the first letter of a sentence a capital, unless a detail begins it.
func sentence(s string) string {
	for _, first := range []string{"the ", "its ", "a "} {
		if strings.HasPrefix(s, first) {
			return strings.ToUpper(s[:1]) + s[1:]
		}
	}
	return s
}
