package quote_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ferry/internal/quote"
)

func TestTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain: [a]/b\\c": "plain: [a]/b\\c",
		"grüße 日本語 עברית 👩\u200d🚀": "grüße 日本語 עברית 👩\u200d🚀",
		"\x1b[31mred\x1b[0m":       `\x1b[31mred\x1b[0m`,
		"a\nb\tc\rd\x00\x7f":       `a\nb\tc\rd\x00\x7f`,
		"\u0085\u009b31m":          `\u0085\u009b31m`,
		"x\u202exe.nimda\u2066":    `x\u202exe.nimda\u2066`,
		"\u200e\u200f\u061c":       `\u200e\u200f\u061c`,
		"\u2028\u2029":             `\u2028\u2029`,
		"\xff\xc3(":                `\xff\xc3(`,
		"\U000e0041":               `\U000e0041`,
		"�":                        "�",
	} {
		if got := quote.Terminal(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestBlock(t *testing.T) {
	if got, want := quote.Block("a\r\n\tb\rc\x1b"), "a\n\tb\\rc\\x1b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzTerminal(f *testing.F) {
	for _, s := range []string{"a\x1b[0m", "\u202e\xff", "\u2028", "日\u0085"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const bidi = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2028\u2029"
		out := quote.Terminal(s)
		if !utf8.ValidString(out) || strings.ContainsAny(out, bidi) {
			t.Fatalf("%q gives %q", s, out)
		}
		for _, r := range out {
			if r < ' ' || (r >= 0x7f && r <= 0x9f) {
				t.Fatalf("%q gives %q", s, out)
			}
		}
		if quote.Terminal(out) != out {
			t.Fatalf("%q: not stable", s)
		}
	})
}

func TestShellReads(t *testing.T) {
	for want, argv := range map[string][]string{
		"podman save -o a.tar docker.io/library/nginx:1.27@sha256:ab": {"podman", "save", "-o", "a.tar", "docker.io/library/nginx:1.27@sha256:ab"},
		"echo '' 'a b' '$(id)' '~' '*'":                               {"echo", "", "a b", "$(id)", "~", "*"},
		`'A=1' B=2 'it'\''s'`:                                         {"A=1", "B=2", "it's"},
		"'if' if":                                                     {"if", "if"},
		`echo "$(printf '\033[31m')"`:                                 {"echo", "\x1b[31m"},
	} {
		if got := quote.Shell(argv...); got != want {
			t.Errorf("%q: got %s, want %s", argv, got, want)
		}
	}
}

// echoed runs a shell that prints the words of line, NUL after each.
func echoed(t *testing.T, line string) []string {
	t.Helper()
	cmd := exec.Command("sh", "-c", `printf '%s\0' `+line)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sh refuses %s: %v", line, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func FuzzShell(f *testing.F) {
	if _, err := exec.LookPath("sh"); err != nil {
		f.Skip("no POSIX shell here to compare with")
	}
	f.Add("a b", "it's")
	f.Add("$(id)`id`\\", "!x;&|<>")
	f.Add("-n\x1b%s%%", "\n\n")
	f.Add("a\nb\n", "\xff\u202e!'\\%")
	f.Add("\r\x01\x02", "-")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a+b, "\x00") {
			t.Skip("no argument can hold NUL")
		}
		argv := []string{"x", a, b}
		line := quote.Shell(argv...)
		if got := echoed(t, line); !slices.Equal(got, argv) {
			t.Fatalf("%q: sh reads %q from %s", argv, got, line)
		}
		if i := strings.IndexFunc(line, quote.Unsafe); i >= 0 && line[i] != '\n' {
			t.Fatalf("%q: the line is not safe to paste: %q", argv, line)
		}
	})
}

