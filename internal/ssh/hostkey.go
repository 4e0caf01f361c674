package ssh

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"ferry/internal/quote"
)

// Check is what to do with a host key: OpenSSH's StrictHostKeyChecking.
type Check string

// The checks. The zero value is Strict.
const (
	// Strict connects only to hosts that are known.
	Strict Check = "yes"
	// AcceptNew remembers the key of a host that was not known.
	AcceptNew Check = "accept-new"
	// Ask asks a person for each host that is not known.
	Ask Check = "ask"
	// Off remembers new keys, and connects to hosts whose key has changed.
	Off Check = "no"
)

// ParseCheck reads OpenSSH's words.
func ParseCheck(s string) (Check, error) {
	switch s {
	case "", "yes":
		return Strict, nil
	case "accept-new", "ask":
		return Check(s), nil
	case "no", "off":
		return Off, nil
	}
	return "", fmt.Errorf("%q is no way to check host keys: write yes, accept-new, ask or no", s)
}

// HostKeys says which hosts are known, and what to do with others. It can be
// used by several connections at once.
type HostKeys struct {
	Check Check
	// Files are in the form of known_hosts; those that are not there count as
	// empty. The first takes the keys of new hosts.
	Files []string
	// Asker asks a person whether a host's key is right. Without one, Ask is
	// Strict.
	Asker func(address, kind, fingerprint string) bool
	// Unchecked connects to whatever answers and remembers nothing: for
	// machines of which no key was ever kept.
	Unchecked bool

	mu sync.Mutex
}

// hostCheck is the check of one connection.
type hostCheck struct {
	keys       *HostKeys
	known      ssh.HostKeyCallback
	algorithms []string
	err        error // why the host was refused
}

// begin reads what is known of the host at address.
func (k *HostKeys) begin(address string, remote net.Addr) (*hostCheck, error) {
	if k == nil {
		k = &HostKeys{}
	}
	c := &hostCheck{keys: k, algorithms: plainAlgorithms()}
	if k.Unchecked {
		return c, nil
	}
	var err error
	if c.known, err = readKnown(k.Files); err != nil {
		return nil, err
	}
	c.algorithms = algorithmsFor(c.known, address, remote)
	return c, nil
}

// hostKey decides about the key that a host shows.
func (c *hostCheck) hostKey(address string, remote net.Addr, key ssh.PublicKey) error {
	if c.keys.Unchecked {
		return nil
	}
	err := c.known(address, remote, key)
	if err == nil {
		return nil
	}
	c.err = c.keys.decide(address, remote, key, err)
	return c.err
}

// decide says what to do with a host that known_hosts does not vouch for.
func (k *HostKeys) decide(address string, remote net.Addr, key ssh.PublicKey, err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := &HostKeyError{Address: address, Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), Err: err}
	if len(k.Files) > 0 {
		e.File = k.Files[0]
	}
	var other *knownhosts.KeyError
	if !errors.As(err, &other) {
		return e // revoked, or a certificate that is not right
	}
	for _, w := range other.Want {
		e.Known = append(e.Known, fmt.Sprintf("%s:%d", w.Filename, w.Line))
	}
	switch {
	case len(e.Known) > 0 && k.Check != Off:
		return e
	case len(e.Known) > 0:
		return nil
	case k.Check == AcceptNew, k.Check == Off:
		return k.remember(address, remote, key)
	case k.Check == Ask && k.Asker != nil && k.Asker(address, e.Type, e.Fingerprint):
		return k.remember(address, remote, key)
	}
	return e
}

// remember adds a host's key to the first file, unless another connection did
// so meanwhile.
func (k *HostKeys) remember(address string, remote net.Addr, key ssh.PublicKey) error {
	if len(k.Files) == 0 {
		return nil
	}
	if known, err := readKnown(k.Files); err == nil && known(address, remote, key) == nil {
		return nil
	}
	file := k.Files[0]
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("remember the key of %s: %w", address, err)
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("remember the key of %s: %w", address, err)
	}
	line := knownhosts.Line([]string{address}, key) + "\n"
	if !endsLine(f) {
		line = "\n" + line
	}
	_, err = f.WriteString(line)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("remember the key of %s: %w", address, err)
	}
	return nil
}

// endsLine says whether what is appended to f begins a line.
func endsLine(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return true
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	return err != nil || last[0] == '\n'
}

// readKnown reads files in the form of known_hosts. A line that cannot be
// read, say of a kind of key that is not supported, vouches for no host and
// spoils no other line: so does OpenSSH.
func readKnown(files []string) (ssh.HostKeyCallback, error) {
	var there []string
	for _, file := range files {
		if _, err := os.Stat(file); err == nil {
			there = append(there, file)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read known hosts: %w", err)
		}
	}
	known, err := knownhosts.New(there...)
	if err == nil {
		return known, nil
	}
	clean, cleanErr := withoutBadLines(there)
	if cleanErr != nil {
		return nil, fmt.Errorf("read known hosts: %w", cleanErr)
	}
	defer os.RemoveAll(clean.dir) //nolint:errcheck // a folder of temporary copies
	known, err = knownhosts.New(clean.files...)
	if err != nil {
		return nil, fmt.Errorf("read known hosts: %w", err)
	}
	return clean.named(known), nil
}

// cleaned are copies of known_hosts files in which lines that cannot be read
// are empty, so that the others keep their numbers.
type cleaned struct {
	dir   string
	files []string
	of    map[string]string // the original of each copy
}

