package credential

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// Expires tells until when a login is good, where it says so itself: a JSON
// Web Token in its claim exp (RFC 7519), a token of Amazon ECR in its payload.
// Nothing is verified; a date is not a secret.
func (l Login) Expires() (time.Time, bool) {
	for _, token := range []string{l.RegistryToken, l.IdentityToken, l.Password} {
		if end, ok := expiry(token); ok {
			return end, true
		}
	}
	return time.Time{}, false
}

func expiry(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	switch len(parts) {
	case 3:
		return seconds(parts[1], "exp")
	case 1:
		return seconds(token, "expiration")
	}
	return time.Time{}, false
}

// seconds reads a time in seconds since 1970 from an object in base64.
func seconds(encoded, field string) (time.Time, bool) {
	encoded = strings.TrimRight(encoded, "=")
	b, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		b, err = base64.RawStdEncoding.DecodeString(encoded)
	}
	if err != nil {
		return time.Time{}, false
	}
	var claims map[string]json.RawMessage
	var at float64
	if json.Unmarshal(b, &claims) != nil || json.Unmarshal(claims[field], &at) != nil {
		return time.Time{}, false
	}
	const year9999 = 253402300800
	if at <= 0 || at > year9999 {
		return time.Time{}, false
	}
	return time.Unix(int64(at), 0), true
}
