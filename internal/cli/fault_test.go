package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/cli"
	"ferry/internal/content/contenttest"
	"ferry/internal/demo"
)

// startUpstream starts a registry with the demo's images.
func startUpstream(t *testing.T, o demo.Options) (host string) {
	t.Helper()
	store := contenttest.NewStore()
	images, err := demo.Images(store)
	if err != nil {
		t.Fatal(err)
	}
	r, err := demo.StartRegistry(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if err := r.Seed(t.Context(), store, images...); err != nil {
		t.Fatal(err)
	}
	return r.Host()
}

// ferry runs the command line in this process.
func ferry(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = cli.Run(context.WithoutCancel(t.Context()), cli.Version{Version: "test"}, args, &b, &b)
	return code, b.String()
}

// blobFault hands every request for a blob to f, with its number.
func blobFault(f func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler)) func(http.Handler) http.Handler {
	var n atomic.Int64
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				f(n.Add(1), w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// body is what the registry would answer.
func body(r *http.Request, next http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	return rec
}

func answer(w http.ResponseWriter, rec *httptest.ResponseRecorder, b []byte) {
	for k, v := range rec.Header() {
		if k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(b)
}

// hangUp cuts the connection.
func hangUp(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = c.Close()
	}
}

// TestFaultsThatHeal: what a registry may do to a pack that still succeeds.
func TestFaultsThatHeal(t *testing.T) {
	for name, fault := range map[string]func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler){
		"cut in the middle of every third blob": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if n%3 != 0 {
				next.ServeHTTP(w, r)
				return
			}
			rec := body(r, next)
			w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
			answer(w, rec, rec.Body.Bytes()[:rec.Body.Len()/2])
			hangUp(w)
		},
		"500 at first": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if n <= 3 {
				http.Error(w, "sorry", http.StatusInternalServerError)
				return
			}
			next.ServeHTTP(w, r)
		},
		"429 with Retry-After": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if n == 1 {
				w.Header().Set("Retry-After", "1")
				http.Error(w, `{"errors":[{"code":"TOOMANYREQUESTS"}]}`, http.StatusTooManyRequests)
				return
			}
			next.ServeHTTP(w, r)
		},
		"reset before the answer": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if n == 2 {
				hangUp(w)
				return
			}
			next.ServeHTTP(w, r)
		},
		"Range ignored after a cut": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Header.Del("Range")
			rec := body(r, next)
			if n%3 == 0 {
				w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
				_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
				hangUp(w)
				return
			}
			answer(w, rec, rec.Body.Bytes())
		},
		"wrong bytes once": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := body(r, next)
			b := rec.Body.Bytes()
			if n == 1 && len(b) > 0 {
				b[len(b)/2] ^= 1
			}
			answer(w, rec, b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := startUpstream(t, demo.Options{Wrap: blobFault(fault)})
			file := filepath.Join(t.TempDir(), "release.tar")
			if code, out := ferry(t, "pack", host+"/library/hello:1.0", "--to", file); code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			if code, out := ferry(t, "verify", file); code != 0 {
				t.Fatalf("verify: exit code %d\n%s", code, out)
			}
		})
	}
}

// presigned sends blobs from addresses that serve once, as presigned URLs
// expire, and cuts the first ones in the middle.
type presigned struct {
	next http.Handler

	mu    sync.Mutex
	paths []string // of the blobs, by the number in the address
	used  map[int]bool
	late  int // how often an address was asked for again
}

func (p *presigned) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n, ok := strings.CutPrefix(r.URL.Path, "/storage/"); ok {
		p.storage(w, r, n)
		return
	}
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
		p.next.ServeHTTP(w, r)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paths = append(p.paths, r.URL.Path)
	http.Redirect(w, r, "/storage/"+strconv.Itoa(len(p.paths)-1)+"?sig=secret", http.StatusTemporaryRedirect)
}

