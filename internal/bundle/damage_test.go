package bundle_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/content/contenttest"
)

func sha256Of(b []byte) digest.Digest {
	return digest.NewDigestFromBytes(digest.SHA256, sum(b))
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

func verifyOK(t *testing.T, path string) {
	t.Helper()
	b, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := []byte{0}
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// refused wants verify to refuse the bytes, as damaged or as no bundle.
func refused(t *testing.T, b []byte, what string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "damaged.tar")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	v, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{})
	if err == nil {
		_ = v.Close()
		t.Errorf("%s: not found", what)
		return nil
	}
	var damaged *bundle.DamageError
	var notBundle *bundle.NotBundleError
	if !errors.As(err, &damaged) && !errors.As(err, &notBundle) {
		t.Errorf("%s: %v is neither damage nor another kind of file", what, err)
	}
	return err
}

// region is a stretch of the file that damage may fall into.
type region struct {
	name       string
	start, end int64
}

func regions(t *testing.T, whole []byte) []region {
	t.Helper()
	r := bytes.NewReader(whole)
	tr := tar.NewReader(r)
	var all []region
	var last int64
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		at := int64(len(whole)) - int64(r.Len())
		all = append(all, region{h.Name + " header", at - 512, at})
		if h.Size > 0 {
			all = append(all, region{h.Name + " body", at, at + h.Size})
		}
		end := (at + h.Size + 511) / 512 * 512
		if end > at+h.Size {
			all = append(all, region{h.Name + " padding", at + h.Size, end})
		}
		last = end
	}
	return append(all, region{"trailer", last, int64(len(whole))})
}

func TestEveryBitFlipIsFound(t *testing.T) {
	s := contenttest.NewStore()
	whole, err := os.ReadFile(write(t, s, sample(s)))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	flips := 0
	for _, r := range regions(t, whole) {
		for range 8 {
			at := r.start + rnd.Int64N(r.end-r.start)
			bit := byte(1) << rnd.IntN(8)
			whole[at] ^= bit
			refused(t, whole, fmt.Sprintf("%s, byte %d, bit %d", r.name, at, bit))
			whole[at] ^= bit
			flips++
		}
	}
	if flips < 300 {
		t.Errorf("only %d flips were tried", flips)
	}
}

func TestTheDamagedBlobIsNamed(t *testing.T) {
	s := contenttest.NewStore()
	whole, _ := os.ReadFile(write(t, s, sample(s)))
	for _, r := range regions(t, whole) {
		name, ok := strings.CutSuffix(r.name, " body")
		if !ok || !strings.HasPrefix(name, "blobs/") {
			continue
		}
		whole[r.start] ^= 1
		err := refused(t, whole, r.name)
		var damaged *bundle.DamageError
		if !errors.As(err, &damaged) || damaged.Entry != name {
			t.Errorf("%s is damaged, the error says %v", name, err)
		}
		whole[r.start] ^= 1
	}
}

func TestEveryTruncationIsFound(t *testing.T) {
	s := contenttest.NewStore()
	whole, _ := os.ReadFile(write(t, s, sample(s)))
	for _, r := range regions(t, whole) {
		for _, at := range []int64{r.start, r.start + 1, r.end - 1} {
			if at < int64(len(whole)) {
				refused(t, whole[:at], fmt.Sprintf("cut at byte %d (%s)", at, r.name))
			}
		}
	}
	refused(t, append(bytes.Clone(whole), 0), "one byte more at the end")
	refused(t, append(bytes.Clone(whole), make([]byte, 512)...), "one block more at the end")
}

