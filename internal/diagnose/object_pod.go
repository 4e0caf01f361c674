package diagnose

import (
	"slices"
	"strings"

	"ferry/internal/pattern"
	"ferry/internal/ref"
)

// pod finds what keeps a pod's images away. What its containers say now
// counts; its events tell the cause where they do not.
func (c *collector) pod(pod object, events []object) {
	before := len(c.causes)
	s := podSetting(c.setting, pod)
	spec := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers, pod.Spec.EphemeralContainers)
	statuses := pod.statuses()
	sick := false
	for _, st := range statuses {
		if c.container(st, spec, events, s) {
			sick = true
		}
	}
	if !sick && pod.Status.Reason == "Evicted" {
		c.add(item{text: pod.Status.Message, setting: s, object: named(reference{}, s)})
	}
	if !sick && creating(statuses) {
		for _, e := range events {
			c.event(e, s)
		}
	}
	if sick {
		for _, e := range events {
			if e.Reason == "FailedToRetrieveImagePullSecret" {
				c.event(e, s)
			}
		}
	}
	if len(c.causes) == before && !sick {
		c.healthy++
	}
}

// creating says that no container of a pod was started yet.
func creating(statuses []containerStatus) bool {
	return !slices.ContainsFunc(statuses, func(s containerStatus) bool { return s.State.Waiting == nil || s.LastState.Terminated != nil })
}

func podSetting(s Setting, pod object) Setting {
	s.Namespace, s.Pod = pod.Metadata.Namespace, pod.Metadata.Name
	s.Node, s.Account = pod.Spec.NodeName, pod.Spec.ServiceAccountName
	for _, r := range pod.Spec.ImagePullSecrets {
		s.Secrets = append(s.Secrets, r.Name)
	}
	if len(pod.Metadata.OwnerReferences) > 0 {
		s.Kind, s.Name = workload(pod.Metadata.OwnerReferences[0], pod.Metadata.Name)
	}
	if s.Nodes == "" {
		s.Nodes = nodeKind(s.Node)
	}
	return s
}

var hashed = pattern.New(`^(.+)-[0-9a-z]{6,10}$`)

// workload is what a person deployed: a ReplicaSet whose name ends like one
// of a Deployment's is a Deployment's.
func workload(owner reference, _ string) (kind, name string) {
	if m := hashed.FindStringSubmatch(owner.Name); m != nil && owner.Kind == "ReplicaSet" {
		return "Deployment", m[1]
	}
	if owner.Kind == "Node" {
		return "", "" // a static pod
	}
	return owner.Kind, owner.Name
}

// nodeKind tells a kind of nodes by a node's name, where that is telling.
func nodeKind(node string) NodeKind {
	switch {
	case node == "minikube" || strings.HasPrefix(node, "minikube-m"):
		return Minikube
	case strings.HasPrefix(node, "k3d-"):
		return K3d
	case strings.HasSuffix(node, "-control-plane"), kindWorker.MatchString(node):
		return Kind
	case strings.HasSuffix(node, ".compute.internal"), strings.HasPrefix(node, "gke-"), strings.HasPrefix(node, "aks-"), strings.Contains(node, ".ec2.internal"):
		return Cloud
	}
	return ""
}

var kindWorker = pattern.New(`^kind-worker\d*$`)

// container finds what keeps a container's image away, and says whether
// anything does.
func (c *collector) container(st containerStatus, spec []specContainer, events []object, s Setting) bool {
	s.Container, s.Image = st.Name, st.Image
	if i := slices.IndexFunc(spec, func(sc specContainer) bool { return sc.Name == st.Name }); i >= 0 {
		s.Image, s.Policy = spec[i].Image, spec[i].ImagePullPolicy
	}
	w := st.State.Waiting
	switch {
	case w != nil && imageReason(w.Reason):
		s.Reason = w.Reason
		c.waiting(w.Reason, w.Message, s, events)
		return true
	case w != nil && w.Reason != "" && w.Reason != "CrashLoopBackOff":
		return c.startError(w.Message, s)
	}
	return c.crashed(st, s)
}

