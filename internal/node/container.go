package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	"ferry/internal/command"
	"ferry/internal/quote"
)

// maxAnswer is the most that is read of what a program answers, in bytes.
const maxAnswer = 8 << 20

// Engines finds nodes that are containers of an engine on this machine.
type Engines struct {
	// Local runs programs here.
	Local command.Runner
	// Programs are the engines that are asked, in this order.
	Programs []string
}

// The labels by which such nodes are known.
const (
	labelKind         = "io.x-k8s.kind.cluster"
	labelKindRole     = "io.x-k8s.kind.role"
	labelK3d          = "k3d.cluster"
	labelK3dRole      = "k3d.role"
	labelMinikube     = "name.minikube.sigs.k8s.io"
	roleLoadBalancer  = "external-load-balancer"
	roleK3dServer     = "server"
	roleK3dAgent      = "agent"
	kindClusterByName = "kind"
	k3dClusterByName  = "k3s-default"
)

// Kind returns the nodes of a kind cluster; "" is kind's default.
func (e Engines) Kind(ctx context.Context, cluster string) ([]*Node, error) {
	if cluster == "" {
		cluster = kindClusterByName
	}
	next := "kind get clusters tells which there are; ferry load --to kind:NAME takes another. A kind of podman's needs podman here."
	return e.find(ctx, KindKind, cluster, labelKind, next, func(c container) bool {
		return c.Config.Labels[labelKindRole] != roleLoadBalancer
	})
}

// K3d returns the nodes of a k3d cluster; "" is k3d's default.
func (e Engines) K3d(ctx context.Context, cluster string) ([]*Node, error) {
	if cluster == "" {
		cluster = k3dClusterByName
	}
	next := "k3d cluster list tells which there are; ferry load --to k3d:NAME takes another."
	return e.find(ctx, KindK3d, cluster, labelK3d, next, func(c container) bool {
		role := c.Config.Labels[labelK3dRole]
		return role == roleK3dServer || role == roleK3dAgent
	})
}

// container is what both engines tell of a container.
type container struct {
	Name   string
	Config struct{ Labels map[string]string }
	State  struct {
		Running bool
		Status  string
	}
}

// find asks each engine for the containers with a label. The first that has
// some is the one.
func (e Engines) find(ctx context.Context, kind, cluster, label, next string, isNode func(container) bool) ([]*Node, error) {
	var errs []error
	for _, program := range e.Programs {
		all, err := e.labelled(ctx, program, label+"="+cluster)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var nodes []*Node
		for _, c := range all {
			if !isNode(c) {
				continue
			}
			if !c.State.Running {
				return nil, &NotFoundError{
					What: fmt.Sprintf("node %s of %s cluster %s is %s", c.Name, kind, cluster, c.State.Status),
					Next: "Start it: " + quote.Shell(program, "start", c.Name),
				}
			}
			nodes = append(nodes, e.node(program, kind, cluster, c.Name))
		}
		if len(nodes) > 0 {
			return nodes, nil
		}
	}
	return nil, &NotFoundError{What: fmt.Sprintf("no %s cluster is called %s here", kind, cluster), Next: next, Err: notAsked(errs, len(e.Programs))}
}

// notAsked is why no engine could be asked, where that is so.
func notAsked(errs []error, engines int) error {
	if len(errs) < engines {
		return nil
	}
	return errors.Join(errs...)
}

func (e Engines) node(program, kind, cluster, name string) *Node {
	n := &Node{
		Name: name, Kind: kind, Cluster: cluster, Runtime: Containerd,
		Shell:  []string{program, "exec", "--privileged", "-i", name},
		Runner: inContainer{e.Local, program, name},
	}
	return n
}

// labelled returns the containers with a label, by name.
func (e Engines) labelled(ctx context.Context, program, label string) ([]container, error) {
	names, err := ask(ctx, e.Local, program, "ps", "--all", "--filter", "label="+label, "--format", "{{.Names}}")
	if err != nil {
		return nil, err
	}
	list := strings.Fields(string(names))
	if len(list) == 0 {
		return nil, nil
	}
	sort.Strings(list)
	return e.inspect(ctx, program, list)
}

func (e Engines) inspect(ctx context.Context, program string, names []string) ([]container, error) {
	b, err := ask(ctx, e.Local, append([]string{program, "container", "inspect"}, names...)...)
	if err != nil {
		return nil, err
	}
	var all []container
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("what %s tells of its containers is not the expected JSON: %w", program, err)
	}
	for i := range all {
		all[i].Name = strings.TrimPrefix(all[i].Name, "/")
	}
	return all, nil
}

// inContainer runs programs in a container.
type inContainer struct {
	local         command.Runner
	program, name string
}

// Run implements command.Runner, by the same words as kind does.
func (c inContainer) Run(ctx context.Context, cmd command.Command) error {
	argv := []string{c.program, "exec", "--privileged"}
	if cmd.Stdin != nil {
		argv = append(argv, "-i")
	}
	for _, e := range cmd.Env {
		argv = append(argv, "-e", e)
	}
	cmd.Argv, cmd.Env = append(append(argv, c.name), cmd.Argv...), nil
	return c.local.Run(ctx, cmd)
}

// ask runs a program and returns what it answers.
func ask(ctx context.Context, r command.Runner, argv ...string) ([]byte, error) {
	out := &bounded{}
	err := r.Run(ctx, command.Command{Argv: argv, Stdout: out})
	return out.Bytes(), err
}

// bounded keeps what is written to it, up to maxAnswer.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxAnswer {
		return 0, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	return b.Buffer.Write(p)
}
