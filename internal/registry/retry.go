package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	maxTries      = 6
	maxFaults     = 3 // tries of a question that fails with 500 and has another way
	maxUnreach    = 2 // tries of a host that is down or cannot be looked up
	firstPause    = 500 * time.Millisecond
	maxRetryAfter = time.Minute
)

// policy decides whether one request is sent again. It waits itself, so that
// the caller's Wait is the only clock.
type policy struct {
	ctx  context.Context
	host string
	opts Options
	// spoke is whether the registry answered before; nil for other hosts.
	spoke *atomic.Bool
}

// Retry returns 0 to try again, and less than that to be done.
func (p *policy) Retry(attempt int, resp *http.Response, err error) (time.Duration, error) {
	const done = -1
	if p.ctx.Err() != nil || attempt+1 >= p.opts.tries(p.tries(resp, err)) {
		return done, nil //nolint:nilerr // the caller returns resp and err as they are
	}
	pause := backoff(attempt)
	if err == nil {
		if asked, ok := retryAfter(resp, time.Now()); ok {
			if asked > maxRetryAfter {
				return done, nil
			}
			pause = max(asked, pause)
		}
		err = fmt.Errorf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
		resp.Body.Close()
	}
	p.opts.OnRetry(p.host, err, pause)
	if err := p.opts.Wait(p.ctx, pause); err != nil {
		return done, err
	}
	return 0, nil
}

// faultTries is the key in a context of how often at most a request is sent that
// ends in 500.
type faultTries struct{}

func (p *policy) tries(resp *http.Response, err error) int {
	if n, ok := p.ctx.Value(faultTries{}).(int); ok && err == nil && resp.StatusCode == http.StatusInternalServerError {
		return n
	}
	if err != nil && isAny(err, refusedConnection()) && p.spoke != nil && p.spoke.Load() {
		return maxTries // it was there, so it is being started again
	}
	return triesFor(resp, err)
}

// backoff doubles from one try to the next, give or take a quarter so that
// many clients do not come back in step.
func backoff(attempt int) time.Duration {
	d := firstPause << attempt
	return d*3/4 + rand.N(d/2)
}

// triesFor says how often a request may be sent that ended in resp or err.
func triesFor(resp *http.Response, err error) int {
	if err != nil {
		return triesForError(err)
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return maxTries
	}
	return 1
}

// tries is n, or less where the options say so.
func (o Options) tries(n int) int {
	if o.Tries > 0 {
		return min(n, o.Tries)
	}
	return n
}

func triesForError(err error) int {
	if final(err) {
		return 1
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return maxUnreach
	}
	if isAny(err, refusedConnection()) || isAny(err, noWay()) {
		return maxUnreach
	}
	if broken(err) {
		return maxTries
	}
	return 1
}

// final says whether err is one that waiting does not heal.
func final(err error) bool {
	if _, ok := errors.AsType[*RefusedError](err); ok {
		return true
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.IsNotFound
	}
	return isTLS(err) || isSchemeMismatch(err)
}

func isTLS(err error) bool {
	_, verify := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, ca := errors.AsType[x509.UnknownAuthorityError](err)
	return verify || record || alert || ca
}

// broken says whether err is that of a connection which broke or fell silent.
// Whoever asks knows that its own context stands: then a cancellation is that
// of another request, which had the connection before and took it along.
func broken(err error) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		return true
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isAny(err, brokenConnection()) {
		return true
	}
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

func isAny(err error, targets []error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

// retryAfter reads the header of that name: seconds or a date (RFC 9110).
func retryAfter(resp *http.Response, now time.Time) (time.Duration, bool) {
	v := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now)), true
	}
	return 0, false
}
