package serve

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	aw := &answer{ResponseWriter: w, server: s, control: http.NewResponseController(w)}
	s.active.Add(1)
	// Also when the handler panics, which is how a connection is cut.
	defer func() {
		s.active.Add(-1)
		s.requests.Add(1)
		s.opts.Done(Access{
			Remote: r.RemoteAddr, Method: r.Method, URI: r.RequestURI,
			Status: aw.status, Bytes: aw.sent, Took: time.Since(began), Err: aw.err,
		})
	}()
	aw.extend()
	h := aw.Header()
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Body != nil && r.Body != http.NoBody {
		// Nobody waits for a body that is not wanted.
		h.Set("Connection", "close")
		_ = aw.control.SetReadDeadline(began.Add(time.Second))
	}
	if p := s.answer(aw, r); p != nil {
		aw.err = p.err
		p.answer(aw)
	}
}

func (s *Server) answer(w *answer, r *http.Request) *problem {
	if !s.opts.Users.allow(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="ferry", charset="UTF-8"`)
		return &problem{status: http.StatusUnauthorized, code: unauthorized, message: "a name and a password are needed"}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return &problem{status: http.StatusMethodNotAllowed, code: unsupported, message: "this registry is a bundle: it only reads"}
	}
	return s.route(w, r)
}

func (s *Server) route(w *answer, r *http.Request) *problem {
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	switch {
	case r.URL.Path == "/v2", ok && path == "":
		w.json("application/json", []byte("{}\n"))
		return nil
	case ok && path == "_catalog":
		return s.page(w, r, "repositories", s.catalog.names, nil)
	}
	parts := strings.Split(path, "/")
	if !ok || len(parts) < 3 {
		return notFound(unsupported, "there is nothing at this address; a registry begins at /v2/")
	}
	name, kind, what := strings.Join(parts[:len(parts)-2], "/"), parts[len(parts)-2], parts[len(parts)-1]
	if kind != "manifests" && kind != "blobs" && kind != "referrers" && (kind != "tags" || what != "list") {
		return notFound(unsupported, "there is nothing at this address; a registry has manifests, blobs, referrers and tags/list")
	}
	repo, p := s.catalog.find(name, r.URL.Query().Get("ns"))
	if p != nil {
		return p
	}
	switch kind {
	case "manifests":
		return s.manifest(w, r, repo, what)
	case "blobs":
		return s.blob(w, r, repo, what)
	case "referrers":
		return s.referrers(w, r, repo, what)
	}
	return s.page(w, r, "tags", repo.tags, map[string]any{"name": name})
}

func (s *Server) manifest(w *answer, r *http.Request, repo *repository, reference string) *problem {
	d, p := manifestDigest(repo, reference)
	if p != nil {
		return p
	}
	if b, ok := repo.made[d]; ok {
		w.content(r, d, ocispec.MediaTypeImageIndex, bytes.NewReader(b))
		return nil
	}
	desc, ok := repo.Manifests[d]
	if !ok {
		return notFound(manifestUnknown, fmt.Sprintf("%s is not in the bundle: perhaps only other platforms were packed", d))
	}
	b, err := s.read(desc)
	if err != nil {
		return faulty(err)
	}
	w.content(r, d, desc.MediaType, bytes.NewReader(b))
	return nil
}

func manifestDigest(repo *repository, reference string) (digest.Digest, *problem) {
	if strings.Contains(reference, ":") {
		return parseDigest(reference)
	}
	d, ok := repo.resolve(reference)
	if !ok {
		return "", notFound(manifestUnknown, fmt.Sprintf("the bundle has no tag %s of %s; it has %s",
			cut(reference), repo.Name, some(repo.tags)))
	}
	return d, nil
}

// some names the first of all.
func some(all []string) string {
	const most = 8
	switch {
	case len(all) == 0:
		return "none, only digests"
	case len(all) > most:
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
	}
	return strings.Join(all, ", ")
}

func parseDigest(text string) (digest.Digest, *problem) {
	d := digest.Digest(text)
	if err := content.Supported(d); err != nil {
		return "", badRequest(digestInvalid, cut(text)+" is no digest: that is sha256: and 64 hexadecimal digits")
	}
	return d, nil
}

const octets = "application/octet-stream"

func (s *Server) blob(w *answer, r *http.Request, repo *repository, text string) *problem {
	d, p := parseDigest(text)
	if p != nil {
		return p
	}
	size, ok := repo.Blobs[d]
	if !ok {
		return notFound(blobUnknown, fmt.Sprintf("%s has no blob %s in the bundle", repo.Name, d))
	}
	desc := ocispec.Descriptor{Digest: d, Size: size}
	// A small one is checked before its answer begins, so that its damage can
	// be said and not only shown by a cut connection.
	if size <= chunk {
		b, err := s.read(desc)
		if err != nil {
			return faulty(err)
		}
		w.content(r, d, octets, bytes.NewReader(b))
		return nil
	}
	section, err := s.section(desc)
	if err != nil {
		return faulty(err)
	}
	if err := s.blobContent(w, r, desc, section); err != nil {
		w.err = err
		panic(http.ErrAbortHandler)
	}
	return nil
}

// section finds desc and wants it to have its size.
func (s *Server) section(desc ocispec.Descriptor) (*io.SectionReader, error) {
	section, err := s.opts.Blobs.Section(desc.Digest)
	if err != nil {
		return nil, err
	}
	if section.Size() != desc.Size {
		return nil, &content.DigestError{Want: desc.Digest, Size: desc.Size, Read: section.Size()}
	}
	return section, nil
}

// read returns all of desc, checked. Its size is bounded by the caller.
func (s *Server) read(desc ocispec.Descriptor) ([]byte, error) {
	section, err := s.section(desc)
	if err != nil {
		return nil, err
	}
	b := make([]byte, desc.Size)
	if _, err := io.ReadFull(section, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", desc.Digest, err)
	}
	return b, content.Check(desc, b)
}

func (s *Server) referrers(w *answer, r *http.Request, repo *repository, text string) *problem {
	subject, p := parseDigest(text)
	if p != nil {
		return p
	}
	artifactType := r.URL.Query().Get("artifactType")
	if artifactType != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	w.json(ocispec.MediaTypeImageIndex, repo.referrers(subject, artifactType))
	return nil
}

// page answers with the part of all that the request asks for by n and last,
// under key beside what else the answer has, and a link to the next part.
func (s *Server) page(w *answer, r *http.Request, key string, all []string, doc map[string]any) *problem {
	q := r.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if text := q.Get("n"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return badRequest(pageInvalid, fmt.Sprintf("n=%s is no number of results", cut(text)))
		}
		if n < len(all) {
			all = all[:n]
			w.link(r, all)
		}
	}
	if doc == nil {
		doc = map[string]any{}
	}
	doc[key] = append([]string{}, all...)
	w.json("application/json", encode(doc))
	return nil
}

// link says where the next page is, if this one is not empty.
func (w *answer) link(r *http.Request, page []string) {
	if len(page) == 0 {
		return
	}
	q := url.Values{"n": {strconv.Itoa(len(page))}, "last": {page[len(page)-1]}}
	if ns := r.URL.Query().Get("ns"); ns != "" {
		q.Set("ns", ns)
	}
	w.Header().Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", r.URL.EscapedPath(), q.Encode()))
}
