package contenttest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// File is one entry of a layer.
type File struct {
	// Name is a path without a leading slash; one that ends in a slash is a
	// folder.
	Name string
	// Mode are the permissions; 0 means 0644, for a folder 0755.
	Mode int64
	Body []byte
	// Link makes it a symbolic link to there.
	Link string
}

// Random returns n bytes that do not compress, the same for the same seed.
func Random(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	// A ChaCha8 never fails to read.
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// Tar returns a layer of files, not compressed.
func Tar(files ...File) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		must(w.WriteHeader(header(f)))
		_, err := w.Write(f.Body)
		must(err)
	}
	must(w.Close())
	return b.Bytes()
}

// Layer returns a layer of files, compressed by gzip.
func Layer(files ...File) []byte { return Gzip(Tar(files...)) }

// Gzip compresses b quickly; the bytes are the same on every run.
func Gzip(b []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	must(err)
	_, err = w.Write(b)
	must(err)
	must(w.Close())
	return out.Bytes()
}

// zstdBlock is the largest block that a frame with zstdHeader's window may
// have, in bytes.
const zstdBlock = 128 << 10

// zstdHeader is the magic number, a descriptor that announces neither size
// nor checksum, and a window of 128 KiB (RFC 8878, 3.1.1).
const zstdHeader = "\x28\xb5\x2f\xfd\x00\x38"

// Zstd puts b into a zstd frame as it is. The frame is one that every decoder
// reads; nothing gets smaller.
func Zstd(b []byte) []byte {
	out := []byte(zstdHeader)
	for last := false; !last; {
		n := min(len(b), zstdBlock)
		last = n == len(b)
		// A raw block: its size, type 0, and whether it is the last one.
		head := uint32(n) << 3
		if last {
			head |= 1
		}
		out = append(out, byte(head), byte(head>>8), byte(head>>16))
		out = append(out, b[:n]...)
		b = b[n:]
	}
	return out
}

// Layer adds a layer of files, compressed by gzip.
func (s *Store) Layer(files ...File) ocispec.Descriptor {
	plain := Tar(files...)
	return s.layer(ocispec.MediaTypeImageLayerGzip, Gzip(plain), plain)
}

// LayerZstd adds a layer of files in a zstd frame.
func (s *Store) LayerZstd(files ...File) ocispec.Descriptor {
	plain := Tar(files...)
	return s.layer(ocispec.MediaTypeImageLayerZstd, Zstd(plain), plain)
}

// LayerPlain adds a layer of files, not compressed.
func (s *Store) LayerPlain(files ...File) ocispec.Descriptor {
	plain := Tar(files...)
	return s.layer(ocispec.MediaTypeImageLayer, plain, plain)
}

func (s *Store) layer(mediaType string, b, plain []byte) ocispec.Descriptor {
	desc := s.Add(mediaType, b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.diffs[desc.Digest] = digest.FromBytes(plain)
	return desc
}

// diffID is the digest of a layer before it was compressed. For bytes that
// Add took in, and no Layer function made, it is that of the bytes.
func (s *Store) diffID(layer ocispec.Descriptor) digest.Digest {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if d, ok := s.diffs[layer.Digest]; ok {
		return d
	}
	return layer.Digest
}

func header(f File) *tar.Header {
	h := &tar.Header{
		Name: f.Name, Mode: f.Mode, Size: int64(len(f.Body)),
		Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	}
	if strings.HasSuffix(f.Name, "/") {
		h.Typeflag = tar.TypeDir
	}
	if f.Link != "" {
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
	}
	if h.Mode == 0 {
		h.Mode = 0o644
		if h.Typeflag == tar.TypeDir {
			h.Mode = 0o755
		}
	}
	return h
}

// must is for writing into memory, which fails only when the caller hands in
// something that no image can hold: a mistake in the program.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("contenttest: make content: %v", err))
	}
}
