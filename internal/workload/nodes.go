package workload

import (
	"slices"
	"strconv"
)

// Node is a node, as far as the scheduler and images are concerned.
type Node struct {
	Name        string
	UID         string
	Labels      map[string]string
	Annotations map[string]string
	Taints      []Taint
	// Cordoned takes no new pods, but a DaemonSet's.
	Cordoned bool
	Ready    bool
	// OS and Arch as in an image's platform; Runtime is
	// containerRuntimeVersion, as in containerd://2.2.3.
	OS, Arch, Runtime, Kubelet, Provider string
	Addresses                            []string
}

// Platform is linux/arm64.
func (n Node) Platform() string { return n.OS + "/" + n.Arch }

// Taint keeps pods away that do not tolerate it.
type Taint struct{ Key, Value, Effect string }

// Toleration is what a pod puts up with.
type Toleration struct{ Key, Operator, Value, Effect string }

// Term is a term of a node affinity: all requirements have to fit.
type Term struct {
	Labels []Requirement
	Fields []Requirement // metadata.name is the only one there is
}

// Requirement is about a label or a field.
type Requirement struct {
	Key, Operator string
	Values        []string
}

// MayRun says whether the scheduler may put a pod of spec on n, as far as
// selectors, affinity and taints decide. Resources, pod affinity and volumes
// are not looked at: they decide later, and may decide for any of these nodes.
func (s Spec) MayRun(n Node, kind string) bool {
	if s.NodeName != "" {
		return s.NodeName == n.Name
	}
	for k, v := range s.NodeSelector {
		if got, ok := n.Labels[k]; !ok || got != v {
			return false
		}
	}
	if s.Affinity != nil && !slices.ContainsFunc(s.Affinity, n.fits) {
		return false
	}
	if kind == "DaemonSet" {
		// Its controller adds tolerations to its pods.
		s.Tolerations = append(slices.Clone(s.Tolerations), daemonTolerations()...)
	} else if n.Cordoned {
		return false
	}
	return !slices.ContainsFunc(n.Taints, func(t Taint) bool { return t.keeps(s.Tolerations) })
}

// daemonTolerations are those that the DaemonSet controller adds.
func daemonTolerations() []Toleration {
	var all []Toleration
	for _, key := range []string{"not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable", "network-unavailable"} {
		all = append(all, Toleration{Key: "node.kubernetes.io/" + key, Operator: "Exists"})
	}
	return all
}

// keeps says whether the taint keeps a pod away. PreferNoSchedule does not.
func (t Taint) keeps(tolerated []Toleration) bool {
	if t.Effect != "NoSchedule" && t.Effect != "NoExecute" {
		return false
	}
	return !slices.ContainsFunc(tolerated, t.by)
}

// by says whether a toleration is about the taint. An empty key with Exists
// tolerates everything.
func (t Taint) by(o Toleration) bool {
	if o.Effect != "" && o.Effect != t.Effect || o.Key != "" && o.Key != t.Key {
		return false
	}
	if o.Operator == "Exists" {
		return true
	}
	return o.Key != "" && o.Value == t.Value
}

// fits says whether a term of an affinity fits; an empty one fits nothing.
func (n Node) fits(t Term) bool {
	if len(t.Labels)+len(t.Fields) == 0 {
		return false
	}
	for _, r := range t.Labels {
		value, has := n.Labels[r.Key]
		if !r.met(value, has) {
			return false
		}
	}
	for _, r := range t.Fields {
		if r.Key != "metadata.name" || !r.met(n.Name, true) {
			return false
		}
	}
	return true
}

func (r Requirement) met(value string, has bool) bool {
	switch r.Operator {
	case "In":
		return has && slices.Contains(r.Values, value)
	case "NotIn":
		return !has || !slices.Contains(r.Values, value)
	case "Exists":
		return has
	case "DoesNotExist":
		return !has
	case "Gt", "Lt":
		have, err1 := strconv.ParseInt(value, 10, 64)
		if !has || err1 != nil || len(r.Values) != 1 {
			return false
		}
		than, err := strconv.ParseInt(r.Values[0], 10, 64)
		return err == nil && (r.Operator == "Gt" && have > than || r.Operator == "Lt" && have < than)
	}
	return false
}
