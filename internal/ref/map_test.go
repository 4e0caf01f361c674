package ref_test

import (
	"errors"
	"strings"
	"testing"

	"ferry/internal/ref"
)

func mustParse(t *testing.T, s string) ref.Name {
	t.Helper()
	n, err := ref.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestMap(t *testing.T) {
	for _, c := range []struct {
		target, name string
		flatten      bool
		want         string
	}{
		{"registry.bank.internal", "nginx:1.27", false, "registry.bank.internal/library/nginx:1.27"},
		{"registry.bank.internal/", "nginx:1.27", false, "registry.bank.internal/library/nginx:1.27"},
		{"registry.bank.internal/mirror/a", "quay.io/x/y:1", false, "registry.bank.internal/mirror/a/x/y:1"},
		{"registry.bank.internal:5000/mirror", "quay.io/x/y@" + someDigest, false, "registry.bank.internal:5000/mirror/x/y@" + someDigest},
		{"registry.bank.internal/mirror", "quay.io/x/y:1@" + someDigest, true, "registry.bank.internal/mirror/x-y:1@" + someDigest},
		{"registry.bank.internal", "registry.k8s.io/a/b-c/d:v1", true, "registry.bank.internal/a-b-c-d:v1"},
		{"localhost/p", "nginx", false, "localhost/p/library/nginx:latest"},
		{"127.0.0.1:5000", "127.0.0.1:4000/team/web:2", false, "127.0.0.1:5000/team/web:2"},
		{"docker.io/bank", "nginx", false, "docker.io/bank/library/nginx:latest"},
		{"docker.io/bank", "nginx", true, "docker.io/bank/library-nginx:latest"},
		{"[::1]:5000/p", "a/b:1", false, "[::1]:5000/p/a/b:1"},
	} {
		m, err := ref.ParseTarget(c.target)
		if err != nil {
			t.Errorf("%s: %v", c.target, err)
			continue
		}
		m.Flatten = c.flatten
		got, err := m.Map(mustParse(t, c.name))
		if err != nil || got.String() != c.want {
			t.Errorf("%s in %s: %s, %v; want %s", c.name, c.target, got, err, c.want)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for s, says := range map[string]string{
		"":                               "host name",
		"registry":                       "host name",
		"mirror/x":                       "host name",
		"https://registry.bank/x/":       "write registry.bank/x",
		"docker.io":                      "docker.io/ACCOUNT",
		"registry.bank.internal/Mirror":  "write registry.bank.internal/mirror",
		"registry.bank.internal/x:1.0":   "write registry.bank.internal/x",
		"registry.bank.internal/x@y":     "not REGISTRY",
		"registry.bank.internal//x":      "not REGISTRY",
		"registry.bank.internal/a b":     "not REGISTRY",
		"registry.bank.internal/../x":    "not REGISTRY",
		strings.Repeat("a.", 3000) + "b": "at most",
	} {
		m, err := ref.ParseTarget(s)
		var e *ref.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, %v; want %q", s, m, err, says)
		}
	}
}

// TestParseTargetKeepsPasswords: what it prints may stand in a build's log.
func TestParseTargetKeepsPasswords(t *testing.T) {
	for _, s := range []string{"alice:secret@registry.bank/x", "https://alice:secret@registry.bank/x", "https://secret@registry.bank"} {
		_, err := ref.ParseTarget(s)
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "podman login registry.bank") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestMapRefusesWhatIsTooLong(t *testing.T) {
	m := ref.Mapping{Registry: "registry.bank.internal", Prefix: strings.Repeat("a", 100)}
	if _, err := m.Map(mustParse(t, "quay.io/"+strings.Repeat("b", 200)+":1")); err == nil || !strings.Contains(err.Error(), "at most 255") {
		t.Errorf("got %v", err)
	}
	if _, err := m.Map(ref.Name{}); err == nil {
		t.Error("the zero name was mapped")
	}
}

func TestCollision(t *testing.T) {
	for _, c := range []struct {
		names   string
		flatten bool
		collide bool
	}{
		{"nginx:1 nginx:2 quay.io/x/y:1", false, false},
		{"quay.io/team/app:1 ghcr.io/team/app:1", false, true},
		{"quay.io/team/app:1 ghcr.io/team/app:2", false, true},
		{"quay.io/a/b-c:1 quay.io/a-b/c:1", false, false},
		{"quay.io/a/b-c:1 quay.io/a-b/c:1", true, true},
		{"quay.io/a/b:1 quay.io/a/b@" + someDigest, true, false},
	} {
		m := ref.Mapping{Registry: "registry.bank.internal", Flatten: c.flatten}
		var names []ref.Name
		for _, s := range strings.Fields(c.names) {
			names = append(names, mustParse(t, s))
		}
		err := m.Collision(names)
		var e *ref.CollisionError
		if errors.As(err, &e) != c.collide || !c.collide && err != nil {
			t.Errorf("%s: %v", c.names, err)
		}
		if c.collide && (!strings.Contains(err.Error(), names[0].String()) || !strings.Contains(err.Error(), names[1].String())) {
			t.Errorf("%v does not name both", err)
		}
	}
}

// FuzzMap: whatever is mapped is a name that parses to itself, lies in the
// target's registry below the prefix, and keeps tag and digest.
func FuzzMap(f *testing.F) {
	f.Add("registry.bank.internal/mirror", "nginx:1.27", true)
	f.Add("[::1]:5000", "quay.io/a/b@"+someDigest, false)
	f.Add("docker.io/x", "docker.io/a--b/c__d:1", true)
	f.Add("localhost", "localhost/x", false)
	f.Fuzz(func(t *testing.T, target, name string, flatten bool) {
		m, err := ref.ParseTarget(target)
		if err != nil {
			return
		}
		if again, err := ref.ParseTarget(m.String()); err != nil || again != m {
			t.Fatalf("%q: %q is read as %v, %v", target, m, again, err)
		}
		n, err := ref.Parse(name)
		if err != nil {
			return
		}
		m.Flatten = flatten
		inside, err := m.Map(n)
		if err != nil {
			return
		}
		if again, err := ref.Parse(inside.String()); err != nil || again.String() != inside.String() || again.Registry() != m.Registry {
			t.Fatalf("%q in %q is %q, which is read as %q, %v", name, target, inside, again, err)
		}
		rest, ok := strings.CutPrefix(inside.Path(), m.Prefix)
		if !ok || m.Prefix != "" && rest[0] != '/' {
			t.Fatalf("%q in %q is %q, which is not below the prefix", name, target, inside)
		}
		if flatten && strings.Contains(strings.Trim(rest, "/"), "/") {
			t.Fatalf("%q in %q is %q, which is not flat", name, target, inside)
		}
		if inside.Tag() != n.Tag() || inside.Digest() != n.Digest() {
			t.Fatalf("%q in %q is %q: another tag or digest", name, target, inside)
		}
	})
}
