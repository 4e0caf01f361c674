package ferry_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/workload"
)

// fewStandIns stand in for a namespace with several Deployments, on the nodes
// of the first.
type fewStandIns struct {
	*clusterStandIn

	all []*clusterStandIn
	// foreign owns the pod of the first; ferry does not know the kind.
	foreign diagnose.Object
}

// deployments are named as the images are in order: web-0, web-1.
func deployments(images ...string) *fewStandIns {
	few := &fewStandIns{}
	for i, image := range images {
		c := newClusterStandIn(image, "n1")
		c.w.Name, c.w.UID = fmt.Sprintf("web-%d", i), fmt.Sprintf("d%d", i)
		if i > 0 {
			c.shelves = few.all[0].shelves
		}
		few.all = append(few.all, c)
	}
	few.clusterStandIn = few.all[0]
	return few
}

func (f *fewStandIns) of(name string) *clusterStandIn {
	i := slices.IndexFunc(f.all, func(c *clusterStandIn) bool { return strings.HasPrefix(name, c.w.Name) })
	return f.all[i]
}

func (f *fewStandIns) Pods(ctx context.Context, w workload.Workload) ([]workload.Pod, error) {
	return f.of(w.Name).Pods(ctx, w)
}

func (f *fewStandIns) Workload(ctx context.Context, kind, namespace, name string) (workload.Workload, error) {
	switch {
	case kind != "" && kind == f.foreign.Kind:
		return workload.Workload{}, fmt.Errorf("ferry does not know the kind %s", kind)
	case kind == "Pod" && f.foreign.Kind != "":
		w := f.all[0].w
		w.Kind, w.Name, w.Owner, w.Desired = kind, name, f.foreign.Kind+"/"+f.foreign.Name, 1
		return w, nil
	}
	return f.of(name).Workload(ctx, kind, namespace, name)
}

func (f *fewStandIns) AllNodes(context.Context) ([]workload.Node, error) {
	var nodes []workload.Node
	for _, c := range f.all {
		for _, n := range c.nodes {
			if !slices.ContainsFunc(nodes, func(have workload.Node) bool { return have.Name == n.Name }) {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes, nil
}

func (f *fewStandIns) Patch(ctx context.Context, w workload.Workload, patch []byte, dry bool) error {
	return f.of(w.Name).Patch(ctx, w, patch, dry)
}

func (f *fewStandIns) Facts(ctx context.Context, s diagnose.Scope) (*diagnose.Facts, error) {
	facts := &diagnose.Facts{}
	for _, c := range f.all {
		one, err := c.Facts(ctx, s)
		if err != nil {
			return nil, err
		}
		facts.Pods = append(facts.Pods, one.Pods...)
	}
	if f.foreign.Kind != "" {
		facts.Pods[0].Workload = f.foreign
	}
	return facts, nil
}

const nowhere = "127.0.0.1:1/no:1"

// TestFixAllGoesOn: one image that nobody has, and one workload that an image
// does not help, are named; the others run.
func TestFixAllGoesOn(t *testing.T) {
	few := deployments(nowhere, fixSample(t), fixSample(t))
	few.all[2].cause = diagnose.DiskFull
	r, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true})
	left, ok := errors.AsType[*ferry.LeftError](err)
	if !ok || len(left.Left) != 2 {
		t.Fatalf("got %v, plan %+v", err, r.Plan)
	}
	says(t, err, "deploy/web-0", "deploy/web-2")
	if b := left.Left[0]; b.Object != "deploy/web-2" || !strings.Contains(b.Text, "loading the image does not help") {
		t.Errorf("got %+v", b)
	}
	if b := left.Left[1]; b.Object != "deploy/web-0" || !strings.Contains(b.Text, "is in no engine on this machine") {
		t.Errorf("got %+v", b)
	}
	if few.all[0].patches+few.all[2].patches != 0 || few.all[1].patches != 1 || len(r.Plan.Pull) != 1 || len(r.Pods) != 1 || !r.Pods[0].Ready {
		t.Errorf("pulled %+v, pods %+v", r.Plan.Pull, r.Pods)
	}
	// A plan alone says so as well.
	few = deployments(nowhere, fixSample(t))
	if r, err = fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true, DryRun: true}); !errors.As(err, &left) || len(r.Plan.Workloads) != 1 {
		t.Errorf("got %v, plan %+v", err, r.Plan)
	}
}

// TestFixAllWithNothingToHave: where nothing can be fixed, it is said of each
// why not.
func TestFixAllWithNothingToHave(t *testing.T) {
	few := deployments(nowhere, nowhere)
	r, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true})
	var blocked *ferry.BlockedError
	if !errors.As(err, &blocked) || len(r.Plan.Blocked) != 2 || r.Plan.Blocked[0].Object != "deploy/web-0" || r.Plan.Blocked[1].Object != "deploy/web-1" {
		t.Errorf("got %v, plan %+v", err, r.Plan)
	}
}

