// Package workload is what has to be known of a workload to bring its images
// to it: which places name an image and by which policy, which nodes its pods
// may run on, and the smallest patch that changes the policy.
//
// It is not for asking the cluster: package kube fills it.
package workload

import (
	"slices"
	"strings"
)

// The pull policies.
const (
	Always       = "Always"
	IfNotPresent = "IfNotPresent"
	Never        = "Never"
)

// The lists of a pod's spec that name images.
const (
	Containers     = "containers"
	InitContainers = "initContainers"
	Volumes        = "volumes"
)

// Workload is a workload, or a pod without an owner.
type Workload struct {
	Kind, Namespace, Name string
	UID                   string
	// Version is its resourceVersion: a patch is made for it and no other.
	Version     string
	Labels      map[string]string
	Annotations map[string]string
	// Owner is its own controller, as in Rollout/my-web; "" where it has none.
	Owner string
	// Selector finds its pods, as the API's query wants it.
	Selector string
	Spec     Spec
	// Desired counts the pods that it wants.
	Desired int
	// ByHand says that its controller leaves pods as they are when the
	// template changes: OnDelete, a bare ReplicaSet.
	ByHand bool
	// Observed says that its controller has seen the newest generation;
	// Updated and Ready count pods of it.
	Observed       bool
	Updated, Ready int
	// Suspended says that a Job or CronJob makes no pods for now, or that a
	// Deployment is paused: it makes none of a template that changed.
	Suspended bool
	// Ended is how a Job or a pod ended, as the API says it: Complete,
	// Succeeded, Failed; "" while it has not. Why is the reason of a failure.
	Ended, Why string
}

// The ends of Jobs and pods.
const (
	EndComplete  = "Complete"  // of a Job
	EndSucceeded = "Succeeded" // of a pod
	EndFailed    = "Failed"    // of either
)

// Spec is what a pod template says of images and of where its pods may run.
type Spec struct {
	Places       []Place
	NodeName     string
	NodeSelector map[string]string
	// Secrets are the pull secrets that it names itself; Account is the
	// service account that gives its pods others, where it names none.
	Secrets []string
	Account string
	// Affinity are the required terms of the node affinity; one of them has
	// to fit. nil is none.
	Affinity    []Term
	Tolerations []Toleration
}

// Place is a place in a pod spec that names an image.
type Place struct {
	List   string `json:"list"` // containers, initContainers, volumes
	Name   string `json:"name"`
	Image  string `json:"image"`
	Policy string `json:"policy,omitempty"`
}

// Key names the place within its pod spec.
func (p Place) Key() string { return p.List + "/" + p.Name }

// Pod is a pod of a workload.
type Pod struct {
	Namespace, Name, UID string
	// Version is what was looked at (resourceVersion).
	Version  string
	Node     string
	Phase    string
	Created  int64 // Unix seconds
	Deleting bool
	Ready    bool
	// Owned says that a controller makes it anew when it is gone.
	Owned  bool
	Places []PodPlace
}

// PodPlace is a place of a pod with what the kubelet says of it.
type PodPlace struct {
	Place

	// ImageID is empty while the image is not there.
	ImageID string
	Ready   bool
	// Waiting and Message are why it does not run.
	Waiting, Message string
}

// HasImages says whether all containers have their images; an image volume's
// tells nothing of itself.
func (p Pod) HasImages() bool {
	return !slices.ContainsFunc(p.Places, func(at PodPlace) bool { return at.List != Volumes && !at.HasImage() })
}

// HasImage says whether the kubelet found the image.
func (p PodPlace) HasImage() bool { return p.ImageID != "" }

// Managers are those who will put the workload back to what they hold: Helm,
// Argo CD, Flux, an owner.
func (w Workload) Managers() []string {
	var all []string
	add := func(name string) {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if w.Owner != "" {
		add(w.Owner)
	}
	if r := w.Annotations["meta.helm.sh/release-name"]; r != "" {
		add("Helm release " + r)
	} else if strings.EqualFold(w.Labels["app.kubernetes.io/managed-by"], "Helm") {
		add("Helm")
	}
	if app := w.Labels["argocd.argoproj.io/instance"]; app != "" {
		add("Argo CD application " + app)
	} else if id := w.Annotations["argocd.argoproj.io/tracking-id"]; id != "" {
		app, _, _ := strings.Cut(id, ":")
		add("Argo CD application " + app)
	}
	if k := w.Labels["kustomize.toolkit.fluxcd.io/name"]; k != "" {
		add("Flux Kustomization " + k)
	}
	if h := w.Labels["helm.toolkit.fluxcd.io/name"]; h != "" {
		add("Flux HelmRelease " + h)
	}
	return all
}

// Right is something that the API server may allow, or not.
type Right struct {
	Verb, Group, Resource, Namespace, Name string
}

// String says it as a person would.
func (r Right) String() string {
	s := r.Verb + " " + r.Resource
	if r.Namespace != "" {
		s += " in " + r.Namespace
	}
	return s
}
