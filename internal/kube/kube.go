// Package kube is the door to a Kubernetes API server (client-go). It finds
// the cluster as kubectl does, reads what is needed page by page, and turns
// objects into the plain facts of package diagnose.
//
// It is not for deciding what the facts mean. It decodes the few fields that
// it needs by itself: client-go's typed clients cost every ferry command their
// start, and a whole pod is many times the size of what is asked of it
// (docs/adr/0025).
package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientapi "k8s.io/client-go/tools/clientcmd/api"

	"ferry/internal/diagnose"
)

// Options say which cluster, as kubectl's flags of the same names do. The zero
// value is kubectl's default.
type Options struct {
	Kubeconfig string
	Context    string
	// Namespace overrides the context's.
	Namespace string
	// UserAgent is sent with every request; "" means "ferry".
	UserAgent string
	// Timeout is how long one answer may take; 0 means 15 s.
	Timeout time.Duration
}

const defaultTimeout = 15 * time.Second

// Client reads from one API server. It may be used by several goroutines.
type Client struct {
	place   diagnose.Place
	base    *url.URL
	http    *http.Client
	agent   string
	timeout time.Duration

	mu   sync.Mutex
	now  time.Time // the server's clock at the first answer
	at   time.Time // this machine's, then
	hung *Error    // the first answer that did not come in time
}

// Open finds the cluster. It reads kubeconfig files and opens no connection.
func Open(o Options) (*Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	rules.WarnIfAllMissing = false
	files := kubeconfigs(rules)
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{
		CurrentContext: o.Context,
		Context:        clientapi.Context{Namespace: o.Namespace},
	})
	name, others := contextName(loader, o.Context)
	place := diagnose.Place{Kubeconfig: files, Context: name}
	cfg, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		err = errNoKubeconfig
	}
	if err != nil {
		return nil, &ConfigError{Place: place, Err: err, contexts: others}
	}
	place.Server = cfg.Host
	if place.Namespace, _, err = loader.Namespace(); err != nil {
		return nil, &ConfigError{Place: place, Err: err}
	}
	return connect(cfg, place, o)
}

func connect(cfg *rest.Config, place diagnose.Place, o Options) (*Client, error) {
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, &ConfigError{Place: place, Err: err}
	}
	shared, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, &ConfigError{Place: place, Err: err}
	}
	// A config that asks for nothing gets the client of the whole process,
	// which is not ours to change.
	own := *shared
	client := &own
	// client-go's transports add the login to whatever passes through them.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c := &Client{place: place, base: base, http: client, agent: o.UserAgent, timeout: o.Timeout}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.agent == "" {
		c.agent = "ferry"
	}
	return c, nil
}

// Place says which cluster this is, and the namespace that is meant where none
// is named.
func (c *Client) Place() diagnose.Place { return c.place }

// Close closes connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func kubeconfigs(rules *clientcmd.ClientConfigLoadingRules) []string {
	if rules.ExplicitPath != "" {
		return []string{rules.ExplicitPath}
	}
	return rules.GetLoadingPrecedence()
}

// contextName returns the context that is used; where there is none of that
// name, the names of those that there are.
func contextName(loader clientcmd.ClientConfig, name string) (string, []string) {
	raw, err := loader.RawConfig()
	if err != nil {
		return name, nil // ClientConfig says it again
	}
	if name == "" {
		name = raw.CurrentContext
	}
	if _, ok := raw.Contexts[name]; ok {
		return name, nil
	}
	return name, slices.Sorted(maps.Keys(raw.Contexts))
}

// call is one question to the API server.
type call struct {
	what   string // in words: "pods in default"
	lacks  string // the permission it needs: "list pods"
	path   string // below the server's own
	query  url.Values
	accept string
}

// get asks and decodes the answer into v. Its errors are *Error.
func (c *Client) get(ctx context.Context, q call, v any) error {
	return c.ask(ctx, q, func(r io.Reader) error { return json.NewDecoder(r).Decode(v) })
}

// maxAnswer is the largest answer that is read, in bytes: a page of 500 pods
// is about 5 MB, and a single object at most 1.5 MB.
const maxAnswer = 64 << 20

// ask sends one request and has read take the body of a good answer. A server
// that let one request hang is not asked again: each further one would cost
// as much time and bring as little.
func (c *Client) ask(ctx context.Context, q call, read func(io.Reader) error) error {
	if hung := c.stuck(); hung != nil {
		return &Error{Call: q.what, Lacks: q.lacks, Place: c.place, Err: errStuck}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, &SlowError{After: c.timeout})
	defer cancel()
	resp, err := c.send(ctx, q)
	if err != nil {
		return c.failed(ctx, q, err)
	}
	defer resp.Body.Close()
	c.note(resp)
	body := &io.LimitedReader{R: resp.Body, N: maxAnswer}
	if resp.StatusCode != http.StatusOK {
		return c.refused(q, resp.StatusCode, body)
	}
	if err := read(body); err != nil {
		if body.N <= 0 {
			err = fmt.Errorf("the answer is larger than %d MB", maxAnswer>>20)
		}
		return c.failed(ctx, q, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, q call) (*http.Response, error) {
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + q.path
	u.RawQuery = q.query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", "application/json")
	if q.accept != "" {
		req.Header.Set("Accept", q.accept)
	}
	return c.http.Do(req)
}

// failed is the error for a question without an answer.
func (c *Client) failed(ctx context.Context, q call, err error) error {
	e := &Error{Call: q.what, Lacks: q.lacks, Place: c.place, Err: err}
	// The URL is ours, and its error would only repeat it.
	if sent, ok := errors.AsType[*url.Error](err); ok {
		e.Err = sent.Err
	}
	if slow, ok := errors.AsType[*SlowError](context.Cause(ctx)); ok {
		e.Err = slow
		c.mu.Lock()
		c.hung = e
		c.mu.Unlock()
	}
	return e
}

func (c *Client) stuck() *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hung
}

// note keeps the server's clock.
func (c *Client) note(resp *http.Response) {
	now, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.IsZero() {
		c.now, c.at = now, time.Now()
	}
}

// clock returns the server's clock, and how far this machine's is ahead of it.
// HTTP tells whole seconds; less than two are no difference.
func (c *Client) clock() (now time.Time, skew time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.IsZero() {
		return time.Now(), 0
	}
	skew = c.at.Sub(c.now)
	if skew.Abs() < 2*time.Second {
		skew = 0
	}
	return c.now.Add(time.Since(c.at)), skew
}
