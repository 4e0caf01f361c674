package ferry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry/internal/diagnose"
	"ferry/internal/progress"
	"ferry/internal/workload"
)

const (
	fixPatience = 5 * time.Minute
	// lookEvery is how often is looked whether the pods run.
	lookEvery = 250 * time.Millisecond
	// crashPatience is how long a container may be in its crash loop before it
	// is told that no image is the problem.
	crashPatience = 15 * time.Second
	// crashLooping is what a container waits for that ends again and again.
	crashLooping = "CrashLoopBackOff"
)

// waitAll waits until the pods run, and looks whether they run what was loaded.
func (f *fixing) waitAll(ctx context.Context) error {
	since := f.world.Now()
	patience := f.req.Timeout
	if patience == 0 {
		patience = fixPatience
	}
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s := &silence{world: f.world}
	var up []FixWorkload
	var down []*UnfinishedError
	for _, p := range f.plan.Workloads {
		err := f.waitInTurn(limit, ctx, s, p, len(down) > 0)
		if err != nil && ctx.Err() == nil && limit.Err() != nil && !failed(err) {
			err = f.unfinished(ctx, s, p, patience)
		}
		e, ok := errors.AsType[*UnfinishedError](err)
		switch {
		case err == nil:
			up = append(up, p)
		case !ok || e.Silent != nil:
			return err
		default:
			down = append(down, e) // what the others do is still to be seen
		}
	}
	if len(up) > 0 {
		if err := f.check(ctx, up, since); err != nil {
			return err
		}
	}
	return together(down)
}

// lastLook is how long one workload may be looked at, when the time is over.
const lastLook = 5 * time.Second

// waitInTurn waits for one workload. Where another has used up the time, it is
// still looked at.
func (f *fixing) waitInTurn(limit, ctx context.Context, s *silence, p FixWorkload, late bool) error {
	if late && limit.Err() != nil {
		last, cancel := context.WithTimeout(ctx, lastLook)
		defer cancel()
		limit = last
	}
	return f.waitFor(limit, s, p)
}

func failed(err error) bool {
	_, ok := errors.AsType[*UnfinishedError](err)
	return ok
}

// together is one error of several; nil where there is none.
func together(all []*UnfinishedError) error {
	if len(all) == 0 {
		return nil
	}
	e := *all[0]
	for _, other := range all[1:] {
		e.Text += "; " + other.Text
	}
	return &e
}

