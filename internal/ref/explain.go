package ref

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"ferry/internal/pattern"
)

const example = "[REGISTRY/]REPOSITORY[:TAG][@DIGEST], as in nginx:1.27"

func identifier(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

func problem(s, write, format string, args ...any) error {
	return &Error{What: "image name", Input: s, Problem: fmt.Sprintf(format, args...), Write: write}
}

// refuse finds what Docker's parser would either misread or never explain.
func refuse(s string) error {
	switch {
	case strings.TrimSpace(s) == "":
		return problem(s, example, "it is empty")
	case len(s) > MaxLength:
		return problem(s, "", "it is %d bytes long, and at most %d are read", len(s), MaxLength)
	case identifier(s):
		return problem(s, "the name that the image has, as in nginx:1.27", "it is an image ID, and an ID names an image on one machine only")
	}
	if d, err := digest.Parse(s); err == nil {
		return problem(s, "REPOSITORY@"+d.String(), "it is a digest without a repository")
	}
	if err := refuseCharacters(s); err != nil {
		return err
	}
	scheme, rest, isURL := strings.Cut(s, "://")
	if !isURL {
		rest = s
	}
	if name := ofPage(rest, isURL); name != "" {
		return problem(s, name, "it is the address of a web page")
	}
	if isURL {
		return problem(s, strings.TrimSuffix(rest, "/"), "image names do not begin with %s://", scheme)
	}
	return nil
}

// page is where a registry shows an image to people.
type page struct {
	site string // what its address begins with
	rest *pattern.Pattern
	// registry begins the names of such images, and the parts of rest follow.
	registry string
	// also says that the site is a registry too, so that only a whole URL is
	// sure to be a page.
	also bool
}

var pages = []page{ //nolint:gochecknoglobals // a table
	{site: "hub.docker.com/", rest: pattern.New(`^(?:_|r/library)/([^/?#]+)`)},
	{site: "hub.docker.com/", rest: pattern.New(`^r/([^/?#]+)/([^/?#]+)`)},
	{site: "quay.io/", rest: pattern.New(`^repository/([^/?#]+)/([^/?#]+)`), registry: "quay.io/", also: true},
	{site: "github.com/", rest: pattern.New(`^([^/?#]+)/[^/?#]+/pkgs/container/([^/?#]+)`), registry: "ghcr.io/"},
	{site: "github.com/", rest: pattern.New(`^orgs/([^/?#]+)/packages/container/(?:package/)?([^/?#]+)`), registry: "ghcr.io/"},
}

// ofPage is the name of the image that a web page is about; "" for what is no
// such page.
func ofPage(address string, isURL bool) string {
	for _, p := range pages {
		rest, ok := strings.CutPrefix(address, p.site)
		if !ok || p.also && !isURL {
			continue
		}
		if m := p.rest.FindStringSubmatch(rest); m != nil {
			return p.registry + strings.ToLower(strings.Join(m[1:], "/"))
		}
	}
	return ""
}

func refuseCharacters(s string) error {
	if trimmed := strings.TrimSpace(s); trimmed != s {
		return problem(s, trimmed, "there is white space around it")
	}
	if strings.Contains(s, "<none>") {
		return problem(s, "", "the image has no name here; give it one with podman tag or docker tag")
	}
	if strings.ContainsAny(s, "{}$") {
		return problem(s, "the name itself", "it holds a variable or a template that nobody filled in")
	}
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			return problem(s, "each name as an argument of its own", "there is white space in it")
		case r == '\\':
			return problem(s, strings.ReplaceAll(s, `\`, "/"), "image names have no backslashes")
		case r > unicode.MaxASCII || unicode.IsControl(r):
			return problem(s, example, "it holds %q, and image names are made of a-z, 0-9, '.', '_', '-' and '/'", r)
		}
	}
	return nil
}

// explain turns the parser's refusal of s into what is wrong with it.
func explain(s string, cause error) error {
	if errors.Is(cause, reference.ErrNameTooLong) {
		return problem(s, "", "its repository is too long: at most %d characters are allowed", reference.RepositoryNameTotalLengthMax)
	}
	rest, dig, hasDigest := strings.Cut(s, "@")
	repository, tag, hasTag := cutTag(rest)
	if hasDigest {
		if err := explainDigest(s, repository, dig); err != nil {
			return err
		}
	}
	if hasTag {
		if err := explainTag(s, repository, tag); err != nil {
			return err
		}
	}
	if err := explainRepository(s, repository); err != nil {
		return err
	}
	return problem(s, example, "it is not an image name (%v)", cause)
}

// cutTag cuts at the colon after the last slash; one before it is a port's.
func cutTag(s string) (repository, tag string, ok bool) {
	slash := strings.LastIndexByte(s, '/')
	colon := strings.IndexByte(s[slash+1:], ':')
	if colon < 0 {
		return s, "", false
	}
	return s[:slash+1+colon], s[slash+1+colon+1:], true
}

func explainDigest(s, repository, dig string) error {
	if dig == "" {
		return problem(s, repository+"@sha256:…, or leave the @ out", "the digest after the @ is empty")
	}
	if _, err := digest.Parse(dig); err == nil {
		return nil
	}
	if hex, ok := strings.CutPrefix(dig, "sha256:"); ok && len(hex) != 64 {
		return problem(s, "the whole digest", "its digest has %d characters after sha256: instead of 64", len(hex))
	}
	return problem(s, repository+"@sha256:… with 64 characters of 0-9 and a-f", "its digest is not one")
}

func explainTag(s, repository, tag string) error {
	switch {
	case tag == "":
		return problem(s, repository+":TAG, or leave the colon out", "the tag after the colon is empty")
	case len(tag) > 128:
		return problem(s, "", "its tag is %d characters long, and tags have at most 128", len(tag))
	case strings.Contains(tag, ":"):
		return problem(s, repository+":TAG", "it has two tags")
	case tag[0] == '.' || tag[0] == '-':
		return problem(s, repository+":TAG", "tags do not begin with %q", tag[0])
	}
	if i := strings.IndexFunc(tag, notInTag); i >= 0 {
		return problem(s, repository+":"+strings.Map(underscored, tag), "tags have no %q; usually _ stands in its place", tag[i])
	}
	return nil
}

func notInTag(r rune) bool {
	return r != '_' && r != '.' && r != '-' && !('0' <= r && r <= '9') && !('a' <= r && r <= 'z') && !('A' <= r && r <= 'Z')
}

func underscored(r rune) rune {
	if notInTag(r) {
		return '_'
	}
	return r
}

func explainRepository(s, repository string) error {
	registry, path := cutRegistry(repository)
	switch {
	case strings.HasPrefix(repository, "/") || strings.HasPrefix(repository, "./") || strings.HasPrefix(repository, "../"):
		return problem(s, example, "it looks like a file's path, not like an image name")
	case repository == "":
		return problem(s, example, "the repository is missing")
	case path == "" || strings.HasSuffix(path, "/") || strings.Contains(path, "//"):
		return problem(s, example, "a part of its path is empty")
	case strings.ToLower(path) != path:
		lower := strings.Replace(s, repository, repository[:len(repository)-len(path)]+strings.ToLower(path), 1)
		return problem(s, lower, "repository names are lower case")
	}
	for part := range strings.SplitSeq(path, "/") {
		if err := explainPart(s, part); err != nil {
			return err
		}
	}
	if registry != "" {
		return problem(s, "HOST or HOST:PORT, as in registry.example:5000", "%q is not a registry's host and port", registry)
	}
	return nil
}

var separators = regexp.MustCompile(`\.\.|\._|_\.|___|-[._]|[._]-`)

func explainPart(s, part string) error {
	trimmed := strings.Trim(part, "._-")
	switch {
	case trimmed == "":
		return problem(s, example, "the part %q of its path has no letter or digit", part)
	case trimmed != part:
		return problem(s, trimmed+" there", "the part %q of its path begins or ends with '.', '_' or '-'", part)
	}
	if i := strings.IndexFunc(part, notInTag); i >= 0 {
		return problem(s, example, "repository names have no %q", part[i])
	}
	if sep := separators.FindString(part); sep != "" {
		return problem(s, "one '.', one or two '_', or dashes alone", "the part %q of its path has %q between letters", part, sep)
	}
	return nil
}

// cutRegistry cuts as Docker does: the first part is a host if it has a dot, a
// colon or an upper case letter, or is localhost.
func cutRegistry(repository string) (registry, path string) {
	first, rest, ok := strings.Cut(repository, "/")
	if ok && (first == "localhost" || strings.ContainsAny(first, ".:[") || strings.ToLower(first) != first) {
		return first, rest
	}
	return "", repository
}
