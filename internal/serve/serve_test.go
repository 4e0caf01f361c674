package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store as a server reads it.
type memory struct{ *contenttest.Store }

func (m memory) Section(d digest.Digest) (*io.SectionReader, error) {
	b, ok := m.Get(d)
	if !ok {
		return nil, fmt.Errorf("%s: %w", d, content.ErrNotFound)
	}
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))), nil
}

// sample is an image for two platforms with a signature, and two repositories
// of one path in two registries.
type sample struct {
	memory
	index, amd64, arm64, absent, layer, signature, app ocispec.Descriptor
	repos                                              []serve.Repository
}

const (
	nginx   = "docker.io/library/nginx"
	sigType = "application/x-signature"
)

func newSample() *sample {
	store := contenttest.NewStore()
	s := &sample{memory: memory{store}}
	s.layer = store.Layer(contenttest.File{Name: "a", Body: contenttest.Random(1, 300_000)})
	image := func(arch string) ocispec.Descriptor {
		return store.Image(ocispec.Platform{OS: "linux", Architecture: arch}, contenttest.Config{Env: []string{arch}}, s.layer)
	}
	s.amd64, s.arm64, s.absent, s.app = image("amd64"), image("arm64"), image("s390x"), image("app")
	s.index = store.Index(s.amd64, s.arm64, s.absent)
	s.signature = store.Artifact(&s.index, sigType)
	s.signature.Annotations = map[string]string{"by": "<someone>"}
	r := s.repository(nginx, s.index, s.amd64, s.arm64, s.signature)
	for _, tag := range []string{"1.27", "1.28", "latest", "stable"} {
		r.Tags[tag] = s.index.Digest
	}
	r.Referrers[s.index.Digest] = []ocispec.Descriptor{s.signature}
	s.repos = append(s.repos, r)
	for _, name := range []string{"quay.io/team/app", "ghcr.io/team/app", "registry.bank.internal:5000/pay/api"} {
		app := s.repository(name, s.app)
		app.Tags["1"] = s.app.Digest
		s.repos = append(s.repos, app)
	}
	return s
}

// repository has manifests and all blobs that they name.
func (s *sample) repository(name string, manifests ...ocispec.Descriptor) serve.Repository {
	r := serve.Repository{
		Name: name, Tags: map[string]digest.Digest{}, Manifests: map[digest.Digest]ocispec.Descriptor{},
		Blobs: map[digest.Digest]int64{}, Referrers: map[digest.Digest][]ocispec.Descriptor{},
	}
	for _, m := range manifests {
		r.Manifests[m.Digest] = m
		b, _ := s.Get(m.Digest)
		n, err := content.Parse(m, b)
		if err != nil {
			panic(err)
		}
		if n.Config != nil {
			for _, d := range n.Children() {
				r.Blobs[d.Digest] = d.Size
			}
		}
	}
	return r
}

// running is a server on loopback.
type running struct {
	*serve.Server
	t      *testing.T
	host   string
	client *http.Client
	stop   func() error // ends it and waits

	mu   sync.Mutex
	done []serve.Access
}

func start(t *testing.T, o serve.Options) *running {
	t.Helper()
	r := &running{t: t, client: &http.Client{Transport: &http.Transport{}}}
	o.Done = func(a serve.Access) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.done = append(r.done, a)
	}
	r.Server = serve.New(o)
	l, err := serve.Listen(t.Context(), "127.0.0.1:0", o.Users, o.TLS)
	if err != nil {
		t.Fatal(err)
	}
	r.host = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, l) }()
	var once sync.Once
	var ending error
	r.stop = func() error {
		once.Do(func() {
			cancel()
			ending = <-ended
		})
		return ending
	}
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func startSample(t *testing.T) (*running, *sample) {
	s := newSample()
	return start(t, serve.Options{Repositories: s.repos, Blobs: s}), s
}

