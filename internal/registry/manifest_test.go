package registry_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/registry"
)

const app = "registry.example.com/team/app"

// at serves registry.example.com and returns its repository team/app.
func at(t *testing.T, h http.HandlerFunc) (*registry.Repository, *world) {
	t.Helper()
	w := newWorld(t)
	w.serve("registry.example.com", "127.0.0.1", h)
	return w.repo(app), w
}

func answer(mediaType, digest, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		if digest != "" {
			w.Header().Set("Docker-Content-Digest", digest)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, body)
		}
	}
}

func TestLookupFallsBackToGet(t *testing.T) {
	for name, head := range map[string]http.HandlerFunc{
		"no digest":   answer(ocispec.MediaTypeImageManifest, "", emptyManifest),
		"not allowed": status(http.StatusMethodNotAllowed, ""),
		"vague type":  answer("application/json", manifestDesc.Digest.String(), emptyManifest),
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := at(t, func(w http.ResponseWriter, req *http.Request) {
				if req.Method == http.MethodHead {
					head(w, req)
					return
				}
				answer(ocispec.MediaTypeImageManifest, "", emptyManifest)(w, req)
			})
			desc, err := r.Lookup(t.Context(), "1.0")
			check(t, err)
			if desc.Digest != manifestDesc.Digest || desc.Size != manifestDesc.Size || desc.MediaType != manifestDesc.MediaType {
				t.Errorf("looked up %+v, want %+v", desc, manifestDesc)
			}
		})
	}
}

func TestHeadOfAnotherDigest(t *testing.T) {
	other := describe("", "other").Digest
	r, _ := at(t, answer(ocispec.MediaTypeImageManifest, other.String(), emptyManifest))
	_, err := r.Lookup(t.Context(), manifestDesc.Digest.String())
	wantError(t, err, "another digest", other.String())
}

func TestFetchRefuses(t *testing.T) {
	other := describe("", "other").Digest.String()
	large := strings.Repeat(" ", content.MaxManifest+1)
	for name, c := range map[string]struct {
		reference string
		h         http.HandlerFunc
		says      string
		is        func(error) bool
	}{
		"wrong bytes under a digest": {other, answer(ocispec.MediaTypeImageManifest, other, emptyManifest), "wrong digest", isDigest},
		"wrong digest for a tag":     {"1.0", answer(ocispec.MediaTypeImageManifest, other, emptyManifest), "wrong digest", isDigest},
		"digest that is none":        {"1.0", answer(ocispec.MediaTypeImageManifest, "sha256:zz", emptyManifest), "which is none", nil},
		"announced too large":        {"1.0", answer(ocispec.MediaTypeImageManifest, "", large), "at most", isTooLarge},
		"too large without saying": {"1.0", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, large)
		}, "at most", isTooLarge},
		"web page":  {"1.0", answer("text/html; charset=utf-8", "", "<html>"), "web page", nil},
		"traversal": {"../../x", answer("", "", ""), "neither a tag nor a digest", nil},
		"md5":       {"md5:d41d8cd98f00b204e9800998ecf8427e", answer("", "", ""), "md5", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := at(t, c.h)
			_, _, err := r.Fetch(t.Context(), c.reference)
			wantError(t, err, c.says)
			if c.is != nil && !c.is(err) {
				t.Errorf("error %#v has the wrong type", err)
			}
		})
	}
}

func isDigest(err error) bool {
	_, ok := errors.AsType[*content.DigestError](err)
	return ok
}

func isTooLarge(err error) bool {
	_, ok := errors.AsType[*content.TooLargeError](err)
	return ok
}

func TestLookupOfAWebPage(t *testing.T) {
	r, _ := at(t, answer("text/html", "", "<html>log in to the hotel</html>"))
	_, err := r.Lookup(t.Context(), "1.0")
	wantError(t, err, "web page")
}

func TestManifestThatBreaksOffIsReadAgain(t *testing.T) {
	var n atomic.Int32
	r, w := at(t, func(rw http.ResponseWriter, req *http.Request) {
		if n.Add(1) == 1 {
			rw.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			rw.Header().Set("Content-Length", fmt.Sprint(len(emptyManifest)))
			_, _ = io.WriteString(rw, emptyManifest[:10])
			panic(http.ErrAbortHandler)
		}
		manifest(rw, req)
	})
	_, b, err := r.Fetch(t.Context(), "1.0")
	check(t, err)
	if string(b) != emptyManifest || len(w.retries) != 1 {
		t.Errorf("got %q after retries %q", b, w.retries)
	}
}

func TestManifestOfAnotherSize(t *testing.T) {
	r, _ := at(t, manifest)
	desc := manifestDesc
	desc.Size++
	if _, err := r.Manifest(t.Context(), desc); !isDigest(err) {
		t.Errorf("manifest of another size: %v", err)
	}
	desc.Size = content.MaxManifest + 1
	if _, err := r.Manifest(t.Context(), desc); !isTooLarge(err) {
		t.Errorf("manifest beyond the limit: %v", err)
	}
}

func TestGuessedMediaType(t *testing.T) {
	index := `{"schemaVersion":2,"manifests":[]}`
	for body, want := range map[string]string{
		emptyManifest: ocispec.MediaTypeImageManifest,
		index:         ocispec.MediaTypeImageIndex,
	} {
		r, _ := at(t, answer("application/json", "", body))
		desc, _, err := r.Fetch(t.Context(), "1.0")
		if err != nil || desc.MediaType != want {
			t.Errorf("%s: media type %q, %v; want %q", body, desc.MediaType, err, want)
		}
	}
}
