package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/registry"
)

// uploads is a registry that keeps the bytes of an upload which broke off, as
// the spec wants it, and remembers what it was asked.
type uploads struct {
	mu       sync.Mutex
	body     []byte // of the one upload
	done     map[digest.Digest][]byte
	reqs     []string
	ranges   []string
	location string // prefix of Location
	// cut ends the n-th PATCH after so many bytes.
	cut map[int]int64
	n   int
	// silent loses the answer to the end of an upload.
	silent bool
}

func (u *uploads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reqs = append(u.reqs, r.Method)
	at := strings.HasSuffix(r.URL.Path, "/session")
	switch {
	case r.Method == http.MethodHead:
		for d, b := range u.done {
			if strings.HasSuffix(r.URL.Path, d.String()) {
				w.Header().Set("Content-Length", strconv.Itoa(len(b)))
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPost:
		u.body = nil
		u.where(w, http.StatusAccepted)
	case at && u.silent && len(u.done) > 0:
		w.WriteHeader(http.StatusNotFound)
	case at && r.Method == http.MethodGet:
		u.where(w, http.StatusNoContent)
	case at && r.Method == http.MethodPatch:
		u.patch(w, r)
	case at && r.Method == http.MethodPut:
		b, _ := io.ReadAll(r.Body)
		u.body = append(u.body, b...)
		d := digest.Digest(r.URL.Query().Get("digest"))
		if digest.FromBytes(u.body) != d || r.URL.Query().Get("state") != "s/1" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		u.done[d] = u.body
		if u.silent {
			u.body = nil
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (u *uploads) where(w http.ResponseWriter, status int) {
	w.Header().Set("Location", u.location+"/v2/team/web/blobs/uploads/session?state=s%2F1")
	if len(u.body) > 0 {
		w.Header().Set("Range", fmt.Sprintf("0-%d", len(u.body)-1))
	}
	w.WriteHeader(status)
}

func (u *uploads) patch(w http.ResponseWriter, r *http.Request) {
	u.n++
	u.ranges = append(u.ranges, r.Header.Get("Content-Range"))
	if from, _, ok := strings.Cut(r.Header.Get("Content-Range"), "-"); ok && from != strconv.Itoa(len(u.body)) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	if n, ok := u.cut[u.n]; ok {
		b, _ := io.ReadAll(io.LimitReader(r.Body, n))
		u.body = append(u.body, b...)
		panic(http.ErrAbortHandler)
	}
	b, _ := io.ReadAll(r.Body)
	u.body = append(u.body, b...)
	u.where(w, http.StatusAccepted)
}

func newUploads() *uploads { return &uploads{done: map[digest.Digest][]byte{}, cut: map[int]int64{}} }

// bigBlob is a blob that is not sent in one piece.
func bigBlob() (*contenttest.Store, ocispec.Descriptor, []byte) {
	s := contenttest.NewStore()
	b := contenttest.Random(9, 5<<20)
	return s, s.Add("application/octet-stream", b), b
}

func nothing(int64) {}

// TestUploadGoesOn: what the registry has is not sent again.
func TestUploadGoesOn(t *testing.T) {
	w := newWorld(t)
	u := newUploads()
	u.cut[1], u.cut[2] = 2<<20, 1<<20
	w.serve("registry.example", "127.0.0.1", u)
	s, d, b := bigBlob()
	var told int64
	if _, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "", func(n int64) { told += n }); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(u.done[d.Digest], b) {
		t.Error("the registry has other bytes")
	}
	if want := fmt.Sprint([]string{"", "2097152-5242879", "3145728-5242879"}); fmt.Sprint(u.ranges) != want {
		t.Errorf("sent from %q on", u.ranges)
	}
	if told != d.Size {
		t.Errorf("progress counts %d bytes, want %d", told, d.Size)
	}
}

// TestUploadWhoseAnswerGetsLost is found to be there, and not sent again.
func TestUploadWhoseAnswerGetsLost(t *testing.T) {
	w := newWorld(t)
	u := newUploads()
	u.silent = true
	w.serve("registry.example", "127.0.0.1", u)
	s, d, _ := bigBlob()
	var told int64
	if _, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "", func(n int64) { told += n }); err != nil {
		t.Fatal(err)
	}
	if reqs := strings.Join(u.reqs, " "); strings.Count(reqs, "PATCH") != 1 || strings.Count(reqs, "POST") != 1 || told != d.Size {
		t.Errorf("it was asked %s, and progress counts %d bytes", reqs, told)
	}
}

// TestUploadGoesOnInOlareg: the same with a registry whose Location changes
// with every part.
func TestUploadGoesOnInOlareg(t *testing.T) {
	yes := true
	backend := olareg.New(config.Config{
		Storage: config.ConfigStorage{StoreType: config.StoreMem}, API: config.ConfigAPI{DeleteEnabled: &yes},
	})
	defer backend.Close()
	var patches int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			if patches++; patches == 1 {
				r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, 2<<20), broken{}))
				backend.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
		}
		backend.ServeHTTP(w, r)
	}))
	defer server.Close()
	server.Config.ErrorLog = quietLog()
	w := newWorld(t)
	s, d, _ := bigBlob()
	repo := w.repo(strings.TrimPrefix(server.URL, "http://") + "/team/web")
	if _, err := repo.PushBlob(t.Context(), d, s, "", nothing); err != nil {
		t.Fatal(err)
	}
	if there, err := repo.HasBlob(t.Context(), d); !there || err != nil {
		t.Errorf("the blob is there: %v, %v", there, err)
	}
	if patches != 2 {
		t.Errorf("%d parts were sent, want 2", patches)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestUploadElsewhere: bytes go where the registry wants them, the login does
// not.
func TestUploadElsewhere(t *testing.T) {
	w := newWorld(t)
	var own, other seen
	u := newUploads()
	u.location = "https://storage.example"
	w.serve("registry.example", "127.0.0.1", own.then(needsLogin(u)))
	w.serve("storage.example", "127.0.0.2", other.then(u))
	w.login(map[string]string{"registry.example": "user:secret"})
	s, d, b := bigBlob()
	if _, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "", nothing); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(u.done[d.Digest], b) || len(other.all()) == 0 {
		t.Error("the bytes did not arrive there")
	}
	if len(own.logins()) == 0 || len(other.logins()) != 0 {
		t.Errorf("the login was sent to the registry %d times, and elsewhere: %q", len(own.logins()), other.logins())
	}
}