// accesses are the requests that were answered, once there are n of them.
func (r *running) accesses(n int) []serve.Access {
	r.t.Helper()
	for range 500 {
		r.mu.Lock()
		all := append([]serve.Access(nil), r.done...)
		r.mu.Unlock()
		if len(all) >= n {
			return all
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("fewer than %d requests were answered", n)
	return nil
}

// reply is an answer that was read to its end.
type reply struct {
	*http.Response
	body string
	err  error // of reading the body
}

// get sends a request. headers are names and values in turn.
func (r *running) get(method, path string, headers ...string) reply {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.host+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return reply{Response: &http.Response{Header: http.Header{}}, err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{Response: resp, body: string(b), err: err}
}

// code is the error code in a reply, checked for its form.
func (p reply) code(t *testing.T) string {
	t.Helper()
	var doc struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	if err := json.Unmarshal([]byte(p.body), &doc); err != nil || len(doc.Errors) != 1 || doc.Errors[0].Message == "" {
		t.Fatalf("%d %q is no error of the specification", p.StatusCode, p.body)
	}
	if ct := p.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("an error has content type %q", ct)
	}
	return doc.Errors[0].Code
}

func TestManifest(t *testing.T) {
	r, s := startSample(t)
	want, _ := s.Get(s.index.Digest)
	for _, reference := range []string{"1.27", s.index.Digest.String()} {
		path := "/v2/library/nginx/manifests/" + reference
		got := r.get("GET", path)
		if got.StatusCode != 200 || got.body != string(want) {
			t.Errorf("%s: %d %q", path, got.StatusCode, got.body)
		}
		head := r.get("HEAD", path)
		for name, value := range map[string]string{
			"Content-Type": ocispec.MediaTypeImageIndex, "Docker-Content-Digest": s.index.Digest.String(),
			"Etag": `"` + s.index.Digest.String() + `"`, "Content-Length": fmt.Sprint(len(want)),
		} {
			if got.Header.Get(name) != value || head.Header.Get(name) != value {
				t.Errorf("%s: %s: GET %q, HEAD %q, want %q", path, name, got.Header.Get(name), head.Header.Get(name), value)
			}
		}
		if head.StatusCode != 200 || head.body != "" {
			t.Errorf("HEAD %s: %d %q", path, head.StatusCode, head.body)
		}
	}
}

func TestBlob(t *testing.T) {
	r, s := startSample(t)
	want, _ := s.Get(s.layer.Digest)
	path := "/v2/library/nginx/blobs/" + s.layer.Digest.String()
	got, head := r.get("GET", path), r.get("HEAD", path)
	if got.StatusCode != 200 || got.body != string(want) || got.err != nil {
		t.Errorf("%d, %d bytes, %v", got.StatusCode, len(got.body), got.err)
	}
	if head.StatusCode != 200 || head.ContentLength != s.layer.Size || head.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	if stats := r.Stats(); stats.Requests != 2 || stats.Bytes != s.layer.Size {
		t.Errorf("%+v", stats)
	}
}

func TestNames(t *testing.T) {
	r, _ := startSample(t)
	for path, want := range map[string]string{
		"library/nginx":                                "",
		"docker.io/library/nginx":                      "",
		"library/nginx?ns=docker.io":                   "",
		"library/nginx?ns=registry-1.docker.io":        "",
		"nginx?ns=docker.io":                           "",
		"docker.io/library/nginx?ns=docker.io":         "",
		"library/nginx?ns=quay.io":                     "404 NAME_UNKNOWN",
		"library/nginx?ns=http://evil":                 "400 NAME_INVALID",
		"library/nginx?ns=" + strings.Repeat("a", 600): "400 NAME_INVALID",
		"nginx":                                  "404 NAME_UNKNOWN",
		"team/app":                               "404 NAME_UNKNOWN",
		"quay.io/team/app":                       "",
		"team/app?ns=ghcr.io":                    "",
		"team/app?ns=docker.io":                  "404 NAME_UNKNOWN",
		"pay/api":                                "",
		"registry.bank.internal:5000/pay/api":    "",
		"pay/api?ns=registry.bank.internal:5000": "",
		"pay/api?ns=registry.bank.internal":      "404 NAME_UNKNOWN",
		"LIBRARY/nginx/x":                        "404 NAME_UNKNOWN",
		"library/Nginx":                          "400 NAME_INVALID",
		"library//nginx":                         "400 NAME_INVALID",
		strings.Repeat("a/", 300) + "a":          "400 NAME_INVALID",
		"library/nginx/" + strings.Repeat("z", 100) + "?ns=docker.io": "404 NAME_UNKNOWN",
	} {
		name, query, _ := strings.Cut(path, "?")
		got := r.get("GET", "/v2/"+name+"/tags/list?"+query)
		if want == "" {
			if got.StatusCode != 200 || !strings.Contains(got.body, fmt.Sprintf(`"name":%q`, name)) {
				t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
			}
			continue
		}
		if s := fmt.Sprintf("%d %s", got.StatusCode, got.code(t)); s != want {
			t.Errorf("%s: %s, want %s", path, s, want)
		}
	}
	if got := r.get("GET", "/v2/team/app/tags/list"); !strings.Contains(got.body, "ask for ghcr.io/team/app or quay.io/team/app") {
		t.Errorf("an ambiguous name does not lead on: %s", got.body)
	}
}

func TestErrors(t *testing.T) {
	r, s := startSample(t)
	good, other := s.layer.Digest.String(), digest.FromString("other").String()
	for request, want := range map[string]string{
		"GET /v2/library/nginx/manifests/9":                              "404 MANIFEST_UNKNOWN",
		"GET /v2/library/nginx/manifests/" + other:                       "404 MANIFEST_UNKNOWN",
		"GET /v2/library/nginx/manifests/" + string(s.absent.Digest):     "404 MANIFEST_UNKNOWN",
		"GET /v2/library/nginx/manifests/sha256:abc":                     "400 DIGEST_INVALID",
		"GET /v2/library/nginx/manifests/md5:" + strings.Repeat("a", 32): "400 DIGEST_INVALID",
		"GET /v2/library/nginx/manifests/" + strings.ToUpper(other):      "400 DIGEST_INVALID",
		"GET /v2/library/nginx/manifests/" + strings.Repeat("x", 9000):   "404 MANIFEST_UNKNOWN",
		"GET /v2/library/nginx/blobs/" + other:                           "404 BLOB_UNKNOWN",
		"GET /v2/library/nginx/blobs/latest":                             "400 DIGEST_INVALID",
		"GET /v2/library/nginx/blobs/sha256:" + strings.Repeat("g", 64):  "400 DIGEST_INVALID",
		"GET /v2/quay.io/team/app/manifests/" + s.index.Digest.String():  "404 MANIFEST_UNKNOWN",
		"GET /v2/no/such/blobs/" + good:                                  "404 NAME_UNKNOWN",
		"GET /v2/library/nginx/referrers/x":                              "400 DIGEST_INVALID",
		"GET /v2/library/nginx/tags/list?n=-1":                           "400 PAGINATION_NUMBER_INVALID",
		"GET /v2/library/nginx/tags/list?n=many":                         "400 PAGINATION_NUMBER_INVALID",
		"GET /v2/library/nginx/tags/delete":                              "404 UNSUPPORTED",
		"GET /":                                                          "404 UNSUPPORTED",
		"GET /v1/library/nginx/tags/list":                                "404 UNSUPPORTED",
		"GET /v2/x":                                                      "404 UNSUPPORTED",
		"PUT /v2/library/nginx/manifests/1.27":                           "405 UNSUPPORTED",
		"POST /v2/library/nginx/blobs/uploads/":                          "405 UNSUPPORTED",
		"PATCH /v2/library/nginx/blobs/uploads/1":                        "405 UNSUPPORTED",
		"DELETE /v2/library/nginx/blobs/" + good:                         "405 UNSUPPORTED",
		"DELETE /v2/library/nginx/manifests/1.27":                        "405 UNSUPPORTED",
	} {
		method, path, _ := strings.Cut(request, " ")
		got := r.get(method, path)
		if s := fmt.Sprintf("%d %s", got.StatusCode, got.code(t)); s != want {
			t.Errorf("%s: %s, want %s", request, s, want)
		}
		if got.StatusCode == 405 && got.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: allows %q", request, got.Header.Get("Allow"))
		}
		if got.StatusCode != 200 && (got.Header.Get("Etag") != "" || got.Header.Get("Docker-Content-Digest") != "") {
			t.Errorf("%s: an error is named by a digest: %v", request, got.Header)
		}
		if len(got.body) > 1000 {
			t.Errorf("%s: an answer of %d bytes", request, len(got.body))
		}
	}
	for _, path := range []string{"/v2/", "/v2"} {
		if got := r.get("GET", path); got.StatusCode != 200 || got.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
			t.Errorf("%s: %d %v", path, got.StatusCode, got.Header)
		}
	}
}

