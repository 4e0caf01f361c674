package registry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/registry"
)

func page(t *testing.T, manifests ...ocispec.Descriptor) string {
	t.Helper()
	b, err := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests})
	check(t, err)
	return strings.Replace(string(b), `"schemaVersion":0`, `"schemaVersion":2`, 1)
}

// onReferrers answers the referrers API with h; nothing else is there.
func onReferrers(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			h(w, r)
			return
		}
		status(404, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`)(w, r)
	}
}

func artifact(n int) ocispec.Descriptor {
	d := describe(ocispec.MediaTypeImageManifest, fmt.Sprint("artifact ", n))
	d.ArtifactType = "application/x"
	return d
}

func TestReferrersInPages(t *testing.T) {
	foreign := artifact(3)
	foreign.URLs, foreign.Data = []string{"https://evil.example.net/x"}, []byte("x")
	layer := describe(ocispec.MediaTypeImageLayer, "no manifest")
	r, _ := at(t, onReferrers(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Query().Get("after") == "" {
			w.Header().Set("Link", fmt.Sprintf(`<%s?after=a,b>; rel="next"`, req.URL.Path))
			answer(ocispec.MediaTypeImageIndex, "", page(t, artifact(1), layer, artifact(2)))(w, req)
			return
		}
		if got := req.URL.Query().Get("after"); got != "a,b" {
			t.Errorf("asked for page %q", got)
		}
		answer(ocispec.MediaTypeImageIndex, "", page(t, artifact(2), foreign))(w, req)
	}))
	got, err := r.Referrers(t.Context(), manifestDesc)
	check(t, err)
	if len(got) != 3 {
		t.Fatalf("%d referrers, want 3: %v", len(got), got)
	}
	for i, g := range got {
		if i > 0 && got[i-1].Desc.Digest >= g.Desc.Digest {
			t.Errorf("referrers are not sorted: %v", got)
		}
		if g.Desc.URLs != nil || g.Desc.Data != nil || g.Desc.ArtifactType != "application/x" {
			t.Errorf("referrer %+v", g.Desc)
		}
	}
}

func TestReferrersThatAreNone(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"404":         status(404, ""),
		"400":         status(400, ""),
		"405":         status(405, ""),
		"unsupported": status(403, `{"errors":[{"code":"UNSUPPORTED"}]}`),
		"other type":  answer("application/json", "", `{"anything":1}`),
		"web page":    answer("text/html", "", "<html>the registry's own face</html>"),
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := at(t, onReferrers(h))
			got, err := r.Referrers(t.Context(), manifestDesc)
			if err != nil || len(got) != 0 {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestReferrersThatFail(t *testing.T) {
	weak := artifact(1)
	weak.Digest = "md5:d41d8cd98f00b204e9800998ecf8427e"
	large := artifact(1)
	large.Size = content.MaxManifest + 1
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		says string
	}{
		"forbidden":  {status(403, `{"errors":[{"code":"DENIED"}]}`), "403"},
		"broken":     {answer(ocispec.MediaTypeImageIndex, "", "{"), "not JSON"},
		"weak":       {answer(ocispec.MediaTypeImageIndex, "", page(t, weak)), "md5"},
		"too large":  {answer(ocispec.MediaTypeImageIndex, "", page(t, large)), "at most"},
		"no end":     {endless(t), "more than 100 pages"},
		"other host": {linked(t, "https://evil.example.net/v2/x"), "is elsewhere: https://evil.example.net/v2/x"},
		"other path": {linked(t, "/v2/other/referrers/x"), "is elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := at(t, onReferrers(c.h))
			_, err := r.Referrers(t.Context(), manifestDesc)
			wantError(t, err, c.says)
		})
	}
}

func endless(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=1>; rel="next"`, r.URL.Path))
		answer(ocispec.MediaTypeImageIndex, "", page(t))(w, r)
	}
}

func linked(t *testing.T, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, to))
		answer(ocispec.MediaTypeImageIndex, "", page(t))(w, r)
	}
}

func TestCosignTagThatFails(t *testing.T) {
	r, _ := at(t, func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, ".att") {
			status(403, "")(w, req)
			return
		}
		status(404, "")(w, req)
	})
	_, err := r.Referrers(t.Context(), manifestDesc)
	wantError(t, err, ".att: 403")
	if errors.Is(err, content.ErrNotFound) {
		t.Error("a 403 counts as not found")
	}
}

func FuzzNextLink(f *testing.F) {
	for _, s := range []string{`</v2/a?x=1,2>; rel="next"`, `<a>; rel=prev, <b>; rel=next`, `<>;rel=next`, `<a; rel=next`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, ok := registry.NextLink([]string{s})
		if ok && (!strings.Contains(s, "<"+target+">") || strings.ContainsAny(target, "<>")) {
			t.Fatalf("%q gives %q", s, target)
		}
	})
}
