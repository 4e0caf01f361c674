package ref_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/ref"
)

const (
	hex64  = "7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa"
	sha    = "sha256:" + hex64
	sha512 = "sha512:" + hex64 + hex64
)

func TestParse(t *testing.T) {
	tests := []struct {
		in, full, familiar string
		assumed            bool
	}{
		{"nginx", "docker.io/library/nginx:latest", "nginx:latest", true},
		{"nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27", false},
		{"nginx:latest", "docker.io/library/nginx:latest", "nginx:latest", false},
		{"docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest", true},
		{"index.docker.io/library/nginx:1", "docker.io/library/nginx:1", "nginx:1", false},
		{"bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest", true},
		{"nginx@" + sha, "docker.io/library/nginx@" + sha, "nginx@" + sha, false},
		{"nginx@" + sha512, "docker.io/library/nginx@" + sha512, "nginx@" + sha512, false},
		{"nginx:1.27@" + sha, "docker.io/library/nginx:1.27@" + sha, "nginx:1.27@" + sha, false},
		{"localhost/app", "localhost/app:latest", "localhost/app:latest", true},
		{"localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1", false},
		{"[::1]:5000/app:1", "[::1]:5000/app:1", "[::1]:5000/app:1", false},
		{"registry.k8s.io/a/b/c:v1", "registry.k8s.io/a/b/c:v1", "registry.k8s.io/a/b/c:v1", false},
		{"REG.example/app:1", "REG.example/app:1", "REG.example/app:1", false},
		{"a__b/c--d/e.f:X_1", "docker.io/a__b/c--d/e.f:X_1", "a__b/c--d/e.f:X_1", false},
		{"localhost:5000", "docker.io/library/localhost:5000", "localhost:5000", false},
		// Shortened, these would name another registry.
		{"docker.io/example.com/x:1", "docker.io/example.com/x:1", "docker.io/example.com/x:1", false},
		{"docker.io/localhost/x:1", "docker.io/localhost/x:1", "docker.io/localhost/x:1", false},
		{"docker.io/library/x/y:1", "docker.io/library/x/y:1", "library/x/y:1", false},
	}
	for _, tt := range tests {
		n, err := ref.Parse(tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if n.String() != tt.full || n.Familiar() != tt.familiar || n.Assumed() != tt.assumed {
			t.Errorf("%s: got %s, %s, %t; want %s, %s, %t", tt.in, n, n.Familiar(), n.Assumed(), tt.full, tt.familiar, tt.assumed)
		}
	}
}

func TestParts(t *testing.T) {
	n, err := ref.Parse("localhost:5000/team/app:1.0@" + sha)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ what, got, want string }{
		{"registry", n.Registry(), "localhost:5000"},
		{"path", n.Path(), "team/app"},
		{"repository", n.Repository(), "localhost:5000/team/app"},
		{"tag", n.Tag(), "1.0"},
		{"digest", n.Digest().String(), sha},
		{"with digest", n.WithDigest(digest.Digest(sha512)), "localhost:5000/team/app@" + sha512},
		{"zero", ref.Name{}.String() + ref.Name{}.Repository() + ref.Name{}.Familiar(), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.what, tt.got, tt.want)
		}
	}
}

