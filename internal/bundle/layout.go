package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/content"
)

const (
	block       = 512
	trailerSize = 2 * block
	ociLayout   = `{"imageLayoutVersion":"1.0.0"}` + "\n"
)

// The names of the entries that are not blobs.
const (
	layoutName   = "oci-layout"
	indexName    = "index.json"
	manifestName = "manifest.json"
	blobsPrefix  = "blobs/"
)

// entry is one file of the tar.
type entry struct {
	name   string
	header []byte // the header blocks, as they stand before offset
	offset int64  // of the data
	size   int64
	body   []byte         // nil for blobs whose bytes come from outside
	source content.Source // of the bytes, for a blob of the evidence
	digest digest.Digest  // "" for entries that are not blobs
}

func (e entry) start() int64 { return e.offset - int64(len(e.header)) }
func (e entry) end() int64   { return e.offset + padded(e.size) }

// layout is where everything lies. It is known in full before the first layer
// arrives.
type layout struct {
	entries    []entry
	contentEnd int64
	size       int64
	index      []byte
}

// newLayout lays c and the tail out in one file.
func newLayout(c *Contents, t *tail) (*layout, error) {
	l := &layout{index: t.index}
	if err := l.add(layoutName, "", []byte(ociLayout), int64(len(ociLayout))); err != nil {
		return nil, err
	}
	inContent := map[digest.Digest]int64{}
	for _, d := range c.Blobs() {
		inContent[d.Digest] = d.Size
		if err := l.add(blobName(d.Digest), d.Digest, nil, d.Size); err != nil {
			return nil, err
		}
	}
	l.contentEnd = l.size
	if err := l.addTail(t, inContent); err != nil {
		return nil, err
	}
	if err := l.add(manifestName, "", t.manifest, int64(len(t.manifest))); err != nil {
		return nil, err
	}
	if err := l.add(indexName, "", t.index, int64(len(t.index))); err != nil {
		return nil, err
	}
	l.size += trailerSize
	return l, nil
}

// addTail adds the blobs of the tail, those that are known and those that are
// still to be read, in one order.
func (l *layout) addTail(t *tail, inContent map[digest.Digest]int64) error {
	sizes := maps.Clone(t.streams)
	if sizes == nil {
		sizes = map[digest.Digest]int64{}
	}
	for d, b := range t.blobs {
		sizes[d] = int64(len(b))
	}
	for _, d := range slices.Sorted(maps.Keys(sizes)) {
		if size, ok := inContent[d]; ok {
			// The empty config may be some referrer's too.
			if size != sizes[d] {
				return fmt.Errorf("%s is said to have %d bytes and also %d bytes", d, size, sizes[d])
			}
			continue
		}
		if err := l.add(blobName(d), d, t.blobs[d], sizes[d]); err != nil {
			return err
		}
		if t.blobs[d] == nil {
			l.entries[len(l.entries)-1].source = t.source
		}
	}
	return nil
}

func (l *layout) add(name string, d digest.Digest, body []byte, size int64) error {
	h, err := header(name, size)
	if err != nil {
		return fmt.Errorf("lay out %s of %d bytes: %w", name, size, err)
	}
	e := entry{name: name, header: h, offset: l.size + int64(len(h)), size: size, body: body, digest: d}
	l.entries = append(l.entries, e)
	l.size = e.end()
	return nil
}

// id names the content part: two layouts with the same id put the same blobs
// at the same offsets.
func (l *layout) id() string {
	h := sha256.New()
	for _, e := range l.entries {
		if e.start() >= l.contentEnd {
			break
		}
		h.Write(e.header)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// header is the one form of every entry's header: a regular file that belongs
// to root, readable by all, of no date. USTAR as long as the size fits in it.
func header(name string, size int64) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0),
	})
	return b.Bytes(), err
}

func padded(n int64) int64 { return (n + block - 1) / block * block }

func blobName(d digest.Digest) string {
	return blobsPrefix + d.Algorithm().String() + "/" + d.Encoded()
}

// blobDigest reads a blob's name back; ok is false where name is no blob's.
func blobDigest(name string) (d digest.Digest, ok bool) {
	rest, ok := strings.CutPrefix(name, blobsPrefix)
	if !ok {
		return "", false
	}
	algorithm, encoded, ok := strings.Cut(rest, "/")
	if !ok {
		return "", false
	}
	d = digest.Digest(algorithm + ":" + encoded)
	return d, d.Validate() == nil && blobName(d) == name
}
