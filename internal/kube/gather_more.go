package kube

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"

	"ferry/internal/diagnose"
)

// maxEvents is how many different events of a pod are kept: the kubelet
// repeats itself, and counts.
const maxEvents = 40

// maxOthers is about how many nodes and owners events are kept.
const maxOthers = 1000

// events reads the warnings about the pods that are not fine, their owners
// and the nodes. Events live for an hour.
func (g *gathering) events(ctx context.Context) error {
	at := map[string]int{}
	for i, p := range g.facts.Pods {
		at[p.UID] = i
	}
	all := make([][]diagnose.Event, len(g.facts.Pods))
	others := map[diagnose.Object][]diagnose.Event{}
	err := g.eachNamespace(func(namespace string) error {
		q := listOf("", namespace, "events")
		q.query = url.Values{"fieldSelector": {"type=Warning"}}
		return list(ctx, g.client, q, func(e event) {
			if i, ok := at[e.InvolvedObject.UID]; ok {
				all[i] = keep(all[i], eventFacts(e))
				return
			}
			if (e.Reason == "FailedCreate" || e.InvolvedObject.Kind == "Node") && len(others) < maxOthers {
				o := diagnose.Object{Kind: e.InvolvedObject.Kind, Namespace: e.InvolvedObject.Namespace, Name: e.InvolvedObject.Name}
				others[o] = keep(others[o], eventFacts(e))
			}
		})
	})
	g.podEvents, g.others = all, others
	return err
}

// spread gives the events about nodes and owners to those they are about. An
// owner that is not known yet has no pods: its events are all that is known.
func (g *gathering) spread() {
	for o, events := range g.others {
		if o.Kind == "Node" {
			for i := range g.facts.Nodes {
				if n := &g.facts.Nodes[i]; n.Name == o.Name {
					n.Events = append(n.Events, events...)
				}
			}
			continue
		}
		if w := g.workloadOf(o); w != nil {
			w.Events = append(w.Events, events...)
		}
	}
	slices.SortFunc(g.facts.Workloads, func(a, b diagnose.Workload) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
}

// workloadOf finds the workload that o is or belongs to. Where workloads were
// asked for by name, it is nil for all others.
func (g *gathering) workloadOf(o diagnose.Object) *diagnose.Workload {
	for i := range g.facts.Workloads {
		if w := &g.facts.Workloads[i]; w.Object == o || g.owners.made(o, w.Object) {
			return w
		}
	}
	if len(g.scope.Objects) > 0 {
		return nil
	}
	if top := g.owners.top(o); g.owners.known[top] != nil {
		g.facts.Workloads = append(g.facts.Workloads, workloadFacts(top.Kind, *g.owners.known[top]))
		return &g.facts.Workloads[len(g.facts.Workloads)-1]
	}
	if i := strings.LastIndexByte(o.Name, '-'); o.Kind == "ReplicaSet" && i > 0 {
		o.Kind, o.Name = "Deployment", o.Name[:i]
	}
	g.facts.Workloads = append(g.facts.Workloads, diagnose.Workload{Object: o, Desired: -1})
	return &g.facts.Workloads[len(g.facts.Workloads)-1]
}

// keep adds an event; the same one again only counts. Of too many the oldest
// goes.
func keep(all []diagnose.Event, e diagnose.Event) []diagnose.Event {
	for i := range all {
		o := &all[i]
		if o.Reason == e.Reason && o.Message == e.Message && o.Container == e.Container {
			o.Count += e.Count
			if e.First.Before(o.First) {
				o.First = e.First
			}
			if e.Last.After(o.Last) {
				o.Last = e.Last
			}
			return all
		}
	}
	if len(all) < maxEvents {
		return append(all, e)
	}
	oldest := 0
	for i := range all {
		if all[i].Last.Before(all[oldest].Last) {
			oldest = i
		}
	}
	if all[oldest].Last.Before(e.Last) {
		all[oldest] = e
	}
	return all
}

// eachNamespace calls look for the namespaces of the scope: once for all of
// them with "", or for each that is named.
func (g *gathering) eachNamespace(look func(namespace string) error) error {
	if len(g.scope.Objects) == 0 {
		return look(g.scope.Namespace)
	}
	var done []string
	for _, o := range g.scope.Objects {
		if slices.Contains(done, o.Namespace) {
			continue
		}
		done = append(done, o.Namespace)
		if err := look(o.Namespace); err != nil {
			return err
		}
	}
	return nil
}

// nodes reads all nodes. Of the images that they list, only those are kept
// that the pods ask for.
func (g *gathering) nodes(ctx context.Context) error {
	wanted := map[string]bool{}
	for _, p := range g.facts.Pods {
		for _, c := range p.Containers {
			for _, n := range diagnose.NodeNames(c.Image) {
				wanted[n] = true
			}
		}
	}
	var nodes []diagnose.Node
	err := list(ctx, g.client, listOf("", "", "nodes"), func(n node) {
		f := nodeFacts(n)
		for _, i := range n.Status.Images {
			for _, name := range i.Names {
				if wanted[name] {
					f.Images = append(f.Images, name)
				}
			}
		}
		nodes = append(nodes, f)
	})
	g.facts.Nodes = nodes
	return plainNodes(err)
}

// plainNodes takes "in all namespaces" off the words: nodes are in none.
func plainNodes(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Call = "nodes"
	}
	return err
}

// maxLogs is how many logs are read: pods of one image fail alike.
const maxLogs = 20

// logs reads the last lines of containers that ended at once, one for each
// image and node: exec format error stands nowhere else.
func (g *gathering) logs(ctx context.Context) error {
	g.logsOf = map[subject]string{}
	for _, p := range g.facts.Pods {
		for _, c := range p.Containers {
			s := subject{c.Image, p.Node}
			if _, ok := g.logsOf[s]; ok || !c.MayBeForeign() || len(g.logsOf) >= maxLogs {
				continue
			}
			log, err := g.client.log(ctx, p, c)
			if err := g.unless(err); err != nil {
				return err
			}
			g.logsOf[s] = log
		}
	}
	return nil
}

// subject is an image on a node, where it fails or runs alike in all pods.
type subject struct{ image, node string }

// log is what the container wrote last; where it has only just started again,
// that is in the log of the time before.
func (c *Client) log(ctx context.Context, p diagnose.Pod, at diagnose.Container) (string, error) {
	if at.JustRestarted {
		if log, err := c.lastLines(ctx, p, at, true); err == nil {
			return log, nil
		}
	}
	return c.lastLines(ctx, p, at, false)
}

func (c *Client) lastLines(ctx context.Context, p diagnose.Pod, at diagnose.Container, before bool) (string, error) {
	q := one("", p.Namespace, "pods", p.Name)
	q.what, q.lacks, q.path = "the log of "+p.Namespace+"/"+p.Name, "get pods/log", q.path+"/log"
	const most = "2048"
	q.query = url.Values{"container": {at.Name}, "tailLines": {"5"}, "limitBytes": {most}}
	if before {
		q.query.Set("previous", "true")
	}
	q.accept = "*/*"
	var b strings.Builder
	err := c.ask(ctx, q, func(r io.Reader) error {
		_, err := io.Copy(&b, io.LimitReader(r, 4096))
		return err
	})
	return b.String(), err
}
