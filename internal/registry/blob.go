package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// Open returns the bytes of desc from offset on. Manifests come checked;
// blobs come as the registry sends them, never more than one byte beyond
// their size, so that whoever checks them sees that more would come. URLs in
// descriptors are not followed.
func (r *Repository) Open(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := content.Supported(desc.Digest); err != nil {
		return nil, fmt.Errorf("open in %s/%s: %w", r.host.name, r.path, err)
	}
	if offset < 0 || offset > desc.Size {
		return nil, fmt.Errorf("open %s in %s/%s: offset %d is outside of its %d bytes",
			desc.Digest, r.host.name, r.path, offset, desc.Size)
	}
	if isManifest(desc.MediaType) {
		b, err := r.Manifest(ctx, desc)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(b[offset:])), nil
	}
	return r.openBlob(ctx, desc, offset)
}

func (r *Repository) openBlob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	c := call{method: http.MethodGet, path: "blobs/" + desc.Digest.String(), header: http.Header{}, ref: desc.Digest.String()}
	if offset > 0 && offset == desc.Size {
		return http.NoBody, nil
	}
	if offset > 0 {
		c.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := r.do(ctx, c, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return nil, err
	}
	b := &blob{ReadCloser: resp.Body, left: desc.Size - offset, fail: func(err error) error { return r.wrong(c, err) }}
	if err := b.start(resp, desc, offset); err != nil {
		resp.Body.Close()
		return nil, r.wrong(c, err)
	}
	return b, nil
}

// blob is the rest of a blob, from an offset on.
type blob struct {
	io.ReadCloser
	left int64 // bytes that should still come
	fail func(error) error
}

// start brings the stream to offset, if the answer can be the blob at all.
func (b *blob) start(resp *http.Response, desc ocispec.Descriptor, offset int64) error {
	if resp.StatusCode == http.StatusPartialContent {
		return checkRange(resp, desc.Size, offset)
	}
	if n := resp.ContentLength; n >= 0 && n != desc.Size {
		if mediaType(resp) == "text/html" {
			return errWebPage
		}
		return announces(n, desc.Size)
	}
	if _, err := io.CopyN(io.Discard, b.ReadCloser, offset); err != nil {
		return fmt.Errorf("skip %d bytes that are already here: %w", offset, unexpected(err))
	}
	return nil
}

func announces(n, size int64) error {
	return fmt.Errorf("the registry announces %d bytes for a blob that the manifest says is %d", n, size)
}

// checkRange holds a partial answer against what was asked for (RFC 9110,
// section 14.4): bytes START-END/TOTAL, where TOTAL may be *.
func checkRange(resp *http.Response, size, offset int64) error {
	v := resp.Header.Get("Content-Range")
	start, end, total, ok := parseRange(v)
	switch {
	case !ok:
		return fmt.Errorf("the registry answered with a part but did not say which: Content-Range %q", printable(v))
	case start != offset:
		return fmt.Errorf("the registry sent bytes from %d on instead of from %d on", start, offset)
	case total >= 0 && total != size:
		return announces(total, size)
	case end != size-1:
		return fmt.Errorf("the registry sent bytes up to %d instead of up to %d", end, size-1)
	}
	if n := resp.ContentLength; n >= 0 && n != size-offset {
		return fmt.Errorf("the registry announces %d bytes for a part of %d", n, size-offset)
	}
	return nil
}

// parseRange reads a Content-Range; total is -1 where it says *.
func parseRange(v string) (start, end, total int64, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(v), "bytes ")
	span, size, slash := strings.Cut(rest, "/")
	from, to, dash := strings.Cut(span, "-")
	if !ok || !slash || !dash {
		return 0, 0, 0, false
	}
	start, ok1 := number(from)
	end, ok2 := number(to)
	total, ok3 := number(size)
	if size == "*" {
		total, ok3 = -1, true
	}
	return start, end, total, ok1 && ok2 && ok3 && start <= end
}

func number(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}

// Read lets one byte pass beyond the blob's size, and calls an early end by
// its name.
func (b *blob) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF && b.left <= 0:
		return n, io.EOF
	}
	return n, b.fail(unexpected(err))
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
