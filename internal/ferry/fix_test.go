package ferry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/content"
	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/ref"
	"ferry/internal/workload"
)

// clusterStandIn stands in for a cluster with one Deployment, whose pods run
// as soon as their nodes hold the image and the policy lets them use it.
type clusterStandIn struct {
	image   string
	w       workload.Workload
	nodes   []workload.Node
	shelves map[string]*shelf
	cause   diagnose.Label
	// before is called before each real patch: someone else at work.
	before func(c *clusterStandIn)
	denied string
	always bool

	given ferry.Given
	// falls is asked, once it was patched, what becomes of a look at it.
	falls   func(ctx context.Context) error
	patches int
	deleted []string
	// digest is what the kubelet reports; the shelf's where it is "".
	digest string
	// asks says that the kubelet asks the registry for what the node holds.
	asks bool
	// stuck is what the kubelet says of containers that have their image and do
	// not begin. The pod of before is still there then.
	stuck string
	// end is how the Job ends, once it has its image.
	end string
	// dying is how many looks show the deleted pods, and none in their place
	// yet. Until they are deleted they wait out their back-off.
	dying int
	// raced is how many pods changed just before they were deleted: they came up,
	// or wait still.
	raced     int
	waitStill bool
	// leaves says that the pod goes away with the end of its Job.
	leaves bool
}

type conflictError struct{}

func (conflictError) Error() string  { return "the object has been modified" }
func (conflictError) Conflict() bool { return true }

func newClusterStandIn(image string, nodes ...string) *clusterStandIn {
	c := &clusterStandIn{image: image, shelves: map[string]*shelf{}, cause: diagnose.DNSTimeout}
	for _, n := range nodes {
		c.nodes = append(c.nodes, workload.Node{Name: n, OS: "linux", Arch: "amd64", Ready: true, Runtime: "containerd://2.2.3"})
		c.shelves[n] = newShelf(amd64)
	}
	c.w = workload.Workload{
		Kind: "Deployment", Namespace: "default", Name: "my-web", UID: "d1", Version: "1", Desired: len(nodes), Observed: true,
		Spec: workload.Spec{Places: []workload.Place{{List: workload.Containers, Name: "web", Image: image, Policy: workload.Always}}},
	}
	return c
}

func (c *clusterStandIn) Again() {}

func (c *clusterStandIn) Place() diagnose.Place { return diagnose.Place{Namespace: "default"} }

// runs says whether a pod on a node has its image.
func (c *clusterStandIn) runs(node string) (string, bool) {
	n, err := ref.Parse(c.image)
	if err != nil || c.asks || c.w.Spec.Places[0].Policy == workload.Always {
		return "", false
	}
	h, ok := c.shelves[node].held[n.String()]
	return "x@" + h.Digest.String(), ok
}

func (c *clusterStandIn) Pods(context.Context, workload.Workload) ([]workload.Pod, error) {
	var all []workload.Pod
	if c.leaves && len(c.deleted) > 0 {
		return nil, nil
	}
	gone := len(c.deleted) > 0 && c.dying > 0
	if gone {
		c.dying--
	}
	for i, n := range c.nodes {
		p := workload.PodPlace{Place: c.w.Spec.Places[0], Waiting: "ImagePullBackOff"}
		phase := "Pending"
		id, ok := c.runs(n.Name)
		if ok {
			p.ImageID, p.Waiting, p.Ready = id, "", true
			phase = "Running"
			if c.digest != "" {
				p.ImageID = c.digest
			}
			if c.stuck != "" {
				p.ImageID, p.Ready, ok, phase = "", false, false, "Pending"
				p.Waiting, p.Message, _ = strings.Cut(c.stuck, ": ")
			}
		}
		if gone || c.dying > 0 {
			p.ImageID, p.Waiting, p.Ready, ok, phase = "", "ImagePullBackOff", false, false, "Pending"
		}
		all = append(all, workload.Pod{Deleting: gone, Namespace: "default", Name: fmt.Sprintf("%s-%d", c.w.Name, i), UID: n.Name, Node: n.Name, Phase: phase, Owned: true, Ready: ok, Places: []workload.PodPlace{p}})
	}
	if c.stuck != "" {
		old := workload.PodPlace{Place: c.w.Spec.Places[0], Waiting: "ImagePullBackOff"}
		old.Policy = workload.Always
		all = append(all, workload.Pod{Namespace: "default", Name: "my-web-old", UID: "old", Phase: "Pending", Owned: true, Places: []workload.PodPlace{old}})
	}
	return all, nil
}

