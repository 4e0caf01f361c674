// Command ferry carries container images into Kubernetes clusters that cannot
// reach the internet.
package main

import (
	"os"

	"ferry/internal/cli"
)

// Stamped by the build: -ldflags "-X main.version=… -X main.commit=…".
var (
	version = "dev"
	commit  = "unknown"
)

func main() {
	os.Exit(cli.Main(cli.Version{Version: version, Commit: commit}))
}
