package diagnose

// The labels: network.
const (
	DNSTimeout           Label = "dns-timeout"
	DNSNoSuchHost        Label = "dns-no-such-host"
	DNSServerMisbehaving Label = "dns-server-misbehaving"
	DNSServerUnreachable Label = "dns-server-unreachable"
	ConnectTimeout       Label = "connect-timeout"
	ConnectRefused       Label = "connect-refused"
	NoRoute              Label = "no-route"
	ConnectionReset      Label = "connection-reset"
	Timeout              Label = "timeout"
	Canceled             Label = "canceled"
	Proxy                Label = "proxy"
)

// The labels: TLS and scheme.
const (
	TLSUnknownAuthority Label = "tls-unknown-authority"
	TLSHostnameMismatch Label = "tls-hostname-mismatch"
	TLSExpired          Label = "tls-expired"
	TLSHandshake        Label = "tls-handshake"
	HTTPToHTTPSClient   Label = "http-to-https-client"
	HTTPSToHTTPClient   Label = "https-to-http-client"
)

// The labels: authentication and permission.
const (
	AuthRequired      Label = "auth-required"
	AuthDenied        Label = "auth-denied"
	BadCredentials    Label = "bad-credentials"
	SecretMissing     Label = "secret-missing"
	CloudCredential   Label = "cloud-credential" //nolint:gosec // the name of a cause
	BlockedByRegistry Label = "blocked-by-registry"
)

// The labels: names and content.
const (
	NotFoundTag          Label = "not-found-tag"
	NotFoundRepo         Label = "not-found-repo"
	NotFoundRepoOrDenied Label = "not-found-repo-or-denied"
	InvalidName          Label = "invalid-name"
	ShortNameAmbiguous   Label = "short-name-ambiguous"
	PlatformMismatch     Label = "platform-mismatch"
	Schema1Unsupported   Label = "schema1-unsupported"
	MediaTypeUnsupported Label = "media-type-unsupported"
	NonRegistryResponse  Label = "non-registry-response"
	CorruptLayer         Label = "corrupt-layer"
	UnexpectedEOF        Label = "unexpected-eof"
	SignaturePolicy      Label = "signature-policy"
	MirrorMisconfigured  Label = "mirror-misconfigured"
)

// The labels: registry, node, kubelet.
const (
	RateLimited         Label = "rate-limited"
	Registry5xx         Label = "registry-5xx"
	RegistryUnavailable Label = "registry-unavailable"
	DiskFull            Label = "disk-full"
	UnpackPermission    Label = "unpack-permission"
	RuntimeDown         Label = "runtime-down"
	SandboxImage        Label = "sandbox-image"
	NeverPull           Label = "never-pull"
	PullQPSExceeded     Label = "pull-qps-exceeded"
	// Unknown says that the text carries no cause.
	Unknown Label = "unknown"
)
