package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

const (
	// inOnePiece is the size up to which a blob is read into memory and sent
	// in the request that commits it.
	inOnePiece = 1 << 20
	// maxStarts is how often an upload is begun whose session was lost.
	maxStarts = 4
	// worthwhile is how many bytes have to arrive for a try to count as a
	// success of its own.
	worthwhile = 1 << 20
)

// PushBlob makes the repository hold desc. Where from names another repository
// of the registry that holds it, the registry is asked to take it from there,
// which it may refuse; else it is uploaded. An upload that breaks off goes on
// where it broke, if the registry can.
//
// src has to check the bytes: an error of its reader, before the last byte,
// keeps the upload from being committed, and is returned. advance is told of
// bytes that go out, and with a negative number of those that did not count.
func (r *Repository) PushBlob(ctx context.Context, desc ocispec.Descriptor, src content.Source, from string, advance func(int64)) (mounted bool, err error) {
	if err := content.Supported(desc.Digest); err != nil {
		return false, fmt.Errorf("push to %s/%s: %w", r.host.name, r.path, err)
	}
	u := &upload{repo: r, desc: desc, src: src, advance: advance}
	if from != "" {
		if mounted, err = u.mount(ctx, from); mounted || err != nil {
			return mounted, err
		}
	}
	if err := u.run(ctx); err != nil {
		u.forget(0)
		return false, err
	}
	u.forget(desc.Size)
	return false, nil
}

// upload is one blob on its way into a repository.
type upload struct {
	repo *Repository
	desc ocispec.Descriptor
	src  content.Source
	// at is where the registry wants the next bytes; nil before the start.
	at     *url.URL
	offset int64 // bytes that have arrived there
	starts int
	whole  bool // the registry wants all in one request

	mu      sync.Mutex
	advance func(int64)
	told    int64 // bytes that advance was told of
	reading *outgoing
	failed  error // of src
}

func (u *upload) call(method string, at *url.URL) call {
	return call{method: method, path: "blobs/uploads/", at: at, ref: u.desc.Digest.String(), write: true, header: http.Header{}}
}

