package ref

import (
	"fmt"
	"slices"
	"strings"
)

// Transport is the kind of place that an image is in. All but Registry and
// Archive are skopeo's names, and are written before a colon.
type Transport string

// The transports.
const (
	Registry          Transport = "registry"           // REF or docker://REF
	DockerArchive     Transport = "docker-archive"     // docker-archive:PATH[:REF]
	OCIArchive        Transport = "oci-archive"        // oci-archive:PATH[:NAME]
	OCIDir            Transport = "oci"                // oci:PATH[:NAME]
	DockerDaemon      Transport = "docker-daemon"      // docker-daemon:REF
	ContainersStorage Transport = "containers-storage" // containers-storage:REF
	Archive           Transport = "archive"            // a file or folder whose kind is found by looking inside
)

func (t Transport) file() bool   { return t == DockerArchive || t == OCIArchive || t == OCIDir }
func (t Transport) engine() bool { return t == DockerDaemon || t == ContainersStorage }

// Place is where an image is, or several.
type Place struct {
	Transport Transport
	// Path is the file or folder; empty for registries and engines.
	Path string
	// Name is an image's name inside the place or at it, as written. It is
	// empty where the place as a whole is meant.
	Name string
}

// String writes p so that ParsePlace reads it again.
func (p Place) String() string {
	switch {
	case p.Transport == Archive:
		return p.Path
	case p.Transport == Registry && (transportOf(p.Name) != "" || tarName(p.Name)):
		return "docker://" + p.Name
	case p.Transport == Registry:
		return p.Name
	case p.Transport.engine():
		return string(p.Transport) + ":" + p.Name
	case p.Name == "":
		return string(p.Transport) + ":" + p.Path
	}
	return string(p.Transport) + ":" + p.Path + ":" + p.Name
}

// ParsePlace reads an argument that names images. A transport in front
// decides; else a file that exists, or a name that ends in .tar, .tar.gz or
// .tgz, is an archive; else it is a name in a registry.
//
// exists says whether a path is a file, or a folder that holds an OCI layout;
// nil finds none. Errors are *Error.
func ParsePlace(arg string, exists func(string) bool) (Place, error) {
	if exists == nil {
		exists = func(string) bool { return false }
	}
	if len(arg) > MaxLength {
		return Place{}, misplaced(arg, "", "it is %d bytes long, and at most %d are read", len(arg), MaxLength)
	}
	if rest, ok := strings.CutPrefix(arg, "docker://"); ok {
		return registryPlace(rest)
	}
	if t := transportOf(arg); t != "" {
		return parseTransport(arg, t, exists)
	}
	if arg != "" && (exists(arg) || tarName(arg)) {
		return Place{Transport: Archive, Path: arg}, nil
	}
	if pathLike(arg) {
		return Place{}, misplaced(arg, "", "there is no such file, nor a folder that holds an OCI layout")
	}
	if err := unreadable(arg); err != nil {
		return Place{}, err
	}
	return registryPlace(arg)
}

func registryPlace(name string) (Place, error) {
	if _, err := Parse(name); err != nil {
		return Place{}, err
	}
	return Place{Transport: Registry, Name: name}, nil
}

// transportOf returns the transport that s begins with, if any. docker:24 is
// an image's name, so docker is one only with its slashes.
func transportOf(s string) Transport {
	word, _, ok := strings.Cut(s, ":")
	t := Transport(word)
	if ok && (t.file() || t.engine()) {
		return t
	}
	return ""
}

func parseTransport(arg string, t Transport, exists func(string) bool) (Place, error) {
	rest := arg[len(t)+1:]
	if rest == "" {
		return Place{}, misplaced(arg, form(t), "nothing follows the colon")
	}
	if after, ok := strings.CutPrefix(rest, "//"); ok && t == OCIDir {
		return Place{}, misplaced(arg, "docker://"+after+" for a registry, oci:PATH for a folder", "oci: is a folder on this machine")
	}
	if t.engine() {
		return parseEngine(arg, t, rest)
	}
	// A colon may be part of the file's name: then the file decides.
	path, name, named := rest, "", false
	if !exists(rest) {
		path, name, named = cutPath(rest)
	}
	switch {
	case path == "":
		return Place{}, misplaced(arg, form(t), "the path is missing")
	case named && name == "":
		return Place{}, misplaced(arg, string(t)+":"+path, "it ends with a colon and no image name")
	}
	if t == DockerArchive && named {
		if _, err := Parse(name); err != nil {
			return Place{}, fmt.Errorf("place %s: %w", shorten(arg), err)
		}
	}
	return Place{Transport: t, Path: path, Name: name}, nil
}

func parseEngine(arg string, t Transport, name string) (Place, error) {
	if after, ok := strings.CutPrefix(name, "//"); ok {
		return Place{}, misplaced(arg, string(t)+":"+after, "%s: takes no slashes", t)
	}
	if strings.HasPrefix(name, "[") && t == ContainersStorage {
		_, after, _ := strings.Cut(name, "]")
		return Place{}, misplaced(arg, string(t)+":"+after, "a storage in brackets cannot be chosen here; podman reads its own from storage.conf, or the one that CONTAINERS_STORAGE_CONF names")
	}
	if _, err := Parse(name); err != nil {
		return Place{}, fmt.Errorf("place %s: %w", shorten(arg), err)
	}
	return Place{Transport: t, Name: name}, nil
}

// cutPath cuts PATH:NAME at the first colon that is not a Windows drive's.
func cutPath(s string) (path, name string, named bool) {
	from := 0
	if drive(s) {
		from = 2
	}
	path, name, named = strings.Cut(s[from:], ":")
	return s[:from] + path, name, named
}

func drive(s string) bool {
	return len(s) > 2 && s[1] == ':' && (s[2] == '\\' || s[2] == '/') &&
		('a' <= s[0]|0x20 && s[0]|0x20 <= 'z')
}

func tarName(s string) bool {
	s = strings.ToLower(s)
	return strings.HasSuffix(s, ".tar") || strings.HasSuffix(s, ".tar.gz") || strings.HasSuffix(s, ".tgz")
}

func pathLike(s string) bool {
	for _, p := range []string{"/", "./", "../", "~", `\`, `.\`, `..\`} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return drive(s) || s == "." || s == ".."
}

// unreadable names the transports of skopeo that ferry does not read. Without
// a path after it the word is an image's name: dir:1.0.
func unreadable(arg string) error {
	word, rest, _ := strings.Cut(arg, ":")
	if slices.Contains([]string{"dir", "ostree", "sif", "tarball"}, word) && pathLike(rest) {
		return misplaced(arg, "oci-archive:PATH after skopeo copy "+shorten(arg)+" oci-archive:PATH", "ferry does not read %s: places", word)
	}
	return nil
}

func form(t Transport) string {
	switch t {
	case DockerArchive:
		return "docker-archive:PATH or docker-archive:PATH:NAME:TAG"
	case OCIArchive, OCIDir:
		return string(t) + ":PATH or " + string(t) + ":PATH:NAME"
	}
	return string(t) + ":NAME:TAG"
}

func misplaced(arg, write, format string, args ...any) error {
	return &Error{What: "place", Input: arg, Problem: fmt.Sprintf(format, args...), Write: write}
}
