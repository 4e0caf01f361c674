package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
)

const packLong = `Resolve image names, pull all that they stand for, and seal it in one file.

The file is an OCI image layout in a tar: ferry, skopeo and podman open it as it
is. All platforms are taken unless --platform says otherwise, and signatures,
SBOMs and attestations travel along. Digests stay what they are upstream.

Killed at any moment, the same command goes on where it stopped. The file gets
its name only when all of it is there and hashed.

Where there is a policy (--policy, or ferry.policy.yaml in this folder or above),
what was pulled is scanned and held against it first. What it refuses is not
sealed: exit code 3, and a list of what to do.

Images are named as people write them, or with skopeo's transports:
  nginx:1.27, quay.io/x/y@sha256:…       from a registry
  saved.tar                              what podman save or docker save wrote
  docker-archive:F[:NAME], oci-archive:F[:NAME], oci:FOLDER[:NAME]
  docker-daemon:NAME, containers-storage:NAME
                                         from this machine's docker or podman`

func (a *app) pack() *cobra.Command {
	var req ferry.PackRequest
	var asOf string
	c := &cobra.Command{
		Use:   "pack IMAGE… --to FILE",
		Short: "Pull images and seal them in one file",
		Long:  packLong,
		Example: `  ferry pack nginx:1.27 quay.io/prometheus/node-exporter:v1.8.2 --to release.tar
  ferry pack nginx:1.27 --platform linux/amd64 --to release.tar
  ferry pack containers-storage:localhost/my-web:1.0 --to release.tar
  ferry pack --lock release.tar.lock --to again.tar
  ferry pack nginx:1.28 --base release.tar --to release-2.tar
  ferry pack nginx:1.27 --to release.tar --policy bank.yaml
  ferry pack nginx:1.27 --to release.tar --dry-run`,
		RunE: func(c *cobra.Command, args []string) error {
			req.Places = args
			if asOf != "" {
				t, err := time.Parse(time.RFC3339, asOf)
				if err != nil {
					return usageError{fmt.Errorf("--as-of %q: write it as 2026-11-23T12:00:00Z", asOf), c.CommandPath()}
				}
				req.AsOf = t
			}
			return a.runPack(c, req)
		},
	}
	f := c.Flags()
	f.StringVar(&req.To, "to", "", "the bundle to write")
	f.StringSliceVar(&req.Platforms, "platform", nil, "take only this platform, as in linux/amd64 (repeatable)")
	f.StringVar(&req.Lock, "lock", "", "take the images of this lock file, by digest")
	f.StringVar(&req.Base, "base", "", "take unchanged blobs from this earlier bundle")
	f.IntVar(&req.Jobs, "jobs", 4, "how many images and blobs move at once")
	f.BoolVar(&req.NoReferrers, "no-referrers", false, "leave signatures, SBOMs and attestations behind")
	f.BoolVar(&req.KeepGoing, "keep-going", false, "pack the others when some images fail (exit code 5)")
	f.BoolVar(&req.DryRun, "dry-run", false, "resolve and show the plan, write nothing")
	f.BoolVar(&req.WithDatabase, "with-db", false, "pack the vulnerability database in use along")
	f.StringVar(&asOf, "as-of", "", "the moment that counts for dates in the seal (default now)")
	a.policyFlag(c, &req.Policy)
	a.network.register(f)
	_ = c.MarkFlagFilename("to", "tar")
	_ = c.MarkFlagFilename("lock", "lock")
	_ = c.MarkFlagFilename("base", "tar")
	_ = c.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions(
		[]string{"linux/amd64", "linux/arm64"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) runPack(c *cobra.Command, req ferry.PackRequest) error {
	w, done, err := a.world()
	if err != nil {
		return err
	}
	a.interrupted = ": what was pulled is kept, the same command goes on from there"
	r, err := ferry.Pack(c.Context(), w, req)
	done()
	if err != nil {
		return a.refused(err)
	}
	if err := a.printer.Pack(r); err != nil {
		return err
	}
	if len(r.Failed) > 0 {
		return partly{fmt.Errorf("%d of %d images are not in %s; the same command tries them again",
			len(r.Failed), len(r.Failed)+len(r.Images), r.File)}
	}
	return nil
}
