package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"

	"ferry/internal/diagnose"
	wl "ferry/internal/workload"
)

// Applier makes objects so, by server-side apply.
type Applier struct {
	*Client
	mu    sync.Mutex
	kinds map[string]map[string]served // by apiVersion, then kind
}

// served is how the API server serves a kind.
type served struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Namespaced bool   `json:"namespaced"`
}

// Applier returns an Applier on c.
func (c *Client) Applier() *Applier {
	return &Applier{Client: c, kinds: map[string]map[string]served{}}
}

// UnknownKindError says that the API server does not serve a kind.
type UnknownKindError struct{ APIVersion, Kind string }

func (e *UnknownKindError) Error() string {
	return fmt.Sprintf("the cluster has no kind %s of %s", e.Kind, e.APIVersion)
}

// Hint says what to do next.
func (e *UnknownKindError) Hint() string {
	return "Its CustomResourceDefinition has to be there first: is it among the manifests, or is the apiVersion an old one?"
}

// UnknownKind tells this error from others.
func (e *UnknownKindError) UnknownKind() bool { return true }

// kind finds how a kind is served. A version that was not known is asked for
// again, since a definition may have come meanwhile.
func (a *Applier) kind(ctx context.Context, apiVersion, kind string) (served, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.kinds[apiVersion][kind]; ok {
		return s, nil
	}
	path := "/apis/" + apiVersion
	if !strings.Contains(apiVersion, "/") {
		path = "/api/" + apiVersion
	}
	var list struct {
		Resources []served `json:"resources"`
	}
	err := a.get(ctx, call{what: "the kinds of " + apiVersion, path: path}, &list)
	if e, ok := errors.AsType[*Error](err); ok && e.NotFound() {
		return served{}, &UnknownKindError{apiVersion, kind}
	}
	if err != nil {
		return served{}, err
	}
	a.kinds[apiVersion] = map[string]served{}
	for _, s := range list.Resources {
		if !strings.Contains(s.Name, "/") {
			a.kinds[apiVersion][s.Kind] = s
		}
	}
	s, ok := a.kinds[apiVersion][kind]
	if !ok {
		return served{}, &UnknownKindError{apiVersion, kind}
	}
	return s, nil
}

// Applied is what came of one object.
type Applied struct {
	Namespace string
	// New says that it was not there, Changed that it was another.
	New, Changed bool
	// Workload is set for kinds with pods, PullSecret for a Secret, Gives for
	// a ServiceAccount: the pull secrets that its pods get. Where the API
	// server took the object they are as it has them, else as they were given.
	Workload   wl.Workload
	PullSecret *diagnose.PullSecret
	Gives      []string
}

// learn takes from an object what is to be known of its kind.
func (d *Applied) learn(kind, name string, object []byte) error {
	switch kind {
	case "Secret":
		var s struct {
			secret

			StringData map[string]string `json:"stringData"`
		}
		if err := json.Unmarshal(object, &s); err != nil {
			return err
		}
		for k, text := range s.StringData {
			if s.Data == nil {
				s.Data = map[string][]byte{}
			}
			s.Data[k] = []byte(text)
		}
		facts := secretFacts(d.Namespace, name, s.secret)
		d.PullSecret = &facts
	case "ServiceAccount":
		var a account
		if err := json.Unmarshal(object, &a); err != nil {
			return err
		}
		d.Gives = names(a.ImagePullSecrets)
	default:
		if _, ok := resourceOf(kind); !ok && kind != "Pod" {
			return nil
		}
		var w changeable
		if err := json.Unmarshal(object, &w); err != nil {
			return err
		}
		d.Workload = w.workload(kind)
	}
	return nil
}