// mount asks the registry to take the blob from another repository. A refusal
// is no error; it may come with the beginning of an upload.
func (u *upload) mount(ctx context.Context, from string) (bool, error) {
	c := u.call(http.MethodPost, nil)
	c.query = url.Values{"mount": {u.desc.Digest.String()}, "from": {from}}.Encode()
	c.from = from
	resp, err := u.repo.do(ctx, c, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok && e.Status != 0 {
			return false, nil
		}
		return false, err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusCreated {
		return true, nil
	}
	u.starts++
	// Without a usable location the upload is begun anew.
	u.at, _ = u.repo.location(resp)
	return false, nil
}

// run tries until the blob is in, or nothing more can be expected.
func (u *upload) run(ctx context.Context) error {
	for tries := 0; ; tries++ {
		before := u.offset
		err := u.once(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if u.offset-before >= worthwhile {
			tries = 0
		}
		pause, again := u.again(err, tries)
		if !again {
			return err
		}
		u.repo.client.opts.OnRetry(u.repo.host.addr, err, pause)
		if err := u.repo.client.opts.Wait(ctx, pause); err != nil {
			return err
		}
		if done, err := u.recover(ctx); done || err != nil {
			return err
		}
	}
}

// again says whether to try once more after err, and when.
func (u *upload) again(err error, tries int) (time.Duration, bool) {
	if tries+1 >= maxTries {
		return 0, false
	}
	if lost(err) {
		return backoff(0), u.starts < maxStarts
	}
	interrupted, ok := errors.AsType[*interruptedError](err)
	if !ok {
		return 0, false
	}
	e, ok := errors.AsType[*Error](interrupted.error)
	if !ok || e.RetryAfter > maxRetryAfter {
		return 0, false
	}
	return max(e.RetryAfter, backoff(tries)), e.mayHeal()
}

// interruptedError marks the failure of a request that is not sent again as it
// is.
type interruptedError struct{ error }

func (e *interruptedError) Unwrap() error { return e.error }

func (e *Error) mayHeal() bool {
	if e.Status != 0 {
		return triesFor(&http.Response{StatusCode: e.Status}, nil) > 1
	}
	// Connections break in more ways than can be told apart.
	return !final(e.Err)
}

// lost says whether err means that the registry no longer knows an upload, or
// not at this place.
func lost(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.token || !strings.Contains(e.URL, "/uploads/") || strings.HasSuffix(e.URL, "/uploads/") {
		return false
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusGone, http.StatusRequestedRangeNotSatisfiable, http.StatusConflict:
		return true
	}
	return e.Code == "BLOB_UPLOAD_UNKNOWN" || e.Code == "BLOB_UPLOAD_INVALID"
}

// recover asks the registry how far an upload has come. What it does not know
// is begun anew, unless the blob is there by now: an answer can get lost too.
func (u *upload) recover(ctx context.Context) (done bool, err error) {
	if u.at != nil && u.desc.Size > inOnePiece && !u.whole {
		resp, err := u.repo.do(ctx, u.call(http.MethodGet, u.at), http.StatusNoContent, http.StatusOK, http.StatusAccepted)
		if err == nil {
			resp.Body.Close()
			if u.move(resp) == nil && u.arrived(resp) {
				return false, nil
			}
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	u.at, u.offset = nil, 0
	u.forget(0)
	done, err = u.repo.HasBlob(ctx, u.desc)
	if done {
		u.forget(u.desc.Size)
	}
	return done, err
}

// arrived reads from a Range header how many bytes the registry has.
func (u *upload) arrived(resp *http.Response) bool {
	_, last, ok := strings.Cut(strings.TrimPrefix(resp.Header.Get("Range"), "bytes="), "-")
	if !ok {
		return false
	}
	n, ok := number(last)
	switch {
	case last == "-1": // what some say of an upload that is empty
		n = -1
	case !ok || n >= u.desc.Size:
		return false
	}
	// 0-0 is what others say of one that is empty, and it may be one byte: to
	// begin anew is always right.
	if n == 0 {
		return false
	}
	u.offset = n + 1
	u.forget(u.offset)
	return true
}

// once begins or goes on with the upload.
func (u *upload) once(ctx context.Context) error {
	if u.at == nil {
		if err := u.begin(ctx); err != nil {
			return err
		}
	}
	switch {
	case u.desc.Size <= inOnePiece:
		return u.small(ctx)
	case u.whole:
		return u.stream(ctx, http.MethodPut, http.StatusCreated, http.StatusOK, http.StatusNoContent)
	}
	if u.offset < u.desc.Size {
		err := u.stream(ctx, http.MethodPatch, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
		if noPatch(err) && u.offset == 0 {
			u.whole, u.at = true, nil
			u.forget(0)
			return u.once(ctx)
		}
		if err != nil {
			return err
		}
	}
	return u.commit(ctx, nil)
}

// noPatch says whether a registry takes no PATCH at all.
func noPatch(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Status == http.StatusMethodNotAllowed || e.Status == http.StatusNotImplemented)
}

func (u *upload) begin(ctx context.Context) error {
	u.starts++
	c := u.call(http.MethodPost, nil)
	resp, err := u.repo.do(ctx, c, http.StatusAccepted)
	if err != nil {
		return err
	}
	resp.Body.Close()
	u.offset = 0
	if u.at, err = u.repo.location(resp); err != nil {
		return u.repo.wrong(c, err)
	}
	return nil
}

// small sends the blob with the request that commits it.
func (u *upload) small(ctx context.Context) error {
	b, err := content.ReadAll(ctx, u.src, u.desc, inOnePiece)
	if err != nil {
		u.fail(err)
		return err
	}
	return u.commit(ctx, b)
}

func (u *upload) commit(ctx context.Context, b []byte) error {
	c := u.commitCall()
	if len(b) > 0 {
		c.body = inMemory(b)
	}
	resp, err := u.repo.do(ctx, c, http.StatusCreated, http.StatusOK, http.StatusNoContent)
	if err != nil {
		return err
	}
	resp.Body.Close()
	return u.stored(c, resp)
}

func (u *upload) commitCall() call {
	at := *u.at
	// The registry's own part stays as it wrote it: it may be signed.
	at.RawQuery = strings.Trim(at.RawQuery+"&digest="+url.QueryEscape(u.desc.Digest.String()), "&")
	c := u.call(http.MethodPut, &at)
	c.header.Set("Content-Type", "application/octet-stream")
	return c
}

func (u *upload) stored(c call, resp *http.Response) error {
	if err := sameDigest(resp, u.desc.Digest); err != nil {
		return u.repo.wrong(c, err)
	}
	return nil
}

// stream sends the bytes from offset on in one request.
func (u *upload) stream(ctx context.Context, method string, wanted ...int) error {
	c := u.call(method, u.at)
	if method == http.MethodPut {
		c = u.commitCall()
	}
	c.header.Set("Content-Type", "application/octet-stream")
	if u.offset > 0 {
		c.header.Set("Content-Range", fmt.Sprintf("%d-%d", u.offset, u.desc.Size-1))
	}
	c.body = &payload{size: u.desc.Size - u.offset, once: true, open: func() (io.ReadCloser, error) { return u.open(ctx) }}
	resp, err := u.repo.do(ctx, c, wanted...)
	u.mu.Lock()
	failed := u.failed
	u.mu.Unlock()
	if failed != nil {
		if err == nil {
			resp.Body.Close()
		}
		u.abandon(context.WithoutCancel(ctx))
		return failed
	}
	if err != nil {
		return &interruptedError{err}
	}
	resp.Body.Close()
	if method == http.MethodPut {
		return u.stored(c, resp)
	}
	u.offset = u.desc.Size
	if err := u.move(resp); err != nil {
		return u.repo.wrong(c, err)
	}
	return nil
}

// abandon tells the registry that nothing more will come. That it may fail
// does not matter: an upload without its end is never a blob.
func (u *upload) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if resp, err := u.repo.do(ctx, u.call(http.MethodDelete, u.at), http.StatusNoContent, http.StatusAccepted); err == nil {
		resp.Body.Close()
	}
}

// move goes to the place that an answer names for what comes next.
func (u *upload) move(resp *http.Response) error {
	if resp.Header.Get("Location") == "" {
		return nil
	}
	at, err := u.repo.location(resp)
	if err == nil {
		u.at = at
	}
	return err
}

// location reads where a registry wants an upload to go on: a path of its own,
// or a URL, which may lead to another host. That one gets no login.
func (r *Repository) location(resp *http.Response) (*url.URL, error) {
	raw := resp.Header.Get("Location")
	if raw == "" {
		return nil, errors.New("the registry accepted an upload and did not say where it goes: no Location")
	}
	at, err := resp.Request.URL.Parse(raw)
	if err != nil || at.Host == "" || at.User != nil || at.Scheme != "https" && at.Scheme != "http" {
		return nil, errors.New("the registry accepted an upload and did not say where it goes: Location is no URL that can be used")
	}
	at.Fragment = ""
	base := resp.Request.URL
	if base.Scheme == "https" && at.Scheme == "http" {
		// Behind a proxy that ends TLS, a registry may not know its own scheme.
		if !strings.EqualFold(at.Hostname(), base.Hostname()) {
			return nil, r.host.refuse(at, "an upload may not leave HTTPS")
		}
		at.Scheme, at.Host = base.Scheme, base.Host
	}
	if base.Scheme == "http" && at.Scheme == "https" && at.Port() != "" && strings.EqualFold(at.Host, base.Host) {
		// Told of TLS that is ended elsewhere, it names the port that just
		// answered without.
		at.Scheme = base.Scheme
	}
	return at, nil
}
