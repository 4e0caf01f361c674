package ferry

import (
	"context"

	"ferry/internal/ref"
	"ferry/internal/workload"
)

// ChangingCluster is a cluster that fix reads and, after it was told to,
// changes.
type ChangingCluster interface {
	Cluster
	// Again lets an API server be asked once more that let a question hang.
	Again()
	// Workload reads a workload or a pod.
	Workload(ctx context.Context, kind, namespace, name string) (workload.Workload, error)
	// Pods are all pods of w.
	Pods(ctx context.Context, w workload.Workload) ([]workload.Pod, error)
	AllNodes(ctx context.Context) ([]workload.Node, error)
	// May asks whether this user may do something; RightTo names the right.
	May(ctx context.Context, r workload.Right) (bool, error)
	RightTo(verb, kind, namespace, name string) workload.Right
	// TryPod says which policies a pod of w would have after the changes, and
	// makes none.
	TryPod(ctx context.Context, w workload.Workload, changes []workload.Change) (map[string]string, error)
	// Patch patches w, or with dry only asks whether that would be accepted.
	// Its error has Conflict where w was changed meanwhile.
	Patch(ctx context.Context, w workload.Workload, patch []byte, dry bool) error
	DeletePod(ctx context.Context, p workload.Pod) error
	// Recreate replaces a pod that has no owner.
	Recreate(ctx context.Context, w workload.Workload, changes []workload.Change) error
}

// LocalImage is an image that an engine of this machine has.
type LocalImage struct {
	// Engine is podman or docker, Place what pack calls the image there.
	Engine, Place string
	// Platform is what it runs on: linux/arm64.
	Platform string
}

// FixEnv is what fix needs beside the World and the cluster.
type FixEnv struct {
	Cluster ChangingCluster
	// Node is the runtime of a node, which is reached when it is asked first.
	Node func(ctx context.Context, n workload.Node) NamedRuntime
	// Local finds an image in the engines of this machine. The error is
	// content.ErrNotFound where none has it.
	Local func(ctx context.Context, n ref.Name) (LocalImage, error)
	// Show is given the plan, Confirm decides whether it is carried out, and
	// Step hears of each step that is done. Each may be nil.
	Show    func(*FixPlan) error
	Confirm func() bool
	Step    func(FixStep)
}
