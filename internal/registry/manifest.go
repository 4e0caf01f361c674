package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// accepted are the media types that ferry asks for.
func accepted() http.Header {
	return http.Header{"Accept": {strings.Join([]string{
		ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest,
		content.DockerManifestList, content.DockerManifest,
	}, ", ")}}
}

func manifestCall(method, reference string) call {
	return call{method: method, path: "manifests/" + reference, header: accepted(), ref: reference}
}

// stands says what is under a tag or digest: one HEAD, and a GET where HEAD is
// not enough. What is not there needs no second look.
func (r *Repository) stands(ctx context.Context, c call, want digest.Digest) (ocispec.Descriptor, error) {
	c.method = http.MethodHead
	desc, err := r.head(ctx, c, want)
	if worthGet(err) && !errors.Is(err, content.ErrNotFound) {
		c.method = http.MethodGet
		desc, _, err = r.fetch(ctx, c, want)
	}
	return desc, err
}

// errVague is a HEAD that went well and does not say what the manifest is.
var errVague = errors.New("the registry did not say what the manifest is")

// errEmpty is a GET that went well and brought nothing.
var errEmpty = errors.New("the registry answered with an empty manifest")

// worthGet says whether GET may know more than a HEAD that ended in err: a
// HEAD has no body to say what is wrong, and some registries do not serve it.
func worthGet(err error) bool {
	if errors.Is(err, errVague) {
		return true
	}
	e, ok := errors.AsType[*Error](err)
	return ok && !e.token && e.Status >= 400 && e.Status < 500 && e.Status != http.StatusTooManyRequests
}

func (r *Repository) head(ctx context.Context, c call, want digest.Digest) (ocispec.Descriptor, error) {
	resp, err := r.do(ctx, c, http.StatusOK)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	resp.Body.Close()
	desc := ocispec.Descriptor{
		MediaType: mediaType(resp),
		Digest:    digest.Digest(resp.Header.Get("Docker-Content-Digest")),
		Size:      resp.ContentLength,
	}
	switch {
	case desc.MediaType == "text/html":
		return ocispec.Descriptor{}, r.wrong(c, errWebPage)
	case desc.Size <= 0 || !isManifest(desc.MediaType) || content.Supported(desc.Digest) != nil:
		return ocispec.Descriptor{}, errVague
	case want != "" && desc.Digest != want:
		return ocispec.Descriptor{}, r.wrong(c, fmt.Errorf("the registry names another digest: %s", desc.Digest))
	}
	return desc, nil
}

func isManifest(mediaType string) bool {
	return content.IsManifest(mediaType) || content.IsIndex(mediaType)
}

// Manifest returns the bytes of the manifest or index that desc describes,
// checked against it.
func (r *Repository) Manifest(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > content.MaxManifest {
		return nil, &content.TooLargeError{What: "manifest " + desc.Digest.String(), Size: desc.Size, Limit: content.MaxManifest}
	}
	_, b, err := r.Fetch(ctx, desc.Digest.String())
	if err != nil {
		return nil, err
	}
	if err := content.Check(desc, b); err != nil {
		return nil, r.wrong(manifestCall(http.MethodGet, desc.Digest.String()), err)
	}
	return b, nil
}

// Fetch returns the manifest that a tag or digest names and its descriptor,
// both from one answer: a tag that moves meanwhile cannot tear them apart.
func (r *Repository) Fetch(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	want, err := parseReference(reference)
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("fetch from %s/%s: %w", r.host.name, r.path, err)
	}
	return r.fetch(ctx, manifestCall(http.MethodGet, reference), want)
}

func (r *Repository) fetch(ctx context.Context, c call, want digest.Digest) (ocispec.Descriptor, []byte, error) {
	resp, b, err := r.read(ctx, c) //nolint:bodyclose // read closes it
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	d, err := identify(resp, b, want)
	if err != nil {
		return ocispec.Descriptor{}, nil, r.wrong(c, err)
	}
	return ocispec.Descriptor{MediaType: manifestType(resp, b), Digest: d, Size: int64(len(b))}, b, nil
}

// identify computes the digest of b and holds it against the one that was
// asked for, or against the one that the registry names for a tag.
func identify(resp *http.Response, b []byte, want digest.Digest) (digest.Digest, error) {
	named := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	switch {
	case len(b) == 0:
		return "", errEmpty
	case want != "":
	case named == "":
		want = digest.FromBytes(b)
	case content.Supported(named) != nil:
		return "", fmt.Errorf("the registry names the digest %q, which is none", printable(string(named)))
	default:
		want = named
	}
	return want, content.Check(ocispec.Descriptor{Digest: want, Size: int64(len(b))}, b)
}

// manifestType is what the registry calls b; where that says nothing, what b
// calls itself or looks like.
func manifestType(resp *http.Response, b []byte) string {
	t := mediaType(resp)
	vague := []string{"", "application/json", "application/octet-stream", "text/plain"}
	if !slices.Contains(vague, t) {
		return t
	}
	var doc struct {
		MediaType string          `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
		Config    json.RawMessage `json:"config"`
	}
	switch err := json.Unmarshal(b, &doc); {
	case err != nil:
		return t
	case doc.MediaType != "":
		return doc.MediaType
	case doc.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	case doc.Config != nil:
		return ocispec.MediaTypeImageManifest
	}
	return t
}

// read sends c and reads a body of at most content.MaxManifest bytes. A body
// that breaks off is asked for again.
func (r *Repository) read(ctx context.Context, c call) (*http.Response, []byte, error) {
	for attempt := 0; ; attempt++ {
		resp, err := r.do(ctx, c, http.StatusOK)
		if err != nil {
			return nil, nil, err
		}
		b, err := readManifest(resp)
		resp.Body.Close()
		if err == nil {
			return resp, b, nil
		}
		if ctx.Err() != nil || attempt+1 >= r.client.opts.tries(triesForError(err)) {
			return nil, nil, r.wrong(c, err)
		}
		pause := backoff(attempt)
		r.client.opts.OnRetry(r.host.addr, err, pause)
		if err := r.client.opts.Wait(ctx, pause); err != nil {
			return nil, nil, r.wrong(c, err)
		}
	}
}

func readManifest(resp *http.Response) ([]byte, error) {
	if mediaType(resp) == "text/html" {
		return nil, errWebPage
	}
	tooLarge := &content.TooLargeError{What: "the manifest", Size: resp.ContentLength, Limit: content.MaxManifest}
	if resp.ContentLength > content.MaxManifest {
		return nil, tooLarge
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, content.MaxManifest+1))
	if err == nil && len(b) > content.MaxManifest {
		tooLarge.Size = int64(len(b))
		return nil, tooLarge
	}
	return b, err
}
