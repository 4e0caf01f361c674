package demo

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"ferry/internal/content/contenttest"
)

// Options say how a registry is to be. The zero value is an open registry
// that does what the distribution spec says.
type Options struct {
	// Wrap stands between the network and the registry, so that tests can
	// make it fail. Push does not go through it.
	Wrap func(http.Handler) http.Handler
	// Username and Password, where set, are asked for in every request, as
	// HTTP basic authentication.
	Username, Password string
	// SparseIndex lets an index be pushed without all of its children.
	SparseIndex bool
}

// Request is one that the registry answered, or is answering.
type Request struct {
	Method string
	Path   string
	Query  string
	// Range is the Range header, when a part was asked for.
	Range string
	// Status is 0 while there is no answer yet.
	Status int
	// Sent are the bytes of the answer's body so far.
	Sent int64
}

// Registry is an OCI registry in this process, in memory.
type Registry struct {
	backend  *backend
	server   *http.Server
	listener net.Listener
	served   chan error

	mu       sync.Mutex
	requests []*Request

	close    sync.Once
	closeErr error
}

// shutdownPatience is how long Close waits for answers that are under way.
const shutdownPatience = 2 * time.Second

// StartRegistry starts a registry on a free port of the loopback interface.
// ctx bounds the start alone: the registry runs until Close.
func StartRegistry(ctx context.Context, opts Options) (*Registry, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the demo registry: %w", err)
	}
	r := &Registry{backend: newBackend(opts), listener: l, served: make(chan error, 1)}
	r.server = &http.Server{
		Handler:           r.count(wrap(authenticate(r.backend, opts), opts)),
		ReadHeaderTimeout: 10 * time.Second,
		// A fault that a test makes is no news for the terminal.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { r.served <- r.server.Serve(l) }()
	return r, nil
}

// Host is the registry's address, as it stands in image names:
// 127.0.0.1:41234.
func (r *Registry) Host() string { return r.listener.Addr().String() }

// Requests returns what was asked over the network so far, oldest first.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Request, len(r.requests))
	for i, q := range r.requests {
		all[i] = *q
	}
	return all
}

// ResetRequests forgets the requests so far.
func (r *Registry) ResetRequests() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = nil
}

// Close stops the registry and forgets its content. Answers that are under
// way may end; then, or after two seconds, their connections are cut.
func (r *Registry) Close() error {
	r.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownPatience)
		defer cancel()
		err := r.server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = r.server.Close()
		}
		if served := <-r.served; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		if err != nil {
			r.closeErr = fmt.Errorf("stop the demo registry: %w", err)
		}
	})
	return r.closeErr
}

func wrap(h http.Handler, opts Options) http.Handler {
	if opts.Wrap == nil {
		return h
	}
	return opts.Wrap(h)
}

// authenticate asks for the user and password of opts, if it has them.
func authenticate(h http.Handler, opts Options) http.Handler {
	if opts.Username == "" && opts.Password == "" {
		return h
	}
	want := sha256.Sum256([]byte(opts.Username + "\x00" + opts.Password))
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, ok := req.BasicAuth()
		got := sha256.Sum256([]byte(user + "\x00" + password))
		if ok && subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			h.ServeHTTP(w, req)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="ferry demo"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
	})
}

// count writes down every request.
func (r *Registry) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		q := &Request{Method: req.Method, Path: req.URL.Path, Query: req.URL.RawQuery, Range: req.Header.Get("Range")}
		r.mu.Lock()
		r.requests = append(r.requests, q)
		r.mu.Unlock()
		h.ServeHTTP(&counter{ResponseWriter: w, registry: r, request: q}, req)
	})
}

// counter is a ResponseWriter that writes down what is sent. Handlers reach
// the one below it through http.ResponseController.
type counter struct {
	http.ResponseWriter
	registry *Registry
	request  *Request
}

func (c *counter) WriteHeader(status int) {
	c.note(status, 0)
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.note(http.StatusOK, n)
	return n, err
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// note adds to the request. The first final status is the one that was sent.
func (c *counter) note(status, n int) {
	c.registry.mu.Lock()
	defer c.registry.mu.Unlock()
	if c.request.Status < http.StatusOK {
		c.request.Status = status
	}
	c.request.Sent += int64(n)
}

// StartSample starts a registry that holds the sample images.
func StartSample(ctx context.Context) (*Registry, []Image, error) {
	store := contenttest.NewStore()
	images, err := Images(store)
	if err != nil {
		return nil, nil, err
	}
	r, err := StartRegistry(ctx, Options{})
	if err != nil {
		return nil, nil, err
	}
	if err := r.Seed(ctx, store, images...); err != nil {
		return nil, nil, errors.Join(err, r.Close())
	}
	return r, images, nil
}
