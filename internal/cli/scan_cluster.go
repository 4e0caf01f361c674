package cli

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ferry/internal/ferry"
)

// clusterFlags say that what runs is to be scanned, and where.
type clusterFlags struct {
	where   kubeFlags
	cluster bool
	all     bool
	since   string
	inside  string
}

func (k *clusterFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&k.cluster, "cluster", false, "scan what runs in the current cluster")
	f.BoolVarP(&k.all, "all-namespaces", "A", false, "with --cluster: look at all namespaces")
	f.StringVar(&k.since, "new-since", "", "with --cluster: only what was not known when this bundle was sealed")
	f.StringVar(&k.inside, "registry", "", "with --cluster: ask REGISTRY[/PREFIX] first for what nodes name as outside, as where it is their mirror")
	k.where.register(f)
}

// asked says whether a cluster is meant.
func (k *clusterFlags) asked() bool {
	return k.cluster || k.since != "" || k.inside != "" || k.all
}

func (a *app) runScanCluster(c *cobra.Command, req ferry.ScanRequest, k *clusterFlags, all bool) error {
	if !k.cluster {
		return usageError{errors.New("--new-since, --registry and -A are for what runs: add --cluster"), c.CommandPath()}
	}
	if len(req.Images) > 0 {
		return usageError{errors.New("--image picks from a bundle; with --cluster it is -n that picks"), c.CommandPath()}
	}
	cluster, err := k.where.cluster(a.version.Version)
	if err != nil {
		return err
	}
	defer cluster.Close()
	w, done, err := a.scanWorld(&req)
	if err != nil {
		return err
	}
	r, err := ferry.ScanCluster(c.Context(), w, cluster, ferry.ScanClusterRequest{ScanRequest: req, All: k.all, Since: k.since, Registry: k.inside})
	done()
	return a.scanned(r, req, all, err)
}
