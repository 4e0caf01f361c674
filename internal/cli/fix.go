package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
)

const fixLong = `Bring the images of a workload to the nodes that may run it, and wait until it
runs.

ferry looks what is wrong (as doctor does), plans, shows the plan with the
command that a person would type for each step, and asks. Then it
  pulls     what this machine's podman or docker has is taken from there, all
            else from its registry, with this machine's logins; or --from FILE
  scans     where there is a policy (--policy, ferry.policy.yaml), which has to let
            the images pass
  loads     into all nodes that the scheduler may choose, at once; each runtime
            is asked afterwards whether it has the image
  patches   only where the pull policy would ignore the image (Always, which is
            the default of :latest), in the owner's template, nothing else; what
            was there before is noted in an annotation, for --undo
  restarts  pods that would wait out their back-off
  waits     until the pods run, and checks that they run what was loaded

Where an image on the node does not help (no disk, another platform, a tag that
is nowhere), nothing is touched, and the answer is what would. --all passes over
such a workload, fixes the others, and ends with exit code 5.

The same command again goes on where an earlier one stopped.
docs/rbac/fix.yaml has the permissions that are used.`

func (a *app) fix() *cobra.Command {
	var req ferry.FixRequest
	var where kubeFlags
	var reach nodeFlags
	var yes bool
	c := &cobra.Command{
		Use:   "fix KIND/NAME…",
		Short: "Bring the images of a workload to its nodes, and wait until it runs",
		Long:  fixLong,
		Example: `  ferry fix deploy/my-web                    plan, ask, do
  ferry fix deploy/my-web --dry-run          the plan alone
  ferry fix deploy/my-web --yes --pull-policy Never
  ferry fix --all -n shop --from release.tar
  ferry fix deploy/my-web --node node1=ssh://root@10.0.0.11
  ferry fix --undo deploy/my-web             the pull policies of before`,
		RunE: func(c *cobra.Command, args []string) error {
			req.Objects = args
			return a.runFix(c, req, &where, &reach, yes)
		},
	}
	f := c.Flags()
	f.BoolVar(&req.All, "all", false, "everything in the namespace that waits for an image")
	f.StringVar(&req.From, "from", "", "take the images from this bundle or archive")
	f.StringVar(&req.Policy, "pull-policy", "", "IfNotPresent where the policy would ignore the image (the default), or Never for all of them")
	f.BoolVar(&req.Recreate, "recreate", false, "delete and make anew a pod that has no controller, where its policy has to change")
	f.BoolVar(&req.Undo, "undo", false, "bring back the pull policies that earlier fixes replaced")
	f.BoolVar(&req.DryRun, "dry-run", false, "show the plan and change nothing")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	f.DurationVar(&req.Timeout, "timeout", 5*time.Minute, "how long the pods may take to run")
	f.IntVar(&req.Jobs, "jobs", 4, "how many blobs move at once to each node")
	where.register(f)
	reach.register(f)
	a.policyFlag(c, &req.Gate)
	a.network.register(f)
	return c
}

func (a *app) runFix(c *cobra.Command, req ferry.FixRequest, where *kubeFlags, reach *nodeFlags, yes bool) error {
	cluster, err := where.cluster(a.version.Version)
	if err != nil {
		return err
	}
	defer cluster.Close()
	w, done, err := a.world()
	if err != nil {
		return err
	}
	where.addTo(&w.Given)
	n, err := newNodes(reach, a.askHostKey(c.Context()))
	if err != nil {
		done()
		return err
	}
	env := ferry.FixEnv{Cluster: cluster, Node: n.clusterNode, Local: localImage}
	a.asksToFix(c.Context(), &env, req, yes)
	a.interrupted = ": nothing was changed"
	r, err := ferry.Fix(c.Context(), w, env, req)
	done()
	return a.fixed(r, err)
}

// asksToFix lets a person see the plan, decide, and follow.
func (a *app) asksToFix(ctx context.Context, env *ferry.FixEnv, req ferry.FixRequest, yes bool) {
	if a.printer.JSON {
		// The answer holds the plan and the steps.
		env.Show = nil
	} else {
		env.Show = a.printer.FixPlan
	}
	env.Step = func(s ferry.FixStep) {
		a.interrupted = ": " + standsAt(s)
		if !a.printer.JSON {
			a.printer.FixStep(s)
		}
	}
	if yes || req.DryRun {
		return
	}
	env.Confirm = func() bool { return a.confirm(ctx) }
}

// standsAt says where things stand when Ctrl-C comes after a step.
func standsAt(s ferry.FixStep) string {
	const again = "; the same command goes on from there"
	switch s.Step {
	case ferry.StepPulled, ferry.StepScanned:
		return "the images are in ferry's cache, and the cluster is as it was" + again
	case ferry.StepLoaded:
		return "images are in nodes, and no workload was changed" + again
	case ferry.StepPatched, ferry.StepStarted:
		return "images are in the nodes, and workloads were changed (" + s.Text + "): the cluster goes on by itself" + again
	}
	return "all steps were done"
}

// fixed shows what came of it.
func (a *app) fixed(r *ferry.FixResult, err error) error {
	var partlyLoaded *ferry.PartlyLoadedError
	var blocked *ferry.BlockedError
	var left *ferry.LeftError
	if errors.As(err, &blocked) {
		for _, b := range blocked.Plan.Blocked {
			text := b.Text
			if b.Object != "" {
				text = b.Object + ": " + text
			}
			a.printer.Error(text, b.Next)
		}
	}
	if r != nil {
		if perr := a.printer.Fix(r); perr != nil {
			return perr
		}
		a.unloaded(r.Load)
	}
	switch {
	case errors.As(err, &partlyLoaded):
		return partly{err}
	case blocked != nil:
		return told{}
	case errors.As(err, &left):
		return partly{err}
	case err != nil:
		return a.refused(err)
	case r.Declined:
		return answerNo{}
	}
	return nil
}

// unloaded says what nodes did not take: no plan can know that.
func (a *app) unloaded(r *ferry.LoadResult) {
	if r == nil {
		return
	}
	for _, t := range r.Targets {
		for _, e := range t.Errors() {
			a.printer.Error(e.Error(), hint(e))
		}
	}
}
