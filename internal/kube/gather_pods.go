package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"ferry/internal/diagnose"
)

// A resource is where the API has a kind.
type resource struct{ kind, group, name string }

func resources() []resource {
	return []resource{
		{"Deployment", "apps/v1", "deployments"},
		{"StatefulSet", "apps/v1", "statefulsets"},
		{"DaemonSet", "apps/v1", "daemonsets"},
		{"ReplicaSet", "apps/v1", "replicasets"},
		{"Job", "batch/v1", "jobs"},
		{"CronJob", "batch/v1", "cronjobs"},
		{"ReplicationController", "", "replicationcontrollers"},
	}
}

func resourceOf(kind string) (resource, bool) {
	i := slices.IndexFunc(resources(), func(r resource) bool { return r.kind == kind })
	if i < 0 {
		return resource{}, false
	}
	return resources()[i], true
}

// pods reads the pods of the scope: all, or those of the workloads named.
func (g *gathering) pods(ctx context.Context) error {
	if len(g.scope.Objects) == 0 {
		var err error
		g.facts.Version, err = listVersion(ctx, g.client, listOf("", g.scope.Namespace, "pods"), g.take)
		return err
	}
	for _, o := range g.scope.Objects {
		if err := g.podsOf(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (g *gathering) podsOf(ctx context.Context, o diagnose.Object) error {
	if o.Kind == "Pod" {
		var p pod
		err := g.client.get(ctx, one("", o.Namespace, "pods", o.Name), &p)
		if err == nil {
			g.take(p)
		}
		return err
	}
	r, ok := resourceOf(o.Kind)
	if !ok {
		return fmt.Errorf("ferry does not know the kind %s", o.Kind)
	}
	var w workload
	err := g.client.get(ctx, one(r.group, o.Namespace, r.name, o.Name), &w)
	if e, ok := errors.AsType[*Error](err); ok && e.Forbidden() {
		// What the pods say of themselves is enough to find them.
		g.facts.Unseen = append(g.facts.Unseen, e.unseen())
		return g.podsNamed(ctx, o)
	}
	if err != nil {
		return err
	}
	g.facts.Workloads = append(g.facts.Workloads, workloadFacts(o.Kind, w))
	if _, met := g.met[o]; !met {
		g.met[o], g.fine[o] = true, true // it may well have no pods
	}
	if o.Kind == "CronJob" {
		return g.podsOfCronJob(ctx, w)
	}
	return g.podsSelected(ctx, o, w)
}

// podsNamed finds the pods of a workload that may not be read itself.
func (g *gathering) podsNamed(ctx context.Context, o diagnose.Object) error {
	return list(ctx, g.client, listOf("", o.Namespace, "pods"), func(p pod) {
		if guessWorkload(p.Metadata) == o {
			g.take(p)
		}
	})
}

func (g *gathering) podsSelected(ctx context.Context, o diagnose.Object, w workload) error {
	q := listOf("", o.Namespace, "pods")
	q.query = url.Values{"labelSelector": {selector(w.Spec.Selector)}}
	version, err := listVersion(ctx, g.client, q, func(p pod) {
		owner := p.Metadata.controller()
		if owner.UID == w.Metadata.UID || o.Kind == "Deployment" && owner.Kind == "ReplicaSet" {
			g.takeFor(o, p)
		}
	})
	g.facts.Version = version
	return err
}

// takeFor takes a pod whose outermost owner is known to be o.
func (g *gathering) takeFor(o diagnose.Object, p pod) {
	if !g.isNew(p) {
		return
	}
	f := g.client.podFacts(p)
	f.Workload = o
	g.facts.Seen.Pods++
	g.keep(f)
}

func (g *gathering) podsOfCronJob(ctx context.Context, cron workload) error {
	o := diagnose.Object{Kind: "CronJob", Namespace: cron.Metadata.Namespace, Name: cron.Metadata.Name}
	var jobs []workload
	err := list(ctx, g.client, listOf("batch/v1", o.Namespace, "jobs"), func(j workload) {
		if j.Metadata.controller().UID == cron.Metadata.UID {
			jobs = append(jobs, j)
		}
	})
	if err != nil {
		return err
	}
	for _, j := range jobs {
		q := listOf("", o.Namespace, "pods")
		q.query = url.Values{"labelSelector": {selector(j.Spec.Selector)}}
		err := list(ctx, g.client, q, func(p pod) {
			if p.Metadata.controller().UID == j.Metadata.UID {
				g.takeFor(o, p)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// selector writes a LabelSelector, or the plain map of a
// ReplicationController, as the API's query wants it.
func selector(raw json.RawMessage) string {
	var s struct {
		MatchLabels      map[string]string `json:"matchLabels"`
		MatchExpressions []struct {
			Key      string   `json:"key"`
			Operator string   `json:"operator"`
			Values   []string `json:"values"`
		} `json:"matchExpressions"`
	}
	if json.Unmarshal(raw, &s) != nil || s.MatchLabels == nil && s.MatchExpressions == nil {
		_ = json.Unmarshal(raw, &s.MatchLabels) // a plain map, or nothing that selects
	}
	var parts []string
	for k, v := range s.MatchLabels {
		parts = append(parts, k+"="+v)
	}
	for _, e := range s.MatchExpressions {
		values := " (" + strings.Join(e.Values, ",") + ")"
		switch e.Operator {
		case "In":
			parts = append(parts, e.Key+" in"+values)
		case "NotIn":
			parts = append(parts, e.Key+" notin"+values)
		case "Exists":
			parts = append(parts, e.Key)
		case "DoesNotExist":
			parts = append(parts, "!"+e.Key)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
