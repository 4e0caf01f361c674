// Package serve is a registry that only reads: it answers the pull half of the
// OCI distribution specification from content that lies in one file, and
// checks every blob against its digest while it is sent: the first time, and
// again when the file was written to since.
//
// It is not a registry to push to, nor a proxy: what it does not hold is not
// found. It knows nothing of bundles; its caller says what there is.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of what a client may do. docs/security.md names them.
const (
	maxConnections = 1024
	maxHeader      = 64 << 10
	maxRanges      = 16
	headerPatience = 10 * time.Second
	idlePatience   = 2 * time.Minute
	// chunk is what is read, hashed and sent at once: Options.Stall is for
	// each of them.
	chunk = 64 << 10
)

// Repository is what stands under one name.
type Repository struct {
	// Name is registry and path: docker.io/library/nginx.
	Name string
	// Tags name manifests.
	Tags map[string]digest.Digest
	// Manifests are the manifests and indexes, with media type and size.
	Manifests map[digest.Digest]ocispec.Descriptor
	// Blobs are the sizes of all that may be fetched as a blob.
	Blobs map[digest.Digest]int64
	// Referrers speak about a manifest, by its digest.
	Referrers map[digest.Digest][]ocispec.Descriptor
}

// Blobs finds content by digest. The bytes need not be checked: Server does.
type Blobs interface {
	Section(digest.Digest) (*io.SectionReader, error)
}

// Options say what is served and how. Repositories and Blobs are needed, all
// else has right zero values.
type Options struct {
	Repositories []Repository
	Blobs        Blobs
	// Users are asked for a password; nil lets everybody read.
	Users *Users
	// TLS is the server's certificate; nil means plain HTTP.
	TLS *tls.Config
	// Patience is how long answers under way may take after the end was asked
	// for; 0 means 30 s.
	Patience time.Duration
	// Stall is how long a client may take for 64 KiB; 0 means 30 s.
	Stall time.Duration
	// Done is told of each request that was answered, Note of connections
	// that came to nothing. Both are called by several goroutines at once.
	Done func(Access)
	Note func(string)
	// Ending is told how many answers are under way when the end was asked
	// for, if there are any.
	Ending func(answers int64)
}

// Access is a request that was answered. All its texts are foreign.
type Access struct {
	Remote string
	Method string
	URI    string
	Status int
	Bytes  int64
	Took   time.Duration
	// Err says that the content is not what it should be: the client got an
	// error, or a cut connection, instead of it.
	Err error
}

// Stats count since the start.
type Stats struct {
	Requests int64
	Bytes    int64
	// Cut are the answers that were not waited for at the end.
	Cut int64
}

// Server answers requests. It is an http.Handler.
type Server struct {
	opts    Options
	catalog catalog
	proven  proven
	http    *http.Server
	buffers sync.Pool

	requests, bytes, active, cut atomic.Int64
	close                        sync.Once
}

// New returns a server of what opts say.
func New(opts Options) *Server {
	if opts.Patience <= 0 {
		opts.Patience = 30 * time.Second
	}
	if opts.Stall <= 0 {
		opts.Stall = 30 * time.Second
	}
	if opts.Done == nil {
		opts.Done = func(Access) {}
	}
	if opts.Note == nil {
		opts.Note = func(string) {}
	}
	if opts.Ending == nil {
		opts.Ending = func(int64) {}
	}
	s := &Server{opts: opts, catalog: newCatalog(opts.Repositories)}
	s.buffers.New = func() any { return new([chunk]byte) }
	// One request a connection: then the limit of connections is one of
	// requests too, and one layer does not wait behind another.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s.http = &http.Server{
		Handler: s, Protocols: protocols,
		ReadHeaderTimeout: headerPatience, IdleTimeout: idlePatience, WriteTimeout: opts.Stall,
		MaxHeaderBytes: maxHeader, ErrorLog: log.New(noteWriter(opts.Note), "", 0),
	}
	return s
}

type noteWriter func(string)

func (w noteWriter) Write(b []byte) (int, error) {
	w(strings.TrimSpace(string(b)))
	return len(b), nil
}

// Serve answers on l until ctx ends; then answers under way may end within
// Options.Patience. It closes l. That ctx ended is no error.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	l = limit(l, maxConnections)
	if s.opts.TLS != nil {
		l = tls.NewListener(l, s.opts.TLS)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(l) }()
	select {
	case err := <-ended:
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	case <-ctx.Done():
	}
	return s.drain(context.WithoutCancel(ctx))
}

func (s *Server) drain(ctx context.Context) error {
	if n := s.active.Load(); n > 0 {
		s.opts.Ending(n)
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Patience)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return s.Close()
	}
	return err
}

// Close cuts all answers under way.
func (s *Server) Close() error {
	s.close.Do(func() { s.cut.Store(s.active.Load()) })
	return s.http.Close()
}

// Stats are what was served so far.
func (s *Server) Stats() Stats {
	return Stats{Requests: s.requests.Load(), Bytes: s.bytes.Load(), Cut: s.cut.Load()}
}
