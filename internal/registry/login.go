package registry

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"ferry/internal/credential"
	"ferry/internal/ref"
)

// login is what a repository may be asked for with, and where that stands.
type login struct {
	match credential.Match
	from  string // the file and the entry in it
}

// findLogins returns what the files have for n, the first to be used first.
func (c *Client) findLogins(n ref.Name) []login {
	if c.opts.Login != nil {
		l, from, ok := c.opts.Login(n)
		if !ok {
			return nil
		}
		return []login{{match: credential.Match{Login: l}, from: from}}
	}
	var all []login
	for _, f := range c.files {
		if m, ok := f.file.Match(n); ok {
			all = append(all, login{match: m, from: fmt.Sprintf("%s (entry %q)", f.path, m.Key)})
		}
	}
	return all
}

// credential is called by oras when the registry asks for a login. It gives
// one only to the registry that it is for. A credential helper may know of
// none; then the next file is asked.
func (r *Repository) credential(ctx context.Context, hostport string) (auth.Credential, error) {
	if hostport != r.host.addr {
		return auth.EmptyCredential, nil
	}
	for _, l := range r.logins {
		cred, err := r.client.open(ctx, l.match)
		if err != nil {
			r.loginUsed.Store(&l.from)
			return auth.EmptyCredential, fmt.Errorf("read the login for %s in %s: %w", r.host.name, l.from, err)
		}
		if cred != auth.EmptyCredential {
			r.loginUsed.Store(&l.from)
			return cred, nil
		}
	}
	return auth.EmptyCredential, nil
}

func (c *Client) open(ctx context.Context, m credential.Match) (auth.Credential, error) {
	if m.Err != nil {
		return auth.EmptyCredential, m.Err
	}
	if m.Helper != "" {
		return c.help(ctx, helperKey{m.Helper, m.Key})
	}
	return auth.Credential{
		Username:     m.Login.Username,
		Password:     m.Login.Password,
		RefreshToken: m.Login.IdentityToken,
		AccessToken:  m.Login.RegistryToken,
	}, nil
}

type helperKey struct{ helper, server string }

// helperCall is one question to a credential helper, asked once for all the
// repositories that have it.
type helperCall struct {
	mu   sync.Mutex
	done bool
	cred auth.Credential
}

// help asks a credential helper. Its answer is kept; its failure is not.
func (c *Client) help(ctx context.Context, key helperKey) (auth.Credential, error) {
	c.mu.Lock()
	call, ok := c.helped[key]
	if !ok {
		call = &helperCall{}
		c.helped[key] = call
	}
	c.mu.Unlock()

	call.mu.Lock()
	defer call.mu.Unlock()
	if call.done {
		return call.cred, nil
	}
	cred, err := askHelper(ctx, key)
	if err != nil {
		return auth.EmptyCredential, err
	}
	call.cred, call.done = cred, true
	return cred, nil
}

var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// HelperError says that a credential helper gave no answer.
type HelperError struct {
	Program string // docker-credential-NAME
	Server  string // the entry it was asked for
	Err     error
}

func (e *HelperError) Error() string {
	if errors.Is(e.Err, exec.ErrNotFound) {
		return fmt.Sprintf("the credential helper %s for %s is not installed", e.Program, e.Server)
	}
	return fmt.Sprintf("the credential helper %s has no login for %s: %v", e.Program, e.Server, e.Err)
}

func (e *HelperError) Unwrap() error { return e.Err }

func askHelper(ctx context.Context, key helperKey) (auth.Credential, error) {
	failed := &HelperError{Program: "docker-credential-" + key.helper, Server: key.server}
	if !helperName.MatchString(key.helper) {
		failed.Err = errors.New("that is not the name of a program")
		return auth.EmptyCredential, failed
	}
	cred, err := credentials.NewNativeStore(key.helper).Get(ctx, key.server)
	if err != nil {
		failed.Err = err
		return auth.EmptyCredential, failed
	}
	return trimmed(cred), nil
}

// trimmed takes off the line ends that some helpers leave on secrets.
func trimmed(c auth.Credential) auth.Credential {
	c.Password = strings.TrimRight(c.Password, "\r\n")
	c.RefreshToken = strings.TrimRight(c.RefreshToken, "\r\n")
	return c
}
