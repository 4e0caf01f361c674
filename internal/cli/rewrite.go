package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ferry/internal/ferry"
)

const rewriteLong = `Make manifests fit for a cluster inside: each image gets the name that ferry push
gives it there, the digest that it has in a bundle, and a pull policy that does
not ask the registry again.

Images are found in Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job,
CronJob, ReplicationController, PodTemplate and lists of them: in containers,
initContainers, ephemeralContainers and image volumes. In other objects,
--image-path says where. What looks like an image elsewhere is told, and left.

Only those bytes change: comments, quotes, order and line ends stay. A second
time there is nothing to change. Templates, charts and kustomizations have to be
rendered first.

Without --to or --in-place the manifests go to stdout, as kubectl apply -f - takes
them. Exit code 5: some images could not be changed, or are not in the bundle.`

func (a *app) rewrite() *cobra.Command {
	var req ferry.RewriteRequest
	var diff bool
	c := &cobra.Command{
		Use:   "rewrite -f PATH --registry REGISTRY[/PREFIX]",
		Short: "Make manifests fit for inside: names, digests, pull policies",
		Long:  rewriteLong,
		Example: `  ferry rewrite -f k8s/ --registry registry.bank.internal/mirror --bundle release.tar --diff
  ferry rewrite -f k8s/ --registry registry.bank.internal/mirror --bundle release.tar --to inside/
  ferry rewrite -f k8s/ --registry registry.bank.internal/mirror --lock release.tar.lock --in-place
  helm template web ./chart | ferry rewrite -f - --registry registry.bank.internal | kubectl apply -f -
  ferry rewrite -f db.yaml --registry registry.bank.internal --image-path 'Database:.spec.image'`,
		Args: exactly(0, "the manifests by -f"),
		RunE: func(c *cobra.Command, _ []string) error {
			req.Stdin = os.Stdin
			return a.runRewrite(c, req, diff)
		},
	}
	f := c.Flags()
	registerRewrite(f, &req)
	f.StringVar(&req.To, "to", "", "write the manifests to this folder")
	f.BoolVar(&req.InPlace, "in-place", false, "change the files themselves")
	f.BoolVar(&req.DryRun, "dry-run", false, "show what would become of each image, write nothing")
	f.BoolVar(&diff, "diff", false, "show the changes as a diff, write nothing")
	_ = c.MarkFlagFilename("filename", "yaml", "yml", "json")
	_ = c.MarkFlagFilename("bundle", "tar")
	_ = c.MarkFlagFilename("lock", "lock")
	_ = c.MarkFlagDirname("to")
	_ = c.RegisterFlagCompletionFunc("pull-policy", cobra.FixedCompletions(
		[]string{"IfNotPresent", "Never", "Always", "keep"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// registerRewrite are the flags that say what manifests become.
func registerRewrite(f *pflag.FlagSet, req *ferry.RewriteRequest) {
	f.StringArrayVarP(&req.Paths, "filename", "f", nil, "a file, a folder with all below it, or - (repeatable)")
	f.StringVar(&req.Registry, "registry", "", "the registry inside, and the path in it below which the images are")
	f.BoolVar(&req.Flatten, "flatten", false, "the images were pushed with --flatten")
	f.StringVar(&req.Bundle, "bundle", "", "pin images to the digests that they have in this bundle")
	f.StringVar(&req.Lock, "lock", "", "pin images to the digests that they have in this lock file")
	f.StringVar(&req.PullPolicy, "pull-policy", "IfNotPresent", "set on all containers: IfNotPresent, Never, Always, or keep")
	f.StringArrayVar(&req.ImagePaths, "image-path", nil, "images are here too, as in .spec.image or KIND:.spec.pools[*].image (repeatable)")
}

func (a *app) runRewrite(c *cobra.Command, req ferry.RewriteRequest, diff bool) error {
	req.DryRun = req.DryRun || diff
	a.interrupted = ": each file is either as it was or as it should be"
	r, err := ferry.Rewrite(c.Context(), req)
	if err != nil {
		return err
	}
	show := a.printer.Rewrite
	if diff {
		show = a.printer.RewriteDiff
	}
	if err := show(r); err != nil {
		return err
	}
	if n := r.Incomplete(); n > 0 {
		return partly{fmt.Errorf("%s not fit for inside yet: see above", images(n))}
	}
	return nil
}

func images(n int) string {
	if n == 1 {
		return "1 image or file is"
	}
	return fmt.Sprintf("%d images or files are", n)
}
