package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
)

const pushLong = `Put the images of a bundle into a registry, straight from the file.

What each is called there: the registry's own name outside is dropped, the path
is kept below the prefix. --flatten makes one level of it by writing - for /.

  docker.io/library/nginx:1.27  --to registry.bank.internal/mirror
                    → registry.bank.internal/mirror/library/nginx:1.27
             --flatten
                    → registry.bank.internal/mirror/library-nginx:1.27

Where that would put images of two repositories into one, nothing is sent.

Manifests go as they are, so digests stay what they are upstream; signatures,
SBOMs and attestations go along. Every byte is hashed on its way, and each blob
sent once: what another repository of the registry has is taken from there.
Tags come last. A tag that has the digest already costs one small request, so
the same command again finishes what was interrupted.`

func (a *app) push() *cobra.Command {
	var req ferry.PushRequest
	c := &cobra.Command{
		Use:   "push FILE --to REGISTRY[/PREFIX]",
		Short: "Put the images of a bundle into a registry",
		Long:  pushLong,
		Example: `  ferry push release.tar --to registry.bank.internal/mirror --dry-run
  ferry push release.tar --to registry.bank.internal/mirror
  ferry push release.tar --to registry.bank.internal/mirror --flatten
  ferry push release.tar --to registry.bank.internal --ca-file bank.pem --authfile auth.json`,
		Args:              exactly(1, "which bundle to push"),
		ValidArgsFunction: tarFiles,
		RunE: func(c *cobra.Command, args []string) error {
			req.File = args[0]
			return a.runPush(c, req)
		},
	}
	f := c.Flags()
	f.StringVar(&req.To, "to", "", "the registry, and the path in it below which the images go")
	f.BoolVar(&req.Flatten, "flatten", false, "make one level of each image's path: library/nginx becomes library-nginx")
	f.IntVar(&req.Jobs, "jobs", 4, "how many blobs move at once")
	f.BoolVar(&req.DryRun, "dry-run", false, "look what is there and show the plan, send nothing")
	a.network.register(f)
	return c
}

func (a *app) runPush(c *cobra.Command, req ferry.PushRequest) error {
	w, done, err := a.world()
	if err != nil {
		return err
	}
	a.interrupted = ": what was pushed stays, the same command goes on from there"
	r, err := ferry.Push(c.Context(), w, req)
	done()
	if err != nil {
		return err
	}
	if err := a.printer.Push(r); err != nil {
		return err
	}
	n := r.Failed()
	if n == 0 {
		return nil
	}
	var failed []part
	for _, i := range r.Images {
		if i.State == ferry.PushFailed {
			failed = append(failed, pushFailed(i))
		}
	}
	a.sayParts(failed)
	return partly{fmt.Errorf("%d of %d images are in %s; the same command tries the others again",
		len(r.Images)-n, len(r.Images), r.To)}
}

func pushFailed(i ferry.PushImage) part {
	return part{fmt.Errorf("push %s → %s: %w", i.Name, i.Inside, i.Err), i.Name}
}
