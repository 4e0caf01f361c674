package ferry

// What came of a load, at each runtime and for each image, and the error of a
// load that reached none of them.

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"

	"ferry/internal/diagnose"
)

// LoadResult says what each runtime holds now, or would.
type LoadResult struct {
	File    string        `json:"file"`
	Digest  digest.Digest `json:"digest"`
	Gate    string        `json:"gate"`
	Targets []LoadTarget  `json:"targets"`
	DryRun  bool          `json:"dryRun,omitempty"`
}

// Failed counts the targets where something did not arrive.
func (r *LoadResult) Failed() int {
	n := 0
	for _, t := range r.Targets {
		if t.Failed() {
			n++
		}
	}
	return n
}

// LoadTarget is one runtime with what came of it.
type LoadTarget struct {
	// Target is what was asked for, Name the runtime or node it led to.
	Target   string        `json:"target"`
	Name     string        `json:"name"`
	Kind     string        `json:"kind,omitempty"`
	Platform string        `json:"platform,omitempty"`
	Images   []LoadedImage `json:"images,omitempty"`
	// Planned is what has to be sent, or where the runtime cannot tell, what
	// the images weigh that it does not have.
	Planned int64      `json:"plannedBytes"`
	Sent    int64      `json:"sentBytes"`
	ByHand  [][]string `json:"byHand,omitempty"`
	Err     error      `json:"-"`
	Error   string     `json:"error,omitempty"`
}

func (t *LoadTarget) fail(err error) { t.Err, t.Error = err, err.Error() }

// Failed says whether something of t did not arrive.
func (t LoadTarget) Failed() bool {
	if t.Err != nil {
		return true
	}
	for _, i := range t.Images {
		if i.State == LoadFailed {
			return true
		}
	}
	return false
}

// arrived is how many images t has.
func (t LoadTarget) arrived() int {
	n := 0
	for _, i := range t.Images {
		if i.State == LoadDone || i.State == LoadThere {
			n++
		}
	}
	return n
}

// FullError says that a target has no room for an image.
type FullError struct{ Err error }

func (e *FullError) Error() string { return e.Err.Error() }

func (e *FullError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (*FullError) Hint() string {
	return "The disk there is full: df -h and df -i show which one. crictl rmi --prune (podman, docker: image prune -a) removes images that no container uses. The same command then goes on."
}

// orFull is err, or where the runtime's words are those of a full disk, an
// error that knows it. A disk of this machine is told by its error number.
func orFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return err
	}
	causes := diagnose.Message(err.Error(), diagnose.Setting{}).Causes
	if len(causes) > 0 && causes[0].Cause == diagnose.DiskFull && causes[0].Confidence == diagnose.Certain {
		return &FullError{err}
	}
	return err
}

// Errors are what went wrong at t, each with image and target.
func (t LoadTarget) Errors() []error {
	if t.Err != nil {
		return []error{fmt.Errorf("load into %s: %w", t.Name, orFull(t.Err))}
	}
	var all []error
	for _, i := range t.Images {
		if i.State == LoadFailed {
			all = append(all, t.failure(i))
		}
	}
	return all
}

func (t LoadTarget) failure(i LoadedImage) error {
	return fmt.Errorf("load %s into %s: %w", i.Name, t.Name, orFull(i.Err))
}

// The states of an image at a runtime.
const (
	LoadThere   = "there"
	LoadPlanned = "planned"
	LoadDone    = "loaded"
	LoadFailed  = "failed"
)

// LoadedImage is an image as one runtime has it.
type LoadedImage struct {
	Name     string        `json:"name"`
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"`
	State    string        `json:"state"`
	// Replaces is the digest that stood under the name before.
	Replaces digest.Digest `json:"replaces,omitempty"`
	Pin      string        `json:"pin,omitempty"`
	// As is how the runtime was seen to find it.
	As    string `json:"as,omitempty"`
	Err   error  `json:"-"`
	Error string `json:"error,omitempty"`
}

func (i *LoadedImage) fail(err error) { i.State, i.Err, i.Error = LoadFailed, err, err.Error() }

// LoadError says that not one target took the images.
type LoadError struct{ Targets []LoadTarget }

// Errors are the causes, a line each.
func (e *LoadError) Errors() []error {
	var all []error
	for _, t := range e.Targets {
		all = append(all, t.Errors()...)
	}
	return all
}

func (e *LoadError) Error() string {
	var lines []string
	for _, err := range e.Errors() {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns all causes.
func (e *LoadError) Unwrap() []error { return e.Errors() }
