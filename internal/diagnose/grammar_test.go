package diagnose

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

// leaf is an innermost error, as Go's packages, a registry or a runtime word
// it, and the cause that it proves wherever it stands.
type leaf struct {
	cause Label
	text  string
}

func requestLeaves() []leaf {
	return []leaf{
		{DNSTimeout, "dial tcp: lookup HOST on 10.96.0.10:53: read udp 10.1.2.3:41234->10.96.0.10:53: i/o timeout"},
		{DNSTimeout, "dial tcp: lookup HOST on [fd00::a]:53: dial udp [fd00::a]:53: i/o timeout"},
		{DNSTimeout, "dial tcp: lookup HOST: i/o timeout"},
		{DNSTimeout, "dial tcp: lookup HOST on 10.96.0.10:53: read tcp 10.1.2.3:41234->10.96.0.10:53: i/o timeout"},
		{DNSTimeout, "dial tcp: lookup HOST: context deadline exceeded"},
		{DNSNoSuchHost, "dial tcp: lookup HOST on 10.96.0.10:53: no such host"},
		{DNSNoSuchHost, "dial tcp: lookup HOST: Name or service not known"},
		{DNSNoSuchHost, "dial tcp: lookup HOST: getaddrinfow: No such host is known."},
		{DNSServerMisbehaving, "dial tcp: lookup HOST on 127.0.0.53:53: server misbehaving"},
		{DNSServerMisbehaving, "dial tcp: lookup HOST: Temporary failure in name resolution"},
		{DNSServerMisbehaving, "dial tcp: lookup HOST: Try again"},
		{DNSServerMisbehaving, "dial tcp: lookup HOST: device or resource busy"},
		{DNSServerUnreachable, "dial tcp: lookup HOST on [::1]:53: read udp [::1]:50123->[::1]:53: read: connection refused"},
		{DNSServerUnreachable, "dial tcp: lookup HOST on 10.96.0.10:53: dial udp 10.96.0.10:53: connect: network is unreachable"},
		{DNSServerUnreachable, "dial tcp: lookup HOST on 10.96.0.10:53: read udp 10.1.2.3:4000->10.96.0.10:53: read: no route to host"},
		{DNSServerUnreachable, "dial tcp: lookup HOST on 10.96.0.10:53: dial tcp 10.96.0.10:53: connect: connection refused"},
		{ConnectTimeout, "dial tcp 203.0.113.7:443: i/o timeout"},
		{ConnectTimeout, "dial tcp 203.0.113.7:443: connect: connection timed out"},
		{ConnectTimeout, "dial tcp 203.0.113.7:443: connectex: A connection attempt failed because the connected party did not properly respond after a period of time, or established connection failed because connected host has failed to respond."},
		{ConnectRefused, "dial tcp 203.0.113.7:443: connect: connection refused"},
		{ConnectRefused, "dial tcp 127.0.0.1:5000: getsockopt: connection refused"},
		{ConnectRefused, "dial tcp 203.0.113.7:443: connectex: No connection could be made because the target machine actively refused it."},
		{NoRoute, "dial tcp 203.0.113.7:443: connect: no route to host"},
		{NoRoute, "dial tcp [2001:db8::7]:443: connect: network is unreachable"},
		{ConnectionReset, "read tcp 10.1.2.3:55000->203.0.113.7:443: read: connection reset by peer"},
		{ConnectionReset, "EOF"},
		{ConnectionReset, "write tcp 10.1.2.3:55000->203.0.113.7:443: write: broken pipe"},
		{ConnectionReset, "http2: server sent GOAWAY and closed the connection; LastStreamID=1999, ErrCode=NO_ERROR, debug=\"\""},
		{Timeout, "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)"},
		{Timeout, "context deadline exceeded"},
		{Timeout, "net/http: timeout awaiting response headers"},
		{Canceled, "context canceled"},
		{Canceled, "net/http: request canceled while waiting for connection"},
		{Proxy, "proxyconnect tcp: dial tcp 10.9.9.9:3128: connect: connection refused"},
		{Proxy, "proxyconnect tcp: dial tcp: lookup proxy.corp.example on 10.96.0.10:53: no such host"},
		{Proxy, "proxyconnect tcp: tls: first record does not look like a TLS handshake"},
		{Proxy, "proxyconnect tcp: EOF"},
		{Proxy, "Proxy Authentication Required"},
		{Proxy, "Forbidden"},
		{Proxy, "Bad Gateway"},
		{Proxy, "Service Unavailable"},
		{TLSUnknownAuthority, "x509: certificate signed by unknown authority"},
		{TLSUnknownAuthority, "tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of \"crypto/rsa: verification error\" while trying to verify candidate authority certificate \"corp\")"},
		{TLSUnknownAuthority, "x509: “corp” certificate is not trusted"},
		{TLSHostnameMismatch, "x509: certificate is valid for *.other.example, other.example, not HOST"},
		{TLSHostnameMismatch, "x509: cannot validate certificate for 10.0.0.4 because it doesn't contain any IP SANs"},
		{TLSHostnameMismatch, "tls: failed to verify certificate: x509: certificate relies on legacy Common Name field, use SANs instead"},
		{TLSExpired, "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2030-01-01T00:00:00Z is after 2029-12-31T23:59:59Z"},
		{TLSHandshake, "net/http: TLS handshake timeout"},
		{TLSHandshake, "remote error: tls: handshake failure"},
		{TLSHandshake, "tls: first record does not look like a TLS handshake"},
		{TLSHandshake, "remote error: tls: unrecognized name"},
		{TLSHandshake, "tls: oversized record received with length 20527"},
		{HTTPToHTTPSClient, "http: server gave HTTP response to HTTPS client"},
		{HTTPSToHTTPClient, `net/http: HTTP/1.x transport connection broken: malformed HTTP response "\x15\x03\x01\x00\x02\x02\x16"`},
		{HTTPSToHTTPClient, `malformed HTTP response "\x15\x03\x03\x00\x02\x02P"`},
		{UnexpectedEOF, "unexpected EOF"},
	}
}