func (c *clusterStandIn) Workload(ctx context.Context, kind, _, name string) (workload.Workload, error) {
	if c.falls != nil && c.patches > 0 {
		if err := c.falls(ctx); err != nil {
			return workload.Workload{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return workload.Workload{}, err // as of any client
	}
	if kind != c.w.Kind || name != c.w.Name {
		return workload.Workload{}, errors.New("not found")
	}
	w := c.w
	w.Ready, w.Updated = 0, w.Desired
	for _, n := range c.nodes {
		if _, ok := c.runs(n.Name); ok && c.stuck == "" {
			w.Ready++
		}
	}
	if w.Ready > 0 {
		w.Ended = c.end
	}
	return w, nil
}

func (c *clusterStandIn) Facts(context.Context, diagnose.Scope) (*diagnose.Facts, error) {
	f := &diagnose.Facts{}
	message := map[diagnose.Label]string{
		diagnose.DNSTimeout: "dial tcp: lookup registry-1.docker.io on 10.0.0.1:53: read udp 10.0.0.2:4->10.0.0.1:53: i/o timeout",
		diagnose.DiskFull:   "failed to pull and unpack image: write /var/lib/containerd/x: no space left on device",
	}[c.cause]
	pods, _ := c.Pods(context.Background(), c.w)
	for _, p := range pods {
		if p.Ready || p.Places[0].Waiting != "ImagePullBackOff" {
			continue
		}
		f.Pods = append(f.Pods, diagnose.Pod{
			Namespace: "default", Name: p.Name, UID: p.UID, Node: p.Node, Phase: "Pending",
			Workload:   diagnose.Object{Kind: "Deployment", Namespace: "default", Name: c.w.Name},
			Containers: []diagnose.Container{{Name: "web", Kind: diagnose.MainContainer, Image: c.image, Policy: workload.Always, Waiting: diagnose.Waiting{Reason: "ErrImagePull", Message: message}}},
		})
	}
	return f, nil
}

func (c *clusterStandIn) Changed(context.Context, diagnose.Scope, *diagnose.Facts) error { return nil }

func (c *clusterStandIn) AllNodes(context.Context) ([]workload.Node, error) { return c.nodes, nil }

func (c *clusterStandIn) May(_ context.Context, r workload.Right) (bool, error) {
	return r.Verb+" "+r.Resource != c.denied, nil
}

func (c *clusterStandIn) RightTo(verb, kind, namespace, name string) workload.Right {
	return workload.Right{Verb: verb, Resource: strings.ToLower(kind) + "s", Namespace: namespace, Name: name}
}

func (c *clusterStandIn) TryPod(_ context.Context, w workload.Workload, changes []workload.Change) (map[string]string, error) {
	policies := map[string]string{}
	for _, p := range w.Spec.Places {
		policies[p.Key()] = p.Policy
	}
	for _, ch := range changes {
		policies[ch.Key()] = ch.To
	}
	if c.always {
		policies["containers/web"] = workload.Always
	}
	return policies, nil
}

func (c *clusterStandIn) Patch(_ context.Context, w workload.Workload, patch []byte, dry bool) error {
	if dry {
		return nil
	}
	if c.before != nil {
		c.before(c)
	}
	if w.Version != c.w.Version {
		return conflictError{}
	}
	var p struct {
		Metadata struct {
			ResourceVersion string
			Annotations     map[string]string
		}
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct{ Name, ImagePullPolicy string }
				}
			}
		}
	}
	if err := json.Unmarshal(patch, &p); err != nil || p.Metadata.ResourceVersion != c.w.Version {
		return fmt.Errorf("a patch for version %s, not %s: %w", p.Metadata.ResourceVersion, c.w.Version, err)
	}
	c.patches++
	c.w.Version, c.w.Annotations = c.w.Version+"1", p.Metadata.Annotations
	c.w.Spec.Places = slices.Clone(c.w.Spec.Places)
	for _, ch := range p.Spec.Template.Spec.Containers {
		c.w.Spec.Places[0].Policy = ch.ImagePullPolicy
	}
	return nil
}

func (c *clusterStandIn) DeletePod(_ context.Context, p workload.Pod) error {
	if c.raced > 0 {
		c.raced--
		if !c.waitStill {
			c.dying = 0 // it came up
		}
		return conflictError{}
	}
	c.deleted = append(c.deleted, p.Name)
	return nil
}

