package ferry_test

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/demo"
	"ferry/internal/ferry"
	"ferry/internal/ref"
	"ferry/internal/registry"
)

var (
	amd64  = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm64  = ocispec.Platform{OS: "linux", Architecture: "arm64"}
	s390x  = ocispec.Platform{OS: "linux", Architecture: "s390x"}
	moment = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

// upstream is a registry over loopback HTTP, whose answers a test may change
// while it runs.
type upstream struct {
	*demo.Registry
	t     *testing.T
	fault atomic.Pointer[fault]
}

// fault stands in for the registry; next is the registry itself.
type fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

func startUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{t: t}
	r, err := demo.StartRegistry(t.Context(), demo.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if f := u.fault.Load(); f != nil {
				(*f)(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	u.Registry = r
	return u
}

func (u *upstream) fail(f fault) { u.fault.Store(&f) }
func (u *upstream) heal()        { u.fault.Store(nil) }

// lose answers 404 for every path that ends in one of suffixes.
func (u *upstream) lose(suffixes ...string) {
	u.fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		for _, s := range suffixes {
			if strings.HasSuffix(r.URL.Path, s) {
				http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// push puts desc under repository:tag and returns its full name.
func (u *upstream) push(s *contenttest.Store, repository, tag string, desc ocispec.Descriptor, referrers ...ocispec.Descriptor) string {
	u.t.Helper()
	if err := u.Push(u.t.Context(), repository, tag, s, desc, referrers...); err != nil {
		u.t.Fatal(err)
	}
	return u.Host() + "/" + repository + ":" + tag
}

// blobGets counts how often each blob was asked for.
func (u *upstream) blobGets() map[digest.Digest]int {
	n := map[digest.Digest]int{}
	for _, r := range u.Requests() {
		if _, d, ok := strings.Cut(r.Path, "/blobs/"); ok && r.Method == http.MethodGet {
			n[digest.Digest(d)]++
		}
	}
	return n
}

// world is the real registry client, and a clock that stands still.
func world(t *testing.T) ferry.World {
	t.Helper()
	c, err := registry.New(registry.Options{Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return ferry.World{
		Repository: func(n ref.Name) (ferry.Repository, error) { return c.Repository(n) },
		Target:     func(n ref.Name) (ferry.Target, error) { return c.Repository(n) },
		Now:        func() time.Time { return moment },
	}
}

// packed packs req, which has to go well, and verifies what came of it.
func packed(t *testing.T, req ferry.PackRequest) *ferry.PackResult {
	t.Helper()
	return packedIn(t, world(t), req)
}

func packedIn(t *testing.T, w ferry.World, req ferry.PackRequest) *ferry.PackResult {
	t.Helper()
	r, err := ferry.Pack(t.Context(), w, req)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ferry.Verify(t.Context(), w, ferry.VerifyRequest{File: req.To, Digest: r.Digest.String()})
	if err != nil {
		t.Fatalf("verify what was packed: %v", err)
	}
	if v.Blobs != r.Blobs || v.Images != len(r.Images) || v.Size != r.Size || !v.Expected {
		t.Errorf("verify says %+v of what pack calls %+v", v, r)
	}
	return r
}

func pack(t *testing.T, req ferry.PackRequest) (*ferry.PackResult, error) {
	t.Helper()
	return ferry.Pack(t.Context(), world(t), req)
}

func target(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "release.tar")
}

// inside returns what a bundle holds: the bytes under each digest asked for.
func inside(t *testing.T, file string, descs ...ocispec.Descriptor) [][]byte {
	t.Helper()
	b, err := bundle.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var all [][]byte
	for _, d := range descs {
		raw, err := content.ReadAll(t.Context(), b, d, 1<<30)
		if err != nil {
			t.Fatalf("%s in %s: %v", d.Digest, file, err)
		}
		all = append(all, raw)
	}
	return all
}

// blobs are the digests of all content of a bundle.
func blobs(t *testing.T, file string) map[digest.Digest]bool {
	t.Helper()
	b, err := bundle.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	all := map[digest.Digest]bool{}
	for _, d := range b.Contents().Blobs() {
		all[d.Digest] = true
	}
	return all
}

// holds says which of descs are in the bundle, in one line each.
func holds(t *testing.T, file string, want bool, descs ...ocispec.Descriptor) {
	t.Helper()
	all := blobs(t, file)
	for _, d := range descs {
		if all[d.Digest] != want {
			t.Errorf("%s (%s) is in the bundle: %v, want %v", d.Digest, d.MediaType, all[d.Digest], want)
		}
	}
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, errX := os.ReadFile(a)
	y, errY := os.ReadFile(b)
	if errX != nil || errY != nil {
		t.Fatal(errX, errY)
	}
	if !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ", a, b)
	}
}

// files are the names in the folder of path.
func files(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// says wants every text in the error.
func says(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", texts)
	}
	for _, s := range texts {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q, want %q in it", err, s)
		}
	}
}

// sample is an image for three platforms that share a layer, with what a
// build tool says about the first one.
type sample struct {
	*contenttest.Store
	base, amd64, arm64, s390x, attestation, index ocispec.Descriptor
	// own is the layer of amd64 alone.
	own ocispec.Descriptor
}

func newSample() sample {
	s := sample{Store: contenttest.NewStore()}
	s.base = s.Layer(contenttest.File{Name: "base", Body: contenttest.Random(1, 40_000)})
	s.own = s.layer(2, 3000)
	s.amd64 = s.Image(amd64, contenttest.Config{Cmd: []string{"/app"}}, s.base, s.own)
	s.arm64 = s.Image(arm64, contenttest.Config{Cmd: []string{"/app"}}, s.base, s.layer(3, 3000))
	s.s390x = s.Image(s390x, contenttest.Config{Cmd: []string{"/app"}}, s.base, s.layer(4, 3000))
	s.attestation = s.attest(s.amd64)
	s.index = s.Index(s.amd64, s.arm64, s.s390x, s.attestation)
	return s
}

func (s sample) layer(seed uint64, n int) ocispec.Descriptor {
	return s.Layer(contenttest.File{Name: "app", Body: contenttest.Random(seed, n)})
}

// attest makes what BuildKit stores beside an image.
func (s sample) attest(about ocispec.Descriptor) ocispec.Descriptor {
	d := s.Image(ocispec.Platform{OS: "unknown", Architecture: "unknown"}, contenttest.Config{},
		s.Add("application/vnd.in-toto+json", []byte(`{"about":"`+about.Digest.String()+`"}`)))
	d.Annotations = map[string]string{
		"vnd.docker.reference.type":   "attestation-manifest",
		"vnd.docker.reference.digest": about.Digest.String(),
	}
	return d
}

// reconfigured is the image d with a config of another media type.
func (s sample) reconfigured(d ocispec.Descriptor, mediaType string) ocispec.Descriptor {
	b, _ := s.Get(d.Digest)
	return s.Add(d.MediaType, []byte(strings.ReplaceAll(string(b), ocispec.MediaTypeImageConfig, mediaType)))
}

func (s sample) bytes(t *testing.T, d ocispec.Descriptor) []byte {
	t.Helper()
	b, ok := s.Get(d.Digest)
	if !ok {
		t.Fatalf("%s is not in the store", d.Digest)
	}
	return b
}

// once wants every digest that was asked for to have been asked for once.
func once(t *testing.T, gets map[digest.Digest]int) {
	t.Helper()
	for d, n := range maps.All(gets) {
		if n != 1 {
			t.Errorf("%s was fetched %d times", d, n)
		}
	}
}
