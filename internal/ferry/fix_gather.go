package ferry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ferry/internal/diagnose"
	"ferry/internal/workload"
)

// gather finds out what is wrong, what is needed, and where it can be had, and
// makes the plan of it. Nothing is changed.
func (f *fixing) gather(ctx context.Context) error {
	doctor, err := Doctor(ctx, f.world, f.env.Cluster, nil, DoctorRequest{Objects: f.req.Objects, NoProbe: true})
	if err != nil {
		return err
	}
	nodes, err := f.env.Cluster.AllNodes(ctx)
	if err != nil {
		return err
	}
	objects, err := f.objects(doctor)
	if err != nil {
		return err
	}
	for _, o := range objects {
		err := f.look(ctx, o, doctor, nodes)
		if f.req.All && gone(err) {
			continue // it was deleted since doctor saw it
		}
		if err != nil {
			return err
		}
		f.passOver([]diagnose.Object{o}, func(p FixWorkload) bool { return p.asked == o })
	}
	if len(f.plan.Blocked) == 0 && len(f.plan.Workloads) > 0 {
		err = f.sources(ctx)
	}
	f.nothingLeft()
	return err
}

// objects are those asked for, or all that do not run for the sake of an image.
func (f *fixing) objects(doctor *DoctorResult) ([]diagnose.Object, error) {
	if !f.req.All {
		return ParseObjects(f.req.Objects, doctor.Namespace)
	}
	var all []diagnose.Object
	add := func(o diagnose.Object) {
		if !slices.Contains(all, o) {
			all = append(all, o)
		}
	}
	for _, finding := range doctor.Findings {
		for _, a := range finding.Workloads {
			if known(a.Kind) {
				add(a.Object)
			}
		}
		for _, pod := range finding.Pods {
			if !known(pod.Workload.Kind) {
				add(pod.Object) // what owns it cannot be read; the pod can
			}
		}
	}
	return all, nil
}

func known(kind string) bool {
	_, ok := kindNames()[kind]
	return ok
}

// look reads one workload and plans for it.
func (f *fixing) look(ctx context.Context, o diagnose.Object, doctor *DoctorResult, nodes []workload.Node) error {
	w, err := f.outermost(ctx, o)
	if err != nil {
		return err
	}
	if f.seen[w.UID] {
		return nil // asked for twice: by itself and by its pod
	}
	f.seen[w.UID] = true
	pods, err := f.env.Cluster.Pods(ctx, w)
	if err != nil {
		return err
	}
	found := findingsFor(doctor.Findings, o, w, pods)
	p := planWorkload(w, pods, found, f.req, f.world.Given)
	if len(p.Images) == 0 && len(found) == 0 {
		return nil // all of its pods have their images
	}
	for _, finding := range found {
		if incurable(finding.Cause.Cause) {
			f.block(finding)
		}
	}
	if len(f.plan.Blocked) > 0 {
		return nil
	}
	if b := stuck(p, f.world.Given); b != nil {
		f.plan.Blocked = append(f.plan.Blocked, *b)
		return nil
	}
	p.asked, p.nodes = o, f.addNodes(ctx, w, pods, nodes)
	f.plan.Workloads = append(f.plan.Workloads, p)
	return f.permitted(ctx, p)
}

// outermost follows owners that ferry knows: from a pod to its Deployment.
func (f *fixing) outermost(ctx context.Context, o diagnose.Object) (workload.Workload, error) {
	w, err := f.env.Cluster.Workload(ctx, o.Kind, o.Namespace, o.Name)
	for err == nil {
		kind, name, ok := strings.Cut(w.Owner, "/")
		if !ok || !known(kind) {
			break
		}
		w, err = f.env.Cluster.Workload(ctx, kind, o.Namespace, name)
	}
	return w, err
}

// findingsFor are the causes that hit a workload.
func findingsFor(all []diagnose.Finding, asked diagnose.Object, w workload.Workload, pods []workload.Pod) []diagnose.Finding {
	mine := func(o diagnose.Object) bool {
		if o == asked || o.Kind == w.Kind && o.Namespace == w.Namespace && o.Name == w.Name {
			return true
		}
		return o.Kind == "Pod" && slices.ContainsFunc(pods, func(p workload.Pod) bool { return p.Namespace == o.Namespace && p.Name == o.Name })
	}
	var found []diagnose.Finding
	for _, f := range all {
		if slices.ContainsFunc(f.Workloads, func(a diagnose.Affected) bool { return mine(a.Object) }) ||
			slices.ContainsFunc(f.Pods, func(h diagnose.HitPod) bool { return mine(h.Object) }) {
			found = append(found, f)
		}
	}
	return found
}

// incurable are causes that an image on the node does not help against.
func incurable(l diagnose.Label) bool {
	return slices.Contains([]diagnose.Label{
		diagnose.DiskFull, diagnose.RuntimeDown, diagnose.UnpackPermission, diagnose.InvalidName, diagnose.PlatformMismatch,
		diagnose.Schema1Unsupported, diagnose.MediaTypeUnsupported, diagnose.SignaturePolicy, diagnose.ShortNameAmbiguous,
	}, l)
}

func (f *fixing) block(finding diagnose.Finding) {
	f.plan.Blocked = append(f.plan.Blocked, FixBlock{
		Text: "loading the image does not help: " + finding.Title, Next: otherRemedy(finding.Remedies), Finding: &finding,
	})
}