func (c *clusterStandIn) Recreate(context.Context, workload.Workload, []workload.Change) error {
	return errors.New("there is no bare pod here")
}

// fixIt runs fix against the stand-in.
func fixIt(t *testing.T, c *clusterStandIn, req ferry.FixRequest) (*ferry.FixResult, error) {
	t.Helper()
	if len(req.Objects) == 0 && !req.All {
		req.Objects = []string{"deploy/my-web"}
	}
	return fixIn(t, c, c, req)
}

// fixIn runs fix against a cluster with the nodes of c.
func fixIn(t *testing.T, in ferry.ChangingCluster, c *clusterStandIn, req ferry.FixRequest) (*ferry.FixResult, error) {
	t.Helper()
	w := world(t)
	w.CacheDir, w.Now, w.Given = t.TempDir(), time.Now, c.given
	env := ferry.FixEnv{
		Cluster: in,
		Node: func(_ context.Context, n workload.Node) ferry.NamedRuntime {
			return ferry.NamedRuntime{Name: n.Name, Kind: "shelf", Runtime: c.shelves[n.Name], ByHand: func(file string, _ []ferry.LoadImage) [][]string {
				return [][]string{{"shelve", file}}
			}}
		},
		Local: func(context.Context, ref.Name) (ferry.LocalImage, error) {
			return ferry.LocalImage{}, content.ErrNotFound
		},
	}
	req.Timeout = 2 * time.Second
	return ferry.Fix(t.Context(), w, env, req)
}

func fixSample(t *testing.T) string {
	t.Helper()
	s := newSample()
	return startUpstream(t).push(s.Store, "team/web", "latest", s.index)
}

