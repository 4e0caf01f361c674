package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry/internal/command"
	"ferry/internal/engine"
	"ferry/internal/ferry"
	"ferry/internal/quote"
	"ferry/internal/ref"
	"ferry/internal/ui"
)

// podmanPatience is how long podman may take in the demo.
const podmanPatience = 2 * time.Minute

// answer serves, as a registry straight from the bundle, and pulls from it what
// a node would.
func (j *journey) answer(ctx context.Context) (err error) {
	j.step("Or no registry at all: the bundle itself answers as one, read-only, nothing unpacked.",
		"ferry", "serve", "release.tar")
	s, err := serveBundle(ctx, ferry.Delivery{Bundle: j.file, Sent: func(int64) {}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	w, done, err := j.world()
	if err != nil {
		return err
	}
	defer done()
	for _, img := range j.packed.Images {
		upstream, err := ref.Parse(img.Name)
		if err != nil {
			return err
		}
		served, err := ref.Parse(s.address + "/" + upstream.Path() + ":" + upstream.Tag())
		if err != nil {
			return err
		}
		from, err := w.Repository(served)
		if err != nil {
			return err
		}
		stands, _, err := from.Fetch(ctx, served.Tag())
		if err != nil {
			return err
		}
		if stands.Digest != img.Digest {
			return fmt.Errorf("%s is served as %s, and was %s upstream", img.Name, stands.Digest, img.Digest)
		}
		j.say("   %s %s  %s, as upstream", j.printer.Mark(true), served, stands.Digest)
	}
	return nil
}

// bring puts the images where they are run, if podman works here, runs one, and
// takes them away again. What cannot be done here is said and left out.
func (j *journey) bring(ctx context.Context) (err error) {
	j.step("Or onto the machine that runs them, without a registry. loaded means: podman was asked afterwards.",
		"ferry", "load", "release.tar", "--to", "podman")
	ctx, cancel := context.WithTimeout(ctx, podmanPatience)
	defer cancel()
	podman := engine.Engine{Program: "podman", Run: command.Local{}}
	if err := podman.Version(ctx); err != nil {
		return j.skip(ctx, "podman does not work on this machine", err)
	}
	w, done, err := j.world()
	if err != nil {
		return err
	}
	began := time.Now()
	r, err := ferry.Load(ctx, w, ferry.LoadRequest{Places: []string{j.file}, To: []string{"podman"}})
	done()
	if err != nil {
		return j.skip(ctx, "podman could not take them on this machine", err)
	}
	var names []string
	for _, img := range r.Targets[0].Images {
		if img.State == ferry.LoadDone {
			names = append(names, img.Name)
		}
	}
	defer func() { err = errors.Join(err, j.unload(ctx, names)) }()
	if r.Failed() > 0 {
		return j.skip(ctx, "podman could not take them all on this machine", errors.Join(r.Targets[0].Errors()...))
	}
	for _, img := range r.Targets[0].Images {
		j.say("   %s podman holds %s  %s", j.printer.Mark(true), img.Name, img.Digest)
	}
	j.say("   %s sent in %v", ui.Bytes(r.Targets[0].Sent), time.Since(began).Round(time.Millisecond))
	return j.runIn(ctx, r.Targets[0].Images[0].Name)
}

// runIn runs a container of the image, without a network.
func (j *journey) runIn(ctx context.Context, name string) error {
	argv := []string{"podman", "run", "--rm", "--network", "none", name}
	j.step("Run what arrived.", argv...)
	var out bytes.Buffer
	if err := (command.Local{}).Run(ctx, command.Command{Argv: argv, Stdout: &out}); err != nil {
		return j.skip(ctx, "podman runs no containers on this machine", err)
	}
	j.say("   %s %s", j.printer.Mark(true), quote.Terminal(strings.TrimSpace(out.String())))
	return nil
}

// unload removes what the demo loaded: nothing is left on this machine.
func (j *journey) unload(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	return command.Local{}.Run(ctx, command.Command{Argv: append([]string{"podman", "rmi", "--force"}, names...), Stdout: &bytes.Buffer{}})
}

// skip says why a step is left out.
func (j *journey) skip(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	first, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	j.say("   %s skipped: %s: %s", j.printer.Mark(false), what, quote.Terminal(first))
	return nil
}