func imageReason(reason string) bool {
	switch reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "ImageInspectError", "InvalidImageName", "RegistryUnavailable",
		"SignatureValidationFailed", "ImageVolumeMountFailed", "ErrImageInspect":
		return true
	}
	return false
}

// waiting tells why a container waits for its image: from its own message,
// from the events about that image, else from the reason alone.
func (c *collector) waiting(reason, message string, s Setting, events []object) {
	object := named(reference{}, s)
	seen, texts := 0, []string{}
	for _, e := range slices.Backward(events) {
		if e.Type != "Normal" && concerns(e, s) {
			texts = append(texts, e.text())
			seen = max(seen, e.Count)
		}
	}
	// The event reads better than the waiting message, which is there longer;
	// "Error: ErrImagePull" says least.
	slices.SortStableFunc(texts, func(a, b string) int { return terse(a) - terse(b) })
	for _, text := range append(texts, reasoned(reason, message)) {
		i := item{text: text, setting: s, object: object, seen: seen}
		if causes := c.reader.Message(i.text, s).Causes; causes[0].Cause != Unknown {
			c.add(i)
			return
		}
	}
	c.add(item{text: reasoned(reason, message), setting: s, object: object, seen: seen})
}

func terse(text string) int {
	if strings.HasPrefix(text, "Error: ") {
		return 1
	}
	return 0
}

// reasoned puts a waiting reason before its message, unless that says it.
func reasoned(reason, message string) string {
	if strings.Contains(message, reason) {
		return message
	}
	return strings.TrimSuffix(reason+": "+message, ": ")
}

// concerns says whether an event speaks of the container's image.
func concerns(e object, s Setting) bool {
	if path := e.subject().FieldPath; path != "" && !strings.Contains(path, "{"+s.Container+"}") {
		return false
	}
	return s.Image == "" || strings.Contains(e.text(), `"`+s.Image+`"`) || !strings.Contains(e.text(), `image "`)
}

// startError tells of a container that could not be started because of its
// image: CreateContainerError and the like.
func (c *collector) startError(message string, s Setting) bool {
	causes := c.reader.Message(message, s).Causes
	if causes[0].Cause == Unknown || causes[0].Confidence == Possible {
		return false
	}
	c.add(item{text: message, setting: s, object: named(reference{}, s)})
	return true
}

// crashed tells of a container that was started in vain because its image is
// for another platform. The text proves it seldom.
func (c *collector) crashed(st containerStatus, s Setting) bool {
	var ends []ending
	for _, e := range []*ending{st.State.Terminated, st.LastState.Terminated} {
		if e != nil {
			ends = append(ends, *e)
		}
	}
	for _, e := range ends {
		if strings.Contains(e.Message, "exec format error") {
			c.add(item{text: e.Message, setting: s, object: named(reference{}, s)})
			return true
		}
	}
	if len(ends) < 2 || slices.ContainsFunc(ends, func(e ending) bool { return e.ExitCode != 1 || e.StartedAt == "" || e.StartedAt != e.FinishedAt }) {
		return false
	}
	c.maybeForeign(s)
	return true
}

// maybeForeign: it ends with 1 in the very second in which it starts, again
// and again, as a program for another processor does under runc.
func (c *collector) maybeForeign(s Setting) {
	t := c.reader.vocabulary.parse("")
	cause := c.reader.cause(verdict{label: PlatformMismatch, sure: Possible, fault: fault{kind: otherPlatform}}, t, s)
	cause.Evidence = []string{"the container " + s.Container + " ends with exit code 1 within the second in which it starts, each time"}
	cause.Meaning = "The image is on the node, and its program ends at once. If its log says \"exec format error\", the image is for another processor; if it says anything else, the image is not at fault."
	if s.Pod != "" {
		in := newEnv(PlatformMismatch, nil, s)
		r := do("read its log: \"exec format error\" proves it", "", in.kubectl("logs", in.Pod, "-c", in.Container, "--previous")...)
		cause.Verify = &r
	}
	c.put(cause, item{object: named(reference{}, s)})
}

func familiar(image string) string {
	n, err := ref.Parse(image)
	if err != nil {
		return image
	}
	return n.Familiar()
}
