package diagnose

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// Form is the form of a text that was read.
type Form string

// The forms that are recognised.
const (
	FormEmpty    Form = "nothing"
	FormMessage  Form = "a message"
	FormMessages Form = "messages"
	FormDescribe Form = "kubectl describe"
	FormEvents   Form = "events"
	FormPods     Form = "a list of pods"
	FormObjects  Form = "Kubernetes objects"
	FormLog      Form = "a log"
	FormBinary   Form = "no text"
)

// Reading is what was read, and what it says.
type Reading struct {
	Report
	// Form is what the text was taken for, Lines how many it has (0 for JSON).
	Form  Form
	Lines int
	// Pods is how many pods it shows, sick and healthy.
	Pods int
	// Stopped says that the text is longer than what is read.
	Stopped bool
}

// Tells says whether the text has a cause in it, or is about something else.
func (r *Reading) Tells() bool {
	return len(r.Causes) > 0 && (r.Causes[0].Cause != Unknown || r.Causes[0].Title == notAboutImages)
}

// The limits of what is read.
const (
	maxInput     = 512 << 20 // bytes in all
	maxWhole     = 256 << 10 // bytes that are read as one message, or some
	maxDocument  = 4 << 20   // of one YAML document, or one item of a list
	maxLine      = 256 << 10 // of a longer line both ends are kept
	maxDocuments = 100000    // of YAML
	maxDistinct  = 1000      // different messages that are parsed,
	maxParsed    = 1 << 20   // and their bytes
	maxCauses    = 50
)

// Read reads a text of any form: a message, several, what kubectl describe,
// get -o json or -o yaml print, a log of kubelet or runtime, the output of
// docker, podman, crictl or kubeadm; gzip or not. Memory and time are bounded, whatever
// comes. Its errors are those of in.
func Read(in io.Reader, s Setting) (*Reading, error) {
	plain, err := unpacked(bufio.NewReader(in))
	if err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: plain, N: maxInput}
	b := narrow(bufio.NewReaderSize(limited, maxWhole))
	head, err := b.Peek(maxWhole)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	c := newCollector(s)
	if err := c.read(b, head, len(head) < maxWhole); err != nil {
		return nil, err
	}
	r := c.reading()
	r.Stopped = limited.N == 0
	return r, nil
}

// read takes the text for what its beginning looks like. whole says that head
// is all of it.
func (c *collector) read(in *bufio.Reader, head []byte, whole bool) error {
	text := strings.TrimSpace(strings.TrimPrefix(string(head), "\ufeff"))
	switch {
	case text == "":
		c.form = FormEmpty
		if whole {
			return nil
		}
		return c.lines(in)
	case noText(head):
		c.form = FormBinary
		return nil
	case text[0] == '{' || text[0] == '[' && strings.ContainsAny(text[1:min(len(text), 40)], "{"):
		return c.json(in, head, whole)
	case yamlObject(text):
		return c.yaml(in)
	case whole:
		c.text(text)
		return nil
	}
	return c.lines(in)
}

// noText says whether a text is none: much of it is NUL bytes, or nothing that
// UTF-8 has. Some NULs are in every log whose machine lost its power.
func noText(head []byte) bool {
	bad := 0
	sample := head[:min(len(head), 4096)]
	for rest := sample; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if r == 0 || r == utf8.RuneError && n == 1 {
			bad++
		}
		rest = rest[n:]
	}
	return bad > len(sample)/4
}

// text reads a text that is short enough to be looked at as a whole.
func (c *collector) text(text string) {
	text = unlinked(colourless(text))
	lines := strings.Split(text, "\n")
	c.count = len(lines)
	switch {
	case described(lines):
		c.form = FormDescribe
		c.describe(lines)
	case eventTable(lines):
		c.form = FormEvents
		c.eventLines(lines)
	case podTable(lines):
		c.form = FormPods
		c.podTable(lines)
	case logged(lines):
		c.form = FormLog
		for _, l := range lines {
			c.logLine(l)
		}
	default:
		c.messages(lines)
	}
}

// starters begin a message of their own.
func starters() []string {
	return []string{
		"failed to pull image", "error response from daemon", "rpc error:", "fata[", "error: ", "unable to retrieve", "failed to create pod sandbox",
		"back-off pulling", "[error ", "errimagepull", "imagepullbackoff", "failed to pull", "error pulling", "container image ", "failed to inspect image",
	}
}

// messages reads pasted text: one message, however it is wrapped, or several,
// each beginning in one of the known ways.
func (c *collector) messages(lines []string) {
	var parts []string
	for _, l := range lines {
		low := strings.ToLower(strings.TrimLeft(l, " \t-*│|>"))
		begins := false
		for _, s := range starters() {
			begins = begins || strings.HasPrefix(low, s)
		}
		if begins || len(parts) == 0 {
			parts = append(parts, l)
			continue
		}
		parts[len(parts)-1] += "\n" + l
	}
	c.form = FormMessage
	if len(parts) > 1 {
		c.form = FormMessages
		if p := strings.ToLower(parts[0]); strings.HasSuffix(strings.TrimSpace(p), ":") || strings.HasPrefix(p, "using default tag") {
			parts = append([]string{parts[0] + "\n" + parts[1]}, parts[2:]...)
		}
	}
	for _, p := range parts {
		c.add(item{text: p, setting: c.setting})
	}
}

// lines reads a text that is too long to be looked at as a whole, line by
// line.
func (c *collector) lines(in *bufio.Reader) error {
	c.form = FormLog
	for {
		line, err := longLine(in)
		if line != "" {
			c.count++
			c.logLine(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// longLine reads a line. Of one longer than maxLine both ends are kept.
func longLine(in *bufio.Reader) (string, error) {
	var head, tail []byte
	for {
		part, err := in.ReadSlice('\n')
		switch {
		case len(head) < maxLine/2:
			head = append(head, part...)
		default:
			tail = append(tail, part...)
			if len(tail) > maxLine {
				tail = append(tail[:0], tail[len(tail)-maxLine/2:]...)
			}
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(tail) > 0 {
			head = append(append(head, " … "...), tail...)
		}
		return strings.TrimRight(string(head), "\r\n"), err
	}
}
