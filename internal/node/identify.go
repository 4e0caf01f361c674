package node

import (
	"strings"
)

// Facts are what Kubernetes tells of a node, as far as they say how it can be
// reached.
type Facts struct {
	Name       string
	ProviderID string
	Labels     map[string]string
	// KubeletVersion and Runtime are nodeInfo's: v1.35.4, containerd://2.2.3.
	KubeletVersion string
	Runtime        string
	Addresses      []string
}

// Way is how a node can be reached.
type Way struct {
	Kind string
	// Cluster is the name that kind, k3d or minikube have for it.
	Cluster string
	// Engine is the program that runs the node as a container, where the node
	// says so.
	Engine string
}

// Identify tells the kind of a node by what Kubernetes tells of it. hostname
// is this machine's.
func Identify(f Facts, hostname string) Way {
	if rest, ok := strings.CutPrefix(f.ProviderID, "kind://"); ok {
		engine, rest, _ := strings.Cut(rest, "/")
		cluster, _, _ := strings.Cut(rest, "/")
		return Way{Kind: KindKind, Cluster: cluster, Engine: engine}
	}
	if p := f.Labels["minikube.k8s.io/name"]; p != "" {
		return Way{Kind: KindMinikube, Cluster: p}
	}
	if f.Name == "docker-desktop" && ParseRuntime(f.Runtime) == Docker {
		return Way{Kind: KindDesktop}
	}
	k3s := strings.Contains(f.KubeletVersion, "+k3s") || strings.Contains(f.KubeletVersion, "+rke2")
	if k3s && strings.HasPrefix(f.Name, "k3d-") {
		return Way{Kind: KindK3d, Cluster: k3dCluster(f.Name)}
	}
	if hostname != "" && strings.EqualFold(f.Name, hostname) {
		return Way{Kind: KindHost}
	}
	if k3s {
		return Way{Kind: KindK3s}
	}
	return Way{Kind: KindOther}
}

// k3dCluster reads k3d-CLUSTER-server-0, where CLUSTER may have such words too.
func k3dCluster(name string) string {
	name = strings.TrimPrefix(name, "k3d-")
	end := max(strings.LastIndex(name, "-server-"), strings.LastIndex(name, "-agent-"))
	if end < 0 {
		return name
	}
	return name[:end]
}
