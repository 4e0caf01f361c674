package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
	"ferry/internal/kube"
	"ferry/internal/ui"
)

const deployLong = `Bring manifests up in a cluster inside: each image gets its name there, as by
ferry rewrite; the registry is asked whether it has them, for the nodes that the
pods may run on, and whether it takes the login of their pull secret; the API
server is asked whether it takes each object. All of that is shown, and nothing is
applied where it cannot go well (exit code 3).

Then the objects are applied on the server, namespaces and definitions first, and
Deployments, StatefulSets, DaemonSets and Pods are waited for until they are ready,
Jobs until their pods have started. What does not come up is explained as by ferry
doctor (exit code 5). Nothing is deleted.

The images are looked for with this machine's login. Pods log in with their own,
which is tried too; where nodes log in by themselves, --node-login says so.`

func (a *app) deploy() *cobra.Command {
	var req ferry.DeployRequest
	var where kubeFlags
	var yes bool
	c := &cobra.Command{
		Use:   "deploy -f PATH --registry REGISTRY[/PREFIX]",
		Short: "Bring manifests up in a cluster inside, and explain what does not come up",
		Long:  deployLong,
		Example: `  ferry deploy -f k8s/ --registry registry.bank.internal/mirror --bundle release.tar --dry-run
  ferry deploy -f k8s/ --registry registry.bank.internal/mirror --bundle release.tar -n shop --yes
  helm template web ./chart | ferry deploy -f - --registry registry.bank.internal --yes`,
		Args: exactly(0, "the manifests by -f"),
		RunE: func(c *cobra.Command, _ []string) error {
			req.Rewrite.Stdin = os.Stdin
			return a.runDeploy(c, req, &where, yes)
		},
	}
	f := c.Flags()
	registerRewrite(f, &req.Rewrite)
	f.BoolVar(&req.DryRun, "dry-run", false, "show the plan and apply nothing")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	f.BoolVar(&req.Force, "force-conflicts", false, "take over fields that another manager holds")
	f.BoolVar(&req.NodeLogin, "node-login", false, "the nodes log in to the registry by themselves: ask for no pull secret")
	f.DurationVar(&req.Timeout, "timeout", 5*time.Minute, "how long the pods may take to run")
	where.register(f)
	a.network.register(f)
	return c
}

func (a *app) runDeploy(c *cobra.Command, req ferry.DeployRequest, where *kubeFlags, yes bool) error {
	cluster, err := where.cluster(a.version.Version)
	if err != nil {
		return err
	}
	defer cluster.Close()
	w, done, err := a.world()
	if err != nil {
		return err
	}
	defer done()
	where.addTo(&w.Given)
	on := applier{cluster.Applier()}
	env := ferry.DeployEnv{Cluster: on, Secrets: on, Open: a.podsView().Open}
	if !a.printer.JSON {
		env.Show, env.Step = a.printer.DeployPlan, a.printer.DeployStep
	}
	if !yes && !req.DryRun {
		env.Confirm = func() bool { return a.confirm(c.Context()) }
	}
	a.interrupted = ": nothing was applied"
	r, err := ferry.Deploy(c.Context(), w, env, req)
	done()
	if r != nil {
		a.interrupted = ": " + deployStandsAt(r)
		if perr := a.printer.Deploy(r); perr != nil {
			return perr
		}
	}
	switch {
	case err != nil:
		return err
	case r.Refused, r.Declined:
		return answerNo{}
	case len(r.Waiting) > 0:
		return partly{fmt.Errorf("all was applied, and %d of it is not up: once the cause is mended, the same command waits again", len(r.Waiting))}
	}
	return nil
}

// deployStandsAt says where things stand when Ctrl-C has come.
func deployStandsAt(r *ferry.DeployResult) string {
	applied, unsure := 0, ""
	for _, o := range r.Objects {
		switch o.State {
		case ferry.ObjectApplied:
			applied++
		case ferry.ObjectFailed:
			unsure = ", and perhaps " + o.String() // its answer was not waited for
		}
	}
	switch {
	case applied == len(r.Objects):
		return fmt.Sprintf("all %d objects were applied, and come up by themselves; the same command waits for them again", applied)
	case applied == 0 && unsure == "":
		return "nothing was applied"
	}
	return fmt.Sprintf("%d of %d objects were applied%s; the same command goes on from there", applied, len(r.Objects), unsure)
}

// confirm asks a person, where there is one.
func (a *app) confirm(ctx context.Context) bool {
	if !a.printer.Terminal || !ui.IsTerminal(os.Stdin) {
		a.printer.Say("Nobody is here to be asked: --yes carries the plan out.")
		return false
	}
	fmt.Fprint(a.printer.Err, "Go on? [y/N] ")
	return a.answerYes(ctx, os.Stdin)
}

// applier is the cluster as deploy sees it.
type applier struct{ *kube.Applier }

func (k applier) Apply(ctx context.Context, object []byte, namespace string, dry, force bool) (ferry.Applied, error) {
	a, err := k.Applier.Apply(ctx, object, namespace, dry, force)
	return ferry.Applied(a), err
}