// TestPaths sends paths that no client of ours would let through.
func TestPaths(t *testing.T) {
	r, s := startSample(t)
	for _, path := range []string{
		"/v2/../../../etc/passwd", "/v2/library/nginx/blobs/../../../../../../etc/passwd",
		"/v2/library/nginx/blobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/v2/..%2f..%2f/blobs/" + s.layer.Digest.String(),
		"/v2//library/nginx/manifests/1.27", "/v2/library/nginx/manifests/1.27/", "/v2/library/nginx/manifests/",
		"/v2/./library/nginx/manifests/1.27", "/v2/library/nginx%00/manifests/1.27", "/v2/library/nginx/manifests/1.27%0d%0aX: y",
		`/v2/library\nginx/manifests/1.27`, "//v2/library/nginx/manifests/1.27", "/v2/library/nginx/blobs/sha256:",
		"/v2/library/nginx/blobs/sha256:" + strings.Repeat("%2e", 64), "/v2/manifests/1", "/v2///manifests/1", "/v2/a/b/c/d/e",
		"*", "http://elsewhere/v2/x/tags/list", "/V2/library/nginx/manifests/1.27",
	} {
		answer := r.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 40") {
			t.Errorf("%s: %.200s", path, answer)
		}
		if strings.Contains(answer, "root:") || strings.Contains(answer, "\r\nX: y") || strings.Contains(answer, "Location:") {
			t.Errorf("%s leads somewhere: %s", path, answer)
		}
	}
}

