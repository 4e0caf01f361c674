package diagnose

import "strings"

// Platform is the node's platform as images name theirs: linux/arm64.
func (n Node) Platform() string {
	if n.OS == "" || n.Arch == "" {
		return ""
	}
	return n.OS + "/" + n.Arch
}

// Kind says what the node is, and the name that minikube, kind or k3d know
// its cluster by; both are empty where nothing tells.
func (n Node) Kind() (kind NodeKind, profile string) {
	switch {
	case strings.HasPrefix(n.Provider, "kind://"):
		// kind://docker/CLUSTER/NODE
		parts := strings.Split(strings.TrimPrefix(n.Provider, "kind://"), "/")
		if len(parts) >= 2 {
			return Kind, parts[1]
		}
		return Kind, ""
	case n.Labels["minikube.k8s.io/name"] != "":
		return Minikube, n.Labels["minikube.k8s.io/name"]
	case strings.Contains(n.Kubelet, "+rke2"):
		return RKE2, ""
	case strings.Contains(n.Kubelet, "+k3s"):
		return k3sKind(n.Name)
	}
	for _, cloud := range []string{"aws://", "gce://", "azure://", "digitalocean://", "hcloud://", "openstack://", "ibm://", "oci://", "alicloud://"} {
		if strings.HasPrefix(n.Provider, cloud) {
			return Cloud, ""
		}
	}
	return "", ""
}

// k3sKind tells k3d's nodes by their names: k3d-CLUSTER-server-0.
func k3sKind(name string) (kind NodeKind, profile string) {
	rest, ok := strings.CutPrefix(name, "k3d-")
	if !ok {
		return K3s, ""
	}
	for _, role := range []string{"-server-", "-agent-"} {
		if i := strings.LastIndex(rest, role); i > 0 {
			return K3d, rest[:i]
		}
	}
	return K3d, ""
}
