package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
	"ferry/internal/mirror"
)

const mirrorLong = `Write what makes a registry inside the mirror of those outside, for clusters whose
manifests keep upstream's names: containerd's hosts.toml for each registry
outside, a registries.conf for CRI-O and podman, a registries.yaml for k3s.

The images are where ferry push puts them: docker.io/library/nginx:1.27 in
REGISTRY/PREFIX/library/nginx:1.27. Images that were pushed with --flatten cannot
be reached so: ferry rewrite changes the manifests instead.

Upstream is not asked for what the mirror lacks, unless by --fallback: behind the
gap that only hides the answer behind a time-out.

With --to the files lie as on a node: cp -r FOLDER/etc / puts them there.`

func (a *app) mirrorConfig() *cobra.Command {
	var req ferry.MirrorRequest
	c := &cobra.Command{
		Use:   "mirror-config --registry REGISTRY[/PREFIX]",
		Short: "Let nodes ask a registry inside for images named as outside",
		Long:  mirrorLong,
		Example: `  ferry mirror-config --registry registry.bank.internal/mirror --bundle release.tar
  ferry mirror-config --registry registry.bank.internal/mirror --bundle release.tar --for containerd --to node/
  ferry mirror-config --registry registry.bank.internal --host docker.io --host quay.io --ca-file bank.pem --to node/`,
		Args: exactly(0, "the registry by --registry"),
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := ferry.MirrorConfig(c.Context(), req)
			if err != nil {
				return err
			}
			return a.printer.Mirror(r)
		},
	}
	f := c.Flags()
	f.StringVar(&req.Registry, "registry", "", "the registry inside, and the path in it below which the images are")
	f.StringVar(&req.Bundle, "bundle", "", "for the registries outside that this bundle has images of")
	f.StringVar(&req.Lock, "lock", "", "for those that this lock file names")
	f.StringSliceVar(&req.Hosts, "host", nil, "for this registry outside (repeatable)")
	f.StringSliceVar(&req.For, "for", nil, "write the files of these alone: "+strings.Join(mirror.For(), ", "))
	f.StringVar(&req.CAFile, "ca-file", "", "nodes have to trust this certificate authority first (PEM)")
	f.BoolVar(&req.PlainHTTP, "plain-http", false, "the registry inside speaks HTTP without TLS")
	f.BoolVar(&req.Fallback, "fallback", false, "ask upstream for what is not inside")
	f.StringVar(&req.To, "to", "", "write the files below this folder, as they lie on a node")
	_ = c.MarkFlagFilename("bundle", "tar")
	_ = c.MarkFlagFilename("lock", "lock")
	_ = c.MarkFlagDirname("to")
	_ = c.RegisterFlagCompletionFunc("for", cobra.FixedCompletions(mirror.For(), cobra.ShellCompDirectiveNoFileComp))
	return c
}