// waitFor waits for one workload, and says how far it is.
func (f *fixing) waitFor(ctx context.Context, silence *silence, p FixWorkload) error {
	f.world.Progress.Emit(progress.Phase{Name: "waiting", Items: p.Desired, Unit: "pods of " + ObjectArgument(p.Object)})
	told := 0
	var crashing time.Time
	for {
		f.env.Cluster.Again()
		put := f.world.Now()
		w, err := f.env.Cluster.Workload(ctx, p.Kind, p.Namespace, p.Name)
		if err == nil {
			var pods []workload.Pod
			if pods, err = f.env.Cluster.Pods(ctx, w); err == nil {
				s := stateOf(w, pods, p.places)
				f.world.Progress.Emit(progress.Advance{Items: s.ready - told})
				told = s.ready
				if over, err := f.over(p, w, s, &crashing); over || err != nil {
					return err
				}
			}
		}
		if err == nil || passing(err) {
			silence.heard(put, err)
		}
		if forbidden := statusOf(err) == statusForbidden; forbidden || gone(err) && !p.Recreate {
			return err // any other fault may heal while there is time
		}
		if err := pause(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// over says whether there is nothing to wait for any more: the pods are up, or
// will not be. crashing is since when a container ends again and again.
func (f *fixing) over(p FixWorkload, w workload.Workload, s rollout, crashing *time.Time) (bool, error) {
	now := f.world.Now()
	switch {
	case w.Ended == workload.EndFailed && !s.waiting:
		return true, f.ended(p, w.Why)
	case s.done:
		return true, nil
	case s.crashes == "":
		*crashing = time.Time{}
	case crashing.IsZero():
		*crashing = now
	case now.Sub(*crashing) > crashPatience:
		return true, &UnfinishedError{Result: f.result, given: f.world.Given, next: logsOf(p), Text: fmt.Sprintf("%s has its images, but its container %s ends again and again", ObjectArgument(p.Object), s.crashes)}
	}
	return false, nil
}

// rollout is how far a workload is.
type rollout struct {
	ready int
	done  bool
	// waiting says that a pod lacks an image still.
	waiting bool
	// crashes is a container that ends again and again, though no pod waits
	// for an image.
	crashes string
}

// stateOf says whether the newest pods of w run. A workload whose pods end by
// themselves is done when they have their images.
func stateOf(w workload.Workload, pods []workload.Pod, places map[string]string) rollout {
	s := rollout{ready: w.Ready}
	alive, started := false, true
	for _, pod := range pods {
		if pod.Deleting || pod.Phase == workload.EndFailed {
			continue // and another comes in its place
		}
		alive = true
		started = started && pod.Phase != "Pending"
		s.waiting = s.waiting || lacks(pod, places)
	}
	if !s.waiting {
		s.crashes = crashLoop(pods)
	}
	switch w.Kind {
	case "Pod":
		s.done = len(pods) == 1 && (pods[0].Ready || pods[0].Phase == "Succeeded")
		if s.done {
			s.ready = 1
		}
	case "Job", "CronJob":
		s.done = w.Ended == workload.EndComplete || alive && started && !s.waiting
	default:
		updated := w.Updated >= w.Desired || w.ByHand
		s.done = w.Observed && updated && w.Ready >= w.Desired && !s.waiting
	}
	return s
}

func crashLoop(pods []workload.Pod) string {
	for _, pod := range pods {
		for _, p := range pod.Places {
			if !pod.Deleting && p.Waiting == crashLooping {
				return p.Name
			}
		}
	}
	return ""
}

// lacks says whether a pod that is not at its end lacks one of the images.
func lacks(pod workload.Pod, places map[string]string) bool {
	if pod.Phase == "Succeeded" || pod.Phase == "Failed" {
		return false
	}
	for _, p := range pod.Places {
		if places[p.Key()] == p.Image && p.List != workload.Volumes && !p.HasImage() {
			return true
		}
	}
	return false
}

// ended is a Job or a pod that got its images and failed.
func (f *fixing) ended(p FixWorkload, why string) error {
	text := strings.TrimSuffix(fmt.Sprintf("%s has its images, and failed: %s", ObjectArgument(p.Object), why), ": ")
	return &UnfinishedError{Result: f.result, given: f.world.Given, next: logsOf(p), Text: text}
}

// check looks whether the pods run the digests that were loaded.
func (f *fixing) check(ctx context.Context, up []FixWorkload, since time.Time) error {
	other := 0
	var unseen []string
	for _, p := range up {
		pods, err := f.supplied(ctx, p)
		if err != nil {
			return err
		}
		if len(pods) == 0 {
			unseen = append(unseen, ObjectArgument(p.Object))
		}
		for _, pod := range pods {
			loaded := f.runs(pod, p.places)
			if !loaded {
				other++
			}
			f.result.Pods = append(f.result.Pods, FixedPod{
				Name: pod.Name, Node: pod.Node, Ready: pod.Ready || pod.Phase == workload.EndSucceeded, Phase: pod.Phase, Loaded: loaded,
				ends: p.Kind == "Job" || p.Kind == "CronJob",
			})
		}
	}
	f.done(StepRunning, seenRunning(f.result.Pods, other, unseen), since)
	return nil
}

// seenRunning says what was seen of the pods. unseen are workloads that are
// done and have no pod left to look at: a Job's may end before it can be
// looked at, and be gone.
func seenRunning(pods []FixedPod, other int, unseen []string) string {
	var parts []string
	switch {
	case len(pods) == 0:
	case other > 0:
		parts = append(parts, fmt.Sprintf("%s; %d of them run another digest than the one that was loaded", podCount(pods), other))
	default:
		parts = append(parts, podCount(pods)+", on the digest that was loaded")
	}
	for _, object := range unseen {
		parts = append(parts, object+" is done, and no pod of it is left to look at")
	}
	return strings.Join(parts, "; ")
}

// supplied are the pods of p that have their images.
func (f *fixing) supplied(ctx context.Context, p FixWorkload) ([]workload.Pod, error) {
	pods, err := f.env.Cluster.Pods(ctx, p.w)
	return slices.DeleteFunc(slices.Clone(pods), func(pod workload.Pod) bool { return pod.Deleting || lacks(pod, p.places) }), err
}

// podCount says how many pods are ready, and what those of Jobs do, which are
// made to end.
func podCount(pods []FixedPod) string {
	ready, stay := 0, 0
	doing := map[string]int{}
	for _, p := range pods {
		switch {
		case p.ends:
			doing[p.Phase]++
			continue
		case p.Ready:
			ready++
		}
		stay++
	}
	var parts []string
	if stay > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d ready", ready, stay))
	}
	for _, d := range []struct{ phase, said string }{
		{workload.EndSucceeded, "completed"}, {"Running", "running"}, {"Pending", "starting"}, {workload.EndFailed, "failed"},
	} {
		if n := doing[d.phase]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, d.said))
		}
	}
	return strings.Join(parts, ", ")
}

// runs says whether all places of a pod that were to get an image run what was
// loaded. A kubelet tells it as NAME@DIGEST or as the digest of the config.
func (f *fixing) runs(pod workload.Pod, places map[string]string) bool {
	for _, p := range pod.Places {
		if places[p.Key()] == "" || p.List == workload.Volumes {
			continue
		}
		id := p.ImageID[strings.LastIndexByte(p.ImageID, '@')+1:]
		id = strings.TrimPrefix(id, "docker://")
		if !f.digests[id] {
			return false
		}
	}
	return true
}

