package cli_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/demo"
)

// wantsSubjects is a registry that takes nothing that speaks about a manifest
// which it does not have.
func wantsSubjects(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
		b, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(b))
		var doc struct {
			Subject struct{ Digest digest.Digest }
		}
		if json.Unmarshal(b, &doc) == nil && doc.Subject.Digest != "" {
			path := r.URL.Path[:strings.LastIndex(r.URL.Path, "/")+1] + doc.Subject.Digest.String()
			there := httptest.NewRecorder()
			next.ServeHTTP(there, httptest.NewRequest(http.MethodHead, path, nil))
			if there.Code != http.StatusOK {
				says(http.StatusNotFound, "MANIFEST_UNKNOWN")(w, r, next)
				return
			}
		}
	}
	next.ServeHTTP(w, r)
}

// TestPushToAnOddRegistry: what some registries want, or say wrongly, that
// keeps no image out.
func TestPushToAnOddRegistry(t *testing.T) {
	file, images := released(t)
	for name, f := range map[string]answerer{
		"subjects come first": wantsSubjects,
		// It names the blob, and has other bytes of it: a proxy's page, half an upload.
		"has a blob of another size": first(always, http.MethodHead, "/blobs/sha256:", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Length", "1")
			w.WriteHeader(http.StatusOK)
		}),
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

// TestPushOfATagThatStandsMeanwhile: somebody else puts the same image there
// between the question and the tag, and the registry lets no tag be written
// twice. The image is in.
func TestPushOfATagThatStandsMeanwhile(t *testing.T) {
	file, images := released(t, "team/web:2.1")
	in := startInside(t, demo.Options{})
	pushJSON(t, 0, file, "--to", in.Host())
	refuse := first(always, http.MethodPut, "/manifests/2.1$", says(http.StatusConflict, "TAG_IMMUTABLE"))
	unseen := first(1, http.MethodHead, "/manifests/2.1$", says(http.StatusNotFound, "MANIFEST_UNKNOWN"))
	in.fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		unseen(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { refuse(w, r, next) }))
	})
	if p := pushJSON(t, 0, file, "--to", in.Host()); p.Images[0].State != "pushed" {
		t.Errorf("%+v", p)
	}
	in.holdsAll("", images)
}
