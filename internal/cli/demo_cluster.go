package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry/internal/demo"
	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/kube"
	"ferry/internal/quote"
	"ferry/internal/workload"
)

// demoPatience is how long the cluster may take to fail as it should.
const demoPatience = time.Minute

// runClusterDemo shows the laptop's journey on the current cluster: an image
// that only this machine can pull, in a namespace of its own, which is deleted
// in the end whatever happens.
func (a *app) runClusterDemo(ctx context.Context, where *kubeFlags, reach *nodeFlags) (err error) {
	cluster, err := where.cluster(a.version.Version)
	if err != nil {
		return err
	}
	defer func() { cluster.Close() }()
	upstream, images, err := demo.StartSample(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, upstream.Close()) }()
	namespace, err := cluster.CreateNamespace(ctx, "ferry-demo-")
	if err != nil {
		return err
	}
	j := &journey{app: a}
	defer func() {
		// Also after Ctrl-C.
		gone := cluster.DeleteNamespace(context.WithoutCancel(ctx), namespace)
		a.interrupted = ": the demo's namespace stays: kubectl delete namespace " + namespace
		if gone == nil {
			a.interrupted = ": the demo's namespace is deleted"
			j.say("")
			j.say("%s The namespace %s is deleted; the image stays on the nodes until their garbage collection takes it.", a.printer.Mark(true), namespace)
		}
		err = errors.Join(err, gone)
	}()
	d := &clusterDemo{journey: j, kube: cluster, where: where, reach: reach, namespace: namespace, image: upstream.Host() + "/" + images[0].Name()}
	return d.run(ctx)
}

// clusterDemo is the demo on a cluster under way.
type clusterDemo struct {
	*journey
	kube      *kube.Client
	where     *kubeFlags
	reach     *nodeFlags
	namespace string
	image     string
}

const demoJob = "hello"

func (d *clusterDemo) run(ctx context.Context) error {
	d.say("A registry is running inside this process, on an address that only this machine reaches.")
	d.step("A job that wants an image from there. The node cannot pull it.",
		"kubectl", "create", "job", demoJob, "--image="+d.image, "-n", d.namespace)
	if err := d.kube.CreateJob(ctx, d.namespace, demoJob, d.image); err != nil {
		return err
	}
	if err := d.untilItFails(ctx); err != nil {
		return err
	}
	d.where.namespace = d.namespace
	named, err := d.where.cluster(d.version.Version)
	if err != nil {
		return err
	}
	defer named.Close()
	d.step("Why?", "ferry", "doctor", "--no-probe", "-n", d.namespace)
	w, done := d.offlineWorld()
	r, err := ferry.Doctor(ctx, w, named, nil, ferry.DoctorRequest{NoProbe: true})
	done()
	if err != nil {
		return err
	}
	if err := d.printer.Doctor(r); err != nil {
		return err
	}
	return d.mend(ctx, named)
}

// untilItFails waits until the kubelet says that it cannot have the image.
func (d *clusterDemo) untilItFails(ctx context.Context) error {
	for end := time.Now().Add(demoPatience); time.Now().Before(end); {
		pods, err := d.pods(ctx)
		if err != nil {
			return err
		}
		for _, p := range pods {
			for _, at := range p.Places {
				if diagnose.AboutImage(at.Waiting) {
					d.say("   %s %s: %s", d.printer.Mark(false), p.Name, quote.Terminal(at.Waiting))
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
	return fmt.Errorf("the demo's pod does not come to the point of pulling its image within %s: kubectl describe pod -n %s tells why", demoPatience, d.namespace)
}

func (d *clusterDemo) pods(ctx context.Context) ([]workload.Pod, error) {
	w, err := d.kube.Workload(ctx, "Job", d.namespace, demoJob)
	if err != nil {
		return nil, err
	}
	return d.kube.Pods(ctx, w)
}

// mend is what the demo is about.
func (d *clusterDemo) mend(ctx context.Context, cluster *kube.Client) error {
	d.step("Mend it: pull the image here, load it into the nodes, start the waiting pod anew.",
		"ferry", "fix", "job/"+demoJob, "-n", d.namespace, "--yes")
	w, done, err := d.world()
	if err != nil {
		return err
	}
	defer done()
	n, err := newNodes(d.reach, d.askHostKey(ctx))
	if err != nil {
		return err
	}
	env := ferry.FixEnv{Cluster: cluster, Node: n.clusterNode, Local: localImage, Show: d.printer.FixPlan, Step: d.printer.FixStep}
	r, err := ferry.Fix(ctx, w, env, ferry.FixRequest{Objects: []string{"job/" + demoJob}, Timeout: demoPatience})
	if err = d.fixed(r, err); err != nil {
		return err
	}
	return d.log(ctx)
}

// log shows that the image really ran.
func (d *clusterDemo) log(ctx context.Context) error {
	d.step("And it ran:", "kubectl", "logs", "job/"+demoJob, "-n", d.namespace)
	for range 100 {
		pods, err := d.pods(ctx)
		if err != nil {
			return err
		}
		for _, p := range pods {
			if text, err := d.kube.Log(ctx, d.namespace, p.Name); err == nil && text != "" {
				for line := range strings.Lines(text) {
					d.say("   %s", quote.Terminal(strings.TrimRight(line, "\n")))
				}
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return errors.New("the demo's pod printed nothing")
}
