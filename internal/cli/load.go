package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ferry/internal/content"
	"ferry/internal/ferry"
	"ferry/internal/workload"
)

const loadLong = `Put images where they are run, without a registry: from a bundle, from an
archive that podman save or docker save wrote, or from wherever pack takes them
(a reference is pulled into ferry's cache first, and only once; the cache keeps
20 GB, and nothing that was not asked for within 30 days).

--to may be given several times. All targets are served at once:
  containerd[:SOCKET]   the containerd of this machine, through its API: only
                        blobs that it lacks are sent, in the namespace k8s.io,
                        under the names that the kubelet looks up, pinned
  podman                podman's store, as if it had pulled from the registry:
                        digests stay what they are
  docker                through docker load: config digests are compared; where
                        docker keeps images in containerd (29), upstream's
  cluster               every node of the current context's cluster, each by
                        what it says of itself, or by --node NAME=…
  minikube[:PROFILE]    every node of a minikube, kind or k3d cluster
  kind[:CLUSTER], k3d[:CLUSTER]
  ssh://USER@HOST[:PORT][/SOCKET]
                        a machine by SSH: the socket of its containerd is
                        forwarded, or its docker or podman is run there
  k3s-dir:FOLDER        archives, one for each image, where k3s reads them when
                        it starts (/var/lib/rancher/k3s/agent/images)
  docker-archive:FILE   a file for docker load, podman load, minikube image load
  oci-archive:FILE      a file for skopeo, podman pull, ctr images import

Afterwards ferry asks each whether name, digest and platform are there: loaded
means that; of files it reads them again. An image for another platform is refused before the first byte.`

func (a *app) load() *cobra.Command {
	var req ferry.LoadRequest
	var platform string
	var reach nodeFlags
	var where kubeFlags
	c := &cobra.Command{
		Use:   "load FILE|ARCHIVE|IMAGE… --to TARGET",
		Short: "Put images into nodes, containerd, podman, docker or an archive",
		Long:  loadLong,
		Example: `  ferry load release.tar --to containerd
  ferry load nginx:1.27 --to podman --to containerd:/run/k3s/containerd/containerd.sock
  ferry load nginx.tar --to containerd                     # what podman save wrote
  ferry load release.tar --to docker-archive:nginx.tar --image nginx:1.27
  ferry load release.tar --to cluster --node node1=ssh://root@10.0.0.11
  ferry load release.tar --to minikube --to ssh://root@node2
  ferry load release.tar --to k3s-dir:/var/lib/rancher/k3s/agent/images
  ferry load release.tar --to containerd --dry-run`,
		Args:              some("which bundle, archive or images to load"),
		ValidArgsFunction: tarFiles,
		RunE: func(c *cobra.Command, args []string) error {
			req.Places = args
			return a.runLoad(c, req, platform, &reach, &where)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&req.To, "to", nil, "where the images go (repeatable)")
	f.StringArrayVar(&req.Images, "image", nil, "only this image of the bundle (repeatable)")
	where.registerPlace(f)
	reach.register(f)
	f.StringVar(&platform, "platform", "", "of a docker-archive: the one platform that it holds (default: this machine's)")
	f.BoolVar(&req.NoPin, "no-pin", false, "let the runtime's garbage collection remove the images when no pod uses them")
	f.BoolVar(&req.NoUnpack, "no-unpack", false, "of containerd: keep layers packed until a container first starts from them; faster now, slower then")
	f.IntVar(&req.Jobs, "jobs", 4, "how many blobs move at once to each target")
	f.BoolVar(&req.DryRun, "dry-run", false, "look what is there and show the plan, load nothing")
	_ = c.RegisterFlagCompletionFunc("to", completeTargets)
	a.network.register(f)
	return c
}

// some wants arguments and says which.
func some(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("%s: say %s", c.CommandPath(), what), c.CommandPath()}
		}
		return nil
	}
}

// oneTargetAFile says which file two targets would write, one over the other.
func oneTargetAFile(targets []string) error {
	taken := map[string]string{}
	for _, target := range targets {
		kind, file, _ := strings.Cut(target, ":")
		if kind != "docker-archive" && kind != "oci-archive" && kind != "k3s-dir" {
			continue
		}
		file = filepath.Clean(file)
		if other, ok := taken[file]; ok {
			return &ferry.UsageError{Text: fmt.Sprintf("--to %s and --to %s are one file: name another for one of them", other, target)}
		}
		taken[file] = target
	}
	return nil
}

func (a *app) runLoad(c *cobra.Command, req ferry.LoadRequest, platform string, reach *nodeFlags, where *kubeFlags) error {
	if err := oneTargetAFile(req.To); err != nil {
		return err
	}
	w, done, err := a.world()
	if err != nil {
		return err
	}
	if platform != "" {
		p, err := content.ParsePlatform(platform)
		if err != nil {
			done()
			return usageError{err, c.CommandPath()}
		}
		w.Runtimes = runtimes(p)
	}
	n, err := newNodes(reach, a.askHostKey(c.Context()))
	if err != nil {
		done()
		return err
	}
	n.cluster = func(ctx context.Context) ([]workload.Node, error) { return where.nodes(ctx, a.version.Version) }
	w.Runtimes = n.or(w.Runtimes)
	a.interrupted = ": what was loaded stays, the same command goes on from there"
	r, err := ferry.Load(c.Context(), w, req)
	done()
	if err != nil {
		return err
	}
	if err := a.printer.Load(r); err != nil {
		return err
	}
	return a.loadFailures(r)
}

// loadFailures says what did not arrive where.
func (a *app) loadFailures(r *ferry.LoadResult) error {
	failed := r.Failed()
	if failed == 0 {
		return nil
	}
	for _, t := range r.Targets {
		for _, err := range t.Errors() {
			a.printer.Error(err.Error(), hint(err))
		}
	}
	return partly{fmt.Errorf("%d of %d targets have all images; the same command tries the others again", len(r.Targets)-failed, len(r.Targets))}
}

// completeTargets offers the kinds of targets, and behind one that is a file
// the files that there are.
func completeTargets(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	kind, path, file := strings.Cut(begun, ":")
	if !file || !slices.Contains([]string{"docker-archive", "oci-archive", "containerd", "k3s-dir"}, kind) {
		return []string{"containerd", "podman", "docker", "cluster", "minikube", "kind", "k3d", "ssh://", "k3s-dir:", "docker-archive:", "oci-archive:"}, directive
	}
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return nil, directive
	}
	var all []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base) {
			continue
		}
		name := kind + ":" + dir + e.Name()
		if e.IsDir() {
			name += "/"
		}
		all = append(all, name)
	}
	return all, directive
}
