package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
	"ferry/internal/serve"
	"ferry/internal/ui"
)

const serveLong = `Answer as a registry, straight from the bundle: nothing is unpacked, nothing can
be pushed, and what the bundle does not hold is not found. Manifests and blobs
are hashed while they are sent; a damaged one never arrives whole.

Images are found in three ways:
  HOST:5000/docker.io/library/nginx:1.27   with their registry in the path
  HOST:5000/library/nginx:1.27             without, where only one registry has it
  docker.io/library/nginx:1.27             by a node that has this as its mirror

It prints the lines that make it the mirror of containerd, CRI-O, podman and
k3s. Ctrl-C ends it once downloads under way are done; a second one at once.

--htpasswd wants a file of htpasswd -B. Off this machine, it wants TLS too.`

type serveFlags struct {
	listen, cert, key, htpasswd string
	patience                    time.Duration
}

func (a *app) serve() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve FILE",
		Short: "Serve a bundle as a registry that only reads",
		Long:  serveLong,
		Example: `  ferry serve release.tar
  ferry serve release.tar --listen 0.0.0.0:5000
  ferry serve release.tar --listen :443 --tls-cert tls.crt --tls-key tls.key --htpasswd users`,
		Args:              exactly(1, "which bundle to serve"),
		ValidArgsFunction: tarFiles,
		RunE:              func(c *cobra.Command, args []string) error { return a.runServe(c, args[0], f) },
	}
	fs := c.Flags()
	fs.StringVar(&f.listen, "listen", "127.0.0.1:5000", "the address to listen on; port 0 takes a free one")
	fs.StringVar(&f.cert, "tls-cert", "", "serve HTTPS with this certificate (PEM)")
	fs.StringVar(&f.key, "tls-key", "", "the certificate's private key (PEM)")
	fs.StringVar(&f.htpasswd, "htpasswd", "", "ask for a name and a password of this file (bcrypt)")
	fs.DurationVar(&f.patience, "patience", 30*time.Second, "how long downloads may go on after Ctrl-C")
	_ = c.MarkFlagFilename("tls-cert")
	_ = c.MarkFlagFilename("tls-key")
	_ = c.MarkFlagFilename("htpasswd")
	return c
}

func (a *app) runServe(c *cobra.Command, file string, f serveFlags) (err error) {
	users, cert, err := f.read(c)
	if err != nil {
		return err
	}
	s, err := ferry.Serve(c.Context(), file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l, err := serve.Listen(c.Context(), f.listen, users, cert)
	if err != nil {
		return asUsage(err, c)
	}
	opts := serve.Options{Blobs: s.Bundle, Users: users, TLS: cert, Patience: f.patience}
	for _, r := range s.Repositories {
		opts.Repositories = append(opts.Repositories, serve.Repository(r))
	}
	log := ui.NewServeLog(a.printer)
	opts.Done = func(x serve.Access) { log.Request(ui.ServedRequest(x)) }
	opts.Note = log.Note
	opts.Ending = func(answers int64) { log.Ending(answers, f.patience) }
	server := serve.New(opts)
	if err := a.announce(s, l, users, cert); err != nil {
		return errors.Join(err, l.Close())
	}
	began := time.Now()
	if err := untilTold(c.Context(), server, l); err != nil {
		return err
	}
	stats := server.Stats()
	log.Ended(stats.Requests, stats.Bytes, stats.Cut, time.Since(began))
	return nil
}

// read reads the files that flags name.
func (f serveFlags) read(c *cobra.Command) (*serve.Users, *tls.Config, error) {
	if (f.cert == "") != (f.key == "") {
		return nil, nil, usageError{errors.New("--tls-cert and --tls-key belong together: give both"), c.CommandPath()}
	}
	var cert *tls.Config
	if f.cert != "" {
		var err error
		if cert, err = serve.Certificate(f.cert, f.key); err != nil {
			return nil, nil, err
		}
	}
	if f.htpasswd == "" {
		return nil, cert, nil
	}
	file, err := os.Open(f.htpasswd)
	if err != nil {
		return nil, nil, fmt.Errorf("read users: %w", err)
	}
	defer file.Close()
	users, err := serve.ParseUsers(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read users from %s: %w", f.htpasswd, err)
	}
	return users, cert, nil
}

// asUsage marks what was refused because of the flags, not of the machine.
func asUsage(err error, c *cobra.Command) error {
	var plain *serve.PlainPasswordError
	if errors.As(err, &plain) {
		return usageError{err, c.CommandPath()}
	}
	return err
}

// announce says where the bundle is served, before the first request is.
func (a *app) announce(s *ferry.Serving, l net.Listener, users *serve.Users, cert *tls.Config) error {
	scheme := "http"
	if cert != nil {
		scheme = "https"
	}
	listen := l.Addr().String()
	return a.printer.Serve(s.Result(listen, scheme+"://"+listen), ui.ServeAccess{
		Host: reachable(l.Addr()), Loopback: serve.Loopback(l.Addr()), Users: users != nil, TLS: cert != nil,
	})
}

// reachable is an address as others reach it: where it is all interfaces, with
// a word in place of the one that only the reader knows.
func reachable(address net.Addr) string {
	host, port, err := net.SplitHostPort(address.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("THIS-MACHINE", port)
	}
	return address.String()
}

// untilTold serves until ctx ends, which is the first signal. A second one
// cuts what is still under way then.
func untilTold(ctx context.Context, server *serve.Server, l net.Listener) error {
	again, ended := make(chan os.Signal, 1), make(chan struct{})
	defer close(ended)
	defer signal.Stop(again)
	go func() {
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		select {
		case <-ended:
		case <-again:
			_ = server.Close()
		}
	}()
	return server.Serve(ctx, l)
}