// raw sends bytes and returns all that comes back.
func (r *running) raw(request string) string {
	r.t.Helper()
	c, err := net.Dial("tcp", r.host)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		r.t.Fatal(err)
	}
	b, _ := io.ReadAll(c)
	return string(b)
}

func TestHostileRequests(t *testing.T) {
	r, _ := startSample(t)
	huge := "GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 200_000) + "\r\n\r\n"
	if got := r.raw(huge); !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("200 kB of headers: %.100q", got)
	}
	began := time.Now()
	got := r.raw("POST /v2/library/nginx/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nslowly")
	if !strings.HasPrefix(got, "HTTP/1.1 405") || time.Since(began) > 8*time.Second {
		t.Errorf("a body that never comes: %.100q after %s", got, time.Since(began))
	}
}

func TestRanges(t *testing.T) {
	r, s := startSample(t)
	whole, _ := s.Get(s.layer.Digest)
	size := len(whole)
	path := "/v2/library/nginx/blobs/" + s.layer.Digest.String()
	etag := `"` + s.layer.Digest.String() + `"`
	for _, c := range []struct {
		header, ifRange string
		status          int
		from, to        int // what comes, of the whole
	}{
		{"bytes=0-0", "", 206, 0, 1},
		{"bytes=0-", "", 206, 0, size},
		{"bytes=100000-", "", 206, 100000, size},
		{"bytes=100000-200000", "", 206, 100000, 200001},
		{"bytes=-5", "", 206, size - 5, size},
		{"bytes=-99999999", "", 206, 0, size},
		{"bytes=10-99999999", "", 206, 10, size},
		{fmt.Sprintf("bytes=%d-", size-1), "", 206, size - 1, size},
		{fmt.Sprintf("bytes=%d-", size), "", 416, 0, 0},
		{"bytes=99999999-", "", 416, 0, 0},
		{"bytes=5-3", "", 416, 0, 0},
		{"bytes=-", "", 416, 0, 0},
		{"bytes=a-b", "", 416, 0, 0},
		{"bytes=0-18446744073709551616", "", 416, 0, 0},
		{"bytes=-9223372036854775809", "", 416, 0, 0},
		{"lines=1-2", "", 200, 0, size},
		{"bytes=" + strings.Repeat("0-1,", 5000) + "0-1", "", 200, 0, size},
		{"bytes=0-,0-,0-", "", 200, 0, size},
		{"bytes=5-9", etag, 206, 5, 10},
		{"bytes=5-9", `"sha256:other"`, 200, 0, size},
		{"bytes=5-9", "W/" + etag, 200, 0, size},
	} {
		headers := []string{"Range", c.header}
		if c.ifRange != "" {
			headers = append(headers, "If-Range", c.ifRange)
		}
		got := r.get("GET", path, headers...)
		if got.StatusCode != c.status {
			t.Errorf("%.60s: %d, want %d", c.header, got.StatusCode, c.status)
			continue
		}
		if c.status == 416 {
			if strings.Contains(got.body, string(whole[:100])) || len(got.body) > 200 {
				t.Errorf("%.60s: content in an error: %d bytes", c.header, len(got.body))
			}
			continue
		}
		if got.body != string(whole[c.from:c.to]) {
			t.Errorf("%.60s: %d bytes, want those from %d to %d", c.header, len(got.body), c.from, c.to)
		}
		if want := fmt.Sprintf("bytes %d-%d/%d", c.from, c.to-1, size); c.status == 206 && got.Header.Get("Content-Range") != want {
			t.Errorf("%.60s: Content-Range %q, want %q", c.header, got.Header.Get("Content-Range"), want)
		}
	}
	if got := r.get("GET", path, "Range", "bytes=0-9,20-29"); got.StatusCode != 206 ||
		!strings.Contains(got.body, string(whole[:10])) || !strings.Contains(got.body, string(whole[20:30])) {
		t.Errorf("two parts: %d %d bytes", got.StatusCode, len(got.body))
	}
}

