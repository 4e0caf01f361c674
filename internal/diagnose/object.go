package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// object is what is read of a Pod, an Event or a list of them.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name            string      `json:"name"`
		Namespace       string      `json:"namespace"`
		UID             string      `json:"uid"`
		OwnerReferences []reference `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		NodeName            string          `json:"nodeName"`
		Containers          []specContainer `json:"containers"`
		InitContainers      []specContainer `json:"initContainers"`
		EphemeralContainers []specContainer `json:"ephemeralContainers"`
		ImagePullSecrets    []reference     `json:"imagePullSecrets"`
		ServiceAccountName  string          `json:"serviceAccountName"`
	} `json:"spec"`
	Status podStatus `json:"status"`

	// Of an Event; events.k8s.io writes note and regarding.
	Reason         string    `json:"reason"`
	Message        string    `json:"message"`
	Note           string    `json:"note"`
	Type           string    `json:"type"`
	Count          int       `json:"count"`
	InvolvedObject reference `json:"involvedObject"`
	Regarding      reference `json:"regarding"`

	Items []object `json:"items"`
}

type reference struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	FieldPath string `json:"fieldPath"`
}

type specContainer struct {
	Name            string `json:"name"`
	Image           string `json:"image"`
	ImagePullPolicy string `json:"imagePullPolicy"`
}

type podStatus struct {
	Phase                      string            `json:"phase"`
	Reason                     string            `json:"reason"`
	Message                    string            `json:"message"`
	ContainerStatuses          []containerStatus `json:"containerStatuses"`
	InitContainerStatuses      []containerStatus `json:"initContainerStatuses"`
	EphemeralContainerStatuses []containerStatus `json:"ephemeralContainerStatuses"`
}

type containerStatus struct {
	Name      string `json:"name"`
	Image     string `json:"image"`
	Ready     bool   `json:"ready"`
	State     state  `json:"state"`
	LastState state  `json:"lastState"`
}

type state struct {
	Waiting *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"waiting"`
	Running    *struct{} `json:"running"`
	Terminated *ending   `json:"terminated"`
}

type ending struct {
	Reason     string `json:"reason"`
	Message    string `json:"message"`
	ExitCode   int    `json:"exitCode"`
	StartedAt  string `json:"startedAt"`
	FinishedAt string `json:"finishedAt"`
}

func (o object) isEvent() bool { return o.Kind == "Event" || o.Kind == "" && o.subject().Name != "" }

// subject is what an event is about.
func (o object) subject() reference {
	if o.Regarding.Name != "" {
		return o.Regarding
	}
	return o.InvolvedObject
}

func (o object) text() string {
	if o.Note != "" {
		return o.Note
	}
	return o.Message
}

// maxObjects is how many pods that are not well, and how many events, are
// kept of one text.
const maxObjects = 20000

// object notes an object of the text; what it means is settled when all are
// known.
func (c *collector) object(o object) {
	switch {
	case len(o.Items) > 0:
		for _, i := range o.Items {
			if i.Kind == "" {
				i.Kind = strings.TrimSuffix(o.Kind, "List")
			}
			c.object(i)
		}
	case o.Kind == "Pod":
		c.podSeen(o)
	case o.isEvent():
		if s := o.subject(); aboutImages(o) && c.events < maxObjects {
			c.events++
			c.about[s.Name] = append(c.about[s.Name], &o)
		}
	}
}

// podSeen keeps a pod, unless it is well.
func (c *collector) podSeen(o object) {
	c.pods++
	if o.well() {
		c.healthy++
		if len(c.wellPods) < 10*maxObjects {
			c.wellPods[o.Metadata.Namespace+"/"+o.Metadata.Name] = true
		}
		return
	}
	if len(c.sick) < maxObjects {
		c.sick = append(c.sick, &o)
	}
}

// well says that all containers of a pod run, or ran to their end.
func (o object) well() bool {
	if o.Status.Phase == "Succeeded" {
		return true
	}
	statuses := o.statuses()
	return len(statuses) > 0 && !slices.ContainsFunc(statuses, func(s containerStatus) bool {
		ended := s.State.Terminated
		return s.State.Running == nil && (ended == nil || ended.ExitCode != 0)
	})
}

func (o object) statuses() []containerStatus {
	return slices.Concat(o.Status.InitContainerStatuses, o.Status.ContainerStatuses, o.Status.EphemeralContainerStatuses)
}

// aboutImages says whether an event can be about an image: the others, such
// as failed probes, tell of errors of another kind.
func aboutImages(o object) bool {
	switch o.Reason {
	case "Failed", "FailedCreatePodSandBox", "FailedCreatePodSandbox", "ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InspectFailed", "InvalidImageName",
		"FailedToRetrieveImagePullSecret", "FailedSync", "BackOff", "FailedMount", "FreeDiskSpaceFailed", "ImageGCFailed", "InvalidDiskCapacity",
		"Evicted", "FailedCreate", "RegistryUnavailable", "SignatureValidationFailed", "ErrImageInspect", "ImageInspectError", "":
		return true
	case "Unhealthy", "FailedScheduling":
		return false
	}
	// Other controllers fetch images too, and name their reasons as they like.
	text := strings.ToLower(o.text())
	return o.Type == "Warning" && (strings.Contains(text, "/v2/") || strings.Contains(text, "image"))
}

// settle finds the causes of all pods, and of the events whose pod the text
// does not show.
func (c *collector) settle() {
	used := map[*object]bool{}
	for _, pod := range c.sick {
		var events []object
		for _, o := range c.about[pod.Metadata.Name] {
			if about(*o, *pod) {
				used[o] = true
				events = append(events, *o)
			}
		}
		c.pod(*pod, events)
	}
	for _, name := range slices.Sorted(maps.Keys(c.about)) {
		for _, o := range c.about[name] {
			s := o.subject()
			if !used[o] && !c.wellPods[s.Namespace+"/"+s.Name] {
				c.event(*o, c.eventSetting(*o))
			}
		}
	}
}

func about(event, pod object) bool {
	s := event.subject()
	if s.UID != "" && pod.Metadata.UID != "" {
		return s.UID == pod.Metadata.UID
	}
	return s.Name == pod.Metadata.Name && (s.Namespace == "" || pod.Metadata.Namespace == "" || s.Namespace == pod.Metadata.Namespace)
}

func (c *collector) eventSetting(o object) Setting {
	s := c.setting
	if sub := o.subject(); sub.Kind == "Pod" || sub.Kind == "" {
		s.Namespace, s.Pod = sub.Namespace, sub.Name
	}
	return s
}

// event adds what an event says, if it is a failure.
func (c *collector) event(o object, s Setting) {
	if o.Type == "Normal" && o.Reason != "BackOff" || harmless(o) {
		return
	}
	s.Reason = o.Reason
	c.add(item{text: o.text(), setting: s, object: named(o.subject(), s), seen: o.Count})
}

// harmless are events about containers that ran.
func harmless(o object) bool {
	return strings.HasPrefix(o.text(), "Back-off restarting") && !strings.Contains(o.text(), "exec format error")
}

func named(r reference, s Setting) string {
	if r.Name == "" {
		r.Name = s.Pod
	}
	if r.Name == "" {
		return ""
	}
	if r.Namespace == "" {
		r.Namespace = s.Namespace
	}
	kind := r.Kind
	if kind == "" {
		kind = "Pod"
	}
	if r.Namespace == "" {
		return kind + " " + r.Name
	}
	return fmt.Sprintf("%s %s/%s", kind, r.Namespace, r.Name)
}