func TestParseTeaches(t *testing.T) {
	tests := map[string][]string{
		"":                               {"empty", "nginx:1.27"},
		"  ":                             {"empty"},
		"Nginx:1.0":                      {"lower case", "write nginx:1.0"},
		"ghcr.io/Org/App:V1":             {"lower case", "write ghcr.io/org/app:V1"},
		"https://ghcr.io/a/b:1":          {"do not begin with https://", "write ghcr.io/a/b:1"},
		"http://nginx":                   {"do not begin with http://", "write nginx"},
		"https://hub.docker.com/_/nginx": {"web page", "write nginx"},
		"hub.docker.com/_/nginx/tags":    {"web page", "write nginx"},
		"https://hub.docker.com/r/bitnami/redis/tags?page=1":           {"web page", "write bitnami/redis"},
		"https://quay.io/repository/Prometheus/node-exporter?tab=tags": {"web page", "write quay.io/prometheus/node-exporter"},
		"https://github.com/org/repo/pkgs/container/web":               {"web page", "write ghcr.io/org/web"},
		"https://github.com/orgs/org/packages/container/package/web":   {"web page", "write ghcr.io/org/web"},
		"nginx:":                            {"tag after the colon is empty", "write nginx:TAG"},
		"nginx:@" + sha:                     {"tag after the colon is empty"},
		"nginx@":                            {"digest after the @ is empty"},
		"nginx@sha256:abc":                  {"3 characters", "64"},
		"nginx@sha256:" + hex64[1:] + "g":   {"digest"},
		"nginx@md5:" + hex64:                {"digest"},
		"nginx 1.27":                        {"white space in it"},
		" nginx":                            {"white space around it", "write nginx"},
		"nginx\n":                           {"white space around it", "write nginx"},
		"a//b":                              {"part of its path is empty"},
		"ghcr.io/":                          {"part of its path is empty"},
		"team/_app:1":                       {`"_app"`, "begins or ends", "write app there"},
		"team/app-:1":                       {`"app-"`, "begins or ends"},
		"team/-/x":                          {"no letter or digit"},
		"a..b":                              {`".."`, "between letters"},
		"a___b":                             {`"___"`},
		"a!b":                               {"repository names have no '!'"},
		"nginx:1+2":                         {"no '+'", "write nginx:1_2"},
		"nginx:-1":                          {"do not begin with '-'"},
		"nginx:a:b":                         {"two tags"},
		"nginx:" + strings.Repeat("a", 129): {"129 characters", "128"},
		strings.Repeat("a", 250):            {"too long", "255"},
		strings.Repeat("a", 5000):           {"5000 bytes", "4096"},
		hex64:                               {"image ID"},
		sha:                                 {"without a repository", "write REPOSITORY@sha256:"},
		"host:port/app":                     {`"host:port"`, "not a registry's host and port"},
		"<none>:<none>":                     {"no name here", "podman tag"},
		"${REGISTRY}/app":                   {"nobody filled in"},
		"ghcr.io\\a\\b":                     {"backslashes", "write ghcr.io/a/b"},
		"ngіnx":                             {"'і'"},
		"nginx\x1b[31m":                     {`\x1b`},
		"./nginx":                           {"file's path"},
		"/nginx":                            {"file's path"},
		":1.0":                              {"repository is missing"},
		"@" + sha:                           {"repository is missing"},
	}
	for in, wants := range tests {
		_, err := ref.Parse(in)
		var e *ref.Error
		if !errors.As(err, &e) {
			t.Errorf("%q: got %v, want a *ref.Error", in, err)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %q does not say %q", in, err, want)
			}
		}
		if len(err.Error()) > 2*ref.MaxLength || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%q: the error is not fit for a terminal: %q", in, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"nginx", "docker.io/localhost/x:1", "[::1]:5000/a:1@" + sha, "A/b", hex64, sha, "http://x", "a\u202eb", "index.docker.io/a", "docker.io/library/" + hex64, "x:1@" + sha512} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ref.Parse(s)
		if err != nil {
			if n != (ref.Name{}) {
				t.Fatalf("%q: a name beside an error", s)
			}
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
				t.Fatalf("%q: the error has control characters: %q", s, err)
			}
			return
		}
		for _, again := range []string{n.String(), n.Familiar()} {
			m, err := ref.Parse(again)
			if err != nil {
				t.Fatalf("%q gives %q: %v", s, again, err)
			}
			if m.String() != n.String() {
				t.Fatalf("%q is %s, but %q is %s", s, n, again, m)
			}
		}
	})
}

func TestDocker(t *testing.T) {
	const d = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for s, want := range map[string]string{
		"nginx":           "docker://docker.io/library/nginx:latest",
		"r.bank:5000/a:1": "docker://r.bank:5000/a:1",
		"a" + d:           "docker://docker.io/library/a" + d,
		"r.bank/a:1" + d:  "docker://r.bank/a" + d,
	} {
		n, err := ref.Parse(s)
		if err != nil || n.Docker() != want {
			t.Errorf("%s: got %s, %v", s, n.Docker(), err)
		}
	}
}
