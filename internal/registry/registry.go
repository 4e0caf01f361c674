// Package registry reads from container registries over HTTP: names are
// resolved, manifests fetched, blobs opened at an offset, referrers listed.
// It logs in with the credentials that people already have, tries again what
// may heal, and goes nowhere a registry has no business sending it.
//
// It is not for copying: package transfer moves graphs and checks their bytes,
// with a Repository as one of its sources. It knows nothing of bundles.
package registry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"time"

	"ferry/internal/credential"
	"ferry/internal/ref"
)

// Options are what a Client needs of its surroundings. The zero value reads
// public registries without a login.
type Options struct {
	// Files are credential files in search order. Missing ones are skipped.
	Files []string
	// Login, if set, is asked for the login to a repository in place of Files;
	// from says where it stands. It is for who asks in another's name.
	Login func(ref.Name) (login credential.Login, from string, ok bool)
	// CAFiles are PEM files of certificate authorities to trust besides the
	// system's.
	CAFiles []string
	// PlainHTTP are hosts, written as in image names, that are spoken to
	// without TLS. Registries on loopback need no mention.
	PlainHTTP []string
	// UserAgent is sent with every request; "" means "ferry".
	UserAgent string
	// OnRetry is told of each failure that is about to be tried again.
	OnRetry func(host string, err error, after time.Duration)
	// Private says which addresses a public registry may not send ferry to.
	// nil means loopback, link-local, private, unspecified and carrier-grade
	// NAT addresses, and the metadata services of clouds.
	Private func(netip.Addr) bool
	// Wait waits between tries; nil uses a timer.
	Wait func(ctx context.Context, d time.Duration) error
	// Tries is how often a request is sent at most; 0 leaves that to what
	// kind of failure it is.
	Tries int
	// Stall is how long a registry may stay silent, before its answer and
	// within it; 0 means one minute. Dialling has at most 15 s of it.
	Stall time.Duration
	// Proxy chooses a proxy; nil reads HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
	Proxy func(*http.Request) (*url.URL, error)

	// locate says where to dial for an address; tests put names there that
	// no DNS server knows.
	locate func(addr string) string
}

// Client reaches registries. Its repositories share connections by registry.
type Client struct {
	opts  Options
	roots *x509.CertPool
	files []credentialFile

	mu     sync.Mutex
	hosts  map[string]*host
	repos  map[string]*Repository
	helped map[helperKey]*helperCall
}

type credentialFile struct {
	path string
	file *credential.File
}

// New returns a Client. It reads the files that opts names and opens no
// connection. Close the client to let go of idle connections.
func New(opts Options) (*Client, error) {
	opts = withDefaults(opts)
	roots, err := trust(opts.CAFiles)
	if err != nil {
		return nil, err
	}
	files, err := readCredentials(opts.Files)
	if err != nil {
		return nil, err
	}
	return &Client{
		opts: opts, roots: roots, files: files,
		hosts: map[string]*host{}, repos: map[string]*Repository{}, helped: map[helperKey]*helperCall{},
	}, nil
}

func withDefaults(opts Options) Options {
	if opts.UserAgent == "" {
		opts.UserAgent = "ferry"
	}
	if opts.OnRetry == nil {
		opts.OnRetry = func(string, error, time.Duration) {}
	}
	if opts.Wait == nil {
		opts.Wait = wait
	}
	if opts.Stall <= 0 {
		opts.Stall = time.Minute
	}
	if opts.Proxy == nil {
		opts.Proxy = environment
	}
	if opts.locate == nil {
		opts.locate = func(addr string) string { return addr }
	}
	return opts
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// trust returns the system's certificate authorities and those in files.
func trust(files []string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, f := range files {
		pem, err := readLimited(f)
		if err != nil {
			return nil, fmt.Errorf("read CA file: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA file %s: it holds no PEM certificate", f)
		}
	}
	return pool, nil
}

func readCredentials(paths []string) ([]credentialFile, error) {
	var files []credentialFile
	for _, p := range paths {
		b, err := readLimited(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read registry logins: %w", err)
		}
		f, err := credential.Parse(b)
		if err != nil {
			return nil, fmt.Errorf("read registry logins from %s: %w", p, err)
		}
		files = append(files, credentialFile{p, f})
	}
	return files, nil
}

// maxFile is the largest credential or CA file that is read, in bytes.
const maxFile = 4 << 20

func readLimited(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s is %d bytes; at most %d are read", path, info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// Repository returns the repository that n names. It opens no connection.
func (c *Client) Repository(n ref.Name) (*Repository, error) {
	if n.Registry() == "" || n.Path() == "" {
		return nil, errors.New("open repository: the image name is empty")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.repos[n.Repository()]; ok {
		return r, nil
	}
	h, ok := c.hosts[n.Registry()]
	if !ok {
		h = newHost(n.Registry(), c.opts, c.roots)
		c.hosts[n.Registry()] = h
	}
	r := newRepository(c, h, n)
	c.repos[n.Repository()] = r
	return r, nil
}

// Close closes connections that are idle. A closed client still works.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		h.close()
	}
}