func needsLogin(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// TestUploadNeverLeavesHTTPS: to another host it is refused; a registry that
// does not know its own scheme is spoken to as before.
func TestUploadNeverLeavesHTTPS(t *testing.T) {
	for location, ok := range map[string]bool{
		"http://registry.example": true, "http://registry.example:80": true,
		"http://storage.example": false, "ftp://storage.example": false, "https://user:pw@registry.example": false,
	} {
		w := newWorld(t)
		u := newUploads()
		u.location = location
		w.serve("registry.example", "127.0.0.1", u)
		w.servePlain("storage.example", "127.0.0.2", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Errorf("%s was asked in plain HTTP", location)
		}))
		s, d, _ := bigBlob()
		_, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "", nothing)
		if (err == nil) != ok || err == nil && u.done[d.Digest] == nil {
			t.Errorf("%s: %v", location, err)
		}
	}
}

// spoiled is a place whose bytes turn out wrong at the end.
type spoiled struct{ *contenttest.Store }

var errWrong = errors.New("these are not the bytes")

func (f spoiled) Open(ctx context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := f.Store.Open(ctx, d, offset)
	if err != nil {
		return nil, err
	}
	return readCloser{&cutOff{r, d.Size - offset - 1}, r}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

type cutOff struct {
	r    io.Reader
	left int64
}

func (c *cutOff) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errWrong
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// TestSourceThatFailsCommitsNothing: the error is the source's own, it is not
// tried again, and the end of the upload is never sent.
func TestSourceThatFailsCommitsNothing(t *testing.T) {
	s, d, _ := bigBlob()
	small := s.Add("application/json", []byte(`{"a":1}`))
	for _, desc := range []ocispec.Descriptor{d, small} {
		w := newWorld(t)
		u := newUploads()
		w.serve("registry.example", "127.0.0.1", u)
		var told int64
		_, err := w.repo("registry.example/team/web").PushBlob(t.Context(), desc, spoiled{s}, "", func(n int64) { told += n })
		if !errors.Is(err, errWrong) {
			t.Errorf("got %v, want the source's error", err)
		}
		u.mu.Lock()
		if reqs := strings.Join(u.reqs, " "); strings.Contains(reqs, "PUT") || strings.Count(reqs, "POST") != 1 || len(u.done) > 0 {
			t.Errorf("it was asked %s", reqs)
		}
		u.mu.Unlock()
		if told != 0 {
			t.Errorf("progress counts %d bytes of a blob that did not arrive", told)
		}
	}
}

// TestStalledUpload: a registry that takes no bytes is left, and tried again.
func TestStalledUpload(t *testing.T) {
	w := newWorld(t)
	w.opts.Stall = time.Second
	u := newUploads()
	var patches atomic.Int64
	hold := make(chan struct{})
	w.serve("registry.example", "127.0.0.1", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			if patches.Add(1) == 1 {
				<-hold
				return
			}
		}
		u.ServeHTTP(rw, r)
	}))
	defer close(hold)
	s := contenttest.NewStore()
	// More than the buffers on the way can hold.
	d := s.Add("application/octet-stream", contenttest.Random(1, 32<<20))
	if _, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "", nothing); err != nil {
		t.Fatal(err)
	}
	if len(w.retries) == 0 || !strings.Contains(w.retries[0], "not a byte was taken for 1s") {
		t.Errorf("tried again because of %q", w.retries)
	}
}

