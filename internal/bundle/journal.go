package bundle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"ferry/internal/scratch"
)

// journalVersion is the journal's first word.
const journalVersion = "ferry-partial-1"

// written says how far a blob got in a partial file.
type written struct {
	offset int64
	bytes  int64
}

// journal remembers, beside a partial file, which bytes of it were written.
// It is a hint and never a proof: what it names is hashed before it counts.
// Holding it keeps other writers out.
type journal struct {
	path string
	lock io.Closer

	mu   sync.Mutex
	file *os.File
}

// BusyError says that another process writes the same bundle.
type BusyError struct{ Path string }

func (e *BusyError) Error() string {
	return "another ferry is writing " + e.Path + " at this moment"
}

// openJournal takes the journal at path for this process.
func openJournal(path string) (*journal, error) {
	l, err := scratch.Take(path)
	if errors.Is(err, scratch.ErrHeld) {
		return nil, &BusyError{Path: strings.TrimSuffix(path, journalSuffix)}
	}
	if err != nil {
		return nil, err
	}
	return &journal{path: path, lock: l}, nil
}

// read returns the layout that the last run wrote, and how far each blob got.
func (j *journal) read() (id string, blobs map[digest.Digest]written, err error) {
	f, err := os.Open(j.path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	blobs = map[digest.Digest]written{}
	sc := bufio.NewScanner(f)
	if sc.Scan() {
		var version string
		if n, _ := fmt.Sscanf(sc.Text(), "%s %s", &version, &id); n != 2 || version != journalVersion {
			return "", blobs, nil
		}
	}
	for sc.Scan() {
		var d string
		var w written
		// A line that a kill cut short does not parse and tells nothing.
		if n, _ := fmt.Sscanf(sc.Text(), "%s %d %d .", &d, &w.offset, &w.bytes); n != 3 || !strings.HasSuffix(sc.Text(), " .") {
			continue
		}
		if digest.Digest(d).Validate() == nil && w.offset >= 0 && w.bytes >= 0 {
			blobs[digest.Digest(d)] = w
		}
	}
	return id, blobs, nil
}

// begin starts the journal of a layout; keep leaves what it says so far.
func (j *journal) begin(id string, keep bool) error {
	flags := os.O_WRONLY | os.O_APPEND
	if !keep {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(j.path, flags, 0o644)
	if err != nil {
		return err
	}
	j.file = f
	if keep {
		// Ends a line that a kill may have cut.
		_, err = f.WriteString("\n")
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s\n", journalVersion, id)
	return err
}

func (j *journal) note(d digest.Digest, w written) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := fmt.Fprintf(j.file, "%s %d %d .\n", d, w.offset, w.bytes)
	return err
}

// close gives the journal up; remove takes it away with it.
func (j *journal) close(remove bool) error {
	var err error
	if j.file != nil {
		err = j.file.Close()
	}
	if remove {
		if rerr := os.Remove(j.path); err == nil {
			err = rerr
		}
	}
	if lerr := j.lock.Close(); err == nil {
		err = lerr
	}
	return err
}
