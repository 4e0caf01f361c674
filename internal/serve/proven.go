package serve

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"sync"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// proven remembers which blobs had their digest, and when their file was
// written last: as long as that stays, they are sent without being hashed
// again, by the kernel where it can.
type proven struct {
	mu  sync.Mutex
	all map[digest.Digest]content.Stamp
}

// stampOfSection is the zero stamp where the section is not of a plain file:
// that one proves nothing.
func stampOfSection(section *io.SectionReader) content.Stamp {
	outer, _, _ := section.Outer()
	f, ok := outer.(*os.File)
	if !ok {
		return content.Stamp{}
	}
	s, err := stampOf(f)
	if err != nil {
		return content.Stamp{}
	}
	return s
}

func stampOf(f *os.File) (content.Stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return content.Stamp{}, err
	}
	if !info.Mode().IsRegular() {
		return content.Stamp{}, fmt.Errorf("%s is not a regular file", f.Name())
	}
	return content.StampOf(info), nil
}

// add says that a blob was whole while its file was as before says.
func (p *proven) add(d digest.Digest, before, after content.Stamp) {
	if before != after || before == (content.Stamp{}) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[digest.Digest]content.Stamp{}
	}
	p.all[d] = before
}

// open opens the file of a proven blob once more, since sendfile reads from
// where a file stands. It is nil where the blob has to be hashed.
func (p *proven) open(d digest.Digest, section *io.SectionReader) *plain {
	p.mu.Lock()
	was, ok := p.all[d]
	p.mu.Unlock()
	if !ok || stampOfSection(section) != was {
		return nil
	}
	outer, offset, size := section.Outer()
	old, ok := outer.(*os.File)
	if !ok {
		return nil
	}
	f, err := os.Open(old.Name())
	if err != nil {
		return nil
	}
	b := &plain{file: f, offset: offset, size: size, digest: d, was: was}
	if !sameFile(old, f) {
		b.Close()
		return nil
	}
	return b
}

// sameFile says whether a name still leads to the file that was opened by it.
func sameFile(a, b *os.File) bool {
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// plain is a blob in a file of its own, which was seen to have its digest.
type plain struct {
	file         *os.File
	offset, size int64
	digest       digest.Digest
	at           int64
	was          content.Stamp
	err          error
}

func (b *plain) Close() { _ = b.file.Close() }

// Seek moves to a place in the blob.
func (b *plain) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.at
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d: %w", offset, fs.ErrInvalid)
	}
	b.at = offset
	_, err := b.file.Seek(b.offset+b.at, io.SeekStart)
	return b.at, err
}

// Read reads on. The last bytes come only from a file that is as it was.
func (b *plain) Read(p []byte) (int, error) {
	if b.at >= b.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.size-b.at)]
	if b.at+int64(len(p)) == b.size && !b.unchanged() {
		return 0, b.err
	}
	n, err := b.file.Read(p)
	b.at += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // the file is shorter than it was
	}
	if err != nil {
		b.err = err
	}
	return n, err
}

// send has the kernel send the next n bytes of b.
func (b *plain) send(to io.ReaderFrom, n int64) (int64, error) {
	if b.at+n == b.size && !b.unchanged() {
		return 0, b.err
	}
	sent, err := to.ReadFrom(&io.LimitedReader{R: b.file, N: n})
	b.at += sent
	switch {
	case err == nil && sent < n:
		err = io.ErrUnexpectedEOF // the file is shorter than it was
		b.err = err
	case errors.Is(err, syscall.EIO):
		b.err = err // the disk's fault; all others are the connection's
	}
	return sent, err
}

// unchanged says whether nobody has written to the file since it was proven.
// Where it may be that only its name changed, the blob is hashed once more.
func (b *plain) unchanged() bool {
	now, err := stampOf(b.file)
	if err == nil && now != b.was {
		err = b.proveAgain(now)
	}
	if err != nil {
		b.err = err
	}
	return err == nil
}

func (b *plain) proveAgain(now content.Stamp) error {
	changed := fmt.Errorf("%s was changed while it was served", b.file.Name())
	if now.Size != b.was.Size || now.Written != b.was.Written {
		return changed
	}
	body := newChecked(io.NewSectionReader(b.file, b.offset, b.size), ocispec.Descriptor{Digest: b.digest, Size: b.size})
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	if after, err := stampOf(b.file); err != nil || after != now {
		return errors.Join(changed, err)
	}
	b.was = now
	return nil
}

// blobContent answers with a blob that is too large to be read at once.
func (s *Server) blobContent(w *answer, r *http.Request, desc ocispec.Descriptor, section *io.SectionReader) error {
	if f := s.proven.open(desc.Digest, section); f != nil {
		defer f.Close()
		w.content(r, desc.Digest, octets, f)
		return f.err
	}
	before := stampOfSection(section)
	body := newChecked(section, desc)
	w.content(r, desc.Digest, octets, body)
	if body.whole() {
		s.proven.add(desc.Digest, before, stampOfSection(section))
	}
	return body.err
}
