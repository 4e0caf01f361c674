// Package node finds the nodes of a cluster, the container runtime on each,
// and a way to reach it: minikube, kind, k3d, k3s, any machine by SSH, this
// one.
//
// It is not for loading images: it hands out ways to run programs on a node
// and to connect to its runtime's socket.
package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"ferry/internal/command"
)

// Runtime is the program on a node that keeps images for the kubelet.
type Runtime string

// The runtimes.
const (
	Containerd Runtime = "containerd"
	Docker     Runtime = "docker"
	CRIO       Runtime = "cri-o"
)

// ParseRuntime reads what Kubernetes, minikube and people call a runtime:
// containerd://2.2.3, docker, crio. "" is none that is known.
func ParseRuntime(s string) Runtime {
	name, _, _ := strings.Cut(s, ":")
	switch name {
	case "containerd", "docker":
		return Runtime(name)
	case "cri-o", "crio":
		return CRIO
	}
	return ""
}

// The kinds of nodes.
const (
	KindMinikube = "minikube"
	KindKind     = "kind"
	KindK3d      = "k3d"
	KindK3s      = "k3s"
	KindSSH      = "ssh"
	KindHost     = "this machine"
	KindDesktop  = "docker-desktop"
	KindOther    = "other"
)

// The sockets of runtimes, where their packages put them.
const (
	socketContainerd = "/run/containerd/containerd.sock"
	socketK3s        = "/run/k3s/containerd/containerd.sock"
	socketDocker     = "/var/run/docker.sock"
	socketDockerCRI  = "/var/run/cri-dockerd.sock"
	socketCRIO       = "/var/run/crio/crio.sock"
)

// Node is a node of a cluster, and how to reach it.
type Node struct {
	// Name is what Kubernetes calls it, as far as that is known.
	Name string
	Kind string
	// Cluster is what kind, k3d or minikube call the cluster.
	Cluster string
	// Runtime is "" where Find has to be asked.
	Runtime Runtime
	// Socket is the runtime's on the node; "" is the usual one.
	Socket string
	// Shell is what a person types before a command to run it on the node.
	Shell []string
	// Runner runs programs on the node with the rights that the runtime wants.
	Runner command.Runner
	// Dial connects to a unix socket on the node. It is nil where programs can
	// be run there and no more.
	Dial func(ctx context.Context, socket string) (net.Conn, error)
	// Close ends the connection to the node; it may be nil.
	Close func() error
}

// End closes n.
func (n *Node) End() error {
	if n.Close == nil {
		return nil
	}
	return n.Close()
}

// Address is the runtime's socket.
func (n *Node) Address() string {
	switch {
	case n.Socket != "":
		return n.Socket
	case n.Runtime == Docker:
		return socketDocker
	case n.Runtime == CRIO:
		return socketCRIO
	case n.Kind == KindK3s, n.Kind == KindK3d:
		return socketK3s
	}
	return socketContainerd
}

// End closes all nodes.
func End(nodes []*Node) error {
	var errs []error
	for _, n := range nodes {
		errs = append(errs, n.End())
	}
	return errors.Join(errs...)
}

// NotFoundError says that there are no such nodes, or no way to them.
type NotFoundError struct {
	What string
	Next string
	Err  error
}

func (e *NotFoundError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.What, e.Err)
	}
	return e.What
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *NotFoundError) Hint() string { return e.Next }
