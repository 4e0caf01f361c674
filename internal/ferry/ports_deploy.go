package ferry

import (
	"context"

	"ferry/internal/diagnose"
	"ferry/internal/ref"
	"ferry/internal/workload"
)

// Applied is what came of applying one object, or would.
type Applied struct {
	Namespace string
	// New says that it was not there, Changed that it was another.
	New, Changed bool
	// Workload is set for kinds with pods, PullSecret for a Secret, Gives for
	// a ServiceAccount: the pull secrets that its pods get.
	Workload   workload.Workload
	PullSecret *diagnose.PullSecret
	Gives      []string
}

// DeployCluster is a cluster that deploy applies objects to.
type DeployCluster interface {
	Cluster
	// Again lets an API server be asked once more that let a question hang.
	Again()
	// Apply applies an object, or with dry asks what that would do. Its error
	// has Conflict where others hold its fields, UnknownKind where the cluster
	// has no such kind, and Untried where it cannot be rehearsed.
	Apply(ctx context.Context, object []byte, namespace string, dry, force bool) (Applied, error)
	// Established says whether a definition of a kind is in force, or why not.
	Established(ctx context.Context, definition string) (in bool, why string, err error)
	Workload(ctx context.Context, kind, namespace, name string) (workload.Workload, error)
	Pods(ctx context.Context, w workload.Workload) ([]workload.Pod, error)
	AllNodes(ctx context.Context) ([]workload.Node, error)
}

// PullSecrets are what pods log in to registries with.
type PullSecrets interface {
	// PullSecret reads a pull secret; one that is not there is Missing.
	PullSecret(ctx context.Context, namespace, name string) (diagnose.PullSecret, error)
	// Gives are the pull secrets that a service account gives to its pods.
	Gives(ctx context.Context, namespace, account string) ([]string, error)
}

// DeployEnv is what deploy needs beside the World.
type DeployEnv struct {
	Cluster DeployCluster
	Secrets PullSecrets
	// Open returns a repository as a login sees it; nil means without one.
	Open func(ref.Name, *diagnose.Login) (Probed, error)
	// Show is given the plan, Confirm decides whether it is carried out, Step
	// hears of each step. Each may be nil.
	Show    func(*DeployResult) error
	Confirm func() bool
	Step    func(text string)
}
