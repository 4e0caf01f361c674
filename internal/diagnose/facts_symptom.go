package diagnose

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Symptom is a text in which a cluster says what it could not do, and about
// which image of which pod. It is what Message is asked about.
type Symptom struct {
	// Workload, Pod and Container say whom it is about; Pod is empty for what
	// is about a node or a workload as a whole.
	Workload  Object
	Pod       Object
	Container string
	Kind      string // of the container
	Image     string
	Policy    string
	Node      string
	// Reason is the waiting reason or the event's; From is where the text
	// stood, in words: event, waiting state, log.
	Reason string
	From   string
	Text   string
	Count  int
	First  time.Time
	Last   time.Time
}

// Symptoms are all texts in f that say why an image is not there, or cannot
// be run: at most a few for each pod.
func (f *Facts) Symptoms() []Symptom {
	var all []Symptom
	for _, p := range f.Pods {
		all = append(all, p.symptoms()...)
	}
	for _, w := range f.Workloads {
		for _, e := range w.Events {
			if e.Reason == reasonCreate {
				all = append(all, Symptom{Workload: w.Object}.from(e))
			}
		}
	}
	for _, n := range f.Nodes {
		if !f.Named || slices.ContainsFunc(f.Pods, func(p Pod) bool { return p.Node == n.Name }) {
			all = append(all, n.symptoms()...)
		}
	}
	return all
}

func (s Symptom) from(e Event) Symptom {
	s.From, s.Reason, s.Text, s.Count, s.First, s.Last = "event", e.Reason, e.Message, e.Count, e.First, e.Last
	return s
}

func (p Pod) symptom(c Container) Symptom {
	return Symptom{
		Workload: p.Workload, Pod: p.Object(), Container: c.Name, Kind: c.Kind, Image: c.Image, Policy: c.Policy,
		Node: p.Node, Count: 1, First: p.Created,
	}
}

func (p Pod) symptoms() []Symptom {
	if p.Reason == "Evicted" {
		s := p.symptom(Container{})
		s.From, s.Reason, s.Text = "pod status", p.Reason, p.Message
		return []Symptom{s}
	}
	if s, ok := p.sandboxSymptom(); ok {
		return []Symptom{s}
	}
	var all []Symptom
	for _, c := range p.Containers {
		if s, ok := p.containerSymptom(c); ok {
			all = append(all, s)
		}
	}
	return all
}

// sandboxSymptom is the failure of the pod's sandbox, which needs the pause
// image, while it still stands.
func (p Pod) sandboxSymptom() (Symptom, bool) {
	if p.Sandbox != nil && *p.Sandbox || slices.ContainsFunc(p.Containers, Container.begun) {
		return Symptom{}, false
	}
	e, ok := newest(p.Events, func(e Event) bool { return strings.HasPrefix(e.Reason, "FailedCreatePodSandBox") })
	if !ok {
		return Symptom{}, false
	}
	return p.symptom(Container{}).from(e), true
}

// begun says that the kubelet has come so far as to the container, so that
// its pod has a sandbox.
func (c Container) begun() bool {
	return c.ImageID != "" || c.Running || c.Ended != nil || AboutImage(c.Waiting.Reason)
}

func (p Pod) containerSymptom(c Container) (Symptom, bool) {
	s := p.symptom(c)
	switch {
	case c.runs() || c.Kind == ImageVolume:
		return s, false
	case AboutImage(c.Waiting.Reason):
		return p.inVolume(p.pullSymptom(s, c)), true
	case c.MayBeForeign():
		s.From, s.Reason, s.First, s.Last = "log", c.Ended.Reason, c.Ended.Started, c.Ended.Finished
		s.Text, s.Count = foreignText(c), c.Restarts+1
		return s, s.Text != ""
	case strings.HasPrefix(c.Waiting.Reason, "Create"):
		// CreateContainerError: an unpacked image that broke shows here.
		s.From, s.Reason, s.Text = "waiting state", c.Waiting.Reason, c.Waiting.Message
		return s, s.Text != ""
	case len(p.Secrets) > 0 && strings.ContainsAny(c.Waiting.Reason, " :"):
		// Where it cannot read a pull secret, the kubelet gives its error's
		// text as the reason.
		s.From, s.Reason, s.Text = "waiting state", reasonSecret, c.Waiting.Reason
		return s, true
	}
	return s, false
}

