package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"ferry/internal/command"
	"ferry/internal/content"
	"ferry/internal/engine"
	"ferry/internal/ferry"
	"ferry/internal/node"
	"ferry/internal/quote"
	"ferry/internal/ref"
	"ferry/internal/workload"
)

// localImage looks for an image in podman's store, then in docker's.
func localImage(ctx context.Context, n ref.Name) (ferry.LocalImage, error) {
	for _, e := range []struct {
		program   string
		transport ref.Transport
	}{{"podman", ref.ContainersStorage}, {"docker", ref.DockerDaemon}} {
		info, err := engine.Engine{Program: e.program, Run: command.Local{}}.Inspect(ctx, n.String())
		if err == nil {
			return ferry.LocalImage{
				Engine: e.program, Place: string(e.transport) + ":" + n.String(), Platform: info.OS + "/" + info.Architecture,
			}, nil
		}
		if ctx.Err() != nil {
			return ferry.LocalImage{}, ctx.Err()
		}
		// An engine that is not there, or does not answer, has nothing to give.
	}
	return ferry.LocalImage{}, fmt.Errorf("%s: %w in podman and docker", n.Familiar(), content.ErrNotFound)
}

// nodes lists the nodes of the cluster.
func (k *kubeFlags) nodes(ctx context.Context, version string) ([]workload.Node, error) {
	c, err := k.cluster(version)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.AllNodes(ctx)
}

// clusterNode is the runtime of a node of a cluster, by the way that was named
// for it or that its kind tells.
func (n *nodes) clusterNode(_ context.Context, f workload.Node) ferry.NamedRuntime {
	if target, ok := n.ways[f.Name]; ok {
		return n.named(f.Name, target)
	}
	facts := node.Facts{
		Name: f.Name, ProviderID: f.Provider, Labels: f.Labels, KubeletVersion: f.Kubelet, Runtime: f.Runtime, Addresses: f.Addresses,
	}
	way := node.Identify(facts, n.env.hostname)
	r := nodeRuntime(f.Name, func(ctx context.Context) (*node.Node, error) {
		found, err := n.byKind(ctx, way, facts)
		if err != nil {
			return nil, err
		}
		return pick(found, f.Name)
	})
	return r
}

// named is a node by the way that --node names.
func (n *nodes) named(name, target string) ferry.NamedRuntime {
	kind, rest, _ := strings.Cut(target, ":")
	if kind == "containerd" {
		return nodeRuntime(name, func(context.Context) (*node.Node, error) {
			here := node.Here(command.Local{}, node.Containerd, rest)
			return here, nil
		})
	}
	d, err := node.ParseDestination(target)
	if err != nil {
		return nodeRuntime(name, func(context.Context) (*node.Node, error) { return nil, err })
	}
	return n.overSSH(name, d)
}

// byKind finds the nodes of the cluster that a node belongs to.
func (n *nodes) byKind(ctx context.Context, way node.Way, f node.Facts) ([]*node.Node, error) {
	runtime := node.ParseRuntime(f.Runtime)
	switch way.Kind {
	case node.KindMinikube:
		return n.minikube().Nodes(ctx, way.Cluster)
	case node.KindKind:
		return n.engines().Kind(ctx, way.Cluster)
	case node.KindK3d:
		return n.engines().K3d(ctx, way.Cluster)
	case node.KindDesktop, node.KindHost:
		here := node.Here(command.Local{}, runtime, "")
		here.Name = f.Name
		if strings.Contains(f.KubeletVersion, "+k3s") || strings.Contains(f.KubeletVersion, "+rke2") {
			here.Socket = engine.Sockets()[1]
		}
		return []*node.Node{here}, nil
	}
	example := "ssh://root@" + f.Name
	if len(f.Addresses) > 0 {
		example = "ssh://root@" + f.Addresses[0]
	}
	return nil, &node.NotFoundError{
		What: "nothing tells how to reach it: it is none of minikube's, kind's, k3d's, and not this machine",
		Next: "Say how: " + quote.Shell("--node", f.Name+"="+example) + " (or =containerd:SOCKET, for a socket of this machine).",
	}
}

// pick keeps one node and closes the others.
func pick(found []*node.Node, name string) (*node.Node, error) {
	var mine *node.Node
	var errs []error
	for _, f := range found {
		if f.Name == name && mine == nil {
			mine = f
			continue
		}
		errs = append(errs, f.End())
	}
	if mine == nil {
		return nil, errors.Join(append(errs, fmt.Errorf("there is no such node among those of its cluster here"))...)
	}
	return mine, errors.Join(errs...)
}
