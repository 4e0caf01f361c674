package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"ferry/internal/diagnose"
)

// atOnce is how many questions are under way at the API server.
const atOnce = 6

// Facts reads what diagnose needs to know of scope. It never writes. Without
// the pods there is no answer, and an error says why; all else that cannot be
// had is named in Unseen.
func (c *Client) Facts(ctx context.Context, scope diagnose.Scope) (*diagnose.Facts, error) {
	g := &gathering{client: c, scope: scope, facts: &diagnose.Facts{Named: len(scope.Objects) > 0}, met: map[diagnose.Object]bool{}, fine: map[diagnose.Object]bool{}, named: map[string]bool{}, pod: map[string]bool{}}
	if err := g.pods(ctx); err != nil {
		return nil, err
	}
	if err := g.details(ctx); err != nil {
		return nil, err
	}
	if g.facts.Seen.Pods == 0 && len(scope.Objects) == 0 {
		if err := c.missing(ctx, scope.Namespace); err != nil {
			return nil, err
		}
	}
	g.finish()
	return g.facts, nil
}

// missing is an error where there is no such namespace. To the API server a
// list in one that is not there is as a list of nothing, and all would seem to
// be well where a name is mistyped. Where the namespace may not be looked at,
// nothing is said.
func (c *Client) missing(ctx context.Context, namespace string) error {
	if namespace == "" {
		return nil
	}
	q := one("", "", "namespaces", namespace)
	q.what = "namespace " + namespace
	var there struct{}
	e, ok := errors.AsType[*Error](c.get(ctx, q, &there))
	if ok && e.NotFound() && e.Reason == "NotFound" {
		return e
	}
	return nil
}

// gathering is one run of Facts.
type gathering struct {
	client *Client
	scope  diagnose.Scope
	facts  *diagnose.Facts
	met    map[diagnose.Object]bool // workloads of pods that were looked at
	fine   map[diagnose.Object]bool // those of them that have only fine pods
	named  map[string]bool          // images in facts.Images
	pod    map[string]bool          // pods that were met, by their UIDs

	// While the details are read the pods stand still; finish puts together
	// what each of them brought.
	mu        sync.Mutex // guards facts.Unseen, and the lists that grow
	podEvents [][]diagnose.Event
	others    map[diagnose.Object][]diagnose.Event
	owners    *owners
	logsOf    map[subject]string
	listed    []string // the cluster's namespaces, for secrets alone
}

// details reads, all at once, what belongs to the pods that are not fine, and
// what shows in no pod: the nodes, and workloads whose pods are refused.
func (g *gathering) details(ctx context.Context) error {
	eg, within := errgroup.WithContext(ctx)
	eg.SetLimit(atOnce)
	for _, look := range []func(context.Context) error{g.nodes, g.events, g.workloads, g.secrets, g.accounts, g.logs} {
		eg.Go(func() error { return g.unless(look(within)) })
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	if err := g.unless(g.withoutPods(ctx)); err != nil {
		return err
	}
	return ctx.Err()
}

// unless notes what could not be looked at, and passes on what ends the run.
func (g *gathering) unless(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || errors.Is(err, context.Canceled) {
		return err
	}
	if e.NotFound() {
		return nil // it is gone meanwhile: the next look will not meet it
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.facts.Unseen = append(g.facts.Unseen, e.unseen())
	return nil
}

func (g *gathering) finish() {
	f := g.facts
	for i := range g.podEvents {
		f.Pods[i].Events = g.podEvents[i]
	}
	for i := range f.Pods {
		for k := range f.Pods[i].Containers {
			c := &f.Pods[i].Containers[k]
			c.Log = g.logsOf[subject{c.Image, f.Pods[i].Node}]
		}
	}
	g.place()
	g.spread()
	f.Now, f.Skew = g.client.clock()
	for _, fine := range g.fine {
		if fine {
			f.Seen.Fine++
		}
	}
	slices.SortFunc(f.Nodes, func(a, b diagnose.Node) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(f.Unseen, func(a, b diagnose.Unseen) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why))
	})
	f.Unseen = slices.Compact(f.Unseen)
}

// take keeps a pod if it deserves a closer look, and counts it in any case.
func (g *gathering) take(p pod) {
	if !g.isNew(p) {
		return
	}
	f := g.client.podFacts(p)
	g.facts.Seen.Pods++
	g.name(f)
	g.keep(f)
}

// keep counts a pod for its workload, and keeps it if it is not simply fine.
func (g *gathering) keep(f diagnose.Pod) {
	suspect := f.Suspect()
	g.fine[f.Workload] = !suspect && (g.fine[f.Workload] || !g.met[f.Workload])
	g.met[f.Workload] = true
	if suspect {
		g.facts.Pods = append(g.facts.Pods, f)
	}
}

// isNew says whether a pod is met for the first time: of objects that are
// named, one may hold another.
func (g *gathering) isNew(p pod) bool {
	if len(g.scope.Objects) < 2 {
		return true
	}
	if g.pod[p.Metadata.UID] {
		return false
	}
	g.pod[p.Metadata.UID] = true
	return true
}

// maxImages is how many names of images are kept.
const maxImages = 5000

// name notes the images of a pod that runs.
func (g *gathering) name(p diagnose.Pod) {
	for _, c := range p.Containers {
		if c.ImageID != "" && !g.named[c.Image] && len(g.named) < maxImages {
			g.named[c.Image] = true
			g.facts.Images = append(g.facts.Images, c.Image)
		}
	}
}

// in says where something was looked for.
func in(what, namespace string) string {
	if namespace == "" {
		return what + " in all namespaces"
	}
	return what + " in " + namespace
}

// below is the path of a resource in a namespace, or in all.
func below(group, namespace, resource string) string {
	path := "/api/v1"
	if group != "" {
		path = "/apis/" + group
	}
	if namespace != "" {
		path += "/namespaces/" + url.PathEscape(namespace)
	}
	return path + "/" + resource
}

func listOf(group, namespace, resource string) call {
	return call{what: in(resource, namespace), lacks: "list " + resource, path: below(group, namespace, resource)}
}

func one(group, namespace, resource, name string) call {
	return call{
		what:  fmt.Sprintf("%s %s", resource, namespaced(namespace, name)),
		lacks: "get " + resource,
		path:  below(group, namespace, resource) + "/" + url.PathEscape(name),
	}
}

func namespaced(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}
