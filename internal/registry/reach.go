package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"ferry/internal/ref"
)

// Reach is how far the way to a registry goes from this machine: each step
// that was tried, until one failed. A step that was not tried has no time.
type Reach struct {
	Host  string // as in URLs: registry-1.docker.io, registry.example:5000
	Name  string // the same without a port
	Proxy string // the proxy that requests go through; the steps are then its own

	Resolve   Step
	Addresses []netip.Addr
	Connect   Step
	Address   string // the one that was connected to, or tried last
	Greet     Step   // TLS
	// PlainHTTP says that the server speaks HTTP where TLS was spoken to it.
	PlainHTTP bool
}

// Step is one step of the way.
type Step struct {
	Took time.Duration
	Err  error
}

// Done says that the step was tried and went well.
func (s Step) Done() bool { return s.Took > 0 && s.Err == nil }

// Why says why the step failed, without what was tried; "" if it did not.
func (s Step) Why() string {
	if s.Err == nil {
		return ""
	}
	if dns, ok := errors.AsType[*net.DNSError](s.Err); ok {
		if dns.Server != "" {
			return dns.Err + " (says " + dns.Server + ")"
		}
		return dns.Err
	}
	if op, ok := errors.AsType[*net.OpError](s.Err); ok {
		return op.Err.Error()
	}
	if errors.Is(s.Err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v", s.Took.Round(100*time.Millisecond))
	}
	return s.Err.Error()
}

// dialFew is how many of a name's addresses are tried.
const dialFew = 3

// Reach tries the way to the registry of n, without a login. Each step has at
// most the client's Stall, and 15 s.
func (c *Client) Reach(ctx context.Context, n ref.Name) Reach {
	repo, err := c.Repository(n)
	if err != nil {
		return Reach{Host: n.Registry(), Name: n.Registry(), Resolve: Step{Took: 1, Err: err}}
	}
	h := repo.host
	u := &url.URL{Scheme: "https", Host: h.addr}
	if h.scheme.Load() == schemeHTTP {
		u.Scheme = "http"
	}
	r := Reach{Host: h.addr, Name: u.Hostname()}
	if proxy, err := c.opts.Proxy(&http.Request{URL: u}); err == nil && proxy != nil {
		r.Proxy = proxy.Host
		return r
	}
	host, port, err := net.SplitHostPort(c.opts.locate(withPort(u)))
	if err != nil {
		r.Resolve = Step{Took: 1, Err: err}
		return r
	}
	limit := min(c.opts.Stall, maxDial)
	r.resolve(ctx, limit, host)
	conn := r.connect(ctx, limit, port)
	if conn == nil {
		return r
	}
	defer conn.Close()
	if u.Scheme == "https" {
		r.greet(ctx, limit, conn, &tls.Config{RootCAs: c.roots, ServerName: r.Name, MinVersion: tls.VersionTLS12})
	}
	return r
}

// timed runs one step.
func timed(ctx context.Context, limit time.Duration, step func(context.Context) error) Step {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	err := step(ctx)
	return Step{Took: max(time.Since(start), 1), Err: err}
}

func (r *Reach) resolve(ctx context.Context, limit time.Duration, host string) {
	if addr, err := netip.ParseAddr(host); err == nil {
		r.Addresses = []netip.Addr{addr}
		return
	}
	r.Resolve = timed(ctx, limit, func(ctx context.Context) error {
		all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		for _, a := range all {
			r.Addresses = append(r.Addresses, a.Unmap())
		}
		return err
	})
}

func (r *Reach) connect(ctx context.Context, limit time.Duration, port string) net.Conn {
	var conn net.Conn
	for _, a := range r.Addresses[:min(len(r.Addresses), dialFew)] {
		r.Address = net.JoinHostPort(a.String(), port)
		r.Connect = timed(ctx, limit, func(ctx context.Context) (err error) {
			conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", r.Address)
			return err
		})
		if r.Connect.Err == nil {
			return conn
		}
	}
	return nil
}

func (r *Reach) greet(ctx context.Context, limit time.Duration, conn net.Conn, cfg *tls.Config) {
	r.Greet = timed(ctx, limit, tls.Client(conn, cfg).HandshakeContext)
	if e, ok := errors.AsType[tls.RecordHeaderError](r.Greet.Err); ok {
		r.PlainHTTP = strings.HasPrefix(string(e.RecordHeader[:]), "HTTP")
	}
}