// TestPushAsksForTheRight: a token for pushing is asked for with the first
// request, and for pulling from where a blob is mounted.
func TestPushAsksForTheRight(t *testing.T) {
	w := newWorld(t)
	var scopes []string
	var mu sync.Mutex
	w.serve("registry.example", "127.0.0.1", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path == "/token":
			scopes = append(scopes, strings.Join(r.URL.Query()["scope"], " "))
			_, _ = io.WriteString(rw, fmt.Sprintf(`{"token":"t%d"}`, len(scopes)))
		case r.Header.Get("Authorization") == "", r.Method == http.MethodPost && r.Header.Get("Authorization") == "Bearer t1":
			rw.Header().Set("WWW-Authenticate", `Bearer realm="https://registry.example/token",service="x"`)
			rw.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodPost:
			rw.WriteHeader(http.StatusCreated)
		default:
			rw.WriteHeader(http.StatusNotFound)
		}
	}))
	repo := w.repo("registry.example/team/web")
	if _, err := repo.Lookup(t.Context(), "1.0"); !errors.Is(err, content.ErrNotFound) {
		t.Fatal(err)
	}
	s, d, _ := bigBlob()
	if mounted, err := repo.PushBlob(t.Context(), d, s, "library/base", nothing); !mounted || err != nil {
		t.Fatal(mounted, err)
	}
	want := "[repository:team/web:pull,push repository:library/base:pull repository:team/web:pull,push]"
	if got := fmt.Sprint(scopes); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

// TestReferrersTag: without a referrers API each referrer is added to the
// index under the tag once, however many are pushed at a time.
func TestReferrersTag(t *testing.T) {
	no := false
	backend := olareg.New(config.Config{
		Storage: config.ConfigStorage{StoreType: config.StoreMem},
		API:     config.ConfigAPI{Referrer: config.ConfigAPIReferrer{Enabled: &no}},
	})
	defer backend.Close()
	server := httptest.NewServer(backend)
	defer server.Close()
	repo := newWorld(t).repo(strings.TrimPrefix(server.URL, "http://") + "/team/web")
	s := contenttest.NewStore()
	subject := s.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, contenttest.Config{}, s.Layer(contenttest.File{Name: "a"}))
	put := func(d ocispec.Descriptor) error {
		b, _ := s.Get(d.Digest)
		n, err := content.Parse(d, b)
		if err != nil {
			return err
		}
		for _, c := range n.Children() {
			if _, err := repo.PushBlob(t.Context(), c, s, "", nothing); err != nil {
				return err
			}
		}
		return repo.PushManifest(t.Context(), d, b, d.Digest.String())
	}
	check(t, put(subject))
	var about []ocispec.Descriptor
	for i := range 5 {
		about = append(about, s.Artifact(&subject, "application/vnd.example", s.Add("text/plain", []byte{byte('a' + i)})))
	}
	errs := make(chan error)
	for range 2 {
		for _, d := range about {
			go func() { errs <- put(d) }()
		}
	}
	for range 2 * len(about) {
		check(t, <-errs)
	}
	listed, err := repo.Referrers(t.Context(), subject)
	check(t, err)
	if len(listed) != len(about) || listed[0].Desc.ArtifactType != "application/vnd.example" {
		t.Errorf("%d are listed, want %d: %+v", len(listed), len(about), listed)
	}
}

// TestLookupIsOneRequest, whether something is there or not.
func TestLookupIsOneRequest(t *testing.T) {
	for _, h := range []http.HandlerFunc{manifest, status(http.StatusNotFound, "")} {
		w := newWorld(t)
		var s seen
		w.serve("registry.example", "127.0.0.1", s.then(h))
		_, err := w.repo("registry.example/team/web").Lookup(t.Context(), "1.0")
		if err != nil && !errors.Is(err, content.ErrNotFound) {
			t.Error(err)
		}
		if len(s.all()) != 1 || s.all()[0].Method != http.MethodHead {
			t.Errorf("%d requests", len(s.all()))
		}
	}
}

// TestPushHints: the same answer means something else when one pushes.
func TestPushHints(t *testing.T) {
	for body, hint := range map[string]string{
		`403 DENIED`:         "is right, but may not push to registry.example/team/web",
		`401 UNAUTHORIZED`:   "may pull but not push",
		`405 UNSUPPORTED`:    "takes no pushes",
		`404 NAME_UNKNOWN`:   "created first",
		`413 SIZE_INVALID`:   "client_max_body_size",
		`507 X`:              "no room left",
		`500 UNKNOWN`:        "such as a full disk",
		`400 QUOTA_EXCEEDED`: "no room left",
	} {
		w := newWorld(t)
		code, word, _ := strings.Cut(body, " ")
		n, _ := strconv.Atoi(code)
		w.serve("registry.example", "127.0.0.1", needsLogin(status(n, `{"errors":[{"code":"`+word+`","message":"no"}]}`)))
		w.login(map[string]string{"registry.example": "user:secret"})
		s, d, _ := bigBlob()
		_, err := w.repo("registry.example/team/web").PushBlob(t.Context(), d, s, "", nothing)
		var e *registry.Error
		if !errors.As(err, &e) || !strings.Contains(e.Hint(), hint) {
			t.Errorf("%s: %v: %q, want %q", body, err, e.Hint(), hint)
		}
	}
}
