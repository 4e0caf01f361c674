package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// Lookup says what stands under a tag or digest of a repository that is about
// to be pushed to, and asks for the right to push at once.
func (r *Repository) Lookup(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	want, err := parseReference(reference)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("look up in %s/%s: %w", r.host.name, r.path, err)
	}
	c := manifestCall(http.MethodHead, reference)
	c.write = true
	return r.stands(ctx, c, want)
}

// HasBlob says whether the repository is known to hold a blob: one HEAD. A
// registry that fails at saying so, with 500, is not waited for as long as
// others: one whose disk was full has half a record of the blob, and fails until
// it is sent again.
func (r *Repository) HasBlob(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	c := call{method: http.MethodHead, path: "blobs/" + desc.Digest.String(), ref: desc.Digest.String(), write: true}
	ctx = context.WithValue(ctx, faultTries{}, maxFaults)
	resp, err := r.do(ctx, c, http.StatusOK)
	if e, ok := errors.AsType[*Error](err); errors.Is(err, content.ErrNotFound) || ok && e.Status == http.StatusInternalServerError {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	// What has another size is not the blob, whatever the registry calls it.
	return resp.ContentLength < 0 || resp.ContentLength == desc.Size, nil
}

// PushManifest puts a manifest or index under a tag or its digest. Where the
// registry does not list the referrers of a subject by itself, it is added to
// the index that clients keep under a tag for that (distribution spec 1.1).
func (r *Repository) PushManifest(ctx context.Context, desc ocispec.Descriptor, b []byte, reference string) error {
	header, err := r.putManifest(ctx, desc, b, reference)
	if err != nil {
		return err
	}
	n, err := content.Parse(desc, b)
	if err != nil {
		return fmt.Errorf("push to %s/%s: %w", r.host.name, r.path, err)
	}
	if n.Subject == nil || header.Get("OCI-Subject") == n.Subject.Digest.String() {
		return nil
	}
	return r.addToTag(ctx, n, b)
}

func (r *Repository) putManifest(ctx context.Context, desc ocispec.Descriptor, b []byte, reference string) (http.Header, error) {
	if _, err := parseReference(reference); err != nil {
		return nil, fmt.Errorf("push to %s/%s: %w", r.host.name, r.path, err)
	}
	if err := content.Check(desc, b); err != nil {
		return nil, fmt.Errorf("push to %s/%s: %w", r.host.name, r.path, err)
	}
	c := call{
		method: http.MethodPut, path: "manifests/" + reference, ref: reference, write: true,
		header: http.Header{"Content-Type": {desc.MediaType}}, body: inMemory(b),
	}
	resp, err := r.do(ctx, c, http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if err := sameDigest(resp, desc.Digest); err != nil {
		return nil, r.wrong(c, err)
	}
	return resp.Header, nil
}

func inMemory(b []byte) *payload {
	return &payload{size: int64(len(b)), open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
}

// sameDigest wants the registry to have stored what it was sent.
func sameDigest(resp *http.Response, want digest.Digest) error {
	got := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	if got == "" || got == want || got.Algorithm() != want.Algorithm() {
		return nil
	}
	return fmt.Errorf("it was sent %s, and says that it stored %s", want, printable(got.String()))
}

// addToTag adds n to the index of its subject's referrers.
func (r *Repository) addToTag(ctx context.Context, n *content.Node, b []byte) error {
	r.tagMu.Lock()
	defer r.tagMu.Unlock()
	listed, err := r.fromTag(ctx, n.Subject.Digest)
	if err != nil {
		return fmt.Errorf("read the list of referrers of %s: %w", n.Subject.Digest, err)
	}
	if slices.ContainsFunc(listed, func(d ocispec.Descriptor) bool { return d.Digest == n.Desc.Digest }) {
		return nil
	}
	var doc struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return err
	}
	own := ocispec.Descriptor{
		MediaType: n.Desc.MediaType, Digest: n.Desc.Digest, Size: n.Desc.Size,
		ArtifactType: n.ArtifactType, Annotations: doc.Annotations,
	}
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: append(listed, own),
	})
	if err != nil {
		return err
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(index), Size: int64(len(index))}
	_, err = r.putManifest(ctx, desc, index, referrersTag(n.Subject.Digest))
	return err
}
