// Package download reads one file over HTTP, from its beginning to its end:
// what breaks off is gone on with, what falls silent is given up.
//
// It checks no bytes: whoever asks knows their digest. It is not for
// registries; package registry is.
package download

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	maxRedirects = 10
	maxResumes   = 5
)

// Options are what a Client needs of its surroundings; the zero value is right
// for a public server.
type Options struct {
	// CAFiles are PEM files of certificate authorities to trust besides the
	// system's.
	CAFiles []string
	// UserAgent is sent with every request.
	UserAgent string
	// Stall is how long a server may stay silent; 0 means one minute.
	Stall time.Duration
}

// Client fetches files, through the proxies that the environment names.
type Client struct {
	http  *http.Client
	opts  Options
	stall time.Duration
}

// New returns a Client.
func New(opts Options) (*Client, error) {
	c := &Client{opts: opts, stall: opts.Stall}
	if c.stall <= 0 {
		c.stall = time.Minute
	}
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("there is no HTTP transport")
	}
	t = t.Clone()
	t.ResponseHeaderTimeout = c.stall
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if len(opts.CAFiles) > 0 {
		roots, err := trust(opts.CAFiles)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = roots
	}
	c.http = &http.Client{Transport: t, CheckRedirect: checkRedirect}
	return c, nil
}

func trust(files []string) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", name)
		}
	}
	return roots, nil
}

// checkRedirect never goes from https to http.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("it redirected %d times", maxRedirects)
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("it redirects to %s, without TLS", req.URL.Redacted())
	}
	return nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError says that a server answered something else than the file.
type StatusError struct {
	URL    string
	Status string
}

func (e *StatusError) Error() string { return "GET " + e.URL + ": " + e.Status }

// Fetch opens a file. size is -1 where the server does not say it.
func (c *Client) Fetch(ctx context.Context, url string) (body io.ReadCloser, size int64, err error) {
	f := &file{client: c, ctx: ctx, url: url}
	if err := f.open(); err != nil {
		return nil, 0, err
	}
	return f, f.size, nil
}

// file is a file being read, over several connections where one breaks.
type file struct {
	client *Client
	ctx    context.Context
	url    string

	body    io.ReadCloser
	cancel  context.CancelCauseFunc
	size    int64
	at      int64
	etag    string
	resumes int
}

// open asks for the file from where it was read to.
func (f *file) open() error {
	ctx, cancel := context.WithCancelCause(f.ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		cancel(err)
		return err
	}
	if f.client.opts.UserAgent != "" {
		req.Header.Set("User-Agent", f.client.opts.UserAgent)
	}
	// The bytes as they lie: a digest is of those.
	req.Header.Set("Accept-Encoding", "identity")
	if f.at > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.at))
		req.Header.Set("If-Range", f.etag)
	}
	resp, err := f.client.http.Do(req)
	if err != nil {
		cancel(err)
		return err
	}
	want := http.StatusOK
	if f.at > 0 {
		want = http.StatusPartialContent
	}
	if resp.StatusCode != want {
		cancel(nil)
		return errors.Join(&StatusError{URL: req.URL.Redacted(), Status: resp.Status}, resp.Body.Close())
	}
	if f.at == 0 {
		f.size, f.etag = resp.ContentLength, resp.Header.Get("ETag")
	}
	f.body, f.cancel = resp.Body, cancel
	return nil
}

// errSilent says that nothing came for too long.
var errSilent = errors.New("the server fell silent")

func (f *file) Read(p []byte) (int, error) {
	for {
		silence := time.AfterFunc(f.client.stall, func() { f.cancel(errSilent) })
		n, err := f.body.Read(p)
		silence.Stop()
		f.at += int64(n)
		if err == nil || errors.Is(err, io.EOF) || n > 0 {
			if errors.Is(err, io.EOF) && f.size >= 0 && f.at < f.size {
				err = io.ErrUnexpectedEOF
			} else if err != nil && !errors.Is(err, io.EOF) {
				err = nil // it comes again with the next read
			}
			if err == nil || errors.Is(err, io.EOF) {
				return n, err
			}
		}
		if err := f.resume(err); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// resume goes on after err, where the server can.
func (f *file) resume(err error) error {
	if f.ctx.Err() != nil {
		return f.ctx.Err()
	}
	if f.resumes++; f.resumes > maxResumes || f.etag == "" || f.at == 0 {
		return fmt.Errorf("it broke off after %d of %d bytes: %w", f.at, f.size, err)
	}
	f.end()
	if again := f.open(); again != nil {
		return fmt.Errorf("it broke off after %d of %d bytes: %w", f.at, f.size, errors.Join(err, again))
	}
	return nil
}

func (f *file) end() {
	_ = f.body.Close()
	f.cancel(nil)
}

// Close ends it.
func (f *file) Close() error {
	f.end()
	return nil
}
