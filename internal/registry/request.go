package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
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

	tagMu     sync.Mutex             // held while a list of referrers changes
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

	write bool     // it asks for the right to push, not only to pull
	from  string   // another repository that it reads from
	at    *url.URL // where it goes instead of path: an upload's location
	body  *payload // what it sends
}

// scopes are the rights that c needs.
func (c call) scopes(repository string) []string {
	if !c.write {
		return []string{auth.ScopeRepository(repository, auth.ActionPull)}
	}
	all := []string{auth.ScopeRepository(repository, auth.ActionPull, auth.ActionPush)}
	if c.from != "" {
		all = append(all, auth.ScopeRepository(c.from, auth.ActionPull))
	}
	return all
}

// do sends c and returns an answer of one of the wanted statuses; any other
// is an error. The caller closes the body.
func (r *Repository) do(ctx context.Context, c call, wanted ...int) (*http.Response, error) {
	ctx = auth.WithScopesForHost(ctx, r.host.addr, c.scopes(r.path)...)
	ctx, cancel := context.WithCancelCause(ctx)
	resp, err := r.send(ctx, c, cancel)
	if err != nil {
		if cause, ok := errors.AsType[*StallError](context.Cause(ctx)); ok {
			err = &url.Error{Op: c.method, URL: r.target(c), Err: cause}
		}
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

func (r *Repository) send(ctx context.Context, c call, cancel context.CancelCauseFunc) (*http.Response, error) {
	for {
		req, err := r.request(ctx, c, cancel)
		if err != nil {
			return nil, err
		}
		resp, err := r.sender(req).Do(req)
		// An upload's location stays as it is: to try it again would never end.
		if err != nil && c.at == nil && req.URL.Scheme == "https" && r.host.fallBack(err) {
			continue
		}
		return resp, err
	}
}

// target is where c goes.
func (r *Repository) target(c call) string {
	if c.at != nil {
		return c.at.String()
	}
	return r.host.url("/v2/" + r.path + "/" + c.path)
}

func (r *Repository) request(ctx context.Context, c call, cancel context.CancelCauseFunc) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, r.target(c), nil)
	if err != nil {
		return nil, err
	}
	if c.at == nil {
		req.URL.RawQuery = c.query
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	if c.body != nil {
		req.ContentLength, req.GetBody = c.body.size, stallable(c.body, r.client.opts.Stall, cancel)
		req.Body, err = req.GetBody()
	}
	return req, err
}

// sender logs in where the registry itself is asked, and nowhere else.
func (r *Repository) sender(req *http.Request) interface {
	Do(*http.Request) (*http.Response, error)
} {
	if r.host.isOwn(req.URL) {
		return r.auth
	}
	return r.host.client()
}

// StallError says that a registry sent, or took, nothing for too long.
type StallError struct {
	After   time.Duration
	Sending bool
}

func (e *StallError) Error() string {
	if e.Sending {
		return fmt.Sprintf("not a byte was taken for %v", e.After)
	}
	return fmt.Sprintf("not a byte came for %v", e.After)
}

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
	t := time.AfterFunc(b.stall, func() { b.cancel(&StallError{After: b.stall}) })
	n, err := b.ReadCloser.Read(p)
	t.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
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