func (p *presigned) storage(w http.ResponseWriter, r *http.Request, number string) {
	n, _ := strconv.Atoi(number)
	p.mu.Lock()
	again, path := p.used[n], p.paths[n]
	p.used[n] = true
	if again {
		p.late++
	}
	p.mu.Unlock()
	if again {
		http.Error(w, "Request has expired", http.StatusForbidden)
		return
	}
	r.URL.Path, r.URL.RawQuery = path, ""
	rec := body(r, p.next)
	b := rec.Body.Bytes()
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if n < 3 {
		answer(w, rec, b[:len(b)/2])
		hangUp(w)
		return
	}
	answer(w, rec, b)
}

// TestPresignedURLThatExpired: after a cut the registry is asked again, and
// never the address that it gave the first time.
func TestPresignedURLThatExpired(t *testing.T) {
	p := &presigned{used: map[int]bool{}}
	host := startUpstream(t, demo.Options{Wrap: func(next http.Handler) http.Handler { p.next = next; return p }})
	file := filepath.Join(t.TempDir(), "release.tar")
	code, out := ferry(t, "pack", host+"/library/hello:1.0", "--to", file)
	if code != 0 || p.late != 0 {
		t.Fatalf("exit code %d, %d addresses were asked for twice\n%s", code, p.late, out)
	}
	if strings.Contains(out, "sig=secret") {
		t.Errorf("the secret of a presigned URL is printed:\n%s", out)
	}
	if !strings.Contains(out, "trying again") {
		t.Errorf("no stream was cut:\n%s", out)
	}
	if code, out := ferry(t, "verify", file); code != 0 {
		t.Errorf("verify: exit code %d\n%s", code, out)
	}
}

// TestFaultsThatDoNot: what has to be refused, and how it is told.
func TestFaultsThatDoNot(t *testing.T) {
	for name, c := range map[string]struct {
		wrap func(http.Handler) http.Handler
		says string
	}{
		"wrong bytes under a digest": {blobFault(func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := body(r, next)
			b := rec.Body.Bytes()
			b[0] ^= 1
			answer(w, rec, b)
		}), `wrong digest: the bytes hash to sha256:`},
		"fewer bytes than the manifest says": {blobFault(func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := body(r, next)
			answer(w, rec, rec.Body.Bytes()[:rec.Body.Len()-1])
		}), `announces \d+ bytes|wrong size`},
		"more bytes than the manifest says": {blobFault(func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := body(r, next)
			answer(w, rec, append(rec.Body.Bytes(), 'x'))
		}), `announces \d+ bytes|wrong size`},
		"a web page for a manifest": {manifestIs("text/html", func([]byte) []byte { return []byte("<html>log in</html>") }), `web page`},
		"nothing for a manifest":    {manifestIs(ocispec.MediaTypeImageIndex, func([]byte) []byte { return nil }), `empty manifest`},
		"a manifest of 5 MB": {manifestIs(ocispec.MediaTypeImageIndex, func(b []byte) []byte {
			return append(b, bytes.Repeat([]byte(" "), 5<<20)...)
		}), `4194304`},
		"a manifest that is cut off": {manifestIs(ocispec.MediaTypeImageIndex, func(b []byte) []byte { return b[:len(b)/2] }), `digest|JSON`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := startUpstream(t, demo.Options{Wrap: c.wrap})
			file := filepath.Join(t.TempDir(), "release.tar")
			code, out := ferry(t, "pack", host+"/library/hello:1.0", "--to", file)
			if code != 1 || !regexp.MustCompile(c.says).MatchString(out) {
				t.Errorf("exit code %d, want 1 and %q in\n%s", code, c.says, out)
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("there is a bundle under the final name")
			}
		})
	}
}

// manifestIs changes what the tag of library/hello answers.
func manifestIs(mediaType string, change func([]byte) []byte) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, "/manifests/1.0") {
				next.ServeHTTP(w, r)
				return
			}
			b := change(body(r, next).Body.Bytes())
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Content-Length", strconv.Itoa(len(b)))
			_, _ = w.Write(b)
		})
	}
}

