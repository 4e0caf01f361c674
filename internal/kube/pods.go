package kube

import (
	"strings"
	"time"

	"ferry/internal/diagnose"
)

// podFacts turns a pod of the API into facts, as they are now by the server's
// clock.
func (c *Client) podFacts(p pod) diagnose.Pod {
	now, _ := c.clock()
	owner := p.Metadata.controller()
	f := diagnose.Pod{
		Namespace: p.Metadata.Namespace, Name: p.Metadata.Name, UID: p.Metadata.UID,
		Node: p.Spec.NodeName, Phase: p.Status.Phase, Reason: p.Status.Reason, Message: p.Status.Message,
		Created: p.Metadata.CreationTimestamp, Deleting: p.Metadata.DeletionTimestamp != nil,
		Account: p.Spec.ServiceAccountName, Secrets: names(p.Spec.ImagePullSecrets),
		Containers: podContainers(p, now),
	}
	if owner.Name != "" {
		f.Owner = diagnose.Object{Kind: owner.Kind, Namespace: f.Namespace, Name: owner.Name}
	}
	f.Workload = guessWorkload(p.Metadata)
	for _, at := range p.Status.Conditions {
		if at.Type == "PodReadyToStartContainers" {
			there := at.Status == "True"
			f.Sandbox = &there
		}
	}
	return f
}

// guessWorkload is the outermost owner as far as the pod alone tells: a
// Deployment calls its ReplicaSets by its own name and the template's hash, a
// CronJob its Jobs by its own name and a number.
func guessWorkload(m metadata) diagnose.Object {
	owner := m.controller()
	if owner.Name == "" {
		return diagnose.Object{Kind: "Pod", Namespace: m.Namespace, Name: m.Name}
	}
	o := diagnose.Object{Kind: owner.Kind, Namespace: m.Namespace, Name: owner.Name}
	if o.Kind == "Job" {
		// A CronJob calls its Jobs by its own name and the minute (KEP-19).
		if i := strings.LastIndexByte(o.Name, '-'); i > 0 && len(o.Name)-i > 8 && strings.Trim(o.Name[i+1:], "0123456789") == "" {
			o.Kind, o.Name = "CronJob", o.Name[:i]
		}
	}
	if hash := m.Labels["pod-template-hash"]; hash != "" && o.Kind == "ReplicaSet" {
		if name, ok := strings.CutSuffix(o.Name, "-"+hash); ok {
			o.Kind, o.Name = "Deployment", name
		}
	}
	return o
}

func names(list []nameOnly) []string {
	var all []string
	for _, n := range list {
		if n.Name != "" {
			all = append(all, n.Name)
		}
	}
	return all
}

// podContainers are all places of the pod that name an image, with what the
// kubelet says of them.
func podContainers(p pod, now time.Time) []diagnose.Container {
	all := specContainers(p.Spec)
	statuses := map[string]containerStatus{}
	for _, list := range [][]containerStatus{
		p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses,
	} {
		for _, s := range list {
			statuses[s.Name] = s
		}
	}
	for i := range all {
		if s, ok := statuses[all[i].Name]; ok && all[i].Kind != diagnose.ImageVolume {
			withStatus(&all[i], s, now)
		}
	}
	return all
}

func specContainers(s podSpec) []diagnose.Container {
	var all []diagnose.Container
	add := func(kind string, list []container) {
		for _, c := range list {
			all = append(all, diagnose.Container{Name: c.Name, Kind: kind, Image: c.Image, Policy: c.ImagePullPolicy})
		}
	}
	add(diagnose.InitContainer, s.InitContainers)
	add(diagnose.MainContainer, s.Containers)
	add(diagnose.EphemeralContainer, s.EphemeralContainers)
	for _, v := range s.Volumes {
		if v.Image != nil {
			all = append(all, diagnose.Container{
				Name: v.Name, Kind: diagnose.ImageVolume, Image: v.Image.Reference, Policy: v.Image.PullPolicy,
			})
		}
	}
	return all
}

// settles is how long a container has to run before it counts as running again.
// The kubelet looks once a second, and is a little behind on a busy node.
const settles = 5 * time.Second

