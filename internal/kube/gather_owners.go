package kube

import (
	"context"
	"errors"
	"slices"
	"strings"

	"ferry/internal/diagnose"
)

// fewOwners is how many owners of one kind in one namespace are asked for one
// by one; of more, the list is read.
const fewOwners = 10

// workloads reads the owners of the pods, up to the outermost.
func (g *gathering) workloads(ctx context.Context) error {
	o := &owners{client: g.client, known: map[diagnose.Object]*workload{}, refused: map[string]bool{}}
	g.owners = o
	wanted := map[diagnose.Object]bool{}
	for _, p := range g.facts.Pods {
		if p.Owner.Name != "" {
			wanted[p.Owner] = true
			wanted[p.Workload] = true
		}
	}
	return o.reach(ctx, wanted, g.unless)
}

// withoutPods reads the workloads that no pod led to, and whose events say that
// none could be made.
func (g *gathering) withoutPods(ctx context.Context) error {
	if len(g.scope.Objects) > 0 || g.owners == nil {
		return nil // those that were named were read
	}
	wanted := map[diagnose.Object]bool{}
	for o := range g.others {
		if o.Kind != "Node" {
			wanted[o] = true
		}
	}
	return g.owners.reach(ctx, wanted, g.unless)
}

// reach reads those of wanted, and what they belong to.
func (o *owners) reach(ctx context.Context, wanted map[diagnose.Object]bool, unless func(error) error) error {
	// Pod → ReplicaSet → Deployment, Pod → Job → CronJob: two rounds reach all.
	for range 2 {
		if err := o.fetch(ctx, wanted, unless); err != nil {
			return err
		}
		for _, w := range o.known {
			if w != nil {
				if up := w.Metadata.controller(); up.Name != "" {
					wanted[diagnose.Object{Kind: up.Kind, Namespace: w.Metadata.Namespace, Name: up.Name}] = true
				}
			}
		}
	}
	return nil
}

// place gives each pod its outermost owner that is known.
func (g *gathering) place() {
	o := g.owners
	if o == nil {
		return
	}
	have := map[diagnose.Object]bool{}
	for _, w := range g.facts.Workloads {
		have[w.Object] = true
	}
	for i := range g.facts.Pods {
		p := &g.facts.Pods[i]
		top := o.top(p.Owner)
		if o.known[p.Owner] != nil && !have[p.Workload] {
			p.Workload = top
		}
		if have[p.Workload] {
			continue
		}
		have[p.Workload] = true
		switch w := o.known[p.Workload]; {
		case w != nil:
			g.facts.Workloads = append(g.facts.Workloads, workloadFacts(p.Workload.Kind, *w))
		case p.Workload.Kind == "Pod":
			g.facts.Workloads = append(g.facts.Workloads, barePod(*p))
		}
	}
}

// owners are the owners that were read; nil for those that could not be.
type owners struct {
	client  *Client
	known   map[diagnose.Object]*workload
	refused map[string]bool // kinds in namespaces that may not be read
}

// top follows the owners up to the last one that is known.
func (o *owners) top(at diagnose.Object) diagnose.Object {
	for range 3 {
		w := o.known[at]
		if w == nil {
			return at
		}
		up := w.Metadata.controller()
		next := diagnose.Object{Kind: up.Kind, Namespace: at.Namespace, Name: up.Name}
		if up.Name == "" || o.known[next] == nil {
			return at
		}
		at = next
	}
	return at
}

// made says whether below belongs to the workload top.
func (o *owners) made(below, top diagnose.Object) bool {
	if o.top(below) == top {
		return true
	}
	// A ReplicaSet that has no pods was not read; its name tells.
	i := strings.LastIndexByte(below.Name, '-')
	return below.Kind == "ReplicaSet" && top.Kind == "Deployment" && below.Namespace == top.Namespace &&
		i > 0 && below.Name[:i] == top.Name
}

// fetch reads those of wanted that are not known yet.
func (o *owners) fetch(ctx context.Context, wanted map[diagnose.Object]bool, unless func(error) error) error {
	groups := map[string][]diagnose.Object{}
	for w := range wanted {
		_, known := o.known[w]
		if _, ok := resourceOf(w.Kind); ok && !known {
			groups[w.Kind+"/"+w.Namespace] = append(groups[w.Kind+"/"+w.Namespace], w)
		}
	}
	for key, group := range groups {
		if o.refused[key] {
			continue
		}
		err := o.fetchGroup(ctx, group)
		if e, ok := errors.AsType[*Error](err); ok && e.Forbidden() {
			o.refused[key] = true
		}
		if err := unless(err); err != nil {
			return err
		}
	}
	return nil
}

func (o *owners) fetchGroup(ctx context.Context, group []diagnose.Object) error {
	r, _ := resourceOf(group[0].Kind)
	namespace := group[0].Namespace
	if len(group) <= fewOwners {
		for _, one := range group {
			if err := o.fetchOne(ctx, r, one); err != nil {
				return err
			}
		}
		return nil
	}
	for _, one := range group {
		o.known[one] = nil
	}
	return list(ctx, o.client, listOf(r.group, namespace, r.name), func(w workload) {
		at := diagnose.Object{Kind: r.kind, Namespace: namespace, Name: w.Metadata.Name}
		if slices.Contains(group, at) {
			o.known[at] = &w
		}
	})
}

func (o *owners) fetchOne(ctx context.Context, r resource, at diagnose.Object) error {
	o.known[at] = nil
	var w workload
	err := o.client.get(ctx, one(r.group, at.Namespace, r.name, at.Name), &w)
	if e, ok := errors.AsType[*Error](err); ok && e.NotFound() {
		return nil // gone meanwhile, or never there
	}
	if err == nil {
		o.known[at] = &w
	}
	return err
}
