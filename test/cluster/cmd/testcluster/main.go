// Command testcluster is the harness by hand, and for tests of other modules.
//
//	go -C test/cluster run ./cmd/testcluster build containerd    the folder with containerd 2.x, its shim and ctr
//	go -C test/cluster run ./cmd/testcluster build kube          the folder with Kubernetes' programs
//	go -C test/cluster run ./cmd/testcluster containerd [1.6]    run one, until standard input ends
//	go -C test/cluster run ./cmd/testcluster clear               remove what killed runs left
//
// containerd prints one line of JSON once it answers: the socket, the folder,
// and enter, the words to put before a command that is to run beside it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
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
	more := append(args[1:], "")[0]
	switch args[0] {
	case "build":
		return build(ctx, more)
	case "containerd":
		return containerd(ctx, more)
	case "clear":
		return cluster.Clear(ctx)
	}
	return fmt.Errorf("%q is none of: build containerd, build kube, containerd, containerd 1.6, clear", args[0])
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

func containerd(ctx context.Context, version string) error {
	r := cluster.V2
	if version == "1.6" {
		r = cluster.Debian
	}
	n, down, err := cluster.StartContainerd(ctx, r)
	if err != nil {
		return err
	}
	err = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"socket": n.Socket, "folder": n.Dir, "version": n.Version, "enter": n.Command(ctx).Args,
	})
	if err == nil {
		untilDone(ctx)
	}
	if downErr := down(); err == nil {
		err = downErr
	}
	return err
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