func withoutBadLines(files []string) (cleaned, error) {
	dir, err := os.MkdirTemp("", "ferry-known-hosts-")
	if err != nil {
		return cleaned{}, err
	}
	c := cleaned{dir: dir, of: map[string]string{}}
	for i, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return c, errors.Join(err, os.RemoveAll(dir))
		}
		lines := bytes.Split(b, []byte("\n"))
		for n, line := range lines {
			if !readable(dir, line) {
				lines[n] = nil
			}
		}
		clean := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(clean, bytes.Join(lines, []byte("\n")), 0o600); err != nil { //nolint:gosec // a number in a folder that was just made
			return c, errors.Join(err, os.RemoveAll(dir))
		}
		c.files, c.of[clean] = append(c.files, clean), file
	}
	return c, nil
}

// readable says whether the library reads a line.
func readable(dir string, line []byte) bool {
	one := filepath.Join(dir, "line")
	if err := os.WriteFile(one, line, 0o600); err != nil { //nolint:gosec // in a folder that was just made
		return false
	}
	_, err := knownhosts.New(one)
	return err == nil
}

// named lets errors name the original files.
func (c cleaned) named(known ssh.HostKeyCallback) ssh.HostKeyCallback {
	return func(address string, remote net.Addr, key ssh.PublicKey) error {
		err := known(address, remote, key)
		var e *knownhosts.KeyError
		if errors.As(err, &e) {
			for i := range e.Want {
				e.Want[i].Filename = c.of[e.Want[i].Filename]
			}
		}
		return err
	}
}

// plainAlgorithms are the kinds of host keys, without certificates.
func plainAlgorithms() []string {
	return slices.DeleteFunc(ssh.SupportedAlgorithms().HostKeys, isCertificate)
}

func isCertificate(algorithm string) bool { return strings.Contains(algorithm, "-cert-v01@") }

// algorithmsFor puts those kinds first of which a key is known: a host has
// several, and would else show one that is not. Certificates count where an
// authority is known.
func algorithmsFor(known ssh.HostKeyCallback, address string, remote net.Addr) []string {
	var first, rest []string
	want := wanted(known, address, remote)
	authority := slices.ContainsFunc(want, isAuthority)
	for _, a := range ssh.SupportedAlgorithms().HostKeys {
		switch {
		case isCertificate(a) && authority:
			first = append(first, a)
		case isCertificate(a):
		case slices.ContainsFunc(want, func(k knownhosts.KnownKey) bool { return ofType(a, k.Key.Type()) && !isAuthority(k) }):
			first = append(first, a)
		default:
			rest = append(rest, a)
		}
	}
	return append(first, rest...)
}

// ofType says whether keys of a type sign with an algorithm.
func ofType(algorithm, keyType string) bool {
	if keyType == ssh.KeyAlgoRSA {
		return algorithm == ssh.KeyAlgoRSASHA256 || algorithm == ssh.KeyAlgoRSASHA512
	}
	return algorithm == keyType
}

// wanted are the keys that are known of a host. The library tells them only
// where a key is wrong: so it is asked about one that is nobody's.
func wanted(known ssh.HostKeyCallback, address string, remote net.Addr) []knownhosts.KnownKey {
	nobody, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return nil
	}
	var e *knownhosts.KeyError
	if errors.As(known(address, remote, nobody), &e) {
		return e.Want
	}
	return nil
}

// isAuthority says whether a line of known_hosts is about an authority.
func isAuthority(k knownhosts.KnownKey) bool {
	f, err := os.Open(k.Filename)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // it was only read
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if n == k.Line {
			return strings.HasPrefix(strings.TrimSpace(lines.Text()), "@cert-authority")
		}
	}
	return false
}

// HostKeyError says that a host is not known, or not the one that was known.
type HostKeyError struct {
	Address     string
	Type        string
	Fingerprint string
	// Known is where other keys of this host stand, as FILE:LINE.
	Known []string
	// File takes the keys of new hosts.
	File string
	Err  error
}

func (e *HostKeyError) Error() string {
	var revoked *knownhosts.RevokedError
	var other *knownhosts.KeyError
	switch {
	case errors.As(e.Err, &revoked):
		return fmt.Sprintf("the host key of %s (%s) is revoked by %s:%d", e.Address, e.Fingerprint, revoked.Revoked.Filename, revoked.Revoked.Line)
	case !errors.As(e.Err, &other):
		return fmt.Sprintf("the host key of %s (%s) is not valid: %v", e.Address, e.Fingerprint, e.Err)
	case len(e.Known) > 0:
		return fmt.Sprintf("%s shows another host key than before: %s %s, and not the one in %s", e.Address, e.Type, e.Fingerprint, strings.Join(e.Known, ", "))
	}
	return fmt.Sprintf("%s is not known: its host key is %s %s", e.Address, e.Type, e.Fingerprint)
}

func (e *HostKeyError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *HostKeyError) Hint() string {
	var other *knownhosts.KeyError
	if !errors.As(e.Err, &other) {
		return "Nothing was sent. Ask who runs that machine."
	}
	if len(e.Known) > 0 {
		return fmt.Sprintf("Nothing was sent. Either the machine was set up anew, or another answers in its place. If it was set up anew: %s, and connect again.",
			quote.Shell("ssh-keygen", "-R", knownhosts.Normalize(e.Address)))
	}
	return "Nothing was sent. If that is its key, connect once with ssh and say yes, or use --host-key-check accept-new."
}