// TestOddImages: what is odd, but has to travel.
func TestOddImages(t *testing.T) {
	amd64 := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the urls of a descriptor were fetched")
	}))
	defer elsewhere.Close()
	s := contenttest.NewStore()
	plain := s.Layer(contenttest.File{Name: "a", Body: contenttest.Random(1, 5000)})
	urls := plain
	urls.URLs = []string{elsewhere.URL + "/layer"}
	for name, desc := range map[string]ocispec.Descriptor{
		"an empty layer":  s.Image(amd64, contenttest.Config{}, s.LayerPlain(), plain),
		"a layer twice":   s.Image(amd64, contenttest.Config{}, plain, plain),
		"a zstd layer":    s.Image(amd64, contenttest.Config{}, s.LayerZstd(contenttest.File{Name: "z", Body: contenttest.Random(2, 5000)})),
		"urls":            s.Image(amd64, contenttest.Config{}, urls),
		"an empty blob":   s.Artifact(nil, "application/vnd.example", s.Add("application/octet-stream", nil)),
		"an index inside": s.Index(s.Index(s.Image(amd64, contenttest.Config{Cmd: []string{"x"}}, plain))),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := demo.StartRegistry(t.Context(), demo.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := r.Push(t.Context(), "odd/image", "1", s, desc); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "release.tar")
			if code, out := ferry(t, "pack", r.Host()+"/odd/image:1", "--to", file); code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			code, out := ferry(t, "inspect", file, "-o", "json", "-q")
			if code != 0 || !strings.Contains(out, desc.Digest.String()) {
				t.Errorf("exit code %d, want %s in\n%s", code, desc.Digest, out)
			}
			if code, out := ferry(t, "verify", file); code != 0 {
				t.Errorf("verify: exit code %d\n%s", code, out)
			}
		})
	}
}

// TestIndexNamesAMissingChild: the image is refused, and the child named.
func TestIndexNamesAMissingChild(t *testing.T) {
	s := contenttest.NewStore()
	there := s.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, contenttest.Config{}, s.Layer(contenttest.File{Name: "a"}))
	gone := s.Image(ocispec.Platform{OS: "linux", Architecture: "arm64"}, contenttest.Config{}, s.Layer(contenttest.File{Name: "b"}))
	index := s.Index(there, gone)
	s.Delete(gone.Digest)
	r, err := demo.StartRegistry(t.Context(), demo.Options{SparseIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Push(t.Context(), "odd/sparse", "1", s, there); err != nil {
		t.Fatal(err)
	}
	b, _ := s.Get(index.Digest)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+r.Host()+"/v2/odd/sparse/manifests/2", bytes.NewReader(b))
	req.Header.Set("Content-Type", index.MediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatal(err, resp.Status)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	code, out := ferry(t, "pack", r.Host()+"/odd/sparse:2", "--to", filepath.Join(t.TempDir(), "x.tar"))
	if code != 1 || !strings.Contains(out, gone.Digest.String()) {
		t.Errorf("exit code %d, want 1 and %s named in\n%s", code, gone.Digest, out)
	}
}

// TestOutputIsDocumented holds docs/output.md against what pack prints.
func TestOutputIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/output.md")
	if err != nil {
		t.Fatal(err)
	}
	host := startUpstream(t, demo.Options{})
	file := filepath.Join(t.TempDir(), "release.tar")
	for _, args := range [][]string{
		{"pack", host + "/library/hello:1.0", "--platform", "linux/amd64", "--to", file},
		{"verify", file},
		{"inspect", file},
		{"version"},
	} {
		code, out := ferry(t, append(args, "-o", "json", "-q")...)
		var v any
		if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil {
			t.Fatalf("%v: exit code %d, %v\n%s", args, code, err, out)
		}
		for key := range keys(v) {
			if !strings.Contains(string(doc), "`"+key+"`") {
				t.Errorf("%s prints the field %q, which docs/output.md does not explain", args[0], key)
			}
		}
	}
}

func keys(v any) map[string]bool {
	all := map[string]bool{}
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			all[k] = true
			for k := range keys(child) {
				all[k] = true
			}
		}
	case []any:
		for _, child := range v {
			for k := range keys(child) {
				all[k] = true
			}
		}
	}
	return all
}
