package ferry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
	"ferry/internal/diagnose"
	"ferry/internal/ref"
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
		if err := f.look(ctx, o, doctor, nodes); err != nil {
			return err
		}
	}
	if len(f.plan.Blocked) > 0 || len(f.plan.Workloads) == 0 {
		return nil
	}
	return f.sources(ctx)
}

// objects are those asked for, or all that do not run for the sake of an image.
func (f *fixing) objects(doctor *DoctorResult) ([]diagnose.Object, error) {
	if !f.req.All {
		return ParseObjects(f.req.Objects, doctor.Namespace)
	}
	var all []diagnose.Object
	for _, finding := range doctor.Findings {
		for _, a := range finding.Workloads {
			if !slices.Contains(all, a.Object) {
				all = append(all, a.Object)
			}
		}
	}
	return all, nil
}

// look reads one workload and plans for it.
func (f *fixing) look(ctx context.Context, o diagnose.Object, doctor *DoctorResult, nodes []workload.Node) error {
	w, err := f.outermost(ctx, o)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(f.plan.Workloads, func(p FixWorkload) bool { return p.w.UID == w.UID }) {
		return nil // asked for twice: by itself and by its pod
	}
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
	f.plan.Workloads = append(f.plan.Workloads, p)
	f.addNodes(ctx, w, pods, nodes)
	return f.permitted(ctx, p)
}

