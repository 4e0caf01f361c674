package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"ferry/internal/content"
)

// Error says what a registry, or the way to it, answered instead of what it
// was asked for.
type Error struct {
	Op         string // the HTTP method
	URL        string // without query and userinfo, which may be secret
	Host       string // the registry as in image names: docker.io
	Repository string // library/nginx
	Reference  string // the tag or digest asked for

	Status  int    // of the HTTP answer; 0 when none came
	Code    string // of the distribution spec, such as MANIFEST_UNKNOWN
	Message string // the registry's own words
	// Login says which login was used: a file and its entry; "" for none.
	Login string
	// RetryAfter is how long the registry asks to stay away; 0 if it does not.
	RetryAfter time.Duration
	// Err is what went wrong where Status does not say it.
	Err error

	push    bool // it was about sending, not fetching
	token   bool // the token server answered, not the registry
	webPage bool // what answered was made for browsers

	wantsTLS bool // it was asked in plain HTTP, and said that it speaks TLS
}

func (e *Error) Error() string {
	what := e.Op + " " + e.URL + ": "
	if e.token {
		what = fmt.Sprintf("log in to %s for %s: ", e.Host, e.Repository) + what
	}
	if e.Status == 0 {
		return what + scrub(e.Err.Error())
	}
	what += strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
	if said := strings.Trim(e.Code+": "+e.Message, ": "); said != "" {
		what += " (" + said + ")"
	}
	if e.RetryAfter > 0 {
		what += fmt.Sprintf(", not before %v from now", e.RetryAfter.Round(time.Second))
	}
	if e.Err != nil {
		what += ": " + scrub(e.Err.Error())
	}
	return what
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes a missing repository, manifest or blob a content.ErrNotFound.
func (e *Error) Is(target error) bool {
	if target != content.ErrNotFound || e.token {
		return false
	}
	switch e.Code {
	case errcode.ErrorCodeManifestUnknown, errcode.ErrorCodeNameUnknown, errcode.ErrorCodeBlobUnknown:
		return true
	}
	return e.Status == http.StatusNotFound
}

var (
	urlQuery = regexp.MustCompile(`(https?://[^\s"?#]+)[?#][^\s"]*`)
	urlUser  = regexp.MustCompile(`(https?://)[^\s"/@]*@`)
)

// scrub takes queries and userinfo out of the URLs in s.
func scrub(s string) string {
	return urlUser.ReplaceAllString(urlQuery.ReplaceAllString(s, "$1"), "$1")
}

func (r *Repository) newError(c call) *Error {
	e := &Error{
		Op: c.method, Host: r.host.name, Repository: r.path, Reference: c.ref, push: c.write,
	}
	e.setURL(r.target(c))
	if from := r.loginUsed.Load(); from != nil {
		e.Login = *from
	}
	return e
}

// wrong is an error for an answer that came but cannot be used.
func (r *Repository) wrong(c call, err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == nil {
		return err
	}
	e := r.newError(c)
	e.Err = err
	return e
}

// failed is the error for a request that got no answer of the registry.
func (r *Repository) failed(c call, err error) error {
	e := r.newError(c)
	if errors.Is(err, auth.ErrBasicCredentialNotFound) {
		e.Status = http.StatusUnauthorized
		return e
	}
	// oras returns the HTTP client's error as it is for the request itself,
	// and wraps it for the token request that came between.
	direct, own := err.(*url.Error) //nolint:errorlint // wrapped means another request
	if own {
		e.Err = direct.Err
		e.setURL(direct.URL)
		return e
	}
	e.token, e.Err = true, err
	if answer, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		e.tokenAnswer(answer)
	} else if sent, ok := errors.AsType[*url.Error](err); ok {
		e.Op, e.Err = strings.ToUpper(sent.Op), sent.Err
		e.setURL(sent.URL)
	} else if inner := errors.Unwrap(err); inner != nil {
		e.Err = inner // oras begins with the request, which e has said already
	}
	return e
}

func (e *Error) tokenAnswer(answer *errcode.ErrorResponse) {
	e.Op, e.Status, e.Err = answer.Method, answer.StatusCode, nil
	e.setURL(answer.URL.String())
	if len(answer.Errors) > 0 {
		e.Code, e.Message = printable(answer.Errors[0].Code), printable(answer.Errors[0].Message)
	}
}

func (e *Error) setURL(raw string) {
	u, err := url.Parse(raw)
	if err != nil {
		return
	}
	e.URL = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// maxErrorBody is how much of an error's body is read, in bytes.
const maxErrorBody = 64 << 10

// refused is the error for an answer of another status than the wanted ones.
func (r *Repository) refused(c call, resp *http.Response) error {
	e := r.newError(c)
	e.Status = resp.StatusCode
	e.setURL(resp.Request.URL.String())
	e.RetryAfter, _ = retryAfter(resp, time.Now())
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return e // the status alone says enough
	}
	e.read(mediaType(resp), b)
	return e
}

func (e *Error) read(mediaType string, b []byte) {
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	switch {
	case json.Unmarshal(b, &answer) == nil && len(answer.Errors) > 0:
		e.Code, e.Message = printable(answer.Errors[0].Code), printable(answer.Errors[0].Message)
	case e.Status == http.StatusBadRequest && plainToTLS.Match(b):
		e.wantsTLS, e.Message = true, "plain HTTP was sent to a port that speaks TLS"
	case mediaType == "text/html" || page.Match(b):
		e.webPage, e.Message = true, "a web page answered"
	case mediaType == "text/plain":
		first, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
		e.Message = printable(first)
	}
}

var (
	// What Go, nginx and Apache say to plain HTTP where they speak TLS.
	plainToTLS = regexp.MustCompile(`HTTP request to an HTTPS server|plain HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL-enabled`)
	page       = regexp.MustCompile(`(?i)^\s*<(!doctype html|html)\b`)
)

const maxWords = 300

// printable makes a registry's words fit for one line on a terminal.
func printable(s string) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		if n++; n > maxWords {
			return b.String() + "…"
		}
		if !unicode.IsPrint(c) {
			c = unicode.ReplacementChar
		}
		b.WriteRune(c)
	}
	return b.String()
}

// errWebPage stands for a page that came where a registry should have spoken.
var errWebPage = errors.New("answered with a web page: a proxy or a captive portal may stand between, or this is not a registry")

// StatusCode is the HTTP status of the answer; 0 when none came.
func (e *Error) StatusCode() int { return e.Status }

// ErrorCode is the distribution spec's code, such as NAME_UNKNOWN; "" for none.
func (e *Error) ErrorCode() string { return e.Code }
