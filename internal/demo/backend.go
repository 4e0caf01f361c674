package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// maxUpload is the largest blob that the sample registry takes, in bytes.
const maxUpload = 1 << 30

// backend is the registry itself, without a network: repositories in memory,
// as the distribution specification has them. Repositories share no blobs
// unless they are mounted.
type backend struct {
	sparse bool

	mu      sync.Mutex
	repos   map[string]*repository
	uploads map[string]*upload
	next    int
}

type repository struct {
	blobs     map[digest.Digest][]byte
	manifests map[digest.Digest]manifest
	tags      map[string]digest.Digest
}

type manifest struct {
	mediaType string
	body      []byte
	node      *content.Node
}

type upload struct {
	repository string
	body       bytes.Buffer
}

func newBackend(opts Options) *backend {
	return &backend{sparse: opts.SparseIndex, repos: map[string]*repository{}, uploads: map[string]*upload{}}
}

// fault is an error answer of the specification.
type fault struct {
	status        int
	code, message string
}

func (f *fault) Error() string { return f.code + ": " + f.message }

var (
	errBlobUnknown   = &fault{http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry"}
	errUploadUnknown = &fault{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "upload unknown to registry"}
	errManifest      = &fault{http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown to registry"}
	errNameUnknown   = &fault{http.StatusNotFound, "NAME_UNKNOWN", "repository unknown to registry"}
	errDigest        = &fault{http.StatusBadRequest, "DIGEST_INVALID", "the bytes do not have this digest"}
	errMethod        = &fault{http.StatusMethodNotAllowed, "UNSUPPORTED", "method not allowed"}
)

// route is NAME/KIND/REST below /v2/.
var route = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|uploads|tags|referrers)/([^/]*)$`)

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		w.WriteHeader(http.StatusOK)
		return
	}
	m := route.FindStringSubmatch(r.URL.Path)
	if m == nil {
		refuse(w, errNameUnknown)
		return
	}
	name, kind, rest := m[1], m[2], m[3]
	if trimmed, ok := strings.CutSuffix(name, "/blobs"); ok && kind == "uploads" {
		name, kind = trimmed, "blobs/uploads"
	}
	if err := b.answer(w, r, name, kind, rest); err != nil {
		refuse(w, err)
	}
}

// answer holds the lock only while it looks and changes: a client that sends
// or takes slowly keeps no other one waiting.
func (b *backend) answer(w http.ResponseWriter, r *http.Request, name, kind, rest string) error {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if reads && (kind == "manifests" || kind == "blobs") {
		f, err := b.find(name, kind, rest)
		if err != nil {
			return err
		}
		f.serve(w, r)
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxUpload+1))
	if err != nil {
		return err
	}
	if len(body) > maxUpload {
		return &fault{http.StatusRequestEntityTooLarge, "SIZE_INVALID", "the blob is too large"}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.change(w, r, name, kind, rest, body)
}

// found is a blob or manifest that is there.
type found struct {
	digest    digest.Digest
	mediaType string
	body      []byte
}

func (f found) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Content-Digest", f.digest.String())
	w.Header().Set("Content-Type", f.mediaType)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}

func (b *backend) find(name, kind, rest string) (found, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	repo := b.repos[name]
	if repo == nil {
		return found{}, errNameUnknown
	}
	d := digest.Digest(rest)
	if kind == "blobs" {
		body, ok := repo.blobs[d]
		if !ok {
			return found{}, errBlobUnknown
		}
		return found{d, "application/octet-stream", body}, nil
	}
	if tagged, ok := repo.tags[rest]; ok {
		d = tagged
	}
	m, ok := repo.manifests[d]
	if !ok {
		return found{}, errManifest
	}
	return found{d, m.mediaType, m.body}, nil
}

func refuse(w http.ResponseWriter, err error) {
	f, ok := err.(*fault) //nolint:errorlint // made here, never wrapped
	if !ok {
		f = &fault{http.StatusBadRequest, "MANIFEST_INVALID", err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": f.code, "message": f.message}}})
}

// change does all that is not reading a blob or a manifest.
func (b *backend) change(w http.ResponseWriter, r *http.Request, name, kind, rest string, body []byte) error {
	repo := b.repos[name]
	if repo == nil {
		if r.Method == http.MethodGet || r.Method == http.MethodDelete {
			return errNameUnknown
		}
		repo = &repository{blobs: map[digest.Digest][]byte{}, manifests: map[digest.Digest]manifest{}, tags: map[string]digest.Digest{}}
		b.repos[name] = repo
	}
	switch {
	case kind == "blobs/uploads":
		return b.upload(w, r, repo, name, rest, body)
	case kind == "tags" && r.Method == http.MethodGet:
		return repo.list(w, name)
	case kind == "referrers" && r.Method == http.MethodGet:
		return repo.referrers(w, r, digest.Digest(rest))
	case kind == "manifests" && r.Method == http.MethodPut:
		return b.putManifest(w, r, repo, name, rest, body)
	case kind == "manifests" && r.Method == http.MethodDelete:
		delete(repo.manifests, digest.Digest(rest))
	case kind == "blobs" && r.Method == http.MethodDelete:
		delete(repo.blobs, digest.Digest(rest))
	default:
		return errMethod
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (b *backend) putManifest(w http.ResponseWriter, r *http.Request, repo *repository, name, reference string, body []byte) error {
	desc := ocispec.Descriptor{MediaType: r.Header.Get("Content-Type"), Digest: digest.FromBytes(body), Size: int64(len(body))}
	if want := digest.Digest(reference); want.Validate() == nil && want != desc.Digest {
		if want.Algorithm().FromBytes(body) != want {
			return errDigest
		}
		desc.Digest = want
	}
	node, err := content.Parse(desc, body)
	if err != nil {
		return err
	}
	if err := b.complete(repo, node); err != nil {
		return err
	}
	repo.manifests[desc.Digest] = manifest{mediaType: desc.MediaType, body: body, node: node}
	if desc.Digest.String() != reference {
		repo.tags[reference] = desc.Digest
	}
	if node.Subject != nil {
		w.Header().Set("OCI-Subject", node.Subject.Digest.String())
	}
	w.Header().Set("Docker-Content-Digest", desc.Digest.String())
	w.Header().Set("Location", "/v2/"+name+"/manifests/"+desc.Digest.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// complete refuses a manifest whose children are not there.
func (b *backend) complete(repo *repository, node *content.Node) error {
	for _, c := range node.Children() {
		_, blob := repo.blobs[c.Digest]
		_, child := repo.manifests[c.Digest]
		if !blob && !child && !(b.sparse && node.Config == nil) {
			return &fault{http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "missing " + c.Digest.String()}
		}
	}
	return nil
}

func (b *backend) upload(w http.ResponseWriter, r *http.Request, repo *repository, name, id string, body []byte) error {
	if r.Method == http.MethodPost {
		return b.begin(w, r, repo, name, body)
	}
	u := b.uploads[id]
	if u == nil || u.repository != name {
		return errUploadUnknown
	}
	switch r.Method {
	case http.MethodPatch, http.MethodPut:
		if err := u.take(r, body); err != nil {
			return err
		}
	case http.MethodDelete:
		delete(b.uploads, id)
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodGet:
		u.where(w, id)
		w.WriteHeader(http.StatusNoContent)
		return nil
	default:
		return errMethod
	}
	if r.Method == http.MethodPatch {
		u.where(w, id)
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	delete(b.uploads, id)
	return repo.store(w, name, digest.Digest(r.URL.Query().Get("digest")), u.body.Bytes())
}

// begin starts an upload, or finishes it at once: by a mount from another
// repository, or where all the bytes are there already.
func (b *backend) begin(w http.ResponseWriter, r *http.Request, repo *repository, name string, body []byte) error {
	q := r.URL.Query()
	if from := b.repos[q.Get("from")]; from != nil {
		if body, ok := from.blobs[digest.Digest(q.Get("mount"))]; ok {
			return repo.store(w, name, digest.Digest(q.Get("mount")), body)
		}
	}
	u := &upload{repository: name}
	u.body.Write(body)
	if d := q.Get("digest"); d != "" {
		return repo.store(w, name, digest.Digest(d), u.body.Bytes())
	}
	b.next++
	id := strconv.Itoa(b.next)
	b.uploads[id] = u
	u.where(w, id)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// take adds what r brings. A part that begins elsewhere than where the last
// one ended is refused.
func (u *upload) take(r *http.Request, body []byte) error {
	if at, _, ok := strings.Cut(r.Header.Get("Content-Range"), "-"); ok && at != strconv.Itoa(u.body.Len()) {
		return &fault{http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "the part begins elsewhere"}
	}
	u.body.Write(body)
	return nil
}

func (u *upload) where(w http.ResponseWriter, id string) {
	w.Header().Set("Location", "/v2/"+u.repository+"/blobs/uploads/"+id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(u.body.Len()-1, 0)))
}

func (repo *repository) store(w http.ResponseWriter, name string, d digest.Digest, body []byte) error {
	if content.Supported(d) != nil || d.Algorithm().FromBytes(body) != d {
		return errDigest
	}
	repo.blobs[d] = body
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Location", "/v2/"+name+"/blobs/"+d.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (repo *repository) list(w http.ResponseWriter, name string) error {
	tags := []string{}
	for t := range repo.tags {
		tags = append(tags, t)
	}
	slices.Sort(tags)
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"name": name, "tags": tags})
}

func (repo *repository) referrers(w http.ResponseWriter, r *http.Request, subject digest.Digest) error {
	idx := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{},
	}
	want := r.URL.Query().Get("artifactType")
	for d, m := range repo.manifests {
		if m.node.Subject == nil || m.node.Subject.Digest != subject || want != "" && m.node.ArtifactType != want {
			continue
		}
		idx.Manifests = append(idx.Manifests, ocispec.Descriptor{
			MediaType: m.mediaType, Digest: d, Size: int64(len(m.body)), ArtifactType: m.node.ArtifactType,
		})
	}
	slices.SortFunc(idx.Manifests, func(a, b ocispec.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	if want != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	return json.NewEncoder(w).Encode(idx)
}
