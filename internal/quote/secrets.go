package quote

import (
	"slices"
	"strings"

	"ferry/internal/pattern"
)

// Redacted stands where a secret was.
const Redacted = "REDACTED"

// Names of values that are secret wherever they stand, and of those that are
// so only in a URL's query, because elsewhere they are everyday words.
const (
	secretNames = `access_token|refresh_token|id_token|identity_?token|registry_?token|auth_?token|session_?token|token|` +
		`password|passwd|passphrase|client_secret|secret_?key|secret_?access_?key|api_?key|private_?key|assertion|` +
		`x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|x-goog-credential|awsaccesskeyid|` +
		`googleaccessid`
	queryNames = secretNames + `|sig|signature|key-pair-id|policy|secret|code|key|auth|skoid|sktid`
	jsonNames  = secretNames + `|auth`
)

var (
	userinfo = pattern.New(`([A-Za-z][A-Za-z0-9+.-]*://[^\s/?#:@"'<>]*):[^\s/?#"'<>]*@`)
	// People forget to escape a slash in a password.
	slashed = pattern.New(`([A-Za-z][A-Za-z0-9+.-]*://[^\s/?#:@"'<>]*):([^\s"'<>@]*)@`)
	ported  = pattern.New(`^[0-9]+([/?#]|$)`)
	// A user alone, to a web server, is a token.
	lone = pattern.New(`((?i:https?)://)[^\s/?#:@"'<>]+@`)

	query = pattern.New(`(?i)([?&;]|\\u0026)((?:` + queryNames + `)=)[^&\s"'<>#\\]+`)
	pair  = pattern.New(`(?i)(^|[\s"'({,\[])((?:` + secretNames + `)=)(?:"(?:[^"\\\r\n]|\\.)*"?|'[^'\r\n]*'?|[^&\s"'<>#,;)}\]]+)`)
	field = pattern.New(`(?i)("(?:` + jsonNames + `)"\s*:\s*")(?:[^"\\\r\n]|\\.)*`)
	inner = pattern.New(`(?i)(\\+"(?:` + jsonNames + `)\\+"\s*:\s*\\+")[^"\\\r\n]*`)

	header = pattern.New(`(?i)(authorization["'\\]*\s*[:=]\s*["'\\\[]*(?:basic|bearer|token|negotiate)\s+)[^\s"'\\\],]+`)
	schema = pattern.New(`(?i)(authorization["'\\]*\s*[:=]\s*["'\\\[]*(?:digest|aws4-hmac-sha256|ntlm)\s+)[^\r\n\]]+`)
	opaque = pattern.New(`(?i)(authorization["'\\]*\s*[:=]\s*["'\\\[]*)([A-Za-z0-9._~+/=-]{20,})`)
	cookie = pattern.New(`(?im)((?:^|\s|\[)(?:set-)?cookie:\s*|x-registry-auth["'\\]*:\s*|x-auth-token["'\\]*:\s*)[^\r\n]+`)
	bare   = pattern.New(`(?i)(\b(?:bearer|basic)\s+)([A-Za-z0-9._~+/=-]{16,})`)

	known = pattern.New(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*|eyJ[A-Za-z0-9_+/=-]{30,}|` +
		`\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bdckr_[po]at_[\w-]{16,}`)
)

// Secrets returns s without the secrets that are known by their shape:
// passwords in URLs, signatures and tokens in queries, Authorization headers,
// tokens in JSON, JSON web tokens. The rest stays readable. It takes time in
// proportion to the length of s.
func Secrets(s string) string {
	low := strings.ToLower(s)
	has := func(signs ...string) bool {
		return slices.ContainsFunc(signs, func(sign string) bool { return strings.Contains(low, sign) })
	}
	if has("://") && has("@") {
		s = inURLs(s)
	}
	if has("=") {
		s = query.ReplaceAllString(s, "${1}${2}"+Redacted)
		s = pair.ReplaceAllString(s, "${1}${2}"+Redacted)
	}
	if has(`"`) {
		s = field.ReplaceAllString(s, "${1}"+Redacted)
		s = inner.ReplaceAllString(s, "${1}"+Redacted)
	}
	if has("authorization", "cookie", "x-registry-auth", "x-auth-token", "bearer", "basic") {
		s = inHeaders(s)
	}
	return known.ReplaceAllString(s, Redacted)
}

// inURLs takes passwords out of URLs.
func inURLs(s string) string {
	s = userinfo.ReplaceAllString(s, "${1}:"+Redacted+"@")
	s = replace(slashed, s, func(before, value string) string {
		if ported.MatchString(value) {
			return before + ":" + value + "@"
		}
		return before + ":" + Redacted + "@"
	})
	return lone.ReplaceAllString(s, "${1}"+Redacted+"@")
}

// inHeaders takes logins out of headers.
func inHeaders(s string) string {
	for _, re := range []*pattern.Pattern{header, schema, cookie} {
		s = re.ReplaceAllString(s, "${1}"+Redacted)
	}
	for _, re := range []*pattern.Pattern{opaque, bare} {
		s = replace(re, s, func(before, value string) string {
			if strings.ContainsAny(value, "0123456789=") {
				return before + Redacted
			}
			return before + value
		})
	}
	return s
}

// replace hands the two groups of each match to with.
func replace(re *pattern.Pattern, s string, with func(before, value string) string) string {
	var b strings.Builder
	end := 0
	for _, m := range re.FindAllStringSubmatchIndex(s, -1) {
		b.WriteString(s[end:m[0]])
		b.WriteString(with(s[m[2]:m[3]], s[m[4]:m[5]]))
		end = m[1]
	}
	b.WriteString(s[end:])
	return b.String()
}
