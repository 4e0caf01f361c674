package demo

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
)

// Push puts desc with everything below it from store into repository, under
// tag unless that is empty; then the artifacts in referrers. It speaks to the
// registry itself: no fault, password or counter stands in between.
func (r *Registry) Push(ctx context.Context, repository, tag string, store *contenttest.Store, desc ocispec.Descriptor, referrers ...ocispec.Descriptor) error {
	p := &push{handler: r.backend, repository: repository, store: store, done: map[digest.Digest]bool{}}
	if err := p.graph(ctx, desc, tag); err != nil {
		return fmt.Errorf("push %s:%s into the demo registry: %w", repository, tag, err)
	}
	for _, d := range referrers {
		if err := p.graph(ctx, d, ""); err != nil {
			return fmt.Errorf("push a referrer of %s:%s into the demo registry: %w", repository, tag, err)
		}
	}
	return nil
}

// Seed pushes images, as Images makes them.
func (r *Registry) Seed(ctx context.Context, store *contenttest.Store, images ...Image) error {
	for _, i := range images {
		if err := r.Push(ctx, i.Repository, i.Tag, store, i.Desc, i.Referrers...); err != nil {
			return err
		}
	}
	return nil
}

type push struct {
	handler    http.Handler
	repository string
	store      *contenttest.Store
	done       map[digest.Digest]bool
}

// graph pushes what is below desc before desc, as a registry wants it.
func (p *push) graph(ctx context.Context, desc ocispec.Descriptor, tag string) error {
	if p.done[desc.Digest] && tag == "" {
		return nil
	}
	p.done[desc.Digest] = true
	b, ok := p.store.Get(desc.Digest)
	if !ok {
		return fmt.Errorf("%s in the sample store: %w", desc.Digest, content.ErrNotFound)
	}
	if !content.IsIndex(desc.MediaType) && !content.IsManifest(desc.MediaType) {
		return p.blob(ctx, desc, b)
	}
	node, err := content.Parse(desc, b)
	if err != nil {
		return err
	}
	for _, child := range node.Children() {
		if err := p.graph(ctx, child, ""); err != nil {
			return err
		}
	}
	if tag == "" {
		tag = desc.Digest.String()
	}
	return p.send(ctx, http.MethodPut, "manifests/"+tag, desc.MediaType, b)
}

func (p *push) blob(ctx context.Context, desc ocispec.Descriptor, b []byte) error {
	q := url.Values{"digest": {desc.Digest.String()}}
	return p.send(ctx, http.MethodPost, "blobs/uploads/?"+q.Encode(), "application/octet-stream", b)
}

func (p *push) send(ctx context.Context, method, path, mediaType string, b []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://demo/v2/"+p.repository+"/"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", mediaType)
	var a answer
	p.handler.ServeHTTP(&a, req)
	if a.status != http.StatusCreated {
		return fmt.Errorf("%s %s: status %d: %s", method, req.URL.Path, a.status, a.body.String())
	}
	return nil
}

// answer keeps a response in memory.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}
