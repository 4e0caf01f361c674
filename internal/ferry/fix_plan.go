package ferry

import (
	"fmt"
	"slices"
	"strings"

	"ferry/internal/diagnose"
	"ferry/internal/workload"
)

// planWorkload is the pure part: what a workload needs, which policies have to
// change, and which of its pods are made anew.
func planWorkload(w workload.Workload, pods []workload.Pod, found []diagnose.Finding, req FixRequest, given Given) FixWorkload {
	p := FixWorkload{
		Object:  diagnose.Object{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name},
		Desired: w.Desired, Ready: w.Ready, Images: []string{}, Managers: w.Managers(), w: w, places: map[string]string{},
	}
	for _, at := range w.Spec.Places {
		if lacking(at, pods) {
			p.places[at.Key()] = at.Image
			p.add(at.Image)
		}
	}
	for _, f := range found {
		if f.Cause.Cause == diagnose.SandboxImage && f.Image != "" {
			p.add(f.Image) // the pause image: no container names it
		}
	}
	policy := req.Policy
	if policy == "" {
		policy = workload.IfNotPresent
	}
	p.Changes = workload.Changes(w.Spec.Places, policy, func(at workload.Place) bool { return p.places[at.Key()] != "" })
	p.Recreate = w.Kind == "Pod" && req.Recreate && (len(p.Changes) > 0 || len(p.Images) > 0)
	if !p.Recreate && w.Kind != "Pod" && (len(p.Changes) == 0 || w.ByHand || w.Kind == "StatefulSet" || w.Kind == "Job") {
		for _, pod := range pods {
			if waits(pod) {
				p.Restart = append(p.Restart, pod.Name)
			}
		}
	}
	p.ByHand, p.Watch = given.allTyped(p.byHand()), given.typed(p.watchByHand()...)
	return p
}

func (p *FixWorkload) add(image string) {
	if !slices.Contains(p.Images, image) {
		p.Images = append(p.Images, image)
	}
}

// lacking says whether a pod waits for the image of a place. Pods that no node
// was chosen for wait for something else.
func lacking(at workload.Place, pods []workload.Pod) bool {
	for _, pod := range pods {
		if pod.Node == "" || pod.Deleting || pod.Phase == "Succeeded" || pod.Phase == "Failed" {
			continue
		}
		for _, has := range pod.Places {
			if has.Key() != at.Key() || has.Image != at.Image {
				continue
			}
			if at.List == workload.Volumes && pod.Phase == "Pending" || at.List != workload.Volumes && !has.HasImage() {
				return true
			}
		}
	}
	return false
}

// waits says whether a pod is to be made anew, instead of waiting out its
// back-off.
func waits(pod workload.Pod) bool {
	return pod.Owned && !pod.Deleting && slices.ContainsFunc(pod.Places, func(p workload.PodPlace) bool {
		return !p.HasImage() && diagnose.AboutImage(p.Waiting)
	})
}

// stuck is why this workload cannot be changed as it would have to be.
func stuck(p FixWorkload, given Given) *FixBlock {
	switch {
	case len(p.Images) == 0:
		return &FixBlock{
			Text: ObjectArgument(p.Object) + " waits for no image of its own",
			Next: given.line("ferry", "doctor", ObjectArgument(p.Object), "-n", p.Namespace) + " says what is wrong.",
		}
	case len(p.Changes) == 0 || p.Recreate:
		return nil
	case p.w.Suspended && p.Kind == "Deployment":
		return &FixBlock{
			Text: ObjectArgument(p.Object) + " is paused: it makes no pods with another pull policy",
			Next: "Let it go on, and fix it then: " + given.line("kubectl", "rollout", "resume", "deployment/"+p.Name, "-n", p.Namespace),
		}
	case p.Kind == "Pod":
		return &FixBlock{
			Text: fmt.Sprintf("the pull policy of pod/%s cannot be changed while it is there, and no controller would make it anew", p.Name),
			Next: "With --recreate ferry deletes the pod and makes it again with " + p.Changes[0].To + ".",
		}
	case p.Kind == "Job":
		return &FixBlock{
			Text: fmt.Sprintf("the template of job/%s cannot be changed any more, and its policy %s ignores a loaded image", p.Name, p.Changes[0].Policy),
			Next: fmt.Sprintf("Delete the job and make it again with imagePullPolicy: %s; for a CronJob, fix that one.", p.Changes[0].To),
		}
	}
	return nil
}

// byHand are the commands that a person would type for changes and restarts.
func (p *FixWorkload) byHand() [][]string {
	var all [][]string
	name := []string{strings.ToLower(p.Kind), p.Name, "-n", p.Namespace}
	switch {
	case p.Recreate:
		all = append(all, []string{"kubectl", "get", "pod", p.Name, "-n", p.Namespace, "-o", "yaml"}, []string{"kubectl", "replace", "--force", "-f", p.Name + ".yaml"})
	case len(p.Changes) > 0:
		if patch, err := p.w.ByHandPatch(p.Changes); err == nil {
			all = append(all, append(append([]string{"kubectl", "patch"}, name...), "-p", patch))
		}
	}
	if len(p.Restart) > 0 {
		all = append(all, append([]string{"kubectl", "delete", "pod", "-n", p.Namespace}, p.Restart...))
	}
	return all
}

// watchByHand is how a person would wait for the pods. kubectl rollout status
// knows nothing of pods that are not made anew by themselves.
func (p *FixWorkload) watchByHand() []string {
	ready := "readyReplicas"
	switch {
	case p.Kind == "CronJob":
		return []string{"kubectl", "get", "pods", "-n", p.Namespace, "--watch"}
	case !p.w.ByHand:
		return watchByHand(p.Object)
	case p.Kind == "DaemonSet":
		ready = "numberReady"
	}
	return []string{"kubectl", "wait", fmt.Sprintf("--for=jsonpath={.status.%s}=%d", ready, p.Desired), strings.ToLower(p.Kind) + "/" + p.Name, "-n", p.Namespace}
}