// outermost follows owners that ferry knows: from a pod to its Deployment.
func (f *fixing) outermost(ctx context.Context, o diagnose.Object) (workload.Workload, error) {
	w, err := f.env.Cluster.Workload(ctx, o.Kind, o.Namespace, o.Name)
	for err == nil {
		kind, name, ok := strings.Cut(w.Owner, "/")
		if _, known := kindNames()[kind]; !ok || !known {
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
func (f *fixing) addNodes(ctx context.Context, w workload.Workload, pods []workload.Pod, nodes []workload.Node) {
	any := false
	for _, n := range nodes {
		here := slices.ContainsFunc(pods, func(p workload.Pod) bool { return p.Node == n.Name && !p.Deleting })
		if !here && !w.Spec.MayRun(n, w.Kind) {
			continue
		}
		if !n.Ready {
			f.plan.Notes = append(f.plan.Notes, fmt.Sprintf("node %s is not ready: it gets no images, and its pods have to wait for it", n.Name))
			continue
		}
		any = true
		if !slices.ContainsFunc(f.plan.Nodes, func(have FixNode) bool { return have.Name == n.Name }) {
			f.plan.Nodes = append(f.plan.Nodes, FixNode{Name: n.Name, Platform: n.Platform(), Runtime: n.Runtime, found: found{NamedRuntime: f.env.Node(ctx, n), target: n.Name}})
		}
	}
	if !any {
		f.plan.Blocked = append(f.plan.Blocked, FixBlock{
			Text: fmt.Sprintf("no node that is ready may run %s/%s: its selectors, affinity and tolerations fit none", strings.ToLower(w.Kind), w.Name),
			Next: "kubectl describe pod says at its end why none was chosen.",
		})
	}
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

// sources finds out where each image can be had, and reaches the nodes.
func (f *fixing) sources(ctx context.Context) error {
	g, within := errgroup.WithContext(ctx)
	platforms := f.platforms()
	for _, image := range f.images() {
		f.plan.Pull = append(f.plan.Pull, FixPull{Image: image, Platforms: platforms})
	}
	if err := f.gate(ctx); err != nil {
		return err
	}
	blocked := make([]*FixBlock, len(f.plan.Pull)+len(f.plan.Nodes))
	for i := range f.plan.Pull {
		g.Go(func() error {
			if err := f.source(within, &f.plan.Pull[i]); err != nil {
				blocked[i] = &FixBlock{Text: err.Error(), Next: hintOf(err), Err: err}
			}
			return within.Err()
		})
	}
	for i := range f.plan.Nodes {
		g.Go(func() error {
			n := &f.plan.Nodes[i]
			var err error
			if n.found.platform, err = n.found.Runtime.Platform(within); err != nil {
				blocked[len(f.plan.Pull)+i] = &FixBlock{Text: fmt.Sprintf("node %s: %v", n.Name, err), Next: hintOf(err), Err: err}
			} else if n.found.ByHand != nil {
				n.ByHand = n.found.ByHand(f.file(), nil)
			}
			return within.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	f.trustByHand()
	for _, b := range blocked {
		if b != nil {
			f.plan.Blocked = append(f.plan.Blocked, *b)
		}
	}
	return nil
}

// trustByHand puts what makes the folder of authorities before the first line
// that pulls from a registry.
func (f *fixing) trustByHand() {
	for i := range f.plan.Pull {
		p := &f.plan.Pull[i]
		if len(p.ByHand) > 0 && p.ByHand[0][1] == "pull" {
			p.ByHand = append(f.world.Given.trust(), p.ByHand...)
			return
		}
	}
}

// gate makes sure that the policy can be asked, where there is one, and asks
// it what it can be asked before anything moves.
func (f *fixing) gate(ctx context.Context) error {
	g, err := openGate(ctx, f.world, f.file(), f.req.Gate, time.Time{})
	if err != nil {
		return err
	}
	if g == nil {
		f.plan.Scan = "not scanned: no policy here asks for it"
		return nil
	}
	f.gated, f.plan.Scan = g.path, "held against "+g.path
	var names []string
	for _, p := range f.plan.Pull {
		n, err := ref.Parse(p.Image)
		if err != nil {
			return err
		}
		names = append(names, n.String())
	}
	return g.names(names)
}

// file is the name that the commands by hand give the archive.
func (f *fixing) file() string {
	if f.req.From != "" {
		return f.req.From
	}
	images := f.images()
	if len(images) != 1 {
		return "images.tar"
	}
	n, err := ref.Parse(images[0])
	if err != nil {
		return "images.tar"
	}
	return n.Path()[strings.LastIndexByte(n.Path(), '/')+1:] + ".tar"
}

func (f *fixing) images() []string {
	var all []string
	for _, w := range f.plan.Workloads {
		for _, image := range w.Images {
			if !slices.Contains(all, image) {
				all = append(all, image)
			}
		}
	}
	return all
}

func (f *fixing) platforms() []string {
	var all []string
	for _, n := range f.plan.Nodes {
		if !slices.Contains(all, n.Platform) {
			all = append(all, n.Platform)
		}
	}
	return all
}

// source finds one image: in the file that was named, in the engines here, in
// its registry.
func (f *fixing) source(ctx context.Context, p *FixPull) error {
	if f.req.From != "" {
		p.From, p.place = f.req.From, f.req.From
		return nil
	}
	n, err := ref.Parse(p.Image)
	if err != nil {
		return err
	}
	local, err := f.env.Local(ctx, n)
	switch {
	case err == nil && len(p.Platforms) == 1 && local.Platform == p.Platforms[0]:
		p.From, p.place = local.Engine+" on this machine", local.Place
		p.ByHand = [][]string{{local.Engine, "save", "-o", f.file(), n.String()}}
		return nil
	case err == nil:
		f.note(fmt.Sprintf("%s here has %s for %s only: it is taken from its registry", local.Engine, n.Familiar(), local.Platform))
	case !errors.Is(err, content.ErrNotFound):
		return err
	}
	p.From, p.place = n.Registry(), n.String()
	p.ByHand = [][]string{f.world.Given.typed("podman", "pull", n.String()), {"podman", "save", "-o", f.file(), n.String()}}
	dry, err := Pack(ctx, f.world, PackRequest{Places: []string{p.place}, Platforms: p.Platforms, To: f.file(), NoReferrers: true, DryRun: true})
	if err != nil {
		return fmt.Errorf("%s is in no engine on this machine, and its registry does not give it: %w", n.Familiar(), firstCause(err))
	}
	p.Bytes = dry.Size
	return nil
}

// firstCause is why pack could not have the one image.
func firstCause(err error) error {
	var failed *PackError
	if errors.As(err, &failed) && len(failed.Images) > 0 {
		return failed.Images[0].Err
	}
	return err
}

func (f *fixing) note(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan.Notes = append(f.plan.Notes, text)
}
