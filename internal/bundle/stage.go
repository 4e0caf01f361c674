package bundle

import (
	"context"
	"fmt"
	"os"

	"ferry/internal/content"
)

// lay lays out c with the tail that s demands; the bytes of the evidence that
// it names are read from src.
func lay(ctx context.Context, c *Contents, s Seal, src content.Source) (*layout, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	e, err := readEvidence(ctx, c, s.Evidence, src)
	if err != nil {
		return nil, err
	}
	t, err := newTail(c, s, e)
	if err != nil {
		return nil, err
	}
	return newLayout(c, t)
}

// Stage writes all that is not a content blob, so that the file is a whole
// bundle, under the name that Staged returns. Every blob has to be committed.
// It may be looked at there, and sealed anew, before Finish.
func (w *Writer) Stage() error {
	for _, e := range w.layout.entries {
		if e.digest != "" && e.body == nil && e.source == nil && !w.committed[e.digest] {
			return fmt.Errorf("finish %s: %s is not complete", w.path, e.digest)
		}
	}
	for _, e := range w.layout.entries {
		if err := frame(w.file, e); err != nil {
			return fmt.Errorf("write %s into %s: %w", e.name, w.path, err)
		}
	}
	if err := end(w.file, w.layout.size); err != nil {
		return err
	}
	w.staged.Store(true)
	return nil
}

// Staged is where the bundle stands until it gets its name.
func (w *Writer) Staged() string { return w.path + partialSuffix }

// Seal gives the bundle another seal. The bytes of the evidence that it names
// are read from src, when they are written.
func (w *Writer) Seal(ctx context.Context, s Seal, src content.Source) error {
	l, err := lay(ctx, w.contents, s, src)
	if err != nil {
		return fmt.Errorf("seal %s: %w", w.path, err)
	}
	w.layout = l
	w.staged.Store(false)
	return nil
}

// frame writes what stands around an entry's bytes, and its bytes where they
// do not come in through the sink.
func frame(f *os.File, e entry) error {
	if _, err := f.WriteAt(e.header, e.start()); err != nil {
		return err
	}
	if e.body != nil {
		if _, err := f.WriteAt(e.body, e.offset); err != nil {
			return err
		}
	}
	if e.source != nil {
		if err := stream(f, e); err != nil {
			return err
		}
	}
	_, err := f.WriteAt(make([]byte, padded(e.size)-e.size), e.offset+e.size)
	return err
}

// end writes the end of the tar, and cuts off what an earlier tail left.
func end(f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	_, err := f.WriteAt(make([]byte, trailerSize), size-trailerSize)
	return err
}
