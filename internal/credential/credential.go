// Package credential reads the files in which people keep logins to
// registries, and picks the one that is for an image: podman's auth.json,
// Docker's config.json, and Kubernetes pull secrets in both of their forms.
//
// It is not for asking credential helpers, nor for opening the files.
package credential

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"ferry/internal/ref"
)

// MaxSize is the largest credential file that is read, in bytes.
const MaxSize = 1 << 20

const redacted = "REDACTED"

// Login is what proves to a registry who asks. It never prints itself.
type Login struct {
	Username      string
	Password      string
	IdentityToken string // an OAuth 2 refresh token
	RegistryToken string // a bearer token, sent as it is
}

// String tells only whether there is something.
func (l Login) String() string {
	if l == (Login{}) {
		return "no login"
	}
	return redacted
}

// GoString is String: %#v shows no secret either.
func (l Login) GoString() string { return l.String() }

// LogValue is String for logs.
func (l Login) LogValue() slog.Value { return slog.StringValue(l.String()) }

// MarshalText is String for JSON.
func (l Login) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Match is the login for an image, or how to get it.
type Match struct {
	// Key is the entry that matched, as written; where a helper is to be
	// asked, it is the name to ask for.
	Key   string
	Login Login
	// Helper is set where the login is to be had from the program
	// docker-credential-<Helper>. It may well know of none.
	Helper string
	// Err says that the entry that matched cannot be read. It is no reason
	// to try another: a wider login is not what its owner meant.
	Err error
}

// File is a parsed credential file.
type File struct {
	entries []entry // sorted by key
	helpers map[string]string
	store   string
}

type entry struct {
	key   string // as written
	at    string // host[/path], with Docker Hub's names made one
	login Login
	err   error
}

// String never shows the logins.
func (f File) String() string { return fmt.Sprintf("%d logins", len(f.entries)) }

// GoString is String.
func (f File) GoString() string { return f.String() }

// Keys returns the entries as they are written, sorted: the registries, some
// with a path, that the file has logins for.
func (f *File) Keys() []string {
	var keys []string
	for _, e := range f.entries {
		keys = append(keys, e.key)
	}
	return keys
}

// Login returns what stands under an entry of Keys.
func (f *File) Login(key string) (Login, error) {
	for _, e := range f.entries {
		if e.key == key {
			return e.login, e.err
		}
	}
	return Login{}, fmt.Errorf("there is no login for %q", key)
}

// Parse reads data in any of the forms. One entry that cannot be read does
// not spoil the others; Match reports it. Errors hold no secrets.
func Parse(data []byte) (*File, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("the credential file is %d bytes; at most %d are read", len(data), MaxSize)
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return &File{}, nil
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, unreadable("the credential file is not a JSON object", err)
	}
	f := &File{helpers: map[string]string{}}
	auths, modern, err := object(top, "auths")
	if err != nil {
		return nil, err
	}
	if err := f.readHelpers(top); err != nil {
		return nil, err
	}
	if !modern && f.store == "" && len(f.helpers) == 0 {
		auths = legacy(top)
	}
	for key, raw := range auths {
		f.entries = append(f.entries, parseEntry(key, raw))
	}
	slices.SortFunc(f.entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return f, nil
}

// unreadable keeps where, and drops what: the text of JSON's errors can quote
// the value, and that may be the password.
func unreadable(what string, err error) error {
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("%s: syntax error at byte %d", what, s.Offset)
	}
	return errors.New(what)
}

func object(top map[string]json.RawMessage, name string) (map[string]json.RawMessage, bool, error) {
	raw, ok := top[name]
	if !ok {
		return nil, false, nil
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, true, fmt.Errorf("the credential file's %s is not an object", name)
	}
	return m, true, nil
}

func (f *File) readHelpers(top map[string]json.RawMessage) error {
	if raw, ok := top["credsStore"]; ok && json.Unmarshal(raw, &f.store) != nil {
		return errors.New("the credential file's credsStore is not a string")
	}
	helpers, _, err := object(top, "credHelpers")
	if err != nil {
		return err
	}
	for key, raw := range helpers {
		var name string
		if err := json.Unmarshal(raw, &name); err != nil {
			return fmt.Errorf("the credential file's credHelpers names no program for %q", key)
		}
		f.helpers[normalize(key)] = name
	}
	return nil
}

// legacy picks the logins of a .dockercfg, which has them at the top. A
// config.json with nothing but settings has none.
func legacy(top map[string]json.RawMessage) map[string]json.RawMessage {
	found := map[string]json.RawMessage{}
	for key, raw := range top {
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil {
			continue
		}
		for _, field := range []string{"auth", "username", "password", "identitytoken", "registrytoken"} {
			if _, ok := m[field]; ok {
				found[key] = raw
			}
		}
	}
	return found
}