// onTwoNodes has each of two Deployments run on a node of its own, and nobody
// reaches the second.
func onTwoNodes(t *testing.T) *fewStandIns {
	t.Helper()
	few := deployments(fixSample(t), fixSample(t))
	few.shelves["n2"] = newShelf(amd64)
	few.shelves["n2"].away = errors.New("no route to host")
	few.all[1].nodes = []workload.Node{{Name: "n2", OS: "linux", Arch: "amd64", Ready: true}}
	few.all[0].w.Spec.NodeName, few.all[1].w.Spec.NodeName = "n1", "n2"
	return few
}

// TestFixAllWithoutANode: what needs a node that nobody reaches is named; the
// others run. Where all need one, each node is told once.
func TestFixAllWithoutANode(t *testing.T) {
	few := onTwoNodes(t)
	r, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true})
	left, ok := errors.AsType[*ferry.LeftError](err)
	if !ok || len(left.Left) != 1 || left.Left[0].Object != "deploy/web-1" || left.Left[0].Text != "node n2: no route to host" {
		t.Fatalf("got %v, plan %+v", err, r.Plan)
	}
	if few.all[0].patches != 1 || few.all[1].patches != 0 || len(r.Plan.Nodes) != 1 || len(r.Plan.Pull) != 1 {
		t.Errorf("got %+v", r.Plan)
	}
	few = onTwoNodes(t)
	few.shelves["n1"].away = errors.New("no route to host")
	r, err = fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true})
	var blocked *ferry.BlockedError
	if !errors.As(err, &blocked) || len(r.Plan.Blocked) != 2 || r.Plan.Blocked[0].Object != "" {
		t.Errorf("got %v, plan %+v", err, r.Plan)
	}
	// Who names workloads wants them all.
	few = onTwoNodes(t)
	if _, err = fixIn(t, few, few.clusterStandIn, ferry.FixRequest{Objects: []string{"deploy/web-0", "deploy/web-1"}}); !errors.As(err, &blocked) || few.all[0].patches != 0 {
		t.Errorf("got %v", err)
	}
}

// TestFixAllWhereANodeIsFull: what a node did not take keeps what needs it there
// as it is, with the reason; the others run.
func TestFixAllWhereANodeIsFull(t *testing.T) {
	full := func() *fewStandIns {
		few := onTwoNodes(t)
		few.shelves["n2"].away, few.shelves["n2"].loadErr = nil, errors.New("no space left on device")
		return few
	}
	few := full()
	r, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true})
	left, ok := errors.AsType[*ferry.LeftError](err)
	if !ok || len(left.Left) != 1 || left.Left[0].Object != "deploy/web-1" || !strings.HasPrefix(left.Left[0].Next, "The disk there is full: ") {
		t.Fatalf("got %v, plan %+v", err, r.Plan)
	}
	says(t, errors.New(left.Left[0].Text), "into n2: no space left on device")
	if few.all[0].patches != 1 || few.all[1].patches != 0 || len(r.Pods) != 1 || !r.Pods[0].Ready {
		t.Errorf("got %+v, pods %+v", r.Plan, r.Pods)
	}
	// Where all need the node, and who names workloads, it is as it was.
	for name, tt := range map[string]struct {
		req ferry.FixRequest
		on  string
	}{
		"all need it": {ferry.FixRequest{All: true}, "n2"},
		"named":       {ferry.FixRequest{Objects: []string{"deploy/web-0", "deploy/web-1"}}, "n1"},
	} {
		few = full()
		if few.all[0].w.Spec.NodeName = tt.on; tt.on == "n2" {
			few.all[0].nodes = append(few.all[0].nodes, few.all[1].nodes...)
			few.all[0].w.Spec.NodeName = ""
		}
		_, err = fixIn(t, few, few.clusterStandIn, tt.req)
		if _, ok := errors.AsType[*ferry.PartlyLoadedError](err); !ok || few.all[0].patches+few.all[1].patches != 0 {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestFixAllWhereAnImageFails: a node that takes the other images runs what
// needs those.
func TestFixAllWhereAnImageFails(t *testing.T) {
	few := deployments(fixSample(t), fixSample(t))
	few.shelves["n1"].refuse = few.all[1].w.Spec.Places[0].Image
	r, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true})
	left, ok := errors.AsType[*ferry.LeftError](err)
	if !ok || len(left.Left) != 1 || left.Left[0].Object != "deploy/web-1" || !strings.Contains(left.Left[0].Text, "a layer is not a tar") {
		t.Fatalf("got %v, plan %+v", err, r.Plan)
	}
	if few.all[0].patches != 1 || few.all[1].patches != 0 {
		t.Errorf("got %+v", r.Plan)
	}
}