// otherRemedy is what doctor advises first that is not this.
func otherRemedy(all []diagnose.Remedy) string {
	for _, r := range all {
		if len(r.Argv) > 1 && r.Argv[0] == "ferry" && (r.Argv[1] == "fix" || r.Argv[1] == "explain") {
			continue
		}
		if r.Command != "" {
			return r.Summary + ": " + r.Command
		}
		return r.Summary
	}
	return ""
}

// addNodes adds the nodes that may run a pod of w: all that the scheduler may
// choose, and those that hold pods already.
func (f *fixing) addNodes(ctx context.Context, w workload.Workload, pods []workload.Pod, nodes []workload.Node) []string {
	var names []string
	for _, n := range nodes {
		here := slices.ContainsFunc(pods, func(p workload.Pod) bool { return p.Node == n.Name && !p.Deleting })
		if !here && !w.Spec.MayRun(n, w.Kind) {
			continue
		}
		if !n.Ready {
			f.plan.Notes = append(f.plan.Notes, fmt.Sprintf("node %s is not ready: it gets no images, and its pods have to wait for it", n.Name))
			continue
		}
		names = append(names, n.Name)
		if !slices.ContainsFunc(f.plan.Nodes, func(have FixNode) bool { return have.Name == n.Name }) {
			f.plan.Nodes = append(f.plan.Nodes, FixNode{Name: n.Name, Platform: n.Platform(), Runtime: n.Runtime, found: found{NamedRuntime: f.env.Node(ctx, n), target: n.Name}})
		}
	}
	if len(names) == 0 {
		f.plan.Blocked = append(f.plan.Blocked, FixBlock{
			Text: fmt.Sprintf("no node that is ready may run %s/%s: its selectors, affinity and tolerations fit none", strings.ToLower(w.Kind), w.Name),
			Next: "kubectl describe pod says at its end why none was chosen.",
		})
	}
	return names
}

// permitted asks for the rights that the plan needs, and what the cluster's
// admission would make of it, before anything moves.
func (f *fixing) permitted(ctx context.Context, p FixWorkload) error {
	for _, r := range f.rights(p) {
		ok, err := f.env.Cluster.May(ctx, r)
		if err != nil {
			return err
		}
		if !ok {
			f.plan.Blocked = append(f.plan.Blocked, FixBlock{
				Text: fmt.Sprintf("this user may not %s, which the plan needs for %s", r, ObjectArgument(p.Object)),
				Next: "docs/rbac/fix.yaml has the permissions that fix uses; ferry load puts the image there without them.",
			})
		}
	}
	if len(f.plan.Blocked) > 0 {
		return nil
	}
	return f.admitted(ctx, p)
}

func (f *fixing) rights(p FixWorkload) []workload.Right {
	var all []workload.Right
	c := f.env.Cluster
	if len(p.Changes) > 0 && !p.Recreate {
		all = append(all, c.RightTo("patch", p.Kind, p.Namespace, p.Name))
	}
	if len(p.Restart) > 0 || p.Recreate {
		all = append(all, c.RightTo("delete", "Pod", p.Namespace, ""))
	}
	if p.Recreate {
		all = append(all, c.RightTo("create", "Pod", p.Namespace, ""))
	}
	return all
}

// admitted has the API server try the patch and a pod: a webhook may refuse
// either, and AlwaysPullImages makes every image be asked for.
func (f *fixing) admitted(ctx context.Context, p FixWorkload) error {
	if len(p.Changes) > 0 && !p.Recreate {
		patch, err := p.w.Patch(p.Changes)
		if err != nil {
			return err
		}
		if err := f.env.Cluster.Patch(ctx, p.w, patch, true); err != nil && !conflict(err) && !unclear(err) {
			f.plan.Blocked = append(f.plan.Blocked, FixBlock{Text: err.Error(), Next: hintOf(err), Err: err})
			return nil
		}
	}
	ok, err := f.env.Cluster.May(ctx, f.env.Cluster.RightTo("create", "Pod", p.Namespace, ""))
	if err != nil || !ok {
		return err // it cannot be tried; waiting for the pods will tell
	}
	policies, err := f.env.Cluster.TryPod(ctx, p.w, p.Changes)
	if err != nil {
		if !unclear(err) {
			f.plan.Blocked = append(f.plan.Blocked, FixBlock{Text: err.Error(), Next: hintOf(err), Err: err})
		}
		return nil
	}
	for key := range p.places {
		if policies[key] == workload.Always {
			f.plan.Blocked = append(f.plan.Blocked, alwaysPulled(p))
			return nil
		}
	}
	return nil
}

func alwaysPulled(p FixWorkload) FixBlock {
	return FixBlock{
		Text: fmt.Sprintf("this cluster sets imagePullPolicy to Always on every pod (the AlwaysPullImages admission plugin), so %s would ask the registry though the image is there", ObjectArgument(p.Object)),
		Next: "The nodes need a registry that they reach: ferry push puts the images into one, ferry serve is one.",
	}
}

// unclear is an answer that says nothing of the change itself: a webhook that
// cannot be tried (400), a server at its limits.
func unclear(err error) bool {
	status := statusOf(err)
	return status == 400 || status == statusTooMany || status >= statusServerError
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