func parseEntry(key string, raw json.RawMessage) entry {
	e := entry{key: key, at: normalize(key)}
	var form struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	}
	if json.Unmarshal(raw, &form) != nil {
		e.err = fmt.Errorf("the login for %q is not an object of strings: log in again", key)
		return e
	}
	e.login = Login{Username: form.Username, Password: form.Password, IdentityToken: form.IdentityToken, RegistryToken: form.RegistryToken}
	if form.Auth == "" {
		return e
	}
	user, password, err := decode(form.Auth)
	if err != nil {
		e.login, e.err = Login{}, fmt.Errorf("the login for %q: %w: log in again", key, err)
		return e
	}
	e.login.Username, e.login.Password = user, password
	return e
}

func decode(auth string) (user, password string, err error) {
	// Pull secrets are often written by hand, and lose padding or gain a newline.
	trimmed := strings.TrimRight(strings.TrimSpace(auth), "=")
	b, err := base64.RawStdEncoding.DecodeString(trimmed)
	if err != nil {
		return "", "", errors.New("auth is not base64")
	}
	user, password, ok := strings.Cut(string(b), ":")
	if !ok || user == "" {
		return "", "", errors.New("auth is not USER:PASSWORD in base64")
	}
	return user, strings.Trim(password, "\x00"), nil
}

// normalize makes a key host[/path]: without a scheme, without the /v1/ and
// /v2/ of old logins, and with one name for Docker Hub.
func normalize(key string) string {
	for _, scheme := range []string{"https://", "http://"} {
		key = strings.TrimPrefix(key, scheme)
	}
	host, path, _ := strings.Cut(strings.TrimRight(key, "/"), "/")
	if path == "v1" || path == "v2" {
		path = ""
	}
	host = strings.ToLower(host)
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		host = "docker.io"
	}
	if path == "" {
		return host
	}
	return host + "/" + path
}

// Match picks the login for an image: the entry with the longest path that
// the name begins with, part by part; at the same length, a helper named for
// the place before a login in the file; the general store last. There is no
// match across hosts or ports.
func (f *File) Match(n ref.Name) (Match, bool) {
	if n == (ref.Name{}) {
		return Match{}, false
	}
	host := strings.ToLower(n.Registry())
	for at := host + "/" + n.Path(); ; at = at[:strings.LastIndexByte(at, '/')] {
		if m, ok := f.at(at); ok {
			return m, true
		}
		if at == host {
			break
		}
	}
	if f.store != "" {
		return Match{Key: server(host), Helper: f.store}, true
	}
	return Match{}, false
}

func (f *File) at(at string) (Match, bool) {
	if helper := f.helpers[at]; helper != "" {
		return Match{Key: server(at), Helper: helper}, true
	}
	for _, e := range f.entries {
		if e.at != at {
			continue
		}
		if e.err != nil {
			return Match{Key: e.key, Err: e.err}, true
		}
		if e.login != (Login{}) {
			return Match{Key: e.key, Login: e.login}, true
		}
		if f.store != "" {
			return Match{Key: e.key, Helper: f.store}, true
		}
	}
	return Match{}, false
}

// server is the name by which Docker stores the login of a registry.
func server(at string) string {
	if at == "docker.io" {
		return "https://index.docker.io/v1/"
	}
	return at
}

// Files lists where people keep logins, the first to be looked at first:
// podman's places, then Docker's. REGISTRY_AUTH_FILE, if set, is the only one.
// home may be empty where there is none; goos is as in runtime.GOOS.
func Files(getenv func(string) string, home, goos string) []string {
	if file := getenv("REGISTRY_AUTH_FILE"); file != "" {
		return []string{file}
	}
	separator := "/"
	if goos == "windows" {
		separator = `\`
	}
	var files []string
	add := func(dir string, rest ...string) {
		if dir != "" {
			files = append(files, strings.Join(append([]string{strings.TrimRight(dir, separator)}, rest...), separator))
		}
	}
	if goos != "windows" && goos != "darwin" {
		add(getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	}
	if dir := getenv("XDG_CONFIG_HOME"); dir != "" {
		add(dir, "containers", "auth.json")
	} else {
		add(home, ".config", "containers", "auth.json")
	}
	if dir := getenv("DOCKER_CONFIG"); dir != "" {
		add(dir, "config.json")
	} else {
		add(home, ".docker", "config.json")
	}
	add(home, ".dockercfg")
	return files
}
