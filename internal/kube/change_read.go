package kube

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	wl "ferry/internal/workload"
)

// The few more fields that fix reads, as the API has them.

type changeable struct {
	Metadata struct {
		metadata
		ResourceVersion string            `json:"resourceVersion"`
		Generation      int64             `json:"generation"`
		Annotations     map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		placedSpec // of a pod without an owner

		Replicas       *int            `json:"replicas"`
		Selector       json.RawMessage `json:"selector"`
		Template       placedTemplate  `json:"template"`
		UpdateStrategy struct {
			Type string `json:"type"`
		} `json:"updateStrategy"`
		Completions *int `json:"completions"`
		Suspend     bool `json:"suspend"`
		Paused      bool `json:"paused"` // a Deployment
		JobTemplate struct {
			Spec struct {
				Template placedTemplate `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration     int64 `json:"observedGeneration"`
		UpdatedReplicas        int   `json:"updatedReplicas"`
		ReadyReplicas          int   `json:"readyReplicas"`
		DesiredNumberScheduled int   `json:"desiredNumberScheduled"`
		UpdatedNumberScheduled int   `json:"updatedNumberScheduled"`
		NumberReady            int   `json:"numberReady"`

		Phase      string      `json:"phase"` // of a pod
		Reason     string      `json:"reason"`
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

type placedTemplate struct {
	Spec placedSpec `json:"spec"`
}

type placedSpec struct {
	podSpec

	NodeSelector map[string]string `json:"nodeSelector"`
	Tolerations  []wl.Toleration   `json:"tolerations"`
	Affinity     struct {
		NodeAffinity struct {
			Required *struct {
				Terms []struct {
					MatchExpressions []wl.Requirement `json:"matchExpressions"`
					MatchFields      []wl.Requirement `json:"matchFields"`
				} `json:"nodeSelectorTerms"`
			} `json:"requiredDuringSchedulingIgnoredDuringExecution"`
		} `json:"nodeAffinity"`
	} `json:"affinity"`
}

// Workload reads a workload, or a pod without an owner.
func (c *Client) Workload(ctx context.Context, kind, namespace, name string) (wl.Workload, error) {
	q, err := place(kind, namespace, name)
	if err != nil {
		return wl.Workload{}, err
	}
	var raw changeable
	if err := c.get(ctx, q, &raw); err != nil {
		return wl.Workload{}, err
	}
	return raw.workload(kind), nil
}

func (r changeable) workload(kind string) wl.Workload {
	m := r.Metadata
	w := wl.Workload{
		Kind: kind, Namespace: m.Namespace, Name: m.Name, UID: m.UID, Version: m.ResourceVersion,
		Labels: m.Labels, Annotations: m.Annotations, Selector: selector(r.Spec.Selector), Desired: 1,
		Observed: r.Status.ObservedGeneration >= m.Generation,
		Updated:  r.Status.UpdatedReplicas, Ready: r.Status.ReadyReplicas,
		ByHand: r.Spec.UpdateStrategy.Type == "OnDelete" || kind == "ReplicaSet" || kind == "ReplicationController",
	}
	if r.Spec.Replicas != nil {
		w.Desired = *r.Spec.Replicas
	}
	if o := m.controller(); o.Name != "" {
		w.Owner = o.Kind + "/" + o.Name
	}
	spec := r.Spec.Template.Spec
	switch kind {
	case "Pod":
		spec, w.Observed = r.Spec.placedSpec, true
		w.Ended, w.Why = r.podEnd()
	case "CronJob":
		spec, w.Desired, w.Observed = r.Spec.JobTemplate.Spec.Template.Spec, 0, true
	case "DaemonSet":
		w.Desired, w.Updated, w.Ready = r.Status.DesiredNumberScheduled, r.Status.UpdatedNumberScheduled, r.Status.NumberReady
	case "Job":
		w.Observed = true
		w.Ended, w.Why = r.jobEnd()
	}
	w.Suspended = r.Spec.Suspend || r.Spec.Paused
	w.Spec = spec.spec()
	return w
}

// jobEnd is how a Job ended, from its conditions.
func (r changeable) jobEnd() (end, why string) {
	for _, c := range r.Status.Conditions {
		if c.Status == "True" && (c.Type == wl.EndComplete || c.Type == wl.EndFailed) {
			return c.Type, strings.TrimSuffix(c.Reason+": "+c.Message, ": ")
		}
	}
	return "", ""
}

func (r changeable) podEnd() (end, why string) {
	if r.Status.Phase == wl.EndSucceeded || r.Status.Phase == wl.EndFailed {
		return r.Status.Phase, r.Status.Reason
	}
	return "", ""
}

func (s placedSpec) spec() wl.Spec {
	out := wl.Spec{
		Places: s.places(), NodeName: s.NodeName, NodeSelector: s.NodeSelector, Tolerations: s.Tolerations,
		Secrets: names(s.ImagePullSecrets), Account: s.ServiceAccountName,
	}
	if required := s.Affinity.NodeAffinity.Required; required != nil {
		out.Affinity = []wl.Term{}
		for _, t := range required.Terms {
			out.Affinity = append(out.Affinity, wl.Term{Labels: t.MatchExpressions, Fields: t.MatchFields})
		}
	}
	return out
}

func (s podSpec) places() []wl.Place {
	var all []wl.Place
	add := func(list string, of []container) {
		for _, c := range of {
			all = append(all, wl.Place{List: list, Name: c.Name, Image: c.Image, Policy: c.ImagePullPolicy})
		}
	}
	add(wl.InitContainers, s.InitContainers)
	add(wl.Containers, s.Containers)
	for _, v := range s.Volumes {
		if v.Image != nil {
			all = append(all, wl.Place{List: wl.Volumes, Name: v.Name, Image: v.Image.Reference, Policy: v.Image.PullPolicy})
		}
	}
	return all
}

// Pods are the pods of w, those too that its ReplicaSets and Jobs made.
func (c *Client) Pods(ctx context.Context, w wl.Workload) ([]wl.Pod, error) {
	if w.Kind == "Pod" {
		var p pod
		if err := c.get(ctx, one("", w.Namespace, "pods", w.Name), &p); err != nil {
			return nil, err
		}
		return []wl.Pod{podOf(p)}, nil
	}
	owners, err := c.makers(ctx, w)
	if err != nil {
		return nil, err
	}
	q := listOf("", w.Namespace, "pods")
	if w.Selector != "" {
		q.query = map[string][]string{"labelSelector": {w.Selector}}
	}
	var all []wl.Pod
	err = list(ctx, c, q, func(p pod) {
		if slices.Contains(owners, p.Metadata.controller().UID) {
			all = append(all, podOf(p))
		}
	})
	return all, err
}

// makers are the UIDs of what makes pods for w: itself, or what it owns.
func (c *Client) makers(ctx context.Context, w wl.Workload) ([]string, error) {
	made := map[string]call{
		"Deployment": listOf("apps/v1", w.Namespace, "replicasets"),
		"CronJob":    listOf("batch/v1", w.Namespace, "jobs"),
	}
	q, ok := made[w.Kind]
	if !ok {
		return []string{w.UID}, nil
	}
	if w.Selector != "" {
		q.query = map[string][]string{"labelSelector": {w.Selector}}
	}
	var all []string
	err := list(ctx, c, q, func(o struct {
		Metadata metadata `json:"metadata"`
	},
	) {
		if o.Metadata.controller().UID == w.UID {
			all = append(all, o.Metadata.UID)
		}
	})
	return all, err
}

func podOf(p pod) wl.Pod {
	out := wl.Pod{
		Namespace: p.Metadata.Namespace, Name: p.Metadata.Name, UID: p.Metadata.UID, Version: p.Metadata.ResourceVersion, Node: p.Spec.NodeName,
		Phase: p.Status.Phase, Created: p.Metadata.CreationTimestamp.Unix(), Deleting: p.Metadata.DeletionTimestamp != nil,
		Owned: p.Metadata.controller().Name != "",
	}
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			out.Ready = c.Status == "True"
		}
	}
	statuses := map[string]containerStatus{}
	for _, s := range p.Status.InitContainerStatuses {
		statuses[wl.InitContainers+"/"+s.Name] = s
	}
	for _, s := range p.Status.ContainerStatuses {
		statuses[wl.Containers+"/"+s.Name] = s
	}
	for _, at := range p.Spec.places() {
		place := wl.PodPlace{Place: at}
		if s, ok := statuses[at.Key()]; ok {
			place.ImageID, place.Ready = s.ImageID, s.Ready
			if s.State.Waiting != nil {
				place.Waiting, place.Message = s.State.Waiting.Reason, s.State.Waiting.Message
			}
		}
		out.Places = append(out.Places, place)
	}
	return out
}

// placedNode is a node with what keeps pods away from it.
type placedNode struct {
	Metadata struct {
		metadata
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Taints        []wl.Taint `json:"taints"`
		ProviderID    string     `json:"providerID"`
		Unschedulable bool       `json:"unschedulable"`
	} `json:"spec"`
	Status struct {
		Conditions []condition `json:"conditions"`
		Addresses  []struct {
			Address string `json:"address"`
		} `json:"addresses"`
		NodeInfo struct {
			Architecture            string `json:"architecture"`
			OperatingSystem         string `json:"operatingSystem"`
			ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
			KubeletVersion          string `json:"kubeletVersion"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

// AllNodes are the nodes, with what the scheduler goes by.
func (c *Client) AllNodes(ctx context.Context) ([]wl.Node, error) {
	var all []wl.Node
	err := list(ctx, c, listOf("", "", "nodes"), func(n placedNode) {
		info := n.Status.NodeInfo
		node := wl.Node{
			Name: n.Metadata.Name, UID: n.Metadata.UID, Labels: n.Metadata.Labels, Annotations: n.Metadata.Annotations,
			Taints: n.Spec.Taints, Cordoned: n.Spec.Unschedulable, Provider: n.Spec.ProviderID,
			OS: info.OperatingSystem, Arch: info.Architecture, Runtime: info.ContainerRuntimeVersion, Kubelet: info.KubeletVersion,
		}
		for _, a := range n.Status.Addresses {
			node.Addresses = append(node.Addresses, a.Address)
		}
		for _, c := range n.Status.Conditions {
			if c.Type == "Ready" {
				node.Ready = c.Status == "True"
			}
		}
		all = append(all, node)
	})
	return all, err
}
