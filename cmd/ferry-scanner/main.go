// Command ferry-scanner looks into images for ferry, which runs it: it reads
// one request on its stdin and answers on its stdout. It is not for people.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"ferry/internal/scanner"
)

// Stamped by the build: -ldflags "-X main.version=… -X main.commit=…".
var (
	version = "dev"
	commit  = "unknown"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintf(os.Stderr, "ferry-scanner %s (%s) belongs to ferry: run ferry scan\n", version, commit)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := scanner.Serve(ctx, version+" "+commit, os.Stdin, os.Stdout, os.Exit)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ferry-scanner:", err)
		os.Exit(1)
	}
}
