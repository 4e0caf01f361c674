package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"

	"ferry/internal/command"
	"ferry/internal/credential"
	"ferry/internal/engine"
	"ferry/internal/ferry"
	"ferry/internal/progress"
	"ferry/internal/ref"
	"ferry/internal/registry"
	"ferry/internal/ui"
)

// networkFlags are the flags of every command that talks to registries.
type networkFlags struct {
	authFile  string
	caFiles   []string
	plainHTTP []string
}

func (n *networkFlags) register(f *pflag.FlagSet) {
	f.StringVar(&n.authFile, "authfile", "", "read registry passwords from this file (default: podman's, then docker's)")
	f.StringSliceVar(&n.caFiles, "ca-file", nil, "trust this certificate authority too (PEM, repeatable)")
	f.StringSliceVar(&n.plainHTTP, "plain-http", nil, "talk HTTP without TLS to this HOST[:PORT] (repeatable)")
}

// given are the settings that a command typed instead needs too.
func (n *networkFlags) given() ferry.Given {
	return ferry.Given{AuthFile: n.authFile, CAFiles: n.caFiles, PlainHTTP: n.plainHTTP}
}

func (n *networkFlags) credentialFiles() []string {
	if n.authFile != "" {
		return []string{n.authFile}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	return credential.Files(os.Getenv, home, runtime.GOOS)
}

// world is the world as it is: registries over the network, engines of this
// machine. done ends the progress, before the answer is printed.
func (a *app) world() (w ferry.World, done func(), err error) {
	w, done = a.offlineWorld()
	// Those that are looked for may be missing; the one that was named may not.
	if a.network.authFile != "" {
		if _, err := os.Stat(a.network.authFile); err != nil {
			return w, done, fmt.Errorf("read the passwords of --authfile: %w", err)
		}
	}
	client, err := registry.New(registry.Options{
		Files: a.network.credentialFiles(), CAFiles: a.network.caFiles, PlainHTTP: a.network.plainHTTP,
		UserAgent: "ferry/" + a.version.Version,
		OnRetry: func(host string, err error, after time.Duration) {
			w.Progress.Emit(progress.Retry{What: host, Err: err, After: after})
		},
	})
	if err != nil {
		return w, done, err
	}
	closeProgress := done
	done = func() {
		client.Close()
		closeProgress()
	}
	w.Runtimes = runtimes(localPlatform())
	if dir, err := os.UserCacheDir(); err == nil {
		w.CacheDir = filepath.Join(dir, "ferry")
	}
	w.Target = func(n ref.Name) (ferry.Target, error) { return client.Repository(n) }
	w.Repository = func(n ref.Name) (ferry.Repository, error) { return client.Repository(n) }
	w.Engine = func(t ref.Transport) ferry.Engine {
		program := "podman"
		if t == ref.DockerDaemon {
			program = "docker"
		}
		return localEngine{engine.Engine{Program: program, Run: command.Local{}}}
	}
	return w, done, a.withScanner(&w)
}

// offlineWorld is enough for verbs that only read files.
func (a *app) offlineWorld() (ferry.World, func()) {
	p := ui.NewProgress(a.printer)
	w := ferry.World{Now: time.Now, Progress: p.Event, Given: a.network.given()}
	if dir, err := os.UserCacheDir(); err == nil {
		w.CacheDir = filepath.Join(dir, "ferry")
	}
	return w, p.Close
}

// localEngine is an engine of this machine as pack sees it.
type localEngine struct{ engine.Engine }

// Claim returns the digest that the engine says the image had upstream.
func (l localEngine) Claim(ctx context.Context, name string) (digest.Digest, error) {
	info, err := l.Inspect(ctx, name)
	return info.Claimed, err
}