func TestConditions(t *testing.T) {
	r, s := startSample(t)
	for path, d := range map[string]digest.Digest{
		"manifests/1.27": s.index.Digest, "blobs/" + s.layer.Digest.String(): s.layer.Digest,
	} {
		for header, status := range map[string]int{`"` + d.String() + `"`: 304, "*": 304, `"sha256:other"`: 200, d.String(): 200} {
			got := r.get("GET", "/v2/library/nginx/"+path, "If-None-Match", header)
			if got.StatusCode != status || status == 304 && got.body != "" {
				t.Errorf("%s, If-None-Match %s: %d, want %d", path, header, got.StatusCode, status)
			}
		}
	}
}

// all follows the links from path and returns each page's list.
func (r *running) all(path, key string) (pages [][]string) {
	r.t.Helper()
	for range 20 {
		got := r.get("GET", path)
		var doc map[string]json.RawMessage
		var page []string
		if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
			r.t.Fatalf("%s: %s", path, got.body)
		}
		if err := json.Unmarshal(doc[key], &page); err != nil || page == nil {
			r.t.Fatalf("%s: %s", path, got.body)
		}
		pages = append(pages, page)
		link, ok := strings.CutSuffix(got.Header.Get("Link"), `>; rel="next"`)
		if !ok {
			return pages
		}
		path = strings.TrimPrefix(link, "<")
	}
	r.t.Fatal("the pages do not end")
	return nil
}