// unfinished explains again, since the pods do not run though all was done.
func (f *fixing) unfinished(ctx context.Context, s *silence, p FixWorkload, waited time.Duration) error {
	if err := s.broken(); err != nil {
		return &UnfinishedError{Result: f.result, given: f.world.Given, Silent: err, Text: fmt.Sprintf("all steps were done, and whether %s runs can no longer be seen: %v", ObjectArgument(p.Object), err)}
	}
	e := &UnfinishedError{Result: f.result, given: f.world.Given, Text: fmt.Sprintf("%s does not run after %s, though all steps were done", ObjectArgument(p.Object), waited)}
	if !f.arrived(ctx, p) {
		r, err := Doctor(ctx, f.world, f.env.Cluster, nil, DoctorRequest{Objects: []string{ObjectArgument(p.Object)}, NoProbe: true})
		if err != nil {
			return e
		}
		f.result.Findings = r.Findings
		if f.asksAgain(ctx, p) {
			e.Text, e.asks = fmt.Sprintf("%s does not run after %s: its nodes hold the image, and the kubelet wants the registry to be asked all the same", ObjectArgument(p.Object), waited), true
		}
	}
	if len(f.result.Findings) == 0 {
		e.Text = fmt.Sprintf("%s has its images, and is not ready after %s: that is not for the sake of an image", ObjectArgument(p.Object), waited)
		e.next = logsOf(p)
		if pod, why := f.neverBegun(ctx, p); pod != "" {
			e.Text += ": " + why
			e.next = []string{"kubectl", "describe", "pod", "-n", p.Namespace, pod} // it has no logs
		}
	}
	return e
}

// asksAgain says whether a pod that was made after all was loaded does not get
// what its node holds, though its policy is not to ask.
func (f *fixing) asksAgain(ctx context.Context, p FixWorkload) bool {
	if p.Kind == "Pod" && !p.Recreate {
		return false // it may wait out a back-off of before
	}
	pods, err := f.env.Cluster.Pods(ctx, p.w)
	return err == nil && slices.ContainsFunc(pods, func(pod workload.Pod) bool {
		return !pod.Deleting && slices.ContainsFunc(pod.Places, func(at workload.PodPlace) bool {
			return p.places[at.Key()] == at.Image && at.Policy != workload.Always && !at.HasImage() && diagnose.AboutImage(at.Waiting)
		})
	})
}

// arrived says whether all pods of the template as it is now have their images.
// Those of before wait for theirs until the new ones run.
func (f *fixing) arrived(ctx context.Context, p FixWorkload) bool {
	f.env.Cluster.Again()
	w, err := f.env.Cluster.Workload(ctx, p.Kind, p.Namespace, p.Name)
	if err != nil {
		return false
	}
	pods, err := f.env.Cluster.Pods(ctx, w)
	if err != nil {
		return false
	}
	policies, some := map[string]string{}, false
	for _, place := range w.Spec.Places {
		policies[place.Key()] = place.Policy
	}
	for _, pod := range pods {
		old := slices.ContainsFunc(pod.Places, func(c workload.PodPlace) bool {
			return p.places[c.Key()] != "" && c.Policy != policies[c.Key()]
		})
		switch {
		case pod.Deleting || old:
		case lacks(pod, p.places) && neverBegan(pod) == "":
			return false
		default:
			some = true
		}
	}
	return some
}

func logsOf(p FixWorkload) []string {
	return []string{"kubectl", "logs", "-n", p.Namespace, ObjectArgument(p.Object)}
}

// neverBegun is a pod with a container that never began, and what the kubelet says
// of that.
func (f *fixing) neverBegun(ctx context.Context, p FixWorkload) (pod, why string) {
	pods, err := f.env.Cluster.Pods(ctx, p.w)
	if err != nil {
		return "", ""
	}
	for _, pod := range pods {
		if why := neverBegan(pod); why != "" && !pod.Deleting {
			return pod.Name, why
		}
	}
	return "", ""
}

// neverBegan is what the kubelet says of a container that it got the image of
// and did not come to begin; "" where there is none.
func neverBegan(pod workload.Pod) string {
	for _, c := range pod.Places {
		if c.Waiting == "CreateContainerError" || c.Waiting == "CreateContainerConfigError" {
			return strings.TrimSuffix(fmt.Sprintf("container %s: %s: %s", c.Name, c.Waiting, c.Message), ": ")
		}
	}
	return ""
}

// Hint says what to do next.
func (e *UnfinishedError) Hint() string {
	if e.Silent != nil {
		return strings.TrimSpace(hintOf(e.Silent) + " What was done stays; the same command again goes on from there.")
	}
	if e.asks {
		return "A kubelet of Kubernetes 1.35 or later that pulled this very image before, by another name or with a login, lets a pod have it by that name, or once the registry lets the pod in (imagePullCredentialsVerificationPolicy). Give the workload that name, or that pull secret."
	}
	if len(e.Result.Findings) == 0 && len(e.next) > 0 {
		return e.given.line(e.next...) + " tells more."
	}
	return "What is wrong now stands above."
}
