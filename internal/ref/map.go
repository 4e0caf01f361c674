package ref

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// Mapping says what images from outside are called inside: in one registry,
// below a prefix. The outside registry's own name is dropped, the path is kept:
//
//	docker.io/library/nginx:1.27 → registry.bank.internal/mirror/library/nginx:1.27
//
// With Flatten, for registries that allow few levels, the path becomes one
// level by writing - for each /:
//
//	docker.io/library/nginx:1.27 → registry.bank.internal/mirror/library-nginx:1.27
//
// Tags and digests stay. Neither form can be undone by itself: two names can
// meet in one (see Collision), so a list of names is checked before it is used.
type Mapping struct {
	Registry string // host and port
	Prefix   string // path, without slashes at its ends; may be empty
	Flatten  bool
}

// maxRepository is the longest repository path that registries agree on
// (distribution spec: 255 with the registry's name).
const maxRepository = 255

// ParseTarget reads REGISTRY[/PREFIX]. Its errors are *Error.
func ParseTarget(s string) (Mapping, error) {
	wrong := func(write, problem string) (Mapping, error) {
		return Mapping{}, &Error{What: "target", Input: s, Problem: problem, Write: write}
	}
	if len(s) > MaxLength {
		return wrong("", fmt.Sprintf("it is %d bytes long, and at most %d are read", len(s), MaxLength))
	}
	scheme, rest, schemed := strings.Cut(s, "://")
	if !schemed {
		rest = s
	}
	trimmed := strings.TrimRight(rest, "/")
	host, prefix, _ := strings.Cut(trimmed, "/")
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		s = trimmed[at+1:] // what stands before may be a password
		return wrong("", "a login is no part of it: podman login "+host[at+1:]+", or --authfile")
	}
	if schemed {
		return wrong(trimmed, "a registry is named without "+scheme+"://")
	}
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return wrong("", "it does not begin with a registry's host name, which has a dot or a port, as in registry.bank.internal/mirror")
	}
	n, err := Parse(trimmed + "/x")
	if lower := strings.ToLower(prefix); err != nil && lower != prefix {
		return wrong(host+"/"+lower, "the path in a registry has no capital letters")
	}
	if path, _, tagged := strings.Cut(prefix, ":"); err != nil && tagged && !strings.Contains(path, "@") {
		return wrong(host+"/"+path, "each image keeps its own tag")
	}
	if err != nil {
		return wrong("", "it is not REGISTRY[/PREFIX], as in registry.bank.internal/mirror")
	}
	if n.Registry() == "docker.io" && prefix == "" {
		return wrong("docker.io/ACCOUNT", "Docker Hub wants an account")
	}
	path := strings.TrimSuffix(strings.TrimSuffix(n.Path(), "x"), "/")
	if path != prefix {
		return wrong("", "it is not REGISTRY[/PREFIX], as in registry.bank.internal/mirror")
	}
	return Mapping{Registry: n.Registry(), Prefix: path}, nil
}

// String writes m as ParseTarget reads it.
func (m Mapping) String() string { return m.under("") }

func (m Mapping) under(path string) string {
	return strings.TrimRight(strings.Trim(m.Registry+"/"+m.Prefix, "/")+"/"+path, "/")
}

// Map returns what n is called inside. Its errors are *Error.
func (m Mapping) Map(n Name) (Name, error) {
	path := n.path
	if m.Flatten {
		path = strings.ReplaceAll(path, "/", "-")
	}
	full := m.under(path)
	fail := func(problem string) (Name, error) {
		return Name{}, &Error{What: "image name", Input: n.String(), Problem: "inside it would be " + shorten(full) + ": " + problem}
	}
	if n == (Name{}) {
		return fail("there is no name to map")
	}
	if len(full) > maxRepository {
		return fail(fmt.Sprintf("that is %d bytes long, and registries take at most %d", len(full), maxRepository))
	}
	named, err := reference.ParseNormalizedNamed(full)
	if err != nil || reference.Domain(named) != m.Registry || !strings.HasSuffix(full, "/"+reference.Path(named)) {
		return fail("that is not a repository's name")
	}
	inside := n
	inside.registry, inside.path, inside.assumed = m.Registry, reference.Path(named), false
	return inside, nil
}

// CollisionError says that two images from different repositories would be in
// one repository inside.
type CollisionError struct {
	A, B   Name
	Inside string // the repository
}

func (e *CollisionError) Error() string {
	return fmt.Sprintf("%s and %s would both be in %s", e.A, e.B, e.Inside)
}

// Collision returns a *CollisionError where two of names come from different
// repositories and m gives them the same one: whoever pulled one could get the
// other. It refuses more than tags that meet, since tags come later too.
func (m Mapping) Collision(names []Name) error {
	first := map[string]Name{}
	for _, n := range names {
		inside, err := m.Map(n)
		if err != nil {
			return err
		}
		if other, ok := first[inside.Repository()]; ok && other.Repository() != n.Repository() {
			return &CollisionError{A: other, B: n, Inside: inside.Repository()}
		}
		first[inside.Repository()] = n
	}
	return nil
}
