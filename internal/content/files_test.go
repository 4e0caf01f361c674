package content_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
)

// tarBzip2 is a tar with one file, packed by bzip2: Go only unpacks that.
const tarBzip2 = "\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\xc7\xad\xe5\xa4\x00\x00\x6c\xdb\x80\xc9\x80\x60\x00\x65\x80\x00\x00\xf0\x00\x1e\x00\x08\x08\x20\x00\x54\x34\x9a\x00\x0d" +
	"\x07\xa8\x22\x8a\x06\x83\xd4\xd0\x1f\x73\x62\x51\x0b\xe2\x08\x95\x1d\x55\x8a\xdf\x5c\xd0\x48\x08\x38\x91\x98\x12\xf2\x85\x6d\x55\x5f\x0b\xaa\x86\xe9\xe1\x26\x68" +
	"\x88\x07\xc5\xdc\x91\x4e\x14\x24\x31\xeb\x79\x69\x00"

func TestHoldsFiles(t *testing.T) {
	files := contenttest.Tar(contenttest.File{Name: "a", Body: []byte("b")})
	for name, tc := range map[string]struct {
		blob []byte
		want bool
	}{
		"a tar":                       {files, true},
		"in gzip":                     {contenttest.Gzip(files), true},
		"behind an empty gzip":        {append(contenttest.Gzip(nil), contenttest.Gzip(files)...), true},
		"in zstd":                     {contenttest.Zstd(files), true},
		"behind a frame that is left": {append([]byte("\x5e\x2a\x4d\x18\x01\x00\x00\x00x"), contenttest.Zstd(files)...), true},
		"in bzip2":                    {[]byte(tarBzip2), true},
		"in xz":                       {[]byte("\xfd7zXZ\x00 and so on"), true},
		"a tar of before ustar":       {v7(files), true},
		"nothing":                     {nil, false},
		"JSON":                        {[]byte(`{"a":"b"}`), false},
		"much JSON":                   {[]byte(`{"a":"` + strings.Repeat("b", 1000) + `"}`), false},
		"JSON in gzip":                {contenttest.Gzip(bytes.Repeat([]byte("{}"), 1000)), false},
		"a gzip that is none":         {[]byte("\x1f\x8b is what it begins with"), false},
		"zeros":                       {make([]byte, 2048), false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := content.HoldsFiles(iotest.OneByteReader(bytes.NewReader(tc.blob)))
			if err != nil || got != tc.want {
				t.Errorf("%v %v, want %v", got, err, tc.want)
			}
		})
	}
}

// v7 is a tar without the magic of later ones, and with a checksum of its own.
func v7(files []byte) []byte {
	b := bytes.Clone(files)
	clear(b[257:265])
	sum := 8 * int(' ')
	for i, c := range b[:512] {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// TestHoldsFilesUnread: what cannot be read is no blob without files.
func TestHoldsFilesUnread(t *testing.T) {
	packed := contenttest.Gzip(contenttest.Tar(contenttest.File{Name: "a"}))
	broken := errors.New("broken disk")
	for _, n := range []int{0, 3, 12, len(packed) / 4} {
		r := io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(broken))
		if files, err := content.HoldsFiles(r); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v %v", n, files, err)
		}
	}
}

func FuzzHoldsFiles(f *testing.F) {
	f.Add("a", []byte("b"))
	f.Add("\x1f\x8b", []byte{})
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		if _, err := content.HoldsFiles(bytes.NewReader(b)); err != nil {
			t.Error(err)
		}
		var tarred bytes.Buffer
		w := tar.NewWriter(&tarred)
		if w.WriteHeader(&tar.Header{Name: name, Mode: 0o644}) != nil || w.Close() != nil {
			return // no name for a tar
		}
		for _, blob := range [][]byte{tarred.Bytes(), contenttest.Gzip(tarred.Bytes())} {
			// One whose name begins as gzip does is unpacked as gzip everywhere.
			if files, err := content.HoldsFiles(bytes.NewReader(blob)); err != nil || !files && content.Packed(tarred.Bytes()) == "" {
				t.Errorf("a tar with %q: %v %v", name, files, err)
			}
		}
	})
}

func TestIsLayer(t *testing.T) {
	for mediaType, want := range map[string]bool{
		"application/vnd.oci.image.layer.v1.tar+gzip":                  true,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": true,
		"application/vnd.docker.image.rootfs.diff.tar.gzip":            true,
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":    true,
		"application/vnd.erofs.layer.v1+gzip":                          true,
		"application/vnd.oci.image.layers":                             false,
		"application/vnd.dev.cosign.simplesigning.v1+json":             false,
		"application/octet-stream":                                     false,
		"":                                                             false,
	} {
		if got := content.IsLayer(mediaType); got != want {
			t.Errorf("%q: %v", mediaType, got)
		}
	}
}