func TestPages(t *testing.T) {
	r, _ := startSample(t)
	for path, want := range map[string]string{
		"/v2/library/nginx/tags/list":                        "[[1.27 1.28 latest stable]]",
		"/v2/library/nginx/tags/list?n=3":                    "[[1.27 1.28 latest] [stable]]",
		"/v2/nginx/tags/list?n=1&ns=docker.io":               "[[1.27] [1.28] [latest] [stable]]",
		"/v2/library/nginx/tags/list?n=4":                    "[[1.27 1.28 latest stable]]",
		"/v2/library/nginx/tags/list?n=0":                    "[[]]",
		"/v2/library/nginx/tags/list?last=1.28":              "[[latest stable]]",
		"/v2/library/nginx/tags/list?last=1.28-not-there":    "[[latest stable]]",
		"/v2/library/nginx/tags/list?last=zzz":               "[[]]",
		"/v2/library/nginx/tags/list?n=99999999999999999999": "",
	} {
		if want == "" {
			if got := r.get("GET", path); got.StatusCode != 400 {
				t.Errorf("%s: %d", path, got.StatusCode)
			}
			continue
		}
		if got := fmt.Sprint(r.all(path, "tags")); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	want := "[[docker.io/library/nginx ghcr.io/team/app] [quay.io/team/app registry.bank.internal:5000/pay/api]]"
	if got := fmt.Sprint(r.all("/v2/_catalog?n=2", "repositories")); got != want {
		t.Errorf("catalog %s, want %s", got, want)
	}
}

func TestReferrers(t *testing.T) {
	r, s := startSample(t)
	list := func(path string) (ocispec.Index, reply) {
		got := r.get("GET", "/v2/library/nginx/"+path)
		var idx ocispec.Index
		if err := json.Unmarshal([]byte(got.body), &idx); err != nil || got.Header.Get("Content-Type") != ocispec.MediaTypeImageIndex || idx.Manifests == nil {
			t.Fatalf("%s: %d %s %s", path, got.StatusCode, got.Header.Get("Content-Type"), got.body)
		}
		return idx, got
	}
	for query, want := range map[string]int{"": 1, "?artifactType=" + sigType: 1, "?artifactType=other": 0} {
		idx, got := list("referrers/" + s.index.Digest.String() + query)
		if len(idx.Manifests) != want {
			t.Errorf("%q: %d referrers, want %d", query, len(idx.Manifests), want)
		}
		if applied := got.Header.Get("OCI-Filters-Applied"); (applied == "artifactType") != (query != "") {
			t.Errorf("%q: OCI-Filters-Applied %q", query, applied)
		}
		for _, d := range idx.Manifests {
			if d.Digest != s.signature.Digest || d.ArtifactType != sigType || d.Annotations["by"] != "<someone>" || d.Size != s.signature.Size {
				t.Errorf("%q: %+v", query, d)
			}
		}
	}
	if idx, _ := list("referrers/" + s.amd64.Digest.String()); len(idx.Manifests) != 0 {
		t.Errorf("an image without referrers has %v", idx.Manifests)
	}
	tag := strings.Replace(s.index.Digest.String(), ":", "-", 1)
	idx, got := list("manifests/" + tag)
	if len(idx.Manifests) != 1 || digest.FromString(got.body).String() != got.Header.Get("Docker-Content-Digest") {
		t.Errorf("fallback tag: %s %v", got.body, got.Header)
	}
	if _, again := list("manifests/" + got.Header.Get("Docker-Content-Digest")); again.body != got.body {
		t.Errorf("the fallback tag's digest leads to %s", again.body)
	}
	if tags := r.get("GET", "/v2/library/nginx/tags/list"); strings.Contains(tags.body, "sha256-") {
		t.Errorf("a tag that nobody made is listed: %s", tags.body)
	}
}

// TestManyReferrers: the list stays one that clients read.
func TestManyReferrers(t *testing.T) {
	s := newSample()
	for i := range 1000 {
		d := s.signature
		d.Digest = digest.FromString(fmt.Sprint(i))
		d.Annotations = map[string]string{"long": strings.Repeat("x", 8000)}
		s.repos[0].Referrers[s.index.Digest] = append(s.repos[0].Referrers[s.index.Digest], d)
	}
	r := start(t, serve.Options{Repositories: s.repos, Blobs: s})
	got := r.get("GET", "/v2/library/nginx/referrers/"+s.index.Digest.String())
	if len(got.body) > content.MaxManifest || strings.Count(got.body, `"digest"`) != 1001 {
		t.Errorf("%d bytes, %d referrers", len(got.body), strings.Count(got.body, `"digest"`))
	}
}
