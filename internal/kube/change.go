package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	wl "ferry/internal/workload"
)

// The files change*.go are what fix needs: they read a workload with all that
// decides where its pods run, and they are the only ones that change anything.

// manager is the name that the API server notes for ferry's changes.
const manager = "ferry"

// The forms of what is sent.
const (
	typeJSON      = "application/json"
	typeStrategic = "application/strategic-merge-patch+json"
)

// ChangeError says that the API server did not do what it was asked for.
type ChangeError struct {
	// Deed is what was to be done: "patch Deployment default/my-web".
	Deed string
	// Answer is what the API server, or the way to it, said.
	Answer *Error
}

func (e *ChangeError) Error() string { return fmt.Sprintf("%s: %s", e.Deed, e.Answer.why()) }

func (e *ChangeError) Unwrap() error { return e.Answer }

// Conflict says that the object was changed by someone else meanwhile.
func (e *ChangeError) Conflict() bool { return e.Answer.Status == http.StatusConflict }

// StatusCode is the answer's; 0 where none came.
func (e *ChangeError) StatusCode() int { return e.Answer.Status }

// Gone says that the object is not there any more.
func (e *ChangeError) Gone() bool { return e.Answer.NotFound() }

// Untried says that the API server could not try the change: a webhook that
// has effects elsewhere is not asked about what is only tried.
func (e *ChangeError) Untried() bool {
	return e.Answer.Status == http.StatusBadRequest && strings.Contains(e.Answer.Message, "does not support dry run")
}

// Hint says what to do next.
func (e *ChangeError) Hint() string {
	switch {
	case e.Answer.Forbidden() && strings.Contains(e.Answer.Message, "admission"),
		strings.Contains(e.Answer.Message, "denied the request"), // a webhook
		strings.Contains(e.Answer.Message, "denied request"):     // a ValidatingAdmissionPolicy
		return "A rule of the cluster refuses it: its words say which. Whoever runs the cluster can change it."
	case e.Answer.Forbidden():
		return "The permissions that ferry fix and deploy use are in docs/rbac."
	case e.Answer.Status == http.StatusBadRequest || e.Answer.Status == http.StatusUnprocessableEntity:
		return "" // its words say what is wrong
	case e.Conflict():
		return "Someone else changed it at the same time; the same command again plans anew."
	}
	return e.Answer.Hint()
}

// StatusCode is the answer's; 0 where none came.
func (e *Error) StatusCode() int { return e.Status }

// Gone says that the object is not there any more.
func (e *Error) Gone() bool { return e.NotFound() }

// change sends something that the API server is to do, and decodes its answer
// into v, where v is not nil.
func (c *Client) change(ctx context.Context, method, deed string, q call, form string, body, v any) error {
	b, ok := body.([]byte)
	if !ok && body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, &SlowError{After: c.timeout})
	defer cancel()
	resp, err := c.sendBody(ctx, method, q, form, b)
	if err != nil {
		return changeError(deed, c.failed(ctx, q, err))
	}
	defer resp.Body.Close()
	c.note(resp)
	answer := io.LimitReader(resp.Body, maxAnswer)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return changeError(deed, c.refused(q, resp.StatusCode, answer))
	}
	if v == nil {
		return nil
	}
	if err := json.NewDecoder(answer).Decode(v); err != nil {
		return changeError(deed, c.failed(ctx, q, err))
	}
	return nil
}

func changeError(deed string, err error) error {
	if e, ok := err.(*Error); ok { //nolint:errorlint // it was made just now
		return &ChangeError{Deed: deed, Answer: e}
	}
	return fmt.Errorf("%s: %w", deed, err)
}

func (c *Client) sendBody(ctx context.Context, method string, q call, form string, body []byte) (*http.Response, error) {
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + q.path
	u.RawQuery = q.query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", typeJSON)
	req.Header.Set("Content-Type", form)
	return c.http.Do(req)
}

// place is where the API has an object.
func place(kind, namespace, name string) (call, error) {
	if kind == "Pod" {
		return one("", namespace, "pods", name), nil
	}
	r, ok := resourceOf(kind)
	if !ok {
		return call{}, fmt.Errorf("ferry does not know the kind %s", kind)
	}
	return one(r.group, namespace, r.name, name), nil
}

func dryRun(dry bool) url.Values {
	q := url.Values{"fieldManager": {manager}}
	if dry {
		q.Set("dryRun", "All")
	}
	return q
}

// Patch makes a strategic merge patch of w. With dry, the API server says what
// it would do, admission and all, and does nothing.
func (c *Client) Patch(ctx context.Context, w wl.Workload, patch []byte, dry bool) error {
	q, err := place(w.Kind, w.Namespace, w.Name)
	if err != nil {
		return err
	}
	q.query = dryRun(dry)
	return c.change(ctx, http.MethodPatch, fmt.Sprintf("patch %s %s/%s", w.Kind, w.Namespace, w.Name), q, typeStrategic, patch, nil)
}

// DeletePod deletes exactly this pod, and not one of the same name that came
// after it; where p has a version, only as long as it has that one.
func (c *Client) DeletePod(ctx context.Context, p wl.Pod) error {
	q := one("", p.Namespace, "pods", p.Name)
	only := map[string]any{"uid": p.UID}
	if p.Version != "" {
		only["resourceVersion"] = p.Version
	}
	body := map[string]any{"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": only}
	return c.change(ctx, http.MethodDelete, fmt.Sprintf("delete pod %s/%s", p.Namespace, p.Name), q, typeJSON, body, nil)
}

// May asks whether this user may do something (SelfSubjectAccessReview).
func (c *Client) May(ctx context.Context, r wl.Right) (bool, error) {
	q := call{what: "permissions", path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"}
	body := map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]any{
			"verb": r.Verb, "group": r.Group, "resource": r.Resource, "namespace": r.Namespace, "name": r.Name,
		}},
	}
	var answer struct {
		Status struct {
			Allowed bool `json:"allowed"`
		} `json:"status"`
	}
	err := c.change(ctx, http.MethodPost, "ask for the right to "+r.String(), q, typeJSON, body, &answer)
	return answer.Status.Allowed, err
}

// RightTo is the right that verb needs for an object of a kind.
func (c *Client) RightTo(verb, kind, namespace, name string) wl.Right {
	r := wl.Right{Verb: verb, Resource: "pods", Namespace: namespace, Name: name}
	if found, ok := resourceOf(kind); ok {
		r.Resource = found.name
		r.Group, _, _ = strings.Cut(found.group, "/")
	}
	return r
}
