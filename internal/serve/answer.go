package serve

import (
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// answer counts what is sent, and gives up on a client that takes nothing.
type answer struct {
	http.ResponseWriter
	server  *Server
	control *http.ResponseController
	status  int
	sent    int64
	err     error
}

// Unwrap is for http.ResponseController.
func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *answer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *answer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.extend()
	n, err := w.ResponseWriter.Write(b) //nolint:gosec // G705: every answer has a media type that no browser runs, and nosniff
	w.sent += int64(n)
	w.server.bytes.Add(int64(n))
	return n, err
}

// ReadFrom is how io.Copy writes.
func (w *answer) ReadFrom(r io.Reader) (int64, error) {
	if part, ok := r.(*io.LimitedReader); ok {
		blob, proven := part.R.(*plain)
		to, fast := w.ResponseWriter.(io.ReaderFrom)
		if proven && fast {
			return w.sendFile(to, blob, part.N)
		}
	}
	return w.copy(r)
}

// sendFile has the kernel send n bytes of a blob, without their passing
// through this program, in chunks too.
func (w *answer) sendFile(to io.ReaderFrom, blob *plain, n int64) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	var total int64
	for total < n {
		w.extend()
		sent, err := blob.send(to, min(n-total, chunk))
		total += sent
		w.sent += sent
		w.server.bytes.Add(sent)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// copy sends in chunks, from buffers that are used again.
func (w *answer) copy(r io.Reader) (int64, error) {
	buf, ok := w.server.buffers.Get().(*[chunk]byte)
	if !ok {
		buf = new([chunk]byte)
	}
	defer w.server.buffers.Put(buf)
	var total int64
	for {
		n, err := r.Read(buf[:])
		if n > 0 {
			m, werr := w.Write(buf[:n])
			total += int64(m)
			if werr != nil {
				return total, werr
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// extend gives the client time for the next chunk. Where there is no
// connection to set it on, there is no client to wait for either.
func (w *answer) extend() {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.server.opts.Stall))
}

func (w *answer) json(mediaType string, b []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b)
}

// content answers with body or the parts of it that r asks for.
func (w *answer) content(r *http.Request, d digest.Digest, mediaType string, body io.ReadSeeker) {
	h := w.Header()
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Etag", `"`+d.String()+`"`)
	h.Set("Content-Type", mediaType)
	// A range in another unit, or too many of them, is as none (RFC 9110, 14.2).
	if v := r.Header.Get("Range"); !strings.HasPrefix(v, "bytes=") || strings.Count(v, ",") >= maxRanges {
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "", time.Time{}, body)
}

// checked reads a blob and hashes it as far as it is read in order. Its last
// bytes come only if the whole has its digest.
type checked struct {
	section *io.SectionReader
	desc    ocispec.Descriptor
	hash    hash.Hash
	at      int64
	hashed  int64
	err     error
}

func newChecked(section *io.SectionReader, desc ocispec.Descriptor) *checked {
	return &checked{section: section, desc: desc, hash: desc.Digest.Algorithm().Hash()}
}

func (c *checked) Seek(offset int64, whence int) (int64, error) {
	at, err := c.section.Seek(offset, whence)
	if err == nil {
		c.at = at
	}
	return at, err
}

func (c *checked) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.section.Read(p)
	if c.at == c.hashed {
		c.hash.Write(p[:n])
		c.hashed += int64(n)
		if n > 0 && c.hashed == c.desc.Size {
			c.err = c.verdict()
		}
	}
	c.at += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	if err == io.EOF && c.at < c.desc.Size {
		c.err = &content.DigestError{Want: c.desc.Digest, Size: c.desc.Size, Read: c.at}
	}
	if c.err != nil {
		return 0, c.err
	}
	return n, err
}

// whole says whether all of the blob was read in order, and had its digest.
func (c *checked) whole() bool { return c.err == nil && c.hashed == c.desc.Size }

func (c *checked) verdict() error {
	if got := digest.NewDigest(c.desc.Digest.Algorithm(), c.hash); got != c.desc.Digest {
		return &content.DigestError{Want: c.desc.Digest, Got: got, Size: c.desc.Size, Read: c.desc.Size}
	}
	return nil
}