// wraps are the runtimes' ways of wrapping a request that failed.
func requestWraps() map[string]string {
	const image = "registry.example/team/app:1.2"
	const head = `Head "https://registry.example/v2/team/app/manifests/1.2": `
	return map[string]string{
		"containerd 1.6":  `Failed to pull image "` + image + `": rpc error: code = Unknown desc = failed to pull and unpack image "` + image + `": failed to resolve reference "` + image + `": failed to do request: ` + head + "LEAF",
		"containerd 2.2":  `Failed to pull image "` + image + `": failed to pull and unpack image "` + image + `": failed to resolve image: failed to do request: ` + head + "LEAF",
		"containerd blob": `Failed to pull image "` + image + `": rpc error: code = Unknown desc = failed to pull and unpack image "` + image + `": failed to copy: httpReadSeeker: failed open: failed to do request: Get "https://registry.example/v2/team/app/blobs/sha256:aaaa": LEAF`,
		"containerd auth": `failed to pull and unpack image "` + image + `": failed to resolve reference "` + image + `": failed to authorize: failed to fetch anonymous token: Get "https://registry.example/token?scope=repository%3Ateam%2Fapp%3Apull&service=registry.example": LEAF`,
		"docker":          `Failed to pull image "` + image + `": rpc error: code = Unknown desc = Error response from daemon: Get https://registry.example/v2/: LEAF`,
		"docker blob":     `error pulling image configuration: download failed after attempts=6: Get "https://registry.example/v2/team/app/blobs/sha256:aaaa": LEAF`,
		"cri-o ping":      `Failed to pull image "` + image + `": rpc error: code = Unknown desc = pinging container registry registry.example: Get "https://registry.example/v2/": LEAF`,
		"podman":          "Trying to pull " + image + "...\nError: initializing source docker://" + image + `: pinging container registry registry.example: Get "https://registry.example/v2/": LEAF`,
		"kubeadm":         `[ERROR ImagePull]: failed to pull image ` + image + `: output: Error response from daemon: Get https://registry.example/v2/: LEAF`,
		"cri-tools":       `FATA[0030] pulling image: rpc error: code = Unknown desc = failed to pull and unpack image "` + image + `": failed to resolve reference "` + image + `": failed to do request: ` + head + "LEAF",
		"waiting":         `Back-off pulling image "` + image + `": ErrImagePull: failed to pull and unpack image "` + image + `": failed to resolve image: failed to do request: ` + head + "LEAF",
	}
}

// copies are what happens to a message on its way to whoever reads it.
func copies() map[string]func(string) string {
	return map[string]func(string) string{
		"as it is": func(s string) string { return s },
		"klog": func(s string) string {
			return `E1124 10:00:00.000000    1088 pod_workers.go:1298] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"app\" with ErrImagePull: ` + inner(inner(s)) + `" pod="shop/web-1" podUID="0"`
		},
		"logrus": func(s string) string {
			return `time="2030-01-01T00:00:00Z" level=error msg="PullImage failed" error=` + strconv.Quote(s)
		},
		"json": func(s string) string {
			b, _ := json.Marshal(map[string]string{"message": s})
			return string(b)
		},
		"json in json": func(s string) string {
			b, _ := json.Marshal(map[string]string{"message": s})
			b, _ = json.Marshal(map[string]string{"log": string(b)})
			return string(b)
		},
		"window": func(s string) string { return broken(s, 71) },
		"frame": func(s string) string {
			return "│ " + strings.ReplaceAll(broken(strings.ReplaceAll(s, "\n", " "), 90), "\n", " │\n│ ") + " │"
		},
		"curly": func(s string) string {
			return strings.ReplaceAll(strings.ReplaceAll(s, ` "`, ` “`), `":`, `”:`)
		},
		"shouted": strings.ToUpper,
		"spaced":  func(s string) string { return "\n\n   " + strings.ReplaceAll(s, ": ", ":\n     ") + "\n" },
		"colour":  func(s string) string { return "\x1b[31m" + s + "\x1b[0m" },
	}
}

func inner(s string) string { q := strconv.Quote(s); return q[1 : len(q)-1] }

// broken breaks a text as a terminal does: anywhere.
func broken(s string, width int) string {
	var b strings.Builder
	for i, r := range []rune(strings.ReplaceAll(s, "\n", " ")) {
		if i > 0 && i%width == 0 {
			b.WriteByte('\n')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Whatever wraps an error, and whatever happened to the text on its way, it
// is the same error.
func TestGrammar(t *testing.T) {
	r := NewReader()
	n := 0
	for wrapName, wrap := range requestWraps() {
		for _, l := range requestLeaves() {
			message := strings.ReplaceAll(strings.ReplaceAll(wrap, "LEAF", l.text), "HOST", "registry.example")
			for copyName, copied := range copies() {
				if copyName != "as it is" && wrapName != "containerd 1.6" && wrapName != "docker" {
					continue
				}
				n++
				text := copied(message)
				if copyName == "shouted" && (l.text == "EOF" || l.cause == Proxy) {
					continue // their writing is all that tells them
				}
				c := r.Message(text, Setting{}).Causes[0]
				if c.Cause != l.cause {
					t.Errorf("%s, %s: %s instead of %s\n  %s\n  %s", wrapName, copyName, c.Cause, l.cause, l.text, text)
				}
			}
		}
	}
	if n < 1500 {
		t.Errorf("only %d messages", n)
	}
}