func withStatus(c *diagnose.Container, s containerStatus, now time.Time) {
	c.Ready, c.ImageID, c.Restarts = s.Ready, s.ImageID, s.RestartCount
	if r := s.State.Running; r != nil {
		c.Running = true
		c.JustRestarted = s.LastState.Terminated != nil && now.Sub(r.StartedAt) < settles
	}
	if w := s.State.Waiting; w != nil {
		c.Waiting = diagnose.Waiting{Reason: w.Reason, Message: w.Message}
	}
	ended := s.State.Terminated
	if ended == nil {
		ended = s.LastState.Terminated
	}
	if ended != nil {
		c.Ended = &diagnose.Ended{
			Reason: ended.Reason, Message: ended.Message, ExitCode: ended.ExitCode,
			Started: ended.StartedAt, Finished: ended.FinishedAt,
		}
	}
}

// eventFacts turns an event of the API into facts.
func eventFacts(e event) diagnose.Event {
	f := diagnose.Event{
		Reason: e.Reason, Message: e.Message, Warning: e.Type == "Warning",
		Container: containerOf(e.InvolvedObject.FieldPath),
		Count:     max(e.Count, 1), First: e.FirstTimestamp, Last: e.LastTimestamp,
	}
	if e.Series != nil {
		f.Count, f.Last = max(f.Count, e.Series.Count), e.Series.LastObservedTime
	}
	if f.First.IsZero() {
		f.First = e.EventTime
	}
	if f.First.IsZero() {
		f.First = e.Metadata.CreationTimestamp
	}
	if f.Last.IsZero() {
		f.Last = f.First
	}
	return f
}

// containerOf reads spec.containers{web}.
func containerOf(fieldPath string) string {
	_, rest, ok := strings.Cut(fieldPath, "{")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(rest, "}")
}

func workloadFacts(kind string, w workload) diagnose.Workload {
	spec := w.Spec.Template.Spec
	if kind == "CronJob" {
		spec = w.Spec.JobTemplate.Spec.Template.Spec
	}
	f := diagnose.Workload{
		Object:  diagnose.Object{Kind: kind, Namespace: w.Metadata.Namespace, Name: w.Metadata.Name},
		Created: w.Metadata.CreationTimestamp, Template: specContainers(spec),
		Secrets: names(spec.ImagePullSecrets), Account: spec.ServiceAccountName,
	}
	switch kind {
	case "DaemonSet":
		f.Desired, f.Ready = w.Status.DesiredNumberScheduled, w.Status.NumberReady
	case "Job":
		f.Desired, f.Ready = orOne(w.Spec.Completions), w.Status.Ready+w.Status.Succeeded
	case "CronJob":
	default:
		f.Desired, f.Ready = orOne(w.Spec.Replicas), w.Status.ReadyReplicas
	}
	for _, c := range w.Status.Conditions {
		if c.Type == "ReplicaFailure" && c.Status == "True" && c.Reason == "FailedCreate" {
			f.Refused = c.Message
		}
	}
	if o := w.Metadata.controller(); o.Name != "" {
		f.Owner = diagnose.Object{Kind: o.Kind, Namespace: f.Namespace, Name: o.Name}
	}
	return f
}

func orOne(n *int) int {
	if n == nil {
		return 1
	}
	return *n
}

// barePod is a pod without an owner as the workload that it is.
func barePod(p diagnose.Pod) diagnose.Workload {
	w := diagnose.Workload{
		Object: p.Object(), Created: p.Created, Desired: 1, Secrets: p.Secrets, Account: p.Account,
		Ready: 1, Owner: p.Owner,
	}
	for _, c := range p.Containers {
		if c.Kind == diagnose.MainContainer && !c.Ready {
			w.Ready = 0
		}
		w.Template = append(w.Template, diagnose.Container{Name: c.Name, Kind: c.Kind, Image: c.Image, Policy: c.Policy})
	}
	return w
}

func nodeFacts(n node) diagnose.Node {
	info := n.Status.NodeInfo
	f := diagnose.Node{
		Name: n.Metadata.Name, OS: info.OperatingSystem, Arch: info.Architecture,
		Runtime: info.ContainerRuntimeVersion, Kubelet: info.KubeletVersion, Provider: n.Spec.ProviderID,
		Labels: n.Metadata.Labels, Unschedulable: n.Spec.Unschedulable, Listed: len(n.Status.Images),
	}
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" && f.Address == "" {
			f.Address = a.Address
		}
	}
	for _, c := range n.Status.Conditions {
		is := diagnose.Condition{Status: c.Status, Reason: c.Reason, Message: c.Message, Since: c.LastTransitionTime}
		switch c.Type {
		case "Ready":
			f.Ready = is
		case "DiskPressure":
			f.Disk = is
		}
	}
	return f
}