// Apply applies an object, in the namespace that it names or in the one given.
// With dry, the API server says what it would do, and does nothing. Fields that
// another manager holds are a conflict, unless force takes them over.
func (a *Applier) Apply(ctx context.Context, object []byte, namespace string, dry, force bool) (Applied, error) {
	var o struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   metadata `json:"metadata"`
	}
	if err := json.Unmarshal(object, &o); err != nil {
		return Applied{}, err
	}
	s, err := a.kind(ctx, o.APIVersion, o.Kind)
	if err != nil {
		return Applied{}, err
	}
	done := Applied{}
	if s.Namespaced {
		done.Namespace = o.Metadata.Namespace
		if done.Namespace == "" {
			done.Namespace = namespace
		}
	}
	// An object that the API server cannot be asked about yet says at least
	// what it says itself; what is wrong in it the API server says better.
	_ = done.learn(o.Kind, o.Metadata.Name, object)
	q := a.where(o.APIVersion, s, done.Namespace, o.Metadata.Name)
	var before, after map[string]any
	err = a.get(ctx, q, &before)
	if e, ok := errors.AsType[*Error](err); ok && e.NotFound() {
		err, done.New = nil, true
	}
	if err != nil {
		return done, err
	}
	q.query = url.Values{"fieldManager": {manager}, "fieldValidation": {"Strict"}}
	if dry {
		q.query.Set("dryRun", "All")
	}
	if force {
		q.query.Set("force", "true")
	}
	deed := fmt.Sprintf("apply %s %s", o.Kind, strings.TrimPrefix(done.Namespace+"/"+o.Metadata.Name, "/"))
	var raw json.RawMessage
	if err := a.change(ctx, http.MethodPatch, deed, q, "application/apply-patch+yaml", object, &raw); err != nil {
		return done, err
	}
	if err := json.Unmarshal(raw, &after); err != nil {
		return done, err
	}
	done.Changed = !done.New && !reflect.DeepEqual(bare(before), bare(after))
	return done, done.learn(o.Kind, o.Metadata.Name, raw)
}

// Established says whether the definition of a kind is in force, or what keeps
// it from that: its names may be taken.
func (a *Applier) Established(ctx context.Context, definition string) (bool, string, error) {
	var d struct {
		Status struct {
			Conditions []condition `json:"conditions"`
		} `json:"status"`
	}
	err := a.get(ctx, call{
		what: "CustomResourceDefinition " + definition, lacks: "get customresourcedefinitions",
		path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + url.PathEscape(definition),
	}, &d)
	in, why := false, ""
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == "Established":
			in = c.Status == "True"
		case c.Type == "NamesAccepted" && c.Status == "False":
			why = strings.TrimSuffix(c.Reason+": "+c.Message, ": ")
		}
	}
	return in, why, err
}

// PullSecret reads a pull secret. One that is not there is Missing, with the
// namespaces that have one of its name.
func (a *Applier) PullSecret(ctx context.Context, namespace, name string) (diagnose.PullSecret, error) {
	s, err := a.secret(ctx, namespace, name)
	if e, ok := errors.AsType[*Error](err); ok && e.NotFound() {
		return (&gathering{client: a.Client}).missing(ctx, namespace, name)
	}
	return s, err
}

// Gives are the pull secrets that a service account gives to its pods; none
// where there is no such account.
func (a *Applier) Gives(ctx context.Context, namespace, name string) ([]string, error) {
	var found account
	err := a.get(ctx, one("", namespace, "serviceaccounts", name), &found)
	if e, ok := errors.AsType[*Error](err); ok && e.NotFound() {
		return nil, nil
	}
	return names(found.ImagePullSecrets), err
}

func (a *Applier) where(apiVersion string, s served, namespace, name string) call {
	path := "/apis/" + apiVersion
	if !strings.Contains(apiVersion, "/") {
		path = "/api/" + apiVersion
	}
	if namespace != "" {
		path += "/namespaces/" + url.PathEscape(namespace)
	}
	return call{what: s.Kind + " " + name, lacks: "get " + s.Name, path: path + "/" + s.Name + "/" + url.PathEscape(name)}
}

// bare leaves out what changes by being written at all.
func bare(o map[string]any) map[string]any {
	if m, ok := o["metadata"].(map[string]any); ok {
		for _, k := range []string{"managedFields", "resourceVersion", "generation"} {
			delete(m, k)
		}
	}
	delete(o, "status")
	return o
}
