// Package cluster runs real containerds and a real Kubernetes for tests, on
// one machine, without the internet, virtual machines or Docker: etcd, API
// server, controller manager, scheduler, kubelets, containerd, runc.
//
// It is a module of its own: nothing of it reaches the product.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Options say what a cluster is to be like. Its zero value is one node with
// containerd 2.x.
type Options struct {
	// Nodes is how many there are, at most 9; 1 if 0.
	Nodes int
	// Containerd is the runtime of all nodes; V2 if empty.
	Containerd Runtime
	// Node shapes the node of a number, counted from 1; nil leaves all as
	// they are by default.
	Node func(number int, gateway string) NodeOptions
	// Admission are admission plugins of the API server besides its own.
	Admission []string
}

// NodeOptions is what a node can have of its own.
type NodeOptions struct {
	// Resolver is the address in its resolv.conf; the cluster's if empty.
	Resolver string
	// Disk, if not 0, is how many bytes containerd can store.
	Disk int64
	// Proxy is the HTTPS_PROXY of its containerd, for hosts in .example.
	Proxy string
	// NoPause leaves out the image of pods' first containers.
	NoPause bool
	// PullsPerSecond, if not 0, is the kubelet's own limit.
	PullsPerSecond int
}

// A Cluster is a Kubernetes that lives as long as the test.
type Cluster struct {
	// Dir holds its keys, logs and data.
	Dir string
	// Kubeconfig lets the administrator in.
	Kubeconfig string
	// Programs is the folder with kubectl and Kubernetes' other programs.
	Programs string
	// Gateway is this machine's address on the nodes' network. Nothing that
	// nodes and pods send goes further than to it.
	Gateway string
	Nodes   []*Node
	// Resolver is the nodes' DNS server.
	Resolver *Resolver

	slot    *slot
	ca      *authority
	client  *http.Client
	options Options
	closers []func() error
}

const (
	serviceRange = "10.96.0.0/16"
	serviceIP    = "10.96.0.1"
	podRange     = "10.244.0.0/16"
	maxNodes     = 9
)

// Up starts a cluster for the test and waits until its nodes are ready. It is
// gone after the test; should the test be killed, the next one clears it.
func Up(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Down(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Start is Up without a test: who calls it calls Down.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	o.Nodes = max(o.Nodes, 1)
	if o.Containerd == "" {
		o.Containerd = V2
	}
	if o.Nodes > maxNodes {
		return nil, fmt.Errorf("start a cluster of %d nodes: at most %d", o.Nodes, maxNodes)
	}
	bin, err := BuildKubernetes(ctx)
	if err != nil {
		return nil, err
	}
	s, err := takeSlot(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		Dir: s.dir, Kubeconfig: filepath.Join(s.dir, "admin.kubeconfig"), Gateway: fmt.Sprintf("10.250.%d.1", s.number),
		Programs: bin, slot: s, options: o, Nodes: make([]*Node, o.Nodes),
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Down())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	if err := c.makeBridge(ctx); err != nil {
		return err
	}
	var err error
	if c.Resolver, err = startResolver(c.Gateway); err != nil {
		return err
	}
	c.closers = append(c.closers, c.Resolver.close)
	if c.ca, err = newAuthority("ferry-test"); err != nil {
		return err
	}
	works := []func() error{func() error { return c.startControlPlane(ctx) }}
	for i := range c.options.Nodes {
		works = append(works, func() error { return c.makeNode(ctx, i+1) })
	}
	if err := together(works); err != nil {
		return err
	}
	works = nil
	for i := range c.Nodes {
		works = append(works, func() error { return c.startKubelet(ctx, i+1) })
	}
	if err := together(works); err != nil {
		return err
	}
	return c.waitReady(ctx)
}

// together does all at the same time.
func together(works []func() error) error {
	errs := make([]error, len(works))
	var wg sync.WaitGroup
	for i, work := range works {
		wg.Go(func() { errs[i] = work() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Down takes the cluster down, and leaves the machine as it was.
func (c *Cluster) Down() error {
	defer c.slot.release()
	var errs []error
	for _, closer := range c.closers {
		errs = append(errs, closer())
	}
	return errors.Join(append(errs, c.slot.clear(context.Background()))...)
}

// Kubectl runs kubectl as the administrator and returns what it printed.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return output(c.KubectlCommand(ctx, args...))
}

// KubectlCommand is Kubectl for those who want to feed or kill it.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	argv := append([]string{c.kube("kubectl"), "--kubeconfig", c.Kubeconfig}, args...)
	return c.slot.command(ctx, argv...)
}

// waitReady waits until pods can be made: nodes are ready, and the default
// service account is there.
func (c *Cluster) waitReady(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := wait(ctx, 90*time.Second, n.Name+" to be ready", func() error { return c.nodeReady(ctx, n.Name) }); err != nil {
			return fmt.Errorf("%w\n%s", err, tail(n.Log("kubelet")))
		}
	}
	return wait(ctx, 30*time.Second, "the default service account", func() error {
		return c.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
	})
}

func (c *Cluster) nodeReady(ctx context.Context, name string) error {
	var node struct {
		Spec struct {
			Taints []struct{ Key string }
		}
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := c.get(ctx, "/api/v1/nodes/"+name, &node); err != nil {
		return err
	}
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("taints %v", node.Spec.Taints)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" && condition.Status == "True" {
			return nil
		}
	}
	return fmt.Errorf("conditions %v", node.Status.Conditions)
}
