package diagnose

// The files facts*.go belong to the live cluster: what an API server told
// (Facts), and the pure decision from facts to findings. They are filled by
// package kube and used by the verbs doctor and fix. All else in this package
// is about text.

import (
	"time"

	"ferry/internal/credential"
)

// Facts are what a cluster told of its images: no more than is needed to say
// what is wrong, however large the cluster is.
type Facts struct {
	// Now is the API server's clock; ages are counted by it, since this
	// machine's may be wrong.
	Now time.Time
	// Skew is how far this machine's clock is ahead of the API server's.
	Skew time.Duration
	// Pods are those that are not simply fine, with their events.
	Pods []Pod
	// Workloads are the owners of Pods, and those that were asked for by name.
	Workloads []Workload
	// Nodes are all nodes, in the order of their names.
	Nodes []Node
	// Secrets are the pull secrets that Pods name.
	Secrets []PullSecret
	// Accounts are the service accounts of Pods.
	Accounts []Account
	// Images are the names of images that pods use, as written, the fine ones
	// too: what a mistyped name may have meant. At most 5,000.
	Images []string
	// Named says that workloads were asked for by name: nodes that have none
	// of their pods are then nobody's question.
	Named bool
	// Seen counts what was looked at.
	Seen Seen
	// Version is the API server's, of the pods: a watch goes on from there.
	Version string
	// Unseen is what could not be looked at, and why.
	Unseen []Unseen
}

// Seen counts the pods that were looked at, and the workloads whose pods are
// all fine.
type Seen struct {
	Pods int `json:"pods"`
	Fine int `json:"fine"`
}

// Unseen is something that the API server did not show.
type Unseen struct {
	// What was asked for, in words: "events in default".
	What string `json:"what"`
	// Why it was not shown.
	Why string `json:"why"`
	// Lacks is the permission that would help: "list events"; may be empty.
	Lacks string `json:"lacks,omitempty"`
}

// Object names an object of the cluster.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Pod is a pod, as far as its images are concerned.
type Pod struct {
	Namespace string
	Name      string
	UID       string
	Node      string // "" before it is scheduled
	Phase     string
	Reason    string // of the whole pod: Evicted
	Message   string
	Created   time.Time
	Deleting  bool
	// Owner is the controller that its metadata names: often a ReplicaSet.
	Owner Object
	// Workload is the outermost owner that is known; the pod itself where
	// there is none.
	Workload Object
	// Account is the service account; Secrets are the names of the pull
	// secrets that the kubelet uses for it.
	Account string
	Secrets []string
	// Sandbox says that the pod's sandbox, and so the pause image, is there;
	// nil where the API server does not tell.
	Sandbox    *bool
	Containers []Container
	Events     []Event
}

// Object names the pod.
func (p Pod) Object() Object { return Object{Kind: "Pod", Namespace: p.Namespace, Name: p.Name} }

// The kinds of places in a pod that name an image.
const (
	MainContainer      = "container"
	InitContainer      = "init container"
	EphemeralContainer = "ephemeral container"
	ImageVolume        = "image volume"
)

// Container is a place in a pod, or in a workload's template, that names an
// image. The status fields are empty in a template.
type Container struct {
	Name string
	// Kind is one of the constants above.
	Kind string
	// Image as it is written in the spec, and its pull policy.
	Image  string
	Policy string

	// Ready, ImageID and Restarts as the kubelet reports them. ImageID is
	// empty while the image is not on the node.
	Ready    bool
	ImageID  string
	Restarts int
	Running  bool
	// JustRestarted says that it runs since a moment ago, having ended before:
	// between two ends of a crash loop the API server holds that it runs.
	JustRestarted bool
	// Waiting is why it does not run yet: ImagePullBackOff.
	Waiting Waiting
	// Ended is how it ended last, if it did.
	Ended *Ended
	// Log is the end of its log, fetched where it ended at once.
	Log string
}

// Waiting is the waiting state of a container.
type Waiting struct {
	Reason  string
	Message string
}

// Ended is the terminated state of a container.
type Ended struct {
	Reason   string
	Message  string
	ExitCode int
	Started  time.Time
	Finished time.Time
}

// Event is an event about a pod, its owner or a node.
type Event struct {
	Reason  string
	Message string
	Warning bool
	// Container is the name in the event's field path; "" for the whole pod.
	Container string
	Count     int
	First     time.Time
	Last      time.Time
}

// Workload is what a person deployed: a Deployment, a StatefulSet, a
// DaemonSet, a Job, a CronJob, or a pod without an owner.
type Workload struct {
	Object

	Created time.Time
	// Desired and Ready count its pods; a CronJob has none of its own.
	Desired int
	Ready   int
	// Template holds the containers as the workload's template has them: what
	// has to be patched. Their status fields are empty.
	Template []Container
	// Secrets and Account are those of the template.
	Secrets []string
	Account string
	// Events are those about the workload or its ReplicaSets: FailedCreate.
	Events []Event
	// Refused is why pods of it cannot be made now, where its status says so:
	// its pods of before may all be there.
	Refused string
	// Owner is set where something ferry does not know made it: an Argo
	// Rollout, an operator's own kind. A patch may be undone by that.
	Owner Object
}

// Node is a node of the cluster.
type Node struct {
	Name string
	// OS and Arch as in an image's platform; Runtime is
	// containerRuntimeVersion, as in containerd://2.2.3.
	OS       string
	Arch     string
	Runtime  string
	Kubelet  string // kubeletVersion
	Provider string // providerID
	Labels   map[string]string
	// Address is its internal address.
	Address string
	Ready   Condition
	// Disk is the condition DiskPressure.
	Disk          Condition
	Unschedulable bool
	// Images are the names of images that the node lists and that are asked
	// about here. The kubelet lists 50 images at most: that a name is not
	// here proves nothing.
	Images []string
	// Listed is how many images the node lists in all.
	Listed int
	Events []Event
}

// Condition is a condition of a node.
type Condition struct {
	Status  string // True, False, Unknown
	Reason  string
	Message string
	Since   time.Time
}

// PullSecret is what is known of a secret that a pod names. Its logins stay
// in Logins, which never shows them.
type PullSecret struct {
	Namespace string
	Name      string
	// Missing says that the namespace has no such secret; Elsewhere names
	// namespaces that do.
	Missing   bool
	Elsewhere []string
	Type      string
	// Hosts are the registries, with their paths, that it holds logins for.
	Hosts []string
	// Logins is nil where the secret could not be parsed; Problem says why.
	Logins  *credential.File
	Problem string
	// Created is when it was made: a pod keeps the answer that it got before.
	Created time.Time
}

// Account is a service account and the pull secrets that it gives to new pods.
type Account struct {
	Namespace string
	Name      string
	Secrets   []string
}
