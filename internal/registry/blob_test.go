package registry_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/registry"
)

const blobText = "0123456789abcdef"

var blobDesc = describe(ocispec.MediaTypeImageLayer, blobText)

func part(contentRange, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", contentRange)
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, body)
	}
}

func whole(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// chunked sends body without saying how long it is.
func chunked(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, body)
	}
}

func TestOpenAtOffset(t *testing.T) {
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want string // the bytes that come; "" when fails is set
		says string // the error
	}{
		"part":                {part("bytes 4-15/16", blobText[4:]), blobText[4:], ""},
		"part, total unknown": {part("bytes 4-15/*", blobText[4:]), blobText[4:], ""},
		"range ignored":       {whole(blobText), blobText[4:], ""},
		"ignored and chunked": {chunked(blobText), blobText[4:], ""},
		"wrong start":         {part("bytes 5-15/16", blobText[5:]), "", "from 5 on instead of from 4 on"},
		"wrong end":           {part("bytes 4-14/16", blobText[4:15]), "", "up to 14 instead of up to 15"},
		"wrong total":         {part("bytes 4-15/17", blobText[4:]), "", "announces 17 bytes for a blob that the manifest says is 16"},
		"wrong length":        {part("bytes 4-15/16", blobText[5:]), "", "announces 11 bytes for a part of 12"},
		"no content range":    {part("", blobText[4:]), "", "did not say which"},
		"not satisfiable":     {status(http.StatusRequestedRangeNotSatisfiable, ""), "", "416"},
		"another size":        {whole(blobText + "x"), "", "announces 17 bytes for a blob that the manifest says is 16"},
		"shorter than skip":   {chunked("012"), "", "skip 4 bytes"},
		"web page":            {answer("text/html", "", "<html>hotel</html>"), "", "web page"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked string
			r, _ := at(t, func(w http.ResponseWriter, req *http.Request) {
				asked = req.Header.Get("Range")
				c.h(w, req)
			})
			rc, err := r.Open(t.Context(), blobDesc, 4)
			if asked != "bytes=4-" {
				t.Errorf("asked for range %q", asked)
			}
			if c.says != "" {
				wantError(t, err, c.says)
				return
			}
			check(t, err)
			defer rc.Close()
			b, err := io.ReadAll(rc)
			if err != nil || string(b) != c.want {
				t.Errorf("read %q, %v; want %q", b, err, c.want)
			}
		})
	}
}

func TestOpenWhole(t *testing.T) {
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want string
		err  error
	}{
		"as it should be": {whole(blobText), blobText, nil},
		"ends early":      {chunked(blobText[:7]), blobText[:7], io.ErrUnexpectedEOF},
		// One byte more shows that it is wrong; the rest is never read.
		"goes on": {chunked(blobText + strings.Repeat("x", 1000)), blobText + "x", nil},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "16")
			_, _ = io.WriteString(w, blobText[:7])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, blobText[:7], io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := at(t, c.h)
			rc, err := r.Open(t.Context(), blobDesc, 0)
			check(t, err)
			defer rc.Close()
			b, err := io.ReadAll(rc)
			if string(b) != c.want || !errors.Is(err, c.err) {
				t.Errorf("read %q, %v; want %q, %v", b, err, c.want, c.err)
			}
			if _, ok := errors.AsType[*registry.Error](err); c.err != nil && !ok {
				t.Errorf("error %v does not name the registry", err)
			}
		})
	}
}

func TestOpenRefusesOffsets(t *testing.T) {
	r, _ := at(t, whole(blobText))
	for _, offset := range []int64{-1, 17} {
		_, err := r.Open(t.Context(), blobDesc, offset)
		wantError(t, err, "is outside of its 16 bytes")
	}
	rc, err := r.Open(t.Context(), blobDesc, 16)
	check(t, err)
	if b, err := io.ReadAll(rc); len(b) != 0 || err != nil {
		t.Errorf("at its end: %q, %v", b, err)
	}
}

// A layer is the compressed bytes; nothing on the way may unpack them.
func TestNothingIsUnpacked(t *testing.T) {
	var packed strings.Builder
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, blobText)
	check(t, z.Close())
	desc := describe(ocispec.MediaTypeImageLayerGzip, packed.String())
	var accepts string
	r, _ := at(t, func(w http.ResponseWriter, req *http.Request) {
		accepts = req.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, packed.String())
	})
	rc, err := r.Open(t.Context(), desc, 0)
	check(t, err)
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil || string(b) != packed.String() || accepts != "identity" {
		t.Errorf("read %d bytes, %v, having asked for %q; want the %d that were sent", len(b), err, accepts, packed.Len())
	}
}

func TestSilenceInABody(t *testing.T) {
	w := newWorld(t)
	w.opts.Stall = 200 * time.Millisecond
	w.serve("registry.example.com", "127.0.0.1", http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Content-Length", "16")
		_, _ = io.WriteString(rw, blobText[:7])
		rw.(http.Flusher).Flush()
		<-req.Context().Done()
	}))
	rc, err := w.repo(app).Open(t.Context(), blobDesc, 0)
	check(t, err)
	defer rc.Close()
	_, err = io.ReadAll(rc)
	wantError(t, err, "not a byte came for 200ms")
	e, ok := errors.AsType[*registry.Error](err)
	if !ok || !strings.Contains(e.Hint(), "in time") {
		t.Errorf("error %#v has the wrong hint", err)
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 4-15/16", "bytes 0-0/*", "bytes */16", "bytes 9-4/16", "items 1-2/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		start, end, total, ok := registry.ParseRange(s)
		if !ok {
			return
		}
		if start < 0 || end < start || total < -1 {
			t.Fatalf("%q: %d-%d/%d", s, start, end, total)
		}
		size := fmt.Sprint(total)
		if total < 0 {
			size = "*"
		}
		s2, e2, t2, ok := registry.ParseRange(fmt.Sprintf("bytes %d-%d/%s", start, end, size))
		if !ok || s2 != start || e2 != end || t2 != total {
			t.Fatalf("%q does not survive being written", s)
		}
	})
}