// TestFixAllOfAnotherKind: a pod whose owner ferry cannot read is looked at by
// itself, and the others are fixed.
func TestFixAllOfAnotherKind(t *testing.T) {
	few := deployments(fixSample(t), fixSample(t))
	few.foreign = diagnose.Object{Kind: "Rollout", Namespace: "default", Name: "web-0"}
	r, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true})
	left, ok := errors.AsType[*ferry.LeftError](err)
	if !ok || len(left.Left) != 1 || left.Left[0].Object != "pod/web-0-0" || few.all[1].patches != 1 {
		t.Errorf("got %v, result %+v", err, r)
	}
}

// TestFixNamedGoesOnWithNone: who names workloads wants them all.
func TestFixNamedGoesOnWithNone(t *testing.T) {
	few := deployments(nowhere, fixSample(t))
	_, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{Objects: []string{"deploy/web-0", "deploy/web-1"}})
	var blocked *ferry.BlockedError
	if !errors.As(err, &blocked) || few.all[1].patches != 0 {
		t.Errorf("got %v", err)
	}
}

// TestFixAllFromABundle passes over what the bundle does not have.
func TestFixAllFromABundle(t *testing.T) {
	image, file := fixSample(t), target(t)
	packed(t, ferry.PackRequest{Places: []string{image}, To: file})
	few := deployments(nowhere, image)
	r, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true, From: file})
	var missing *ferry.MissingImageError
	if !errors.As(err, &missing) || few.all[1].patches != 1 {
		t.Errorf("got %v, plan %+v", err, r.Plan)
	}
}

// TestFixAllFromAnArchive passes over what the archive does not have, and says
// of one that is not there that it is not.
func TestFixAllFromAnArchive(t *testing.T) {
	file := saveTo(t, saved{tags: []string{"example/web:1"}, layers: [][]byte{layer(1)}})
	few := deployments("example/none:1", "example/web:1")
	r, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true, From: file})
	left, ok := errors.AsType[*ferry.LeftError](err)
	if !ok || len(left.Left) != 1 || left.Left[0].Text != file+" does not have example/none:1" || few.all[1].patches != 1 {
		t.Errorf("got %v, plan %+v", err, r.Plan)
	}
	few = deployments("example/web:1")
	r, err = fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true, From: "nowhere.tar", DryRun: true})
	var blocked *ferry.BlockedError
	if !errors.As(err, &blocked) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, plan %+v", err, r)
	}
}

// TestFixWaitsForTheOthers: what one workload does not come to is no reason not
// to look at the others.
func TestFixWaitsForTheOthers(t *testing.T) {
	few := deployments(fixSample(t), fixSample(t))
	few.all[0].stuck = "CreateContainerConfigError: secret not found"
	r, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true})
	says(t, err, "deploy/web-0 has its images, and is not ready after 2s")
	if len(r.Pods) != 1 || r.Pods[0].Name != "web-1-0" || !r.Pods[0].Ready {
		t.Errorf("the other one: %+v", r.Pods)
	}
}

// TestFixByHandHasAFileForEachImage: podman saves no second image into a file.
func TestFixByHandHasAFileForEachImage(t *testing.T) {
	few := deployments(fixSample(t), fixSample(t))
	r, err := fixIn(t, few, few.clusterStandIn, ferry.FixRequest{All: true, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range r.Plan.Pull {
		got = append(got, p.ByHand[len(p.ByHand)-1][3])
	}
	for _, argv := range r.Plan.Nodes[0].ByHand {
		got = append(got, strings.Join(argv, " "))
	}
	if want := []string{"web.tar", "web-2.tar", "shelve web.tar", "shelve web-2.tar"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestFixOfAJob says what its pods do: they are not made to be ready.
func TestFixOfAJob(t *testing.T) {
	job := func() *clusterStandIn {
		c := newClusterStandIn(fixSample(t), "n1")
		c.w.Kind, c.w.Spec.Places[0].Policy = "Job", workload.IfNotPresent
		return c
	}
	req := ferry.FixRequest{Objects: []string{"job/my-web"}}
	r, err := fixIt(t, job(), req)
	if err != nil || r.Steps[len(r.Steps)-1].Text != "1 running, on the digest that was loaded" {
		t.Errorf("got %+v, %v", r.Steps, err)
	}
	c := job()
	c.end = workload.EndFailed
	if _, err = fixIt(t, c, req); err == nil || !strings.HasPrefix(err.Error(), "job/my-web has its images, and failed") {
		t.Errorf("got %v", err)
	}
}
