// Command testcluster is the harness by hand, and for tests of other modules.
//
//	go -C test/cluster run ./cmd/testcluster build containerd    the folder with containerd 2.x, its shim and ctr
//	go -C test/cluster run ./cmd/testcluster build kube          the folder with Kubernetes' programs
//	go -C test/cluster run ./cmd/testcluster containerd [1.6]    run one, until standard input ends
//	go -C test/cluster run ./cmd/testcluster up [1.6] [2]        a Kubernetes (of two nodes), until standard input ends
//	go -C test/cluster run ./cmd/testcluster clear               remove what killed runs left
//
// containerd prints one line of JSON once it answers: the socket, the folder,
// and enter, the words to put before a command that is to run beside it. up does
// the same for each node, with the kubeconfig and the folder that kubectl is in.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"ferry/test/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		args = []string{"help"}
	}
	more := args[1:]
	switch args[0] {
	case "build":
		return build(ctx, strings.Join(more, " "))
	case "containerd":
		return containerd(ctx, version(more))
	case "up":
		return up(ctx, more)
	case "clear":
		return cluster.Clear(ctx)
	}
	return fmt.Errorf("%q is none of: build containerd, build kube, containerd, up, clear", args[0])
}

func build(ctx context.Context, what string) error {
	of := map[string]func(context.Context) (string, error){
		"containerd": cluster.BuildContainerd, "kube": cluster.BuildKubernetes,
	}[what]
	if of == nil {
		return fmt.Errorf("build containerd or kube, not %q", what)
	}
	dir, err := of(ctx)
	if err == nil {
		fmt.Println(dir)
	}
	return err
}

// version is the containerd that was asked for.
func version(args []string) cluster.Runtime {
	if slices.Contains(args, "1.6") {
		return cluster.Debian
	}
	return cluster.V2
}

func containerd(ctx context.Context, r cluster.Runtime) error {
	n, down, err := cluster.StartContainerd(ctx, r)
	if err != nil {
		return err
	}
	return hold(ctx, node(ctx, n), down)
}

func up(ctx context.Context, args []string) error {
	o := cluster.Options{Containerd: version(args)}
	for _, arg := range args {
		if n, err := strconv.Atoi(arg); err == nil {
			o.Nodes = n
		}
	}
	c, err := cluster.Start(ctx, o)
	if err != nil {
		return err
	}
	var nodes []any
	for _, n := range c.Nodes {
		nodes = append(nodes, node(ctx, n))
	}
	return hold(ctx, map[string]any{"kubeconfig": c.Kubeconfig, "programs": c.Programs, "gateway": c.Gateway, "nodes": nodes}, c.Down)
}

func node(ctx context.Context, n *cluster.Node) any {
	return map[string]any{
		"name": n.Name, "socket": n.Socket, "folder": n.Dir, "version": n.Version, "ip": n.IP, "enter": n.Command(ctx).Args,
	}
}

// hold prints what runs, and takes it down when it is no longer wanted.
func hold(ctx context.Context, what any, down func() error) error {
	err := json.NewEncoder(os.Stdout).Encode(what)
	if err == nil {
		untilDone(ctx)
	}
	return errors.Join(err, down())
}

// untilDone waits for a signal, or for whoever started this to end.
func untilDone(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(done)
	}()
	select {
	case <-ctx.Done():
	case <-done:
	}
}
