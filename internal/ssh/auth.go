package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"ferry/internal/quote"
)

// maxKeyFile is the most that is read of a file with a key, in bytes.
const maxKeyFile = 64 << 10

// keyring is the keys that may open a connection, and what was found of them.
type keyring struct {
	opts  Options
	agent net.Conn
	asked bool     // the server wanted a key: the host key was right
	tried []string // keys, as a person knows them
	not   []string // keys that could not be used, and why
	locks []string // files that want a passphrase
}

func newKeyring(o Options) *keyring { return &keyring{opts: o} }

func (k *keyring) close() {
	if k.agent != nil {
		_ = k.agent.Close()
	}
}

// signers are the agent's keys and those in files, each once.
func (k *keyring) signers() ([]ssh.Signer, error) {
	k.asked = true
	held := k.fromAgent()
	if len(k.opts.KeyFiles) > 0 {
		return k.fromFiles(k.opts.KeyFiles, held, true), nil
	}
	all := append([]ssh.Signer(nil), held...)
	for _, s := range held {
		k.tried = append(k.tried, "agent: "+ssh.FingerprintSHA256(s.PublicKey()))
	}
	return append(all, k.fromFiles(k.opts.DefaultKeyFiles, held, false)...), nil
}

func (k *keyring) fromAgent() []ssh.Signer {
	if k.opts.Agent == "" {
		return nil
	}
	conn, err := net.Dial("unix", k.opts.Agent) //nolint:noctx // a socket of this machine answers at once or not at all
	if err != nil {
		k.not = append(k.not, fmt.Sprintf("the agent does not answer: %v", err))
		return nil
	}
	k.agent = conn
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		k.not = append(k.not, fmt.Sprintf("the agent does not show its keys: %v", err))
	}
	return signers
}

// fromFiles reads keys. One that the agent holds need not be opened; it is
// used where wanted says that only these files count.
func (k *keyring) fromFiles(files []string, held []ssh.Signer, wanted bool) []ssh.Signer {
	var signers []ssh.Signer
	for _, file := range files {
		if s := holds(held, publicOf(file)); s != nil {
			if wanted {
				signers = append(signers, s)
				k.tried = append(k.tried, file)
			}
			continue
		}
		s, err := readKey(file)
		var locked *ssh.PassphraseMissingError
		switch {
		case err == nil && holds(held, s.PublicKey()) != nil && !wanted:
		case err == nil:
			signers = append(signers, s)
			k.tried = append(k.tried, file)
		case errors.Is(err, fs.ErrNotExist) && !wanted:
		case errors.As(err, &locked):
			k.locks = append(k.locks, file)
		default:
			k.not = append(k.not, fmt.Sprintf("%s: %v", file, err))
		}
	}
	return signers
}

func holds(held []ssh.Signer, key ssh.PublicKey) ssh.Signer {
	if key == nil {
		return nil
	}
	for _, s := range held {
		if bytes.Equal(s.PublicKey().Marshal(), key.Marshal()) {
			return s
		}
	}
	return nil
}

// publicOf reads the public key beside a private one; nil where there is none.
func publicOf(file string) ssh.PublicKey {
	b, err := os.ReadFile(file + ".pub")
	if err != nil || len(b) > maxKeyFile {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil
	}
	return key
}

func readKey(file string) (ssh.Signer, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("is larger than the %d bytes that a key takes at most", maxKeyFile)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return nil, err
	}
	return certified(file, s)
}

// certified is s with the certificate beside its file, where there is one.
func certified(file string, s ssh.Signer) (ssh.Signer, error) {
	b, err := os.ReadFile(file + "-cert.pub")
	if err != nil {
		return s, nil //nolint:nilerr // most keys have none
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s-cert.pub: %w", file, err)
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return s, nil
	}
	return ssh.NewCertSigner(cert, s)
}

// refused is the error where the server took none of the keys.
func (k *keyring) refused() error {
	return &AuthError{Options: k.opts, Tried: k.tried, Locked: k.locks, Unusable: k.not}
}

// AuthError says that a machine let this user in with none of the keys.
type AuthError struct {
	Options Options
	// Tried are the keys that were offered, Locked those that want a
	// passphrase, Unusable those that could not be read, and why.
	Tried, Locked, Unusable []string
}

func (e *AuthError) Error() string {
	s := fmt.Sprintf("%s lets %s in with none of these keys: %s", e.Options.Host, e.Options.User, strings.Join(e.Tried, ", "))
	if len(e.Tried) == 0 {
		s = fmt.Sprintf("there is no key to log in to %s as %s with", e.Options.Host, e.Options.User)
	}
	for _, u := range e.Unusable {
		s += "; " + u
	}
	return s
}

// Hint says what to do next.
func (e *AuthError) Hint() string {
	if len(e.Locked) > 0 {
		return fmt.Sprintf("%s is protected by a passphrase: put it into the agent with %s, and try again.", e.Locked[0], quote.Shell("ssh-add", e.Locked[0]))
	}
	copyID := append([]string{"ssh-copy-id"}, e.Options.Command()[1:]...)
	return fmt.Sprintf("Is it the right user? Put your public key there (%s), or name the key with --ssh-key.", quote.Shell(copyID...))
}
