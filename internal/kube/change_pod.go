package kube

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	wl "ferry/internal/workload"
)

// TryPod asks the API server what a pod of w would be like after the changes,
// admission and all, and makes none. It returns the policy of each place: an
// admission plugin may set another than the template says.
func (c *Client) TryPod(ctx context.Context, w wl.Workload, changes []wl.Change) (map[string]string, error) {
	q, err := place(w.Kind, w.Namespace, w.Name)
	if err != nil {
		return nil, err
	}
	var raw map[string]any
	if err := c.get(ctx, q, &raw); err != nil {
		return nil, err
	}
	spec, labels := templateOf(w.Kind, raw)
	if spec == nil {
		return nil, fmt.Errorf("%s %s has no pod template", w.Kind, w.Name)
	}
	setPolicies(spec, changes)
	delete(spec, "nodeName") // with it the node's admission would be asked too
	body := map[string]any{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": map[string]any{"generateName": w.Name + "-ferry-", "namespace": w.Namespace, "labels": labels},
	}
	to := listOf("", w.Namespace, "pods")
	to.query = dryRun(true)
	var made pod
	if err := c.change(ctx, http.MethodPost, fmt.Sprintf("try a pod of %s %s/%s", w.Kind, w.Namespace, w.Name), to, typeJSON, body, &made); err != nil {
		return nil, err
	}
	policies := map[string]string{}
	for _, p := range made.Spec.places() {
		policies[p.Key()] = p.Policy
	}
	return policies, nil
}

// templateOf is the pod spec inside an object, and its labels.
func templateOf(kind string, raw map[string]any) (spec, labels map[string]any) {
	at := raw
	switch kind {
	case "Pod":
	case "CronJob":
		at = child(raw, "spec", "jobTemplate", "spec", "template")
	default:
		at = child(raw, "spec", "template")
	}
	return child(at, "spec"), child(at, "metadata", "labels")
}

func child(m map[string]any, path ...string) map[string]any {
	for _, key := range path {
		m, _ = m[key].(map[string]any)
	}
	return m
}

// setPolicies makes the changes in a pod spec.
func setPolicies(spec map[string]any, changes []wl.Change) {
	for _, c := range changes {
		list, _ := spec[c.List].([]any)
		for _, entry := range list {
			e, _ := entry.(map[string]any)
			if e["name"] != c.Name {
				continue
			}
			if c.List == wl.Volumes {
				if image, ok := e["image"].(map[string]any); ok {
					image["pullPolicy"] = c.To
				}
				continue
			}
			e["imagePullPolicy"] = c.To
		}
	}
}

// gonePatience is how long a pod may take to end before it is made anew.
const gonePatience = 90 * time.Second

// Recreate replaces a pod without an owner by the same with the changes. What
// it will be is tried first, so that a pod that would be refused is not
// deleted.
func (c *Client) Recreate(ctx context.Context, w wl.Workload, changes []wl.Change) error {
	at := one("", w.Namespace, "pods", w.Name)
	var raw map[string]any
	if err := c.get(ctx, at, &raw); err != nil {
		return err
	}
	body := fresh(raw, changes)
	deed := fmt.Sprintf("recreate pod %s/%s", w.Namespace, w.Name)
	if err := c.create(ctx, deed, w, body, true); err != nil {
		return err
	}
	if err := c.DeletePod(ctx, wl.Pod{Namespace: w.Namespace, Name: w.Name, UID: w.UID}); err != nil {
		return err
	}
	// From here on the pod has to come back, also when someone presses Ctrl-C.
	ctx = context.WithoutCancel(ctx)
	if err := c.untilGone(ctx, w); err != nil {
		return err
	}
	return c.create(ctx, deed, w, body, false)
}

// create makes a pod; with dry, one of another name, and not really.
func (c *Client) create(ctx context.Context, deed string, w wl.Workload, body map[string]any, dry bool) error {
	to := listOf("", w.Namespace, "pods")
	to.query = dryRun(dry)
	metadata := child(body, "metadata")
	metadata["name"] = w.Name
	delete(metadata, "generateName")
	if dry {
		delete(metadata, "name")
		metadata["generateName"] = w.Name + "-ferry-"
	}
	return c.change(ctx, http.MethodPost, deed, to, typeJSON, body, nil)
}

// untilGone waits until the pod with w's UID is not there any more.
func (c *Client) untilGone(ctx context.Context, w wl.Workload) error {
	deadline := time.Now().Add(gonePatience)
	for {
		var p pod
		err := c.get(ctx, one("", w.Namespace, "pods", w.Name), &p)
		if e, ok := err.(*Error); ok && e.NotFound() || err == nil && p.Metadata.UID != w.UID { //nolint:errorlint // get's errors are *Error
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pod %s/%s was deleted and does not end: make it anew once it is gone", w.Namespace, w.Name)
		}
		if err := wait(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
}

// fresh is a pod as it was made first: without what the API server, the
// scheduler and the kubelet added.
func fresh(raw map[string]any, changes []wl.Change) map[string]any {
	was := child(raw, "metadata")
	metadata := map[string]any{"namespace": was["namespace"]}
	for _, key := range []string{"labels", "annotations"} {
		if was[key] != nil {
			metadata[key] = was[key]
		}
	}
	spec := child(raw, "spec")
	delete(spec, "nodeName")
	dropToken(spec)
	setPolicies(spec, changes)
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
}

// tokenVolume is how the API server calls the volume that it adds.
const tokenVolume = "kube-api-access-"

// dropToken takes the service account's volume out: it is added again.
func dropToken(spec map[string]any) {
	added := func(entry any) bool {
		e, _ := entry.(map[string]any)
		name, _ := e["name"].(string)
		return strings.HasPrefix(name, tokenVolume)
	}
	drop := func(m map[string]any, key string) {
		list, ok := m[key].([]any)
		if !ok {
			return
		}
		var kept []any
		for _, entry := range list {
			if !added(entry) {
				kept = append(kept, entry)
			}
		}
		m[key] = kept
	}
	drop(spec, "volumes")
	for _, list := range []string{wl.Containers, wl.InitContainers} {
		containers, _ := spec[list].([]any)
		for _, c := range containers {
			if m, ok := c.(map[string]any); ok {
				drop(m, "volumeMounts")
			}
		}
	}
}
