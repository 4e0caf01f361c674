package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"ferry/internal/diagnose"
)

// errNoKubeconfig is what clientcmd says in words about a variable that nobody
// should set.
var errNoKubeconfig = errors.New("it is not there, or names no cluster")

// ConfigError says that no cluster could be found in the kubeconfig.
type ConfigError struct {
	Place diagnose.Place
	Err   error

	contexts []string // that there are, if not the one that was asked for
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("find the cluster in %s: %v", e.Place, e.Err)
}

func (e *ConfigError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *ConfigError) Hint() string {
	if len(e.contexts) > 0 {
		return "The contexts there are: " + strings.Join(e.contexts, ", ")
	}
	return "Name the file with --kubeconfig or KUBECONFIG, and the context with --context, as for kubectl."
}

// errStuck is why a server is not asked once more.
var errStuck = errors.New("not asked, since the API server had stopped answering")

// SlowError says that an answer did not come in time.
type SlowError struct{ After time.Duration }

func (e *SlowError) Error() string { return fmt.Sprintf("no answer within %v", e.After) }

// Timeout makes a SlowError a timeout in the sense of net.Error.
func (e *SlowError) Timeout() bool { return true }

// Error says what the API server, or the way to it, answered instead of what
// it was asked for.
type Error struct {
	Call  string // what was asked for, in words: pods in default
	Lacks string // the permission that it needs: list pods
	Place diagnose.Place

	Status  int    // of the HTTP answer; 0 when none came
	Reason  string // of the API's Status object: Forbidden
	Message string // the API's own words
	Err     error  // what went wrong where Status does not say it

	resume string // a continue token for a list that grew too old
}

func (e *Error) Error() string {
	return fmt.Sprintf("read %s from %s, by %s: %s", e.Call, e.Place.Server, e.Place, e.why())
}

func (e *Error) why() string {
	if e.Status == 0 {
		return e.Err.Error()
	}
	if e.Message != "" {
		return e.Message
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// NotFound says that there is no such object (any more).
func (e *Error) NotFound() bool { return e.Status == http.StatusNotFound }

// Forbidden says that the API server does not let this user look.
func (e *Error) Forbidden() bool { return e.Status == http.StatusForbidden }

// Hint says what to do next.
func (e *Error) Hint() string {
	switch {
	case e.Forbidden():
		return "The permissions that ferry doctor uses are in docs/rbac/doctor.yaml; without -A it needs them in one namespace only."
	case e.Status == http.StatusUnauthorized:
		return "The API server does not accept this login: log in to the cluster again."
	case e.NotFound():
		return "Is the name right, and the namespace (-n)?"
	case e.Status == http.StatusTooManyRequests || e.Status >= http.StatusInternalServerError:
		return "The API server has a fault of its own, or too much to do: try again later."
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return "Nothing listens there: does the cluster run? Is it the right context?"
	}
	return "Does kubectl get pods work with the same --kubeconfig and --context?"
}

// unseen turns the error into what is said of it.
func (e *Error) unseen() diagnose.Unseen {
	u := diagnose.Unseen{What: e.Call, Why: e.why()}
	if e.Forbidden() || e.Status == http.StatusUnauthorized {
		u.Lacks = e.Lacks
	}
	return u
}

// refused is the error for an answer of another status than 200.
func (c *Client) refused(q call, status int, body io.Reader) error {
	e := &Error{Call: q.what, Lacks: q.lacks, Place: c.place, Status: status}
	const most = 64 << 10
	b, err := io.ReadAll(io.LimitReader(body, most))
	if err != nil {
		return e // the status alone says enough
	}
	var s struct {
		Kind     string `json:"kind"`
		Message  string `json:"message"`
		Reason   string `json:"reason"`
		Metadata struct {
			Continue string `json:"continue"`
		} `json:"metadata"`
	}
	if json.Unmarshal(b, &s) == nil && s.Kind == "Status" {
		e.Message, e.Reason, e.resume = s.Message, s.Reason, s.Metadata.Continue
	}
	return e
}
