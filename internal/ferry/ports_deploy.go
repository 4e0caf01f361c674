package ferry

import (
	"context"

	"ferry/internal/workload"
)

// Applied is what came of applying one object, or would.
type Applied struct {
	Namespace string
	// New says that it was not there, Changed that it was another.
	New, Changed bool
	// Workload is set for kinds that have pods.
	Workload workload.Workload
}

// DeployCluster is a cluster that deploy applies objects to.
type DeployCluster interface {
	Cluster
	// Apply applies an object, or with dry asks what that would do. Its error
	// has Conflict where others hold its fields, and UnknownKind where the
	// cluster has no such kind.
	Apply(ctx context.Context, object []byte, namespace string, dry, force bool) (Applied, error)
	Workload(ctx context.Context, kind, namespace, name string) (workload.Workload, error)
	AllNodes(ctx context.Context) ([]workload.Node, error)
}

// DeployEnv is what deploy needs beside the World.
type DeployEnv struct {
	Cluster DeployCluster
	// Show is given the plan, Confirm decides whether it is carried out, Step
	// hears of each step. Each may be nil.
	Show    func(*DeployResult) error
	Confirm func() bool
	Step    func(text string)
}
