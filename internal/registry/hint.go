package registry

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ferry/internal/content"
)

// Hint says what to do about e next; "" where there is nothing to say.
func (e *Error) Hint() string {
	if e.Status != 0 {
		return e.statusHint()
	}
	if _, ok := errors.AsType[*content.DigestError](e.Err); ok {
		return "the registry, or something before it such as a caching proxy, holds damaged content: pull again, or have it pushed again"
	}
	if h, ok := errors.AsType[*HelperError](e.Err); ok {
		return fmt.Sprintf("install %s, or remove it from %s and run: podman login %s", h.Program, e.Login, e.Host)
	}
	if errors.Is(e.Err, errWebPage) {
		return e.pageHint()
	}
	if p, ok := errors.AsType[*proxyError](e.Err); ok && !isTLS(e.Err) {
		return fmt.Sprintf("requests to %s go through the proxy %s: check HTTPS_PROXY, or add the host to NO_PROXY", e.Host, p.proxy)
	}
	if _, ok := errors.AsType[*json.SyntaxError](e.Err); ok && e.token {
		return fmt.Sprintf("what %s names as its token server answers with something else: a proxy or a login page may stand before it, or ask who runs %s whether the address is right", e.Host, e.Host)
	}
	if hint := e.tlsHint(); hint != "" {
		return hint
	}
	return e.networkHint()
}

func (e *Error) statusHint() string {
	if e.push && e.Status != http.StatusProxyAuthRequired && !e.wantsTLS {
		if hint := e.pushHint(); hint != "" {
			return hint
		}
	}
	switch {
	case e.wantsTLS:
		return fmt.Sprintf("%s speaks TLS: leave --plain-http %s out", e.Host, e.Host)
	case e.Status == http.StatusProxyAuthRequired:
		return "the proxy wants a login of its own: put it into HTTPS_PROXY as http://USER:PASSWORD@PROXY:PORT"
	case e.Status == http.StatusUnauthorized:
		return e.loginHint()
	case e.webPage:
		return e.pageHint()
	case e.Status == http.StatusForbidden || e.Code == "DENIED":
		return e.deniedHint()
	case errors.Is(e, content.ErrNotFound):
		return e.notFoundHint()
	case e.Status == http.StatusTooManyRequests:
		return e.limitHint()
	case e.Status >= http.StatusInternalServerError:
		return fmt.Sprintf("%s has a fault of its own: try again later", e.Host)
	}
	return ""
}

// pushHint says what is different when something is sent.
func (e *Error) pushHint() string {
	where := e.Host + "/" + e.Repository
	switch {
	case e.Status == http.StatusUnauthorized && e.Login != "" && e.Code == "":
		return fmt.Sprintf("%s did not accept the login from %s, or it may not push to %s: log in again with: podman login %s, or ask for the right to push",
			e.Host, e.Login, e.Repository, e.Host)
	case e.Status == http.StatusUnauthorized && e.Login != "":
		return fmt.Sprintf("the login from %s was not accepted, or may pull but not push to %s: ask who runs %s for that right, or log in again with: podman login %s",
			e.Login, e.Repository, e.Host, e.Host)
	case e.Status == http.StatusUnauthorized:
		return fmt.Sprintf("%s takes nothing without a login: podman login %s, or name a file with --authfile", e.Host, e.Host)
	case e.Status == http.StatusRequestEntityTooLarge:
		return fmt.Sprintf("something before %s refuses requests of this size, such as an ingress (nginx: client_max_body_size, ingress-nginx: the annotation proxy-body-size): have the limit raised or lifted for /v2/", e.Host)
	case e.webPage:
		return "" // a portal or a proxy, for which there is a hint
	case e.Status == http.StatusForbidden || e.Code == "DENIED":
		return e.mayNotPushHint(where)
	case e.Status == http.StatusMethodNotAllowed || e.Code == "UNSUPPORTED":
		return fmt.Sprintf("%s takes no pushes: it is read-only now, or a mirror, or this is not the address that one pushes to", e.Host)
	case e.Code == "NAME_UNKNOWN" || e.Status == http.StatusNotFound && strings.Contains(e.URL, "/uploads/"):
		return fmt.Sprintf("some registries want the project or repository to be created first (Harbor: the project, ECR: each repository): create %s, or name another with --to", where)
	case e.Status == http.StatusTooManyRequests:
		return fmt.Sprintf("%s limits how much is sent: %s, or go on with fewer at once: --jobs 1", e.Host, e.patience())
	case e.Status == http.StatusInternalServerError:
		return fmt.Sprintf("%s has a fault of its own, such as a full disk: its log says which; then the same command goes on", e.Host)
	case e.Code == "QUOTA_EXCEEDED" || e.Status == http.StatusInsufficientStorage:
		return fmt.Sprintf("%s has no room left: free some, or ask who runs it for more", e.Host)
	}
	return ""
}

func (e *Error) mayNotPushHint(where string) string {
	if e.Login == "" {
		return fmt.Sprintf("%s takes no pushes to %s without a login: podman login %s", e.Host, e.Repository, e.Host)
	}
	return fmt.Sprintf("the login from %s is right, but may not push to %s: ask who runs it for that right, or for the project to be made", e.Login, where)
}

