// Package ref reads the names of images, and the places where images are, as
// people write them. Names come out in full, as Docker and the CRI make them:
// nginx is docker.io/library/nginx:latest.
//
// It is not for looking anything up: it opens no file and asks no registry.
package ref

import (
	// Digests count as valid only where their hash is linked in.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"fmt"
	"strings"
	"unicode"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// MaxLength is the longest name or place that is read, in bytes.
const MaxLength = 4096

// Name is the full name of an image. The zero Name is no name at all; any
// other comes from Parse. Names can be compared with ==.
type Name struct {
	registry string
	path     string
	tag      string
	digest   digest.Digest
	assumed  bool
}

// Error says what is wrong with a name or a place, and what to write instead.
type Error struct {
	What    string // "image name" or "place"
	Input   string // as written
	Problem string
	Write   string // what to write instead; may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s %s: %s", e.What, shorten(e.Input), e.Problem)
	if e.Write != "" {
		s += ": write " + e.Write
	}
	return strings.Map(printable, s)
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}

// shorten quotes s for an error's text. %q escapes whatever is not printable,
// bidirectional controls included.
func shorten(s string) string {
	const most = 200
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

// Parse reads an image name and completes it: the registry docker.io, its
// library/, and the tag latest where there is neither a tag nor a digest.
// Its errors are *Error.
func Parse(s string) (Name, error) {
	if err := refuse(s); err != nil {
		return Name{}, err
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Name{}, explain(s, err)
	}
	n := Name{registry: reference.Domain(named), path: reference.Path(named)}
	if t, ok := named.(reference.Tagged); ok {
		n.tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		n.digest = d.Digest()
	}
	if n.tag == "" && n.digest == "" {
		n.tag, n.assumed = "latest", true
	}
	return n, nil
}

// String returns the full name with its tag, its digest or both.
func (n Name) String() string { return n.suffixed(n.Repository()) }

func (n Name) suffixed(repository string) string {
	if n.tag != "" {
		repository += ":" + n.tag
	}
	if n.digest != "" {
		repository += "@" + n.digest.String()
	}
	return repository
}

// Docker returns the name in skopeo's transport of registries, which refuses a
// tag and a digest together: the digest says which image it is.
func (n Name) Docker() string {
	if n.digest != "" {
		n.tag = ""
	}
	return "docker://" + n.String()
}

// Registry returns the host, and port if there is one: docker.io.
func (n Name) Registry() string { return n.registry }

// Path returns the repository's path in its registry: library/nginx.
func (n Name) Path() string { return n.path }

// Repository returns registry and path: docker.io/library/nginx.
func (n Name) Repository() string {
	if n == (Name{}) {
		return ""
	}
	return n.registry + "/" + n.path
}

// Tag returns the tag; empty where the name has a digest alone.
func (n Name) Tag() string { return n.tag }

// Digest returns the digest; empty where the name has none.
func (n Name) Digest() digest.Digest { return n.digest }

// Assumed says that the tag latest was added, not written.
func (n Name) Assumed() bool { return n.assumed }

// Familiar returns the name as people write it: nginx:1.27. Parsed again it
// is the same name.
func (n Name) Familiar() string {
	path, hub := n.path, n.registry == "docker.io"
	if !hub {
		return n.String()
	}
	if rest, ok := strings.CutPrefix(path, "library/"); ok && !strings.Contains(rest, "/") {
		path = rest
	}
	// docker.io/example.com/x must not turn into example.com/x, whose first
	// part would be read as a registry.
	short := n.suffixed(path)
	if again, err := Parse(short); err != nil || again.String() != n.String() {
		return n.String()
	}
	return short
}

// WithDigest returns the repository at d: docker.io/library/nginx@sha256:….
func (n Name) WithDigest(d digest.Digest) string {
	return n.Repository() + "@" + d.String()
}