// pullSymptom picks the text that says most: the waiting state's where it
// carries the cause (Kubernetes 1.32 and later), else the event's. The event is
// the one that counts how often.
func (p Pod) pullSymptom(s Symptom, c Container) Symptom {
	e, ok := p.pullEvent(c)
	if ok {
		s = s.from(e)
	}
	if !ok || carriesCause(c.Waiting) && !putOff(c.Waiting.Message) && !strings.Contains(e.Message, withoutBackOff(c.Waiting.Message)) {
		s.From, s.Text = "waiting state", c.Waiting.Message
	}
	s.Reason = c.Waiting.Reason
	return s
}

// pullEvent is the newest event about a pull of the container. That the kubelet
// throttles its pulls hides why the ones before failed, so those count first.
func (p Pod) pullEvent(c Container) (Event, bool) {
	about := func(e Event) bool {
		return e.Warning && (e.Container == c.Name || e.Container == "") && tellsPull(e)
	}
	e, ok := newest(p.Events, func(e Event) bool { return about(e) && !putOff(e.Message) })
	if !ok {
		return newest(p.Events, about)
	}
	return e, true
}

// putOff says whether a message is the kubelet's own throttle, which passes
// by itself.
func putOff(message string) bool { return strings.Contains(message, "pull QPS exceeded") }

// inVolume finds the image volume that a text is about: the kubelet says of a
// container that it waits for its image, though it is a volume's.
func (p Pod) inVolume(s Symptom) Symptom {
	if strings.Contains(s.Text, strconv.Quote(s.Image)) {
		return s
	}
	for _, c := range p.Containers {
		if c.Kind == ImageVolume && strings.Contains(s.Text, strconv.Quote(c.Image)) {
			s.Container, s.Kind, s.Image, s.Policy = c.Name, c.Kind, c.Image, c.Policy
		}
	}
	return s
}

// tellsPull says whether an event is about a pull and tells more than that it
// failed.
func tellsPull(e Event) bool {
	switch e.Reason {
	case "Failed":
		return strings.HasPrefix(e.Message, "Failed to pull image")
	case "ErrImageNeverPull", "InspectFailed":
		return true
	}
	return false
}

// carriesCause says whether a waiting message tells the cause, and not only that
// the kubelet waits.
func carriesCause(w Waiting) bool {
	if w.Reason != "ImagePullBackOff" {
		return w.Message != ""
	}
	return strings.Contains(w.Message, ": ErrImagePull: ")
}

// withoutBackOff is the part of a waiting message that the event has too.
func withoutBackOff(message string) string {
	_, rest, ok := strings.Cut(message, ": ErrImagePull: ")
	if !ok {
		return message
	}
	return rest
}

// reasonCreate is the reason of an event that says why a workload has no pods.
const reasonCreate = "FailedCreate"

// reasonSecret stands for a waiting reason that is an error about a secret.
const reasonSecret = "pull secret"

// foreignText is what tells that the processor cannot run the program.
func foreignText(c Container) string {
	for _, text := range []string{c.Log, c.Ended.Message, c.Waiting.Message} {
		for line := range strings.Lines(text) {
			if strings.Contains(line, "exec format error") {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}

func newest(events []Event, fits func(Event) bool) (Event, bool) {
	var best Event
	found := false
	for _, e := range events {
		if fits(e) && (!found || e.Last.After(best.Last)) {
			best, found = e, true
		}
	}
	return best, found
}

func (n Node) symptoms() []Symptom {
	var all []Symptom
	about := func(c Condition) Symptom {
		return Symptom{Node: n.Name, From: "node condition", Reason: c.Reason, Text: c.Message, Count: 1, First: c.Since, Last: c.Since}
	}
	if n.Ready.Status == "False" && strings.Contains(strings.ToLower(n.Ready.Message), "runtime") {
		all = append(all, about(n.Ready))
	}
	if n.Disk.Status == "True" {
		all = append(all, about(n.Disk))
	}
	e, ok := newest(n.Events, func(e Event) bool { return e.Reason == "FreeDiskSpaceFailed" || e.Reason == "ImageGCFailed" })
	if ok {
		all = append(all, Symptom{Node: n.Name}.from(e))
	}
	return all
}