func (e *Error) patience() string {
	if e.RetryAfter > 0 {
		return "wait " + e.RetryAfter.Round(time.Second).String()
	}
	return "wait a while"
}

func (e *Error) loginHint() string {
	if e.Login != "" {
		return fmt.Sprintf("%s did not accept the login from %s, or it may not read %s: log in again with: podman login %s",
			e.Host, e.Login, e.Repository, e.Host)
	}
	return fmt.Sprintf("check the name: a repository that does not exist is answered like one that needs a login; if it is right, log in with: podman login %s", e.Host)
}

func (e *Error) deniedHint() string {
	if e.Login != "" {
		return fmt.Sprintf("the login from %s may not read %s on %s: ask for read access, or check the name", e.Login, e.Repository, e.Host)
	}
	return fmt.Sprintf("%s shows %s to nobody without a login, or not to you: check the name, or log in with: podman login %s",
		e.Host, e.Repository, e.Host)
}

func (e *Error) notFoundHint() string {
	name := e.Host + "/" + e.Repository
	switch {
	case e.Code == "NAME_UNKNOWN":
		return fmt.Sprintf("there is no repository %s: check the name", name)
	case strings.Contains(e.URL, "/blobs/"):
		return fmt.Sprintf("%s lost a part of this image: have it pushed again", name)
	case strings.Contains(e.Reference, ":"):
		return fmt.Sprintf("%s does not hold this digest: it may have been deleted, or belong to another repository", name)
	}
	return fmt.Sprintf("%s has no tag %s: check the tag, or list the tags with: skopeo list-tags docker://%s", name, e.Reference, name)
}

func (e *Error) limitHint() string {
	when := e.patience()
	if e.Login == "" {
		return fmt.Sprintf("%s limits how much is pulled: %s, or log in to raise the limit: podman login %s", e.Host, when, e.Host)
	}
	return fmt.Sprintf("%s limits how much is pulled: %s", e.Host, when)
}

func (e *Error) pageHint() string {
	scheme, _, _ := strings.Cut(e.URL, "://")
	return fmt.Sprintf("open %s://%s/v2/ in a browser to see who answers; behind a proxy, check HTTPS_PROXY and NO_PROXY", scheme, e.Host)
}

func (e *Error) tlsHint() string {
	if other := e.elsewhere(); other != "" && !e.token && isSchemeMismatch(e.Err) {
		return fmt.Sprintf("%s sends ferry on to https://%s, which speaks plain HTTP: have the proxy before it pass on the headers Host and X-Forwarded-Proto as they are",
			e.Host, other)
	}
	if isSchemeMismatch(e.Err) {
		return fmt.Sprintf("%s speaks plain HTTP: if that is meant to be so, add --plain-http %s", e.Host, e.Host)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](e.Err); ok {
		return fmt.Sprintf("the certificate of %s is signed by an authority that this machine does not know: add --ca-file FILE with that authority's certificate", e.Host)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](e.Err); ok && invalid.Reason == x509.Expired {
		return fmt.Sprintf("the certificate of %s is out of date, or this machine's clock is wrong", e.Host)
	}
	if _, ok := errors.AsType[x509.HostnameError](e.Err); ok {
		return fmt.Sprintf("the certificate is not for %s: check the name, or have the certificate issued for it", e.Host)
	}
	return ""
}

func (e *Error) networkHint() string {
	if refused, ok := errors.AsType[*RefusedError](e.Err); ok {
		return fmt.Sprintf("ask who runs %s why it points to %s", refused.Registry, refused.Target)
	}
	if other := e.elsewhere(); other != "" && e.token && unreached(e.Err) {
		return fmt.Sprintf("%s takes logins at %s, which this machine cannot reach: have that opened too, or ask who runs %s whether it is right (its token server, the realm)",
			e.Host, other, e.Host)
	} else if other != "" && unreached(e.Err) {
		return fmt.Sprintf("%s sends ferry on to %s, which this machine cannot reach: have it opened too; if that is %s by another name, have the proxy before it pass on the headers Host and X-Forwarded-Proto",
			e.Host, other, e.Host)
	}
	if dns, ok := errors.AsType[*net.DNSError](e.Err); ok && dns.IsNotFound {
		return fmt.Sprintf("no DNS server knows %s: check the name; behind a proxy, set HTTPS_PROXY", dns.Name)
	}
	if isAny(e.Err, refusedConnection()) {
		return fmt.Sprintf("nothing listens there: check the host and port of %s", e.Host)
	}
	if isAny(e.Err, noWay()) {
		return fmt.Sprintf("this machine has no way to %s: check the network; behind a proxy, set HTTPS_PROXY", e.Host)
	}
	if t, ok := errors.AsType[net.Error](e.Err); ok && t.Timeout() {
		return fmt.Sprintf("%s did not answer in time: check the network; behind a proxy, set HTTPS_PROXY", e.Host)
	}
	return ""
}

// elsewhere is the host that the registry led to, "" where it is its own.
func (e *Error) elsewhere() string {
	u, err := url.Parse(e.URL)
	if err != nil || u.Host == "" || strings.EqualFold(u.Host, e.Host) || e.Host == hubName && u.Host == hubHost {
		return ""
	}
	return u.Host
}

// unreached says whether err means that a host cannot be found or reached.
func unreached(err error) bool {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout() || isAny(err, refusedConnection()) || isAny(err, noWay())
}
