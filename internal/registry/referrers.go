package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// maxPages is how many pages of referrers are read.
const maxPages = 100

// Referrer is a manifest that speaks about another: a signature, an SBOM, an
// attestation.
type Referrer = content.Referrer

// Referrers returns what the repository holds about subject, sorted by digest:
// from the referrers API of the OCI distribution spec 1.1, or from its
// fallback tag where a registry has no such API, and from cosign's tags.
func (r *Repository) Referrers(ctx context.Context, subject ocispec.Descriptor) ([]Referrer, error) {
	if err := content.Supported(subject.Digest); err != nil {
		return nil, fmt.Errorf("list referrers in %s/%s: %w", r.host.name, r.path, err)
	}
	descs, known, err := r.fromAPI(ctx, subject.Digest)
	if err == nil && !known {
		descs, err = r.fromTag(ctx, subject.Digest)
	}
	if err != nil {
		return nil, err
	}
	var all []Referrer
	for _, d := range descs {
		ok, err := carriable(d, subject.Digest)
		if err != nil {
			return nil, fmt.Errorf("list referrers of %s in %s/%s: %w", subject.Digest, r.host.name, r.path, err)
		}
		if ok {
			// What a registry adds of its own is none of the artifact's.
			d.URLs, d.Data = nil, nil
			all = append(all, Referrer{Desc: d})
		}
	}
	signed, err := r.fromCosign(ctx, subject.Digest)
	if err != nil {
		return nil, err
	}
	return distinct(append(all, signed...)), nil
}

// carriable says whether a referrer is one that ferry can fetch.
func carriable(d ocispec.Descriptor, subject digest.Digest) (bool, error) {
	if !isManifest(d.MediaType) || d.Digest == subject {
		return false, nil
	}
	if err := content.Supported(d.Digest); err != nil {
		return false, err
	}
	if d.Size < 0 || d.Size > content.MaxManifest {
		return false, &content.TooLargeError{What: d.Digest.String(), Size: d.Size, Limit: content.MaxManifest}
	}
	return true, nil
}

// distinct sorts by digest and keeps one of each, the tagged one first.
func distinct(all []Referrer) []Referrer {
	slices.SortFunc(all, func(a, b Referrer) int {
		return cmp.Or(cmp.Compare(a.Desc.Digest, b.Desc.Digest), cmp.Compare(b.Tag, a.Tag))
	})
	return slices.CompactFunc(all, func(a, b Referrer) bool {
		return a.Desc.Digest == b.Desc.Digest && (a.Tag == b.Tag || b.Tag == "")
	})
}

// fromAPI asks the referrers API; it is not known where a registry has none.
func (r *Repository) fromAPI(ctx context.Context, subject digest.Digest) (descs []ocispec.Descriptor, known bool, err error) {
	c := call{
		method: http.MethodGet, path: "referrers/" + subject.String(), ref: subject.String(),
		header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}},
	}
	for range maxPages {
		resp, b, err := r.read(ctx, c) //nolint:bodyclose // read closes it
		if err != nil {
			return nil, false, unlessMissing(err)
		}
		// Some registries answer unknown paths with 200 and something else.
		if mediaType(resp) != ocispec.MediaTypeImageIndex {
			return nil, false, nil
		}
		var page ocispec.Index
		if err := json.Unmarshal(b, &page); err != nil {
			return nil, false, r.wrong(c, fmt.Errorf("the list of referrers is not JSON: %w", err))
		}
		descs = append(descs, page.Manifests...)
		more, err := r.nextPage(resp, &c)
		if err != nil || !more {
			return descs, true, r.wrong(c, err)
		}
	}
	return nil, false, r.wrong(c, fmt.Errorf("the list of referrers has more than %d pages", maxPages))
}

// unlessMissing drops the errors by which registries say that they do not
// have what was asked for, or do not know the question.
func unlessMissing(err error) error {
	if errors.Is(err, content.ErrNotFound) || errors.Is(err, errWebPage) {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.token {
		return err
	}
	switch {
	case e.Status == http.StatusBadRequest, e.Status == http.StatusMethodNotAllowed,
		e.Status == http.StatusNotImplemented, e.Code == "UNSUPPORTED":
		return nil
	}
	return err
}

// nextPage follows a Link header (RFC 8288) to the same list.
func (r *Repository) nextPage(resp *http.Response, c *call) (bool, error) {
	target, ok := nextLink(resp.Header.Values("Link"))
	if !ok {
		return false, nil
	}
	path := "/v2/" + r.path + "/" + c.path
	base, err := url.Parse(r.host.url(path))
	if err != nil {
		return false, err
	}
	u, err := base.Parse(target)
	if err != nil {
		return false, fmt.Errorf("the next page is no URL: %q", printable(target))
	}
	if u.Host != base.Host || u.Path != path {
		return false, fmt.Errorf("the next page is elsewhere: %s", (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
	}
	c.query = u.RawQuery
	return true, nil
}

var linkValue = regexp.MustCompile(`<([^<>]*)>([^<]*)`)

func nextLink(headers []string) (string, bool) {
	for _, h := range headers {
		for _, link := range linkValue.FindAllStringSubmatch(h, -1) {
			for p := range strings.FieldsFuncSeq(link[2], func(r rune) bool { return r == ';' || r == ',' }) {
				k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
				if strings.EqualFold(k, "rel") && strings.EqualFold(strings.Trim(v, `" `), "next") {
					return link[1], true
				}
			}
		}
	}
	return "", false
}

// referrersTag is the tag that stands in for the referrers API.
func referrersTag(subject digest.Digest) string {
	hex := subject.Encoded()
	return string(subject.Algorithm()) + "-" + hex[:min(64, len(hex))]
}

// fromTag reads the index that clients keep under a tag for registries that
// have no referrers API.
func (r *Repository) fromTag(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	desc, b, err := r.Fetch(ctx, referrersTag(subject))
	if errors.Is(err, content.ErrNotFound) {
		return nil, nil
	}
	if err != nil || !content.IsIndex(desc.MediaType) {
		return nil, err
	}
	n, err := content.Parse(desc, b)
	if err != nil {
		return nil, fmt.Errorf("read the list of referrers: %w", err)
	}
	return n.Manifests, nil
}

// fromCosign looks for what cosign puts beside an image.
func (r *Repository) fromCosign(ctx context.Context, subject digest.Digest) ([]Referrer, error) {
	var found []Referrer
	for _, kind := range []string{"sig", "att", "sbom"} {
		tag := fmt.Sprintf("%s-%s.%s", subject.Algorithm(), subject.Encoded(), kind)
		desc, err := r.stands(ctx, manifestCall(http.MethodHead, tag), "")
		if errors.Is(err, content.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if isManifest(desc.MediaType) {
			found = append(found, Referrer{Desc: desc, Tag: tag})
		}
	}
	return found, nil
}
