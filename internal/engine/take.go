package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"ferry/internal/command"
	"ferry/internal/ref"
)

// PullFrom has podman pull an image from a registry at address, in plain HTTP,
// under the name that it has elsewhere. Nothing is asked of where the name
// itself leads. Digests stay, and layers that podman has are not fetched.
func (e Engine) PullFrom(ctx context.Context, name, address string) error {
	n, err := ref.Parse(name)
	if err != nil {
		return err
	}
	conf, err := redirect(n, address)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(conf) }()
	argv := []string{"podman", "pull", "--quiet", n.String()}
	c := command.Command{Argv: argv, Stdout: io.Discard, Env: []string{"CONTAINERS_REGISTRIES_CONF=" + conf}}
	if err := e.runner().Run(ctx, c); err != nil {
		return fmt.Errorf("podman pull %s, from this bundle: %w", n, err)
	}
	return nil
}

// redirect writes a registries.conf that has n's repository at address, and
// nowhere else.
func redirect(n ref.Name, address string) (string, error) {
	f, err := os.CreateTemp("", "ferry-registries-*.conf")
	if err != nil {
		return "", err
	}
	path := n.Repository()
	if strings.Contains(n.Registry(), ":") {
		path = n.Path() // no path of a reference has a port in it
	}
	_, err = fmt.Fprintf(f, "[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", n.Repository(), address+"/"+path)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// LoadStream has the engine take an archive in.
func (e Engine) LoadStream(ctx context.Context, r io.Reader) error {
	c := command.Command{Argv: []string{e.Program, "load", "--quiet"}, Stdin: r, Stdout: io.Discard}
	if err := e.runner().Run(ctx, c); err != nil {
		return fmt.Errorf("%s load: %w", e.Program, err)
	}
	return nil
}

// Version asks whether the engine answers at all.
func (e Engine) Version(ctx context.Context) error {
	argv := []string{e.Program, "version"}
	if e.Program == "podman" {
		argv = []string{"podman", "info", "--format", "{{.Version.Version}}"}
	}
	err := e.run(ctx, argv, io.Discard)
	if errors.Is(err, command.ErrNotInstalled) {
		return &AbsentError{Program: e.Program, Err: err}
	}
	return err
}

// InContainerd says whether docker keeps its images in containerd, as Docker
// 29 does: there they keep the digests that they came with, and an image's ID
// is the digest of what stands under its name. In docker's own store it is the
// config's.
func (e Engine) InContainerd(ctx context.Context) (bool, error) {
	out := &limited{left: MaxInspect}
	if err := e.run(ctx, []string{"docker", "info", "--format", "{{json .DriverStatus}}"}, out); err != nil {
		return false, fmt.Errorf("ask docker how it keeps images: %w", err)
	}
	var status [][]string
	if err := json.Unmarshal(out.b, &status); err != nil {
		return false, fmt.Errorf("ask docker how it keeps images: what it answers is not the expected JSON: %w", err)
	}
	return slices.ContainsFunc(status, func(s []string) bool { return slices.Contains(s, snapshotterType) }), nil
}

// Remote says whether podman is a client of a service that is elsewhere, in a
// virtual machine on a Mac. One that does not say so is not.
func (e Engine) Remote(ctx context.Context) bool {
	out := &limited{left: MaxInspect}
	err := e.run(ctx, []string{"podman", "info", "--format", "{{.Host.ServiceIsRemote}}"}, out)
	return err == nil && strings.TrimSpace(string(out.b)) == "true"
}

// AbsentError says that an engine is not on this machine.
type AbsentError struct {
	Program string
	Err     error
}

func (e *AbsentError) Error() string { return e.Err.Error() }

func (e *AbsentError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *AbsentError) Hint() string {
	return fmt.Sprintf("Install %s, or load into another runtime: --to podman, docker or containerd.", e.Program)
}
