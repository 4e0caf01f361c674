package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry/remote/auth"

	"ferry/internal/content"
	"ferry/internal/ref"
)

// Repository is one repository of a registry. It is a content.Source, and may
// be used by several goroutines at once.
type Repository struct {
	client *Client
	host   *host
	path   string // library/nginx
	logins []login
	auth   *auth.Client

	loginUsed atomic.Pointer[string] // where the login stands that was given
}

var _ content.Source = (*Repository)(nil)

func newRepository(c *Client, h *host, n ref.Name) *Repository {
	r := &Repository{client: c, host: h, path: n.Path(), logins: c.findLogins(n)}
	r.auth = &auth.Client{
		Client:     h.client(),
		Credential: r.credential,
		ClientID:   "ferry",
		Header:     http.Header{"User-Agent": {c.opts.UserAgent}, "Accept-Encoding": {"identity"}},
		// Of its own, since logins may differ from one repository to the next.
		Cache: auth.NewSingleContextCache(),
		// The host's guards see the address that is really dialled, and do
		// not look names up that only a proxy can.
		BlockedRealmPrefixes: []netip.Prefix{},
	}
	return r
}

// call is one request to a repository.
type call struct {
	method string
	path   string // below /v2/NAME/
	query  string
	header http.Header
	ref    string // the tag or digest it is about
}

// do sends c and returns an answer of one of the wanted statuses; any other
// is an error. The caller closes the body.
func (r *Repository) do(ctx context.Context, c call, wanted ...int) (*http.Response, error) {
	ctx = auth.WithScopesForHost(ctx, r.host.addr, auth.ScopeRepository(r.path, auth.ActionPull))
	ctx, cancel := context.WithCancelCause(ctx)
	resp, err := r.send(ctx, c)
	if err != nil {
		cancel(nil)
		return nil, r.failed(c, err)
	}
	resp.Body = &body{ReadCloser: resp.Body, cancel: cancel, stall: r.client.opts.Stall, ctx: ctx}
	for _, s := range wanted {
		if resp.StatusCode == s {
			return resp, nil
		}
	}
	defer resp.Body.Close()
	return nil, r.refused(c, resp)
}

func (r *Repository) send(ctx context.Context, c call) (*http.Response, error) {
	for {
		url := r.host.url("/v2/" + r.path + "/" + c.path)
		req, err := http.NewRequestWithContext(ctx, c.method, url, nil)
		if err != nil {
			return nil, err
		}
		req.URL.RawQuery = c.query
		for k, v := range c.header {
			req.Header[k] = v
		}
		resp, err := r.auth.Do(req)
		if err != nil && req.URL.Scheme == "https" && r.host.fallBack(err) {
			continue
		}
		return resp, err
	}
}

// StallError says that a registry sent nothing for too long.
type StallError struct{ After time.Duration }

func (e *StallError) Error() string { return fmt.Sprintf("not a byte came for %v", e.After) }

// Timeout makes a StallError a timeout in the sense of net.Error.
func (e *StallError) Timeout() bool { return true }

// Temporary is there for net.Error.
func (e *StallError) Temporary() bool { return true }

// body is a response's body that gives up when nothing comes for too long.
type body struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration
}

func (b *body) Read(p []byte) (int, error) {
	t := time.AfterFunc(b.stall, func() { b.cancel(&StallError{b.stall}) })
	n, err := b.ReadCloser.Read(p)
	t.Stop()
	if err != nil && err != io.EOF {
		if cause, ok := errors.AsType[*StallError](context.Cause(b.ctx)); ok {
			err = cause
		}
	}
	return n, err
}

func (b *body) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

var tagName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// parseReference tells tags from digests and refuses all else, so that no
// reference leads to another path of the registry. A tag's digest is empty.
func parseReference(reference string) (digest.Digest, error) {
	if tagName.MatchString(reference) {
		return "", nil
	}
	d := digest.Digest(reference)
	if !strings.Contains(reference, ":") {
		return "", fmt.Errorf("%q is neither a tag nor a digest", reference)
	}
	return d, content.Supported(d)
}

func mediaType(resp *http.Response) string {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}