// TestForeignEntries rebuilds the tar with something added or changed; every
// blob in it is right.
func TestForeignEntries(t *testing.T) {
	s := contenttest.NewStore()
	whole, _ := os.ReadFile(write(t, s, sample(s)))
	evil := contenttest.Random(77, 100)
	for name, change := range map[string]func(h *tar.Header, body []byte, put func(*tar.Header, []byte)){
		"a file more":       after("oci-layout", &tar.Header{Name: "notes.txt", Typeflag: tar.TypeReg}, []byte("hi")),
		"a path upwards":    after("oci-layout", &tar.Header{Name: "../../etc/passwd", Typeflag: tar.TypeReg}, []byte("hi")),
		"an absolute path":  after("oci-layout", &tar.Header{Name: "/etc/passwd", Typeflag: tar.TypeReg}, []byte("hi")),
		"a symlink":         after("oci-layout", &tar.Header{Name: "blobs/sha256/x", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}, nil),
		"a hard link":       after("oci-layout", &tar.Header{Name: "index.json", Linkname: "oci-layout", Typeflag: tar.TypeLink}, nil),
		"a folder":          after("oci-layout", &tar.Header{Name: "blobs/", Typeflag: tar.TypeDir}, nil),
		"a right blob more": after("oci-layout", &tar.Header{Name: "blobs/sha256/" + sha256Of(evil).Encoded(), Typeflag: tar.TypeReg}, evil),
		"an entry twice":    after("oci-layout", &tar.Header{Name: "oci-layout", Typeflag: tar.TypeReg}, []byte(`{"imageLayoutVersion":"1.0.0"}`+"\n")),
		"a blob renamed": func(h *tar.Header, body []byte, put func(*tar.Header, []byte)) {
			if len(body) > 60_000 {
				h.Name = "blobs/sha256/" + strings.Repeat("0", 64)
			}
			put(h, body)
		},
		"a blob left out": func(h *tar.Header, body []byte, put func(*tar.Header, []byte)) {
			if len(body) < 60_000 {
				put(h, body)
			}
		},
		"another owner": func(h *tar.Header, body []byte, put func(*tar.Header, []byte)) {
			h.Uid = 1000
			put(h, body)
		},
		"a size that lies": func(h *tar.Header, body []byte, put func(*tar.Header, []byte)) {
			if h.Name == "manifest.json" {
				body = append(body, ' ')
			}
			put(h, body)
		},
		"PAX records": func(h *tar.Header, body []byte, put func(*tar.Header, []byte)) {
			h.Format = tar.FormatPAX
			h.PAXRecords = map[string]string{"FERRY.hidden": "message"}
			put(h, body)
		},
	} {
		refused(t, retar(t, whole, change), name)
	}
	refused(t, nil, "an empty file")
	refused(t, []byte("<html>captive portal</html>"), "a web page")
	refused(t, evil, "noise")
	if _, err := tar.NewReader(bytes.NewReader(sparse(t, whole))).Next(); err != nil {
		t.Fatalf("the sparse header is not one: %v", err)
	}
	refused(t, sparse(t, whole), "a sparse header")
}

func after(name string, h *tar.Header, body []byte) func(*tar.Header, []byte, func(*tar.Header, []byte)) {
	return func(old *tar.Header, b []byte, put func(*tar.Header, []byte)) {
		put(old, b)
		if old.Name == name {
			put(h, body)
		}
	}
}

func retar(t *testing.T, whole []byte, change func(*tar.Header, []byte, func(*tar.Header, []byte))) []byte {
	t.Helper()
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	put := func(h *tar.Header, b []byte) {
		h.Size = int64(len(b))
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	for tr := tar.NewReader(bytes.NewReader(whole)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		change(h, body, put)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sparse puts a GNU sparse 1.0 header in front of a sound bundle's first
// entry: that entry then claims 8 GiB, of which the file holds 28 bytes.
func sparse(t *testing.T, whole []byte) []byte {
	t.Helper()
	records := record("GNU.sparse.major=1") + record("GNU.sparse.minor=0") +
		record("GNU.sparse.name=oci-layout") + record("GNU.sparse.realsize=8589934592")
	out := rawEntry(t, "PaxHeaders.0/oci-layout", 'x', []byte(records))
	data := append(make([]byte, 0, 1024), "1\n0\n28\n"...)
	data = append(data[:512], `{"imageLayoutVersion":"1.0.0"}`...)
	out = append(out, rawEntry(t, "oci-layout", '0', data)...)
	return append(out, whole[1024:]...)
}

func record(s string) string {
	for n := len(s); ; n++ {
		if r := fmt.Sprintf("%d %s\n", n, s); len(r) == n {
			return r
		}
	}
}

// rawEntry is a tar entry of any type.
func rawEntry(t *testing.T, name string, typeflag byte, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(body)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := tw.Flush(); err != nil {
		t.Fatal(err)
	}
	b := out.Bytes()
	b[156] = typeflag
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}
