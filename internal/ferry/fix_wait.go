package ferry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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
	for _, p := range f.plan.Workloads {
		if err := f.waitFor(limit, s, p); err != nil {
			if ctx.Err() == nil && limit.Err() != nil {
				return f.unfinished(ctx, s, p, patience)
			}
			return err
		}
	}
	return f.check(ctx, since)
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
				if s.done {
					return nil
				}
				switch {
				case s.crashes == "":
					crashing = time.Time{}
				case crashing.IsZero():
					crashing = f.world.Now()
				case f.world.Now().Sub(crashing) > crashPatience:
					return &UnfinishedError{Result: f.result, given: f.world.Given, next: logsOf(p), Text: fmt.Sprintf("%s has its images, but its container %s ends again and again", ObjectArgument(p.Object), s.crashes)}
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

// rollout is how far a workload is.
type rollout struct {
	ready int
	done  bool
	// crashes is a container that ends again and again, though no pod waits
	// for an image.
	crashes string
}

// stateOf says whether the newest pods of w run. A workload whose pods end by
// themselves is done when they have their images.
func stateOf(w workload.Workload, pods []workload.Pod, places map[string]string) rollout {
	s := rollout{ready: w.Ready}
	waiting, alive := false, false
	for _, pod := range pods {
		if pod.Deleting {
			continue // and another comes in its place
		}
		alive = true
		if lacks(pod, places) {
			waiting = true
		}
	}
	if !waiting {
		s.crashes = crashLoop(pods)
	}
	switch w.Kind {
	case "Pod":
		s.done = len(pods) == 1 && (pods[0].Ready || pods[0].Phase == "Succeeded")
		if s.done {
			s.ready = 1
		}
	case "Job", "CronJob":
		s.done = alive && !waiting
	default:
		updated := w.Updated >= w.Desired || w.ByHand
		s.done = w.Observed && updated && w.Ready >= w.Desired && !waiting
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

// check looks whether the pods run the digests that were loaded.
func (f *fixing) check(ctx context.Context, since time.Time) error {
	other := 0
	for _, p := range f.plan.Workloads {
		pods, err := f.env.Cluster.Pods(ctx, p.w)
		if err != nil {
			return err
		}
		for _, pod := range pods {
			if pod.Deleting || lacks(pod, p.places) {
				continue
			}
			loaded := f.runs(pod, p.places)
			if !loaded {
				other++
			}
			f.result.Pods = append(f.result.Pods, FixedPod{Name: pod.Name, Node: pod.Node, Ready: pod.Ready || pod.Phase == "Succeeded", Loaded: loaded})
		}
	}
	text := fmt.Sprintf("%s, on the digest that was loaded", podCount(f.result.Pods))
	if other > 0 {
		text = fmt.Sprintf("%s; %d of them run another digest than the one that was loaded", podCount(f.result.Pods), other)
	}
	f.done(StepRunning, text, since)
	return nil
}

func podCount(pods []FixedPod) string {
	ready := 0
	for _, p := range pods {
		if p.Ready {
			ready++
		}
	}
	return fmt.Sprintf("%d of %d ready", ready, len(pods))
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
	if len(e.Result.Findings) == 0 && len(e.next) > 0 {
		return e.given.line(e.next...) + " tells more."
	}
	return "What is wrong now stands above."
}