func TestFixStandIn(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1", "n2")
	r, err := fixIt(t, c, ferry.FixRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if c.patches != 1 || len(c.deleted) != 0 || len(r.Pods) != 2 || !r.Pods[0].Loaded || !r.Pods[1].Loaded {
		t.Errorf("%d patches, deleted %v, pods %+v", c.patches, c.deleted, r.Pods)
	}
	if c.shelves["n1"].loads != 1 || c.shelves["n2"].loads != 1 {
		t.Error("not both nodes got the image")
	}
	// A second time there is nothing to do.
	if r, err = fixIt(t, c, ferry.FixRequest{}); err != nil || !r.Nothing || c.patches != 1 {
		t.Errorf("again: %+v, %v", r, err)
	}
	// And it can be undone, by anyone.
	if _, err = fixIt(t, c, ferry.FixRequest{Undo: true}); err != nil || c.w.Spec.Places[0].Policy != workload.Always {
		t.Errorf("undo: %s, %v", c.w.Spec.Places[0].Policy, err)
	}
}

func TestFixDryRunTouchesNothing(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	r, err := fixIt(t, c, ferry.FixRequest{DryRun: true})
	if err != nil || c.patches != 0 || c.shelves["n1"].loads != 0 || len(r.Plan.Workloads) != 1 || len(r.Plan.Pull) != 1 || r.Plan.Pull[0].Bytes == 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestFixOfAPausedDeployment: it would make no pods with another policy.
func TestFixOfAPausedDeployment(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	c.w.Suspended = true
	_, err := fixIt(t, c, ferry.FixRequest{})
	blocked, ok := errors.AsType[*ferry.BlockedError](err)
	if !ok || c.patches != 0 || c.shelves["n1"].loads != 0 {
		t.Fatalf("got %v, %d patches", err, c.patches)
	}
	if b := blocked.Plan.Blocked[0]; !strings.Contains(b.Text, "deploy/my-web is paused") || !strings.Contains(b.Next, "kubectl rollout resume") {
		t.Errorf("got %+v", b)
	}
}

// TestFixBesideAnArchive: who tried by hand first has an archive of podman's in
// the folder, under the name that the plan tells. It is nobody's to replace.
func TestFixBesideAnArchive(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("web.tar", []byte("of podman's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := fixIt(t, c, ferry.FixRequest{}); err != nil || c.patches != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	if b, err := os.ReadFile("web.tar"); err != nil || string(b) != "of podman's" {
		t.Errorf("the archive is %q now, %v", b, err)
	}
}

// What is shown as a person would type it leads to the same cluster and
// registry as ferry's own flags did.
func TestFixByHand(t *testing.T) {
	image := fixSample(t)
	c := newClusterStandIn(image, "n1")
	c.given = ferry.Given{Context: "prod", AuthFile: "auth.json", CAFiles: []string{"ca.pem"}}
	r, err := fixIt(t, c, ferry.FixRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, argv := range slices.Concat(r.Plan.Pull[0].ByHand, r.Plan.Workloads[0].ByHand, [][]string{r.Plan.Workloads[0].Watch, r.Undo}) {
		got = append(got, strings.Join(argv, " "))
	}
	want := []string{
		"mkdir -p certs", "cp ca.pem certs/ca.crt",
		"podman pull --authfile auth.json --cert-dir certs " + image,
		"podman save -o web.tar " + image,
		"kubectl --context prod patch deployment my-web -n default -p " + `{"spec":{"template":{"spec":{"containers":[{"imagePullPolicy":"IfNotPresent","name":"web"}]}}}}`,
		"kubectl --context prod rollout status deployment/my-web -n default",
		"ferry fix -n default --undo deploy/my-web --context prod",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

// Whatever someone else changed meanwhile stays; what has to change is found
// out anew.
func TestFixConflictIsPlannedAnew(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	tries := 0
	c.before = func(c *clusterStandIn) {
		if tries++; tries <= 2 {
			c.w.Version += "x"
		}
	}
	if _, err := fixIt(t, c, ferry.FixRequest{}); err != nil || c.patches != 1 || tries != 3 {
		t.Errorf("%d patches in %d tries, %v", c.patches, tries, err)
	}
	// Someone for ever: the conflict is told, and nothing overwritten.
	c = newClusterStandIn(fixSample(t), "n1")
	c.before = func(c *clusterStandIn) { c.w.Version += "x" }
	if _, err := fixIt(t, c, ferry.FixRequest{}); err == nil || !errors.As(err, &conflictError{}) || c.patches != 0 {
		t.Errorf("got %v after %d patches", err, c.patches)
	}
	// Another image now: what was loaded is not for it.
	c = newClusterStandIn(fixSample(t), "n1")
	c.before = func(c *clusterStandIn) {
		c.w.Version += "x"
		c.w.Spec.Places = []workload.Place{{List: workload.Containers, Name: "web", Image: "other:2", Policy: workload.Always}}
	}
	var changed *ferry.MeanwhileError
	if _, err := fixIt(t, c, ferry.FixRequest{}); !errors.As(err, &changed) || c.patches != 0 || !strings.Contains(err.Error(), "web wants other:2 now") {
		t.Errorf("got %v", err)
	}
	// Somebody did the same: nothing is left to patch.
	c = newClusterStandIn(fixSample(t), "n1")
	c.before = func(c *clusterStandIn) {
		c.w.Version += "x"
		c.w.Spec.Places = slices.Clone(c.w.Spec.Places)
		c.w.Spec.Places[0].Policy = workload.IfNotPresent
	}
	if _, err := fixIt(t, c, ferry.FixRequest{}); err != nil || c.patches != 0 {
		t.Errorf("got %v after %d patches", err, c.patches)
	}
}

// A node that does not take the image keeps the workload as it is.
func TestFixWhereANodeFailsPatchesNothing(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1", "n2")
	c.shelves["n2"].loadErr = errors.New("no space left on device")
	r, err := fixIt(t, c, ferry.FixRequest{})
	var part *ferry.PartlyLoadedError
	if !errors.As(err, &part) || c.patches != 0 || len(part.Load.Targets) != 2 || r.Steps[len(r.Steps)-1].Step != ferry.StepLoaded {
		t.Errorf("got %v after %d patches", err, c.patches)
	}
	// The runtime's words are all that there is of its disk's error.
	if full, ok := errors.AsType[*ferry.FullError](part.Load.Targets[1].Errors()[0]); !ok || !strings.HasPrefix(full.Hint(), "The disk there is full: ") {
		t.Errorf("got %v", part.Load.Targets[1].Errors())
	}
}

// TestFixWaitsForThePodThatComes: the pod of a job that was deleted does not
// run what was loaded; the one in its place does.
func TestFixWaitsForThePodThatComes(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	c.w.Kind, c.w.Spec.Places[0].Policy = "Job", "IfNotPresent"
	c.dying = 2
	r, err := fixIt(t, c, ferry.FixRequest{Objects: []string{"job/my-web"}})
	if err != nil || len(c.deleted) != 1 || len(r.Pods) != 1 || !r.Pods[0].Ready {
		t.Errorf("deleted %v; %+v; %v", c.deleted, r, err)
	}
}

// TestFixSparesThePodThatCameUp: between the look at a waiting pod and its
// deletion its kubelet tried again.
func TestFixSparesThePodThatCameUp(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	c.w.Kind, c.w.Spec.Places[0].Policy = "Job", "IfNotPresent"
	c.dying, c.raced = 2, 1
	r, err := fixIt(t, c, ferry.FixRequest{Objects: []string{"job/my-web"}})
	if err != nil || len(c.deleted) != 0 || len(r.Pods) != 1 || !r.Pods[0].Ready {
		t.Errorf("deleted %v; %+v; %v", c.deleted, r, err)
	}
	if slices.ContainsFunc(r.Steps, func(s ferry.FixStep) bool { return s.Step == ferry.StepStarted }) {
		t.Errorf("a restart is told of, and none was done: %+v", r.Steps)
	}
}

// TestFixLooksAgainAtAPodThatChanged: one that waits still is deleted as it is
// now, and one that changes all the time is left to its kubelet.
func TestFixLooksAgainAtAPodThatChanged(t *testing.T) {
	for raced, deleted := range map[int]int{1: 1, 4: 1, 100: 0} {
		c := newClusterStandIn(fixSample(t), "n1")
		c.w.Kind, c.w.Spec.Places[0].Policy = "Job", "IfNotPresent"
		c.dying, c.raced, c.waitStill = 2, raced, true
		_, _ = fixIt(t, c, ferry.FixRequest{Objects: []string{"job/my-web"}})
		if len(c.deleted) != deleted {
			t.Errorf("changed %d times: deleted %v", raced, c.deleted)
		}
	}
}

// TestFixOfAJobWhosePodIsGone: the pod ended while it was being deleted, which
// its Job counts. ferry claims nothing of what it did not see.
func TestFixOfAJobWhosePodIsGone(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	c.w.Kind, c.w.Spec.Places[0].Policy = "Job", "IfNotPresent"
	c.dying, c.leaves, c.end = 2, true, workload.EndComplete
	r, err := fixIt(t, c, ferry.FixRequest{Objects: []string{"job/my-web"}})
	if err != nil || len(c.deleted) != 1 || len(r.Pods) != 0 {
		t.Fatalf("deleted %v; %+v; %v", c.deleted, r, err)
	}
	if last := r.Steps[len(r.Steps)-1]; last.Step != ferry.StepRunning || last.Text != "job/my-web is done, and no pod of it is left to look at" {
		t.Errorf("got %+v", last)
	}
}

// TestFixOfAContainerThatNeverBegins: it has no logs, and the kubelet says why.
func TestFixOfAContainerThatNeverBegins(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	c.stuck = "CreateContainerError: no command specified"
	_, err := fixIt(t, c, ferry.FixRequest{})
	says(t, err, "not for the sake of an image: container web: CreateContainerError: no command specified")
	if u, ok := errors.AsType[*ferry.UnfinishedError](err); !ok || u.Hint() != "kubectl describe pod -n default my-web-0 tells more." {
		t.Errorf("%v", err)
	}
}

// TestFixWhereTheKubeletAsksAgain: a kubelet that pulled the same image by
// another name wants the registry to be asked. Where the policy is Always still,
// that is no wonder.
func TestFixWhereTheKubeletAsksAgain(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	c.asks = true
	_, err := fixIt(t, c, ferry.FixRequest{Policy: workload.Never})
	e, ok := errors.AsType[*ferry.UnfinishedError](err)
	if !ok || !strings.HasSuffix(e.Text, "does not run after 2s: its nodes hold the image, and the kubelet wants the registry to be asked all the same") ||
		!strings.Contains(e.Hint(), "imagePullCredentialsVerificationPolicy") || len(e.Result.Findings) == 0 {
		t.Errorf("got %v", err)
	}
}

// TestFixFromAFileWithoutTheImage names the file that was given, whatever was
// packed of it.
func TestFixFromAFileWithoutTheImage(t *testing.T) {
	s := newSample()
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{startUpstream(t).push(s.Store, "team/other", "1", s.index)}, To: file})
	_, err := fixIt(t, newClusterStandIn(fixSample(t), "n1"), ferry.FixRequest{From: "oci-archive:" + file})
	says(t, err, "oci-archive:"+file+" does not have ")
}

func TestFixIsBlocked(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(c *clusterStandIn)
		says   string
	}{
		"no right":         {func(c *clusterStandIn) { c.denied = "patch deployments" }, "may not patch deployments in default"},
		"AlwaysPullImages": {func(c *clusterStandIn) { c.always = true }, "AlwaysPullImages"},
		"disk full":        {func(c *clusterStandIn) { c.cause = diagnose.DiskFull }, "loading the image does not help"},
		"no node":          {func(c *clusterStandIn) { c.nodes[0].Ready = false }, "no node that is ready"},
		"nowhere":          {func(c *clusterStandIn) { c.image, c.w.Spec.Places[0].Image = "127.0.0.1:1/no:1", "127.0.0.1:1/no:1" }, "is in no engine on this machine"},
	} {
		c := newClusterStandIn(fixSample(t), "n1")
		tt.change(c)
		r, err := fixIt(t, c, ferry.FixRequest{})
		var blocked *ferry.BlockedError
		if !errors.As(err, &blocked) || len(r.Plan.Blocked) == 0 || !strings.Contains(r.Plan.Blocked[0].Text, tt.says) {
			t.Errorf("%s: got %v", name, err)
		}
		if c.patches != 0 || len(c.deleted) != 0 || c.shelves["n1"].loads != 0 {
			t.Errorf("%s: something was touched", name)
		}
	}
}

// With a policy in force the gate applies, and what cannot be asked is a no.
func TestFixWithAPolicyIsGated(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ferry.policy.yaml")
	if err := os.WriteFile(file, []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, gate := range map[string]ferry.PolicyRequest{"named": {File: file}, "found": {Dir: dir}} {
		c := newClusterStandIn(fixSample(t), "n1")
		_, err := fixIt(t, c, ferry.FixRequest{Gate: gate})
		var refused *ferry.RefusedError
		if !errors.As(err, &refused) || c.patches != 0 || c.shelves["n1"].loads != 0 {
			t.Errorf("%s: got %v after %d patches", name, err, c.patches)
		}
	}
}

// An API server that refuses, or lets a question hang, while pods are waited
// for is waited for as they are; then it is said that nobody can see them.
func TestFixWhereTheAPIServerFalls(t *testing.T) {
	looks := 0
	for name, tt := range map[string]struct {
		falls func(ctx context.Context) error
		says  string
	}{
		"it refuses": {func(context.Context) error { return answerError(0) }, "all steps were done, and whether deploy/my-web runs can no longer be seen: the API server has not answered for "},
		"it hangs": {func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("%w: %w", answerError(0), ctx.Err())
		}, "all steps were done, and whether deploy/my-web runs can no longer be seen: the API server has not answered for "},
		"it comes back": {func(context.Context) error {
			if looks++; looks < 4 {
				return answerError(503)
			}
			return nil
		}, ""},
	} {
		c := newClusterStandIn(fixSample(t), "n1")
		c.falls = tt.falls
		_, err := fixIt(t, c, ferry.FixRequest{})
		if c.patches != 1 {
			t.Errorf("%s: %d patches", name, c.patches)
		}
		if tt.says == "" {
			if err != nil || looks != 4 {
				t.Errorf("%s: %v after %d looks", name, err, looks)
			}
			continue
		}
		var e *ferry.UnfinishedError
		if !errors.As(err, &e) || !strings.HasPrefix(e.Error(), tt.says) || e.Hint() != "Does it run? What was done stays; the same command again goes on from there." {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Waiting pods whose policy needs no patch are made anew, at once.
func TestFixRestartsWaitingPods(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	c.w.Spec.Places[0].Policy = workload.IfNotPresent
	_, err := fixIt(t, c, ferry.FixRequest{})
	if err != nil || c.patches != 0 {
		t.Fatalf("%d patches, %v", c.patches, err)
	}
}

// That pods run something else than what was loaded is seen and said.
func TestFixSeesAnotherDigest(t *testing.T) {
	c := newClusterStandIn(fixSample(t), "n1")
	c.digest = "x@sha256:" + strings.Repeat("0", 64)
	r, err := fixIt(t, c, ferry.FixRequest{})
	if err != nil || r.Pods[0].Loaded || !strings.Contains(r.Steps[len(r.Steps)-1].Text, "run another digest") {
		t.Errorf("got %+v, %v", r.Steps, err)
	}
}
