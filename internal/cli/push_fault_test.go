package cli_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
	"ferry/internal/demo"
)

type answerer func(w http.ResponseWriter, r *http.Request, next http.Handler)

// first answers the first n requests that match in the registry's place.
func first(n int64, method, path string, f answerer) answerer {
	var seen atomic.Int64
	re := regexp.MustCompile(path)
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == method && re.MatchString(r.URL.Path) && seen.Add(1) <= n {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

func says(status int, code string) answerer {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"errors":[{"code":"`+code+`","message":"told by the test"}]}`)
	}
}

const (
	always = 1 << 40
	upload = "/blobs/uploads/[^/]+$"
	begin  = "/blobs/uploads/$"
)

// TestPushFaultsThatHeal: what a registry may do to a push that still
// succeeds, with the right digests.
func TestPushFaultsThatHeal(t *testing.T) {
	file, images := released(t)
	for name, f := range map[string]answerer{
		"mounts are not known": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, "mount=", "other=")
			next.ServeHTTP(w, r)
		},
		"mounts are refused": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.URL.Query().Has("mount") {
				says(http.StatusForbidden, "DENIED")(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		},
		"429 with Retry-After": first(1, http.MethodPost, begin, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.Header().Set("Retry-After", "1")
			says(http.StatusTooManyRequests, "TOOMANYREQUESTS")(w, r, next)
		}),
		"429 in the middle of an upload": first(1, http.MethodPatch, upload, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.Header().Set("Retry-After", "1")
			says(http.StatusTooManyRequests, "TOOMANYREQUESTS")(w, r, next)
		}),
		"503 at the start":                 first(2, http.MethodPost, begin, says(http.StatusServiceUnavailable, "")),
		"502 for the bytes":                first(2, http.MethodPatch, upload, says(http.StatusBadGateway, "")),
		"500 for the end":                  first(2, http.MethodPut, upload, says(http.StatusInternalServerError, "")),
		"500 for a manifest":               first(2, http.MethodPut, "/manifests/", says(http.StatusInternalServerError, "")),
		"the session is lost":              first(2, http.MethodPatch, upload, says(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")),
		"lost before the end":              first(2, http.MethodPut, upload, says(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")),
		"no PATCH":                         first(always, http.MethodPatch, upload, says(http.StatusMethodNotAllowed, "UNSUPPORTED")),
		"500 for each question for a blob": first(always, http.MethodHead, "/blobs/", says(http.StatusInternalServerError, "")),
		"500 for each tag until it is put": halfWritten("/manifests/[^:]+$"),
		"HEAD is not served":               first(always, http.MethodHead, "/manifests/", says(http.StatusMethodNotAllowed, "")),
		"reset among the bytes":            first(2, http.MethodPatch, upload, cutBody),
		"reset before an answer":           first(3, http.MethodPost, begin, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { hangUp(w) }),
		"the answer to the end gets lost": first(2, http.MethodPut, upload, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			body(r, next)
			hangUp(w)
		}),
		"absolute locations": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := body(r, next)
			if l := rec.Header().Get("Location"); l != "" {
				rec.Header().Set("Location", "http://"+r.Host+l+"?state=a%2Fb")
			}
			answer(w, rec, rec.Body.Bytes())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := startInside(t, demo.Options{})
			in.fail(f)
			if code, out := ferry(t, "push", file, "--to", in.Host()); code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			in.holdsAll("", images)
		})
	}
}

// holdsAll wants every image under its tag, and to be pulled whole.
func (in *inside) holdsAll(prefix string, images []demo.Image) {
	in.t.Helper()
	args := []string{"pack", "-q", "--to", filepath.Join(in.t.TempDir(), "check.tar")}
	for _, i := range images {
		if got := in.stands(prefix+i.Repository, i.Tag); got != i.Desc.Digest {
			in.t.Errorf("%s is %q inside, want %s", i.Name(), got, i.Desc.Digest)
		}
		args = append(args, in.Host()+"/"+prefix+i.Name())
	}
	in.healed.Store(true)
	if code, out := ferry(in.t, args...); code != 0 {
		in.t.Errorf("what was pushed cannot be pulled: exit code %d\n%s", code, out)
	}
}

// halfWritten fails each question for what stands at a path until something is
// put there: the records of a registry whose disk was full.
func halfWritten(path string) answerer {
	re := regexp.MustCompile(path)
	var put sync.Map
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if re.MatchString(r.URL.Path) {
			if r.Method == http.MethodPut {
				put.Store(r.URL.Path, true)
			} else if _, mended := put.Load(r.URL.Path); !mended {
				says(http.StatusInternalServerError, "")(w, r, next)
				return
			}
		}
		next.ServeHTTP(w, r)
	}
}

// cutBody reads half of what comes and resets the connection.
func cutBody(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
	hangUp(w)
}

// TestPushFaultsThatDoNot: what is told, and how.
func TestPushFaultsThatDoNot(t *testing.T) {
	file, _ := released(t, "team/web:2.1")
	for name, c := range map[string]struct {
		fault answerer
		says  string
	}{
		"401 for the bytes": {first(always, http.MethodPost, begin, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			says(http.StatusUnauthorized, "UNAUTHORIZED")(w, r, next)
		}), `401 Unauthorized(.|\n)*takes nothing without a login: podman login`},
		"403": {
			first(always, http.MethodPost, begin, says(http.StatusForbidden, "DENIED")),
			`403 Forbidden \(DENIED: told by the test\)(.|\n)*takes no pushes to team/web without a login`,
		},
		"413 of an ingress": {first(always, http.MethodPatch, upload, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			_, _ = io.WriteString(w, "<html><h1>413 Request Entity Too Large</h1>nginx</html>")
		}), `413 Request Entity Too Large(.|\n)*client_max_body_size(.|\n)*proxy-body-size`},
		"read-only": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				says(http.StatusMethodNotAllowed, "UNSUPPORTED")(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		}, `405 Method Not Allowed(.|\n)*read-only`},
		"no such project": {
			first(always, http.MethodPost, begin, says(http.StatusNotFound, "NAME_UNKNOWN")),
			`NAME_UNKNOWN(.|\n)*created first`,
		},
		"no room": {first(always, http.MethodPost, begin, says(http.StatusInsufficientStorage, "QUOTA_EXCEEDED")), `no room left`},
		"says that it stored something else": {first(always, http.MethodPut, "/manifests/", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := body(r, next)
			rec.Header().Set("Docker-Content-Digest", digest.FromString("x").String())
			answer(w, rec, rec.Body.Bytes())
		}), `was sent sha256:[0-9a-f]+, and says that it stored sha256:`},
		"stores something else": {other("/manifests/2.1"), `the registry accepted sha256:[0-9a-f]+, but under \S+/team/web:2\.1 stands sha256:`},
		"forgets the tag": {first(always, http.MethodPut, "/manifests/2.1", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusCreated)
		}), `the registry accepted sha256:[0-9a-f]+, but under \S+/team/web:2\.1 stands nothing`},
		"the session is always lost": {first(always, http.MethodPatch, upload, says(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")), `BLOB_UPLOAD_UNKNOWN`},
		"an upload that leads nowhere": {first(always, http.MethodPost, begin, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusAccepted)
		}), `no Location`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := startInside(t, demo.Options{})
			in.fail(c.fault)
			code, out := ferry(t, "push", file, "--to", in.Host(), "--jobs", "1")
			if code != 1 || !regexp.MustCompile(c.says).MatchString(out) {
				t.Errorf("exit code %d, want 1 and %q in\n%s", code, c.says, out)
			}
			if !strings.Contains(out, "/team/web:2.1 → "+in.Host()+"/team/web:2.1: ") {
				t.Errorf("the image is not named with both its names:\n%s", out)
			}
		})
	}
}

// other tells of another digest than what was put.
func other(path string) answerer {
	var put atomic.Bool
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !strings.HasSuffix(r.URL.Path, path) {
			next.ServeHTTP(w, r)
			return
		}
		if r.Method == http.MethodPut {
			put.Store(true)
		}
		rec := body(r, next)
		if r.Method == http.MethodPut {
			rec.Header().Del("Docker-Content-Digest")
		} else if put.Load() {
			rec.Header().Set("Docker-Content-Digest", digest.FromString("x").String())
			w.Header().Set("Content-Length", rec.Header().Get("Content-Length"))
		}
		answer(w, rec, rec.Body.Bytes())
	}
}

// TestPushTagsThatStay: a registry that lets no tag change.
func TestPushTagsThatStay(t *testing.T) {
	file, _ := released(t, "team/web:2.1")
	for _, status := range []int{http.StatusBadRequest, http.StatusConflict, http.StatusPreconditionFailed} {
		in := startInside(t, demo.Options{})
		s := contenttest.NewStore()
		old := s.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, contenttest.Config{}, s.Layer(contenttest.File{Name: "old"}))
		if err := in.Push(t.Context(), "team/web", "2.1", s, old); err != nil {
			t.Fatal(err)
		}
		in.fail(first(always, http.MethodPut, "/manifests/2.1", says(status, "TAG_INVALID")))
		code, out := ferry(t, "push", file, "--to", in.Host())
		if code != 1 || !strings.Contains(out, "/team/web:2.1 stays "+old.Digest.String()) || !strings.Contains(out, "does not let a tag change") {
			t.Errorf("%d: exit code %d\n%s", status, code, out)
		}
	}
}

// TestPushPartly: one image fails, the others are in, and the same command
// finishes.
func TestPushPartly(t *testing.T) {
	file, images := released(t)
	in := startInside(t, demo.Options{})
	in.fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/team/web/") && r.Method == http.MethodPost {
			says(http.StatusForbidden, "DENIED")(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
	code, out := ferry(t, "push", file, "--to", in.Host())
	if code != 5 || !strings.Contains(out, "/team/web:2.1: POST ") || !strings.Contains(out, "2 of 3 images are in "+in.Host()) {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	for _, i := range images {
		if there := in.stands(i.Repository, i.Tag) == i.Desc.Digest; there != (i.Repository != "team/web") {
			t.Errorf("%s is there: %v", i.Name(), there)
		}
	}
	in.healed.Store(true)
	before := in.bytesTaken()
	pushJSON(t, 0, file, "--to", in.Host())
	in.holdsAll("", images)
	var base int64
	walkBlobs(t, file, func(d ocispec.Descriptor) { base = max(base, d.Size) })
	if sent := in.bytesTaken() - before; sent >= base+base/2 {
		t.Errorf("%d bytes were sent again; the layers that others have can be taken from there", sent)
	}
}

// TestPushLogin: a password, a wrong one, and none.
func TestPushLogin(t *testing.T) {
	file, images := released(t, "team/web:2.1")
	in := startInside(t, demo.Options{Username: "svc-ferry", Password: "secret"})
	auth := func(password string) string {
		path := filepath.Join(t.TempDir(), "auth.json")
		if err := os.WriteFile(path, []byte(`{"auths":{"`+in.Host()+`":{"username":"svc-ferry","password":"`+password+`"}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	none := filepath.Join(t.TempDir(), "none.json")
	if err := os.WriteFile(none, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out := ferry(t, "push", file, "--to", in.Host(), "--authfile", none)
	if code != 1 || !strings.Contains(out, "401 Unauthorized") || !strings.Contains(out, "podman login "+in.Host()) {
		t.Errorf("without a login: exit code %d\n%s", code, out)
	}
	wrong := auth("hunter2")
	code, out = ferry(t, "push", file, "--to", in.Host(), "--authfile", wrong)
	if code != 1 || !strings.Contains(out, wrong) || strings.Contains(out, "hunter2") {
		t.Errorf("with a wrong login: exit code %d\n%s", code, out)
	}
	p := pushJSON(t, 0, file, "--to", in.Host(), "--authfile", auth("secret"))
	if p.Images[0].State != "pushed" || p.Images[0].Digest != images[0].Desc.Digest {
		t.Errorf("got %+v", p)
	}
}

// TestPushOfABundleThatChanges: the pushed part is the verified part. A byte
// that changes after the bundle was opened is found before the blob is
// committed, in a blob of any size.
func TestPushOfABundleThatChanges(t *testing.T) {
	original, _ := released(t, "team/web:2.1")
	var blobs []ocispec.Descriptor
	walkBlobs(t, original, func(d ocispec.Descriptor) { blobs = append(blobs, d) })
	for _, d := range blobs {
		file := filepath.Join(t.TempDir(), "release.tar")
		b, err := os.ReadFile(original)
		if err != nil {
			t.Fatal(err)
		}
		blob := contents(t, original, d)
		at := bytes.Index(b, blob)
		if at < 0 {
			t.Fatalf("%s is not in the file", d.Digest)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		in := startInside(t, demo.Options{})
		var once sync.Once
		in.fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			once.Do(func() {
				f, err := os.OpenFile(file, os.O_WRONLY, 0)
				if err == nil {
					_, err = f.WriteAt([]byte{blob[len(blob)/2] ^ 1}, int64(at+len(blob)/2))
				}
				if err != nil || f.Close() != nil {
					t.Error(err)
				}
			})
			next.ServeHTTP(w, r)
		})
		code, out := ferry(t, "push", file, "--to", in.Host())
		if code != 4 || !strings.Contains(out, "is damaged") || !strings.Contains(out, d.Digest.String()) {
			t.Errorf("%d bytes: exit code %d\n%s", d.Size, code, out)
		}
		if in.hasBlob("team/web", d.Digest) || in.stands("team/web", "2.1") != "" {
			t.Error("the damaged blob, or an image with it, was committed")
		}
		for _, r := range in.Requests() {
			if r.Method == http.MethodPut && strings.Contains(r.Query, d.Digest.Encoded()) {
				t.Errorf("the end of the upload was sent: %v", r)
			}
		}
	}
}

// TestPushWithoutReferrersAPI keeps the index under the tag that stands in.
func TestPushWithoutReferrersAPI(t *testing.T) {
	file, images := released(t, "library/hello:1.0")
	in := startInside(t, demo.Options{})
	in.fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			says(http.StatusNotFound, "")(w, r, next)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		rec.Header().Del("OCI-Subject")
		if n := rec.Header().Get("Content-Length"); n != "" {
			w.Header().Set("Content-Length", n)
		}
		answer(w, rec, rec.Body.Bytes())
	})
	pushJSON(t, 0, file, "--to", in.Host())
	hello := images[0]
	tag := "sha256-" + hello.Desc.Digest.Encoded()
	if in.stands("library/hello", tag) == "" {
		t.Fatalf("there is no tag %s", tag)
	}
	again := filepath.Join(t.TempDir(), "again.tar")
	code, out := ferry(t, "pack", in.Host()+"/library/hello:1.0", "--to", again, "-o", "json", "-q")
	if code != 0 || !strings.Contains(out, hello.Referrers[0].Digest.String()) {
		t.Errorf("the referrer is not found again: exit code %d\n%s", code, out)
	}
}