func TestSecrets(t *testing.T) {
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
	for in, want := range map[string]string{
		"https://anna:hunter2@reg.example/v2/":                         "https://anna:REDACTED@reg.example/v2/",
		"https://anna:hun/ter2@reg.example/v2/":                        "https://anna:REDACTED@reg.example/v2/",
		"https://t0ken@reg.example/v2/":                                "https://REDACTED@reg.example/v2/",
		"ssh://root@node1":                                             "ssh://root@node1",
		"https://r.example:5000/v2/a@sha256:ab":                        "https://r.example:5000/v2/a@sha256:ab",
		"https://h/b?X-Amz-Signature=abc&X-Amz-Expires=60":             "https://h/b?X-Amz-Signature=REDACTED&X-Amz-Expires=60",
		"https://h/b?X-Amz-Credential=AKIA%2F1&X-Amz-Security-Token=s": "https://h/b?X-Amz-Credential=REDACTED&X-Amz-Security-Token=REDACTED",
		"https://h/b?AWSAccessKeyId=a&Signature=b&Expires=1":           "https://h/b?AWSAccessKeyId=REDACTED&Signature=REDACTED&Expires=1",
		"https://h/b?X-Goog-Signature=a&sv=1&sig=b%2B&se=2":            "https://h/b?X-Goog-Signature=REDACTED&sv=1&sig=REDACTED&se=2",
		"https://h/t?code=abc&state=1&scope=repository:a:pull":         "https://h/t?code=REDACTED&state=1&scope=repository:a:pull",
		`{"u":"https://h/?a=1\u0026token=abc"}`:                        `{"u":"https://h/?a=1\u0026token=REDACTED"}`,
		"grant_type=x&refresh_token=abc&service=r":                     "grant_type=x&refresh_token=REDACTED&service=r",
		"login failed for password=hunter2, user=anna":                 "login failed for password=REDACTED, user=anna",
		`password="hunter 2" user=anna`:                                `password=REDACTED user=anna`,
		"Authorization: Basic YW5uYTpodW50ZXIy":                        "Authorization: Basic REDACTED",
		"authorization: bearer abc.def next":                           "authorization: bearer REDACTED next",
		"map[Authorization:[Bearer abc] Accept:[*/*]]":                 "map[Authorization:[Bearer REDACTED] Accept:[*/*]]",
		`Authorization: Digest username="a", response="b"`:             "Authorization: Digest REDACTED",
		"Authorization: 0123456789abcdefghij":                          "Authorization: REDACTED",
		"Set-Cookie: session=abc; Path=/":                              "Set-Cookie: REDACTED",
		"got " + jwt + " back":                                         "got REDACTED back",
		"curl -H 'Bearer 0123456789abcdef'":                            "curl -H 'Bearer REDACTED'",
		"pushing as ghp_0123456789abcdefghij01":                        "pushing as REDACTED",
		`{"token":"a\"b","expires_in":300}`:                            `{"token":"REDACTED","expires_in":300}`,
		`{"auths":{"r":{"auth":"YTpi","identitytoken":"x"}}}`:          `{"auths":{"r":{"auth":"REDACTED","identitytoken":"REDACTED"}}}`,
		`msg="{\"password\":\"hunter2\"}"`:                             `msg="{\"password\":\"REDACTED\"}"`,
		// What people need to read stays.
		`Www-Authenticate: Bearer realm="https://auth.docker.io/token",service="r"`: `Www-Authenticate: Bearer realm="https://auth.docker.io/token",service="r"`,
		"may require authorization: server message: insufficient_scope":             "may require authorization: server message: insufficient_scope",
		"no basic auth credentials; exit code=1":                                    "no basic auth credentials; exit code=1",
		"nginx:1.27@sha256:abc":                                                     "nginx:1.27@sha256:abc",
	} {
		if got := quote.Secrets(in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func FuzzSecrets(f *testing.F) {
	f.Add("https://a:b@c/?token=d", "hunter2hunter2hunter2")
	f.Add("Authorization: Bearer ", "0a0a0a0a0a0a0a0a")
	f.Fuzz(func(t *testing.T, noise, secret string) {
		if len(secret) < 16 || strings.Trim(secret, "0123456789abcdef") != "" || strings.Contains(noise, secret) {
			return // not a secret that can be told from the text around it
		}
		for _, form := range []string{
			"https://anna:%@reg.example/", "https://h/b?X-Amz-Signature=%&a=b", "Authorization: Bearer %", `{"token":"%"}`,
		} {
			s := noise + "\n" + strings.ReplaceAll(form, "%", secret) + "\n" + noise
			if out := quote.Secrets(s); strings.Contains(out, secret) {
				t.Fatalf("%q: the secret is still there: %q", s, out)
			}
		}
	})
}

// Eight times the text may take eight times as long; a pattern that looks ahead
// from every place would take 64 times.
func TestSecretsIsLinear(t *testing.T) {
	took := func(size int) time.Duration {
		start := time.Now()
		for _, s := range []string{"a://", "a://b:c@", "?token=", `"token":"`, "eyJ", "Authorization: ", "Bearer ", `\\"`, "token=\"", "a", ":", "@"} {
			quote.Secrets(strings.Repeat(s, size/len(s)))
		}
		return time.Since(start)
	}
	// The machine may be busy with something else for a moment.
	for range 3 {
		if took(16<<10) < 32*took(2<<10) {
			return
		}
	}
	t.Fatal("the time grows faster than the text")
}
