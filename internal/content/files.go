package content

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"io"
	"strconv"
	"strings"
)

// IsLayer says whether mediaType is one whose bytes a runtime unpacks into a
// container's files: containerd goes by nothing else.
func IsLayer(mediaType string) bool {
	for _, prefix := range []string{"application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.", "application/vnd.erofs.layer."} {
		if strings.HasPrefix(mediaType, prefix) {
			return true
		}
	}
	return false
}

// tarBlock is how much of a tar is its first header.
const tarBlock = 512

// Packed says by which of the compressions that runtimes undo bytes with this
// beginning are packed; "" is none. podman and CRI-O ask the bytes, whatever
// the media type says.
func Packed(head []byte) string {
	for _, c := range []struct{ name, magic string }{
		{"gzip", "\x1f\x8b"}, {"zstd", "\x28\xb5\x2f\xfd"}, {"bzip2", "BZh"}, {"xz", "\xfd7zXZ\x00"},
	} {
		if bytes.HasPrefix(head, []byte(c.magic)) {
			return c.name
		}
	}
	// A frame that decoders skip may stand before any other (RFC 8878, 3.1.2).
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")) {
		return "zstd"
	}
	return ""
}

// HoldsFiles says whether a runtime that asks no media type would find files
// in a blob: whether it is a tar, as it lies or packed. Of what cannot be
// looked into here it says yes.
func HoldsFiles(r io.Reader) (bool, error) {
	place := &failing{r: r}
	in := bufio.NewReader(place)
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	var plain io.Reader = in
	switch Packed(head) {
	case "gzip":
		if plain, err = gzip.NewReader(in); err != nil {
			return false, place.err
		}
	case "bzip2":
		plain = bzip2.NewReader(in)
	case "zstd", "xz":
		return true, nil
	}
	block := make([]byte, tarBlock)
	if _, err := io.ReadFull(plain, block); err != nil {
		// Too short for a tar, or nothing that can be unpacked.
		return false, place.err
	}
	return isTar(block), nil
}

// failing keeps a place's own errors apart from those of what lies there.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// isTar looks at the checksum of a header: the one thing that the tar of every
// age has.
func isTar(block []byte) bool {
	want, err := strconv.ParseInt(strings.Trim(string(block[148:156]), " \x00"), 8, 64)
	if err != nil {
		return false
	}
	var unsigned, signed int64
	for i, c := range block {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c)) //nolint:gosec // old tars summed so
	}
	return want == unsigned || want == signed
}
