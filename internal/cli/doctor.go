package cli

import (
	"github.com/spf13/cobra"

	"ferry/internal/ferry"
)

const doctorLong = `Look at a live cluster and say which images do not arrive or cannot run, why,
how sure that is, and what to type next. Nothing in the cluster is changed.

Read are pods, their events, owners, service accounts and pull secrets, and the
nodes. What the API server does not let you see is named, and the rest goes on;
docs/rbac/doctor.yaml has the permissions that are used.

Then ferry checks from this machine what the cluster's words cannot tell: does
the registry's name resolve, does it answer, does it take the pod's own login,
does it have this tag, for this platform? --no-probe leaves that out, and opens
no connection but to the API server.

Exit code 0: all images are fine. 3: problems were found. 1: could not look.`

func (a *app) doctor() *cobra.Command {
	var req ferry.DoctorRequest
	var where kubeFlags
	var watch bool
	c := &cobra.Command{
		Use:   "doctor [KIND/NAME…]",
		Short: "Say why images do not arrive in a live cluster",
		Long:  doctorLong,
		Example: `  ferry doctor                       this namespace
  ferry doctor -A                    all namespaces
  ferry doctor deploy/my-web pod/db-0
  ferry doctor -n shop --no-probe
  ferry doctor -A -o json | jq '.findings[] | {cause, images}'`,
		RunE: func(c *cobra.Command, args []string) error {
			req.Objects = args
			if watch {
				return a.watchDoctor(c, req, &where)
			}
			return a.runDoctor(c, req, &where)
		},
	}
	f := c.Flags()
	f.BoolVarP(&req.All, "all-namespaces", "A", false, "look at all namespaces")
	f.BoolVar(&watch, "watch", false, "go on looking, and say what changes, until Ctrl-C")
	f.BoolVar(&req.NoProbe, "no-probe", false, "open no connection but to the API server")
	where.register(f)
	f.StringSliceVar(&a.network.caFiles, "ca-file", nil, "trust this certificate authority too when registries are asked (PEM, repeatable)")
	f.StringSliceVar(&a.network.plainHTTP, "plain-http", nil, "talk HTTP without TLS to this HOST[:PORT] (repeatable)")
	return c
}

func (a *app) runDoctor(c *cobra.Command, req ferry.DoctorRequest, where *kubeFlags) error {
	cluster, err := where.cluster(a.version.Version)
	if err != nil {
		return err
	}
	defer cluster.Close()
	w, done := a.offlineWorld()
	where.addTo(&w.Given)
	r, err := ferry.Doctor(c.Context(), w, cluster, a.prober(), req)
	done()
	if err != nil {
		return err
	}
	if err := a.printer.Doctor(r); err != nil {
		return err
	}
	if !r.Healthy() {
		return answerNo{}
	}
	return nil
}

func (a *app) watchDoctor(c *cobra.Command, req ferry.DoctorRequest, where *kubeFlags) error {
	cluster, err := where.cluster(a.version.Version)
	if err != nil {
		return err
	}
	defer cluster.Close()
	w, done := a.offlineWorld()
	where.addTo(&w.Given)
	defer done()
	return ferry.Watch(c.Context(), w, cluster, a.prober(), req, ferry.WatchEvents{
		Show: a.printer.DoctorAgain,
		Lost: func(err error) { a.printer.Error(err.Error(), "Trying again; Ctrl-C ends it.") },
	})
}
