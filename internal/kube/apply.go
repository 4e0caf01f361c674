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
	// Workload is set for kinds with pods.
	Workload wl.Workload
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
	if _, ok := resourceOf(o.Kind); ok || o.Kind == "Pod" {
		var w changeable
		if err := json.Unmarshal(raw, &w); err != nil {
			return done, err
		}
		done.Workload = w.workload(o.Kind)
	}
	return done, nil
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
