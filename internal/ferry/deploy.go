package ferry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"ferry/internal/diagnose"
	"ferry/internal/manifest"
	"ferry/internal/preflight"
	"ferry/internal/workload"
)

// DeployRequest says what is brought up in a cluster inside.
type DeployRequest struct {
	// Rewrite says which manifests, and where their images are.
	Rewrite RewriteRequest
	// Force takes over fields that another manager holds.
	Force bool
	// DryRun shows the plan and applies nothing.
	DryRun bool
	// NodeLogin says that the nodes log in to the registry by themselves, so
	// that pods need no pull secret.
	NodeLogin bool
	// Timeout is how long pods may take; 0 means 5 minutes.
	Timeout time.Duration
}

// DeployResult is the plan, and what came of it.
type DeployResult struct {
	// Context is the kubeconfig's, and tells which cluster it is.
	Context string         `json:"context"`
	Rewrite *RewriteResult `json:"rewrite"`
	Objects []DeployObject `json:"objects"`
	// Verdicts say of each workload whether its images are there.
	Verdicts []preflight.Verdict `json:"verdicts"`
	// Logins say by which login pods get their images, and whether the
	// registry takes it.
	Logins []DeployLogin `json:"logins"`
	// ByHand is what a person would type to make the manifests fit for inside
	// and to look for an image; that of other steps is with their objects.
	ByHand DeployByHand `json:"byHand"`
	// Refused says that something of the plan cannot go well; nothing was
	// applied then.
	Refused  bool `json:"refused,omitempty"`
	DryRun   bool `json:"dryRun,omitempty"`
	Declined bool `json:"declined,omitempty"`
	// Waiting are workloads that did not come up, Doctor says why.
	Waiting []string `json:"waiting,omitempty"`
	// Next tells more of it, where no image is the reason.
	Next []string `json:"next,omitempty"`
	// Took is how long it took from the agreed plan on; 0 where nothing was applied.
	Took   time.Duration `json:"tookNanoseconds,omitempty"`
	Doctor *DoctorResult `json:"doctor,omitempty"`
}

// DeployObject is an object, in the order in which they are applied.
type DeployObject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	File      string `json:"file"`
	// State is new, changed, same, unchecked (what it needs is new too),
	// refused; after applying: applied, failed.
	State string `json:"state"`
	// Why says why it is unchecked.
	Why   string `json:"why,omitempty"`
	Error string `json:"error,omitempty"`
	Err   error  `json:"-"`
	// Hint says what to do about an error.
	Hint string `json:"hint,omitempty"`
	// Waits says that its pods are waited for; Outcome is what became of them.
	Waits   bool   `json:"waits,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	// Suspended says that it makes no pods for now: a Deployment that is paused.
	Suspended bool `json:"suspended,omitempty"`
	// ByHand applies its file, and Watch waits for it.
	ByHand [][]string `json:"byHand,omitempty"`
	Watch  []string   `json:"watch,omitempty"`

	body     json.RawMessage
	named    bool // its namespace is named in it
	workload workload.Workload
	secret   *diagnose.PullSecret
	gives    []string
	started  int // how often a Job's pods were seen to run
}

func (o DeployObject) String() string {
	return manifest.Object{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}.String()
}

// The states of an object.
const (
	ObjectNew       = "new"
	ObjectChanged   = "changed"
	ObjectSame      = "same"
	ObjectUnchecked = "unchecked"
	ObjectRefused   = "refused"
	ObjectApplied   = "applied"
	ObjectFailed    = "failed"
)

// Deploy makes manifests fit for inside, looks whether their images are there,
// asks the API server whether it takes them, applies them, and waits for their
// pods. What does not come up is explained.
func Deploy(ctx context.Context, w World, env DeployEnv, req DeployRequest) (*DeployResult, error) {
	d := &deploying{world: w, env: env, req: req}
	if err := d.plan(ctx); err != nil {
		return nil, err
	}
	r := &d.result
	if env.Show != nil {
		if err := env.Show(r); err != nil {
			return nil, err
		}
	}
	if r.Refused || req.DryRun {
		return r, nil
	}
	if env.Confirm != nil && !env.Confirm() {
		r.Declined = true
		return r, nil
	}
	start := w.Now()
	defer func() { r.Took = w.Now().Sub(start) }()
	if err := d.apply(ctx); err != nil {
		return r, err
	}
	return r, d.wait(ctx)
}

// deploying is one run of Deploy.
type deploying struct {
	world  World
	env    DeployEnv
	req    DeployRequest
	result DeployResult
}

func (d *deploying) plan(ctx context.Context) error {
	d.req.Rewrite.To, d.req.Rewrite.InPlace, d.req.Rewrite.DryRun = "", false, true
	rewritten, err := Rewrite(ctx, d.req.Rewrite)
	if err != nil {
		return err
	}
	d.result = DeployResult{Rewrite: rewritten, DryRun: d.req.DryRun, Logins: []DeployLogin{}}
	if d.result.Objects, err = objectsOf(rewritten); err != nil {
		return err
	}
	d.result.Context = d.env.Cluster.Place().Context
	nodes, err := d.env.Cluster.AllNodes(ctx)
	hidden := statusOf(err) == statusForbidden
	if err != nil && !hidden {
		return err
	}
	if err := d.rehearse(ctx); err != nil {
		return err
	}
	there, err := d.look(ctx)
	if err != nil {
		return err
	}
	d.result.Verdicts = d.verdicts(nodes, hidden, there)
	if err := d.logins(ctx, there); err != nil {
		return err
	}
	d.byHand()
	d.result.Refused = d.refuses()
	return nil
}

// objectsOf takes the objects out of manifests, in the order in which they
// have to be applied.
func objectsOf(r *RewriteResult) ([]DeployObject, error) {
	var all []DeployObject
	for _, f := range r.Files {
		if !f.Manifest {
			continue
		}
		parsed, err := manifest.Read(f.File, []byte(f.Text), manifest.Options{})
		if err != nil {
			return nil, err
		}
		bodies, err := parsed.JSON()
		if err != nil {
			return nil, err
		}
		for i, o := range parsed.Objects {
			if o.Name == "" {
				return nil, fmt.Errorf("%s:%d: the %s has no name: what is applied needs one", f.File, o.Line, o.Kind)
			}
			if o.Generated {
				return nil, fmt.Errorf("%s:%d: the %s has generateName %s and no name: what is applied needs one; kubectl create makes a new one each time", f.File, o.Line, o.Kind, o.Name)
			}
			all = append(all, DeployObject{
				Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, File: f.File, body: bodies[i], named: o.Namespace != "",
			})
		}
	}
	if len(all) == 0 {
		return nil, usage("there is no object in these manifests")
	}
	slices.SortStableFunc(all, func(a, b DeployObject) int { return cmp.Compare(rankOf(a.Kind), rankOf(b.Kind)) })
	return all, nil
}

// rankOf brings first what others need.
func rankOf(kind string) int {
	order := []string{
		"Namespace", definition, "PriorityClass", "StorageClass", "ServiceAccount", "Secret", "ConfigMap",
		"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "PersistentVolume", "PersistentVolumeClaim", "Service",
	}
	if i := slices.Index(order, kind); i >= 0 {
		return i
	}
	return len(order)
}

// rehearse asks the API server of each object what applying it would do. What
// stands in a namespace, or is of a kind, that is new here cannot be asked.
func (d *deploying) rehearse(ctx context.Context) error {
	created := map[string]bool{}
	definitions := false
	for i := range d.result.Objects {
		o := &d.result.Objects[i]
		done, err := d.env.Cluster.Apply(ctx, o.body, d.env.Cluster.Place().Namespace, true, d.req.Force)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.learn(done)
		var unknown interface{ UnknownKind() bool }
		var untried interface{ Untried() bool }
		var gone interface{ Gone() bool }
		switch {
		case err == nil && done.New:
			o.State = ObjectNew
			created[o.Name] = created[o.Name] || o.Kind == "Namespace"
			definitions = definitions || o.Kind == definition
		case err == nil && done.Changed:
			o.State = ObjectChanged
		case err == nil:
			o.State = ObjectSame
		case errors.As(err, &unknown) && definitions:
			o.State, o.Why = ObjectUnchecked, "its kind is new here"
		case errors.As(err, &untried) && untried.Untried():
			o.State, o.Why = ObjectUnchecked, "a webhook of the cluster takes no rehearsals"
		case created[o.Namespace] && errors.As(err, &gone) && gone.Gone():
			o.State, o.Why = ObjectUnchecked, "its namespace is new here"
		default:
			o.State, o.Err, o.Error, o.Hint = ObjectRefused, err, err.Error(), o.hint(err, d.world.Given)
		}
		o.Waits, o.Suspended = o.waits(), o.workload.Suspended
	}
	return nil
}

// hint says what to do about what the API server refuses.
func (o DeployObject) hint(err error, given Given) string {
	var conflict interface{ Conflict() bool }
	var hinter interface{ Hint() string }
	switch {
	case errors.As(err, &conflict) && conflict.Conflict():
		return "--force-conflicts takes these fields over; who holds them may put them back. What an autoscaler sets (.spec.replicas) is left out of the manifest."
	case o.Kind == "Job" && statusOf(err) == statusInvalid:
		return "A Job cannot be changed once it is there. Where it may run again: " + given.line("kubectl", "delete", "job", o.Name, "-n", o.Namespace)
	case statusOf(err) == statusInvalid:
		return "" // the API server says what is wrong in it
	case errors.As(err, &hinter):
		return hinter.Hint()
	}
	return ""
}

const definition = "CustomResourceDefinition"

// learn takes what the cluster, or the object itself, says of it.
func (o *DeployObject) learn(done Applied) {
	o.Namespace = cmp.Or(done.Namespace, o.Namespace)
	o.workload, o.secret, o.gives = done.Workload, done.PullSecret, done.Gives
}

// verdicts says of each workload whether its images are there, and what that
// does not say.
func (d *deploying) verdicts(nodes []workload.Node, hidden bool, there map[string]preflight.There) []preflight.Verdict {
	needs := d.needs(nodes)
	for i := range needs {
		if hidden {
			needs[i].Unknown = "this login may not list the nodes"
		}
	}
	all := preflight.Check(needs, there)
	for i := range all {
		for _, o := range d.result.Objects {
			if o.is(all[i].Workload) && o.workload.Kind == "" && !hidden {
				all[i].Notes = append(all[i].Notes, "where its pods run, and by which login they pull, is not known: held against all nodes, and no login was tried")
			}
		}
	}
	return all
}

// is says whether an object of the manifests is meant; there the namespace may
// be missing.
func (o DeployObject) is(object string) bool {
	return object == o.String() || !o.named && object == manifest.Object{Kind: o.Kind, Name: o.Name}.String()
}

// needs says what each workload needs, of the nodes that it may run on.
func (d *deploying) needs(nodes []workload.Node) []preflight.Need {
	var needs []preflight.Need
	for _, o := range d.result.Objects {
		n := preflight.Need{Workload: o.String()}
		for _, i := range d.result.Rewrite.Images {
			if i.Inside != "" && i.File == o.File && o.is(i.Object) && !slices.Contains(n.Images, i.Inside) {
				n.Images = append(n.Images, i.Inside)
			}
		}
		if len(n.Images) == 0 {
			continue
		}
		for _, node := range nodes {
			if node.Ready && o.workload.Spec.MayRun(node, o.Kind) && !slices.Contains(n.Platforms, node.Platform()) {
				n.Platforms = append(n.Platforms, node.Platform())
			}
		}
		needs = append(needs, n)
	}
	return needs
}

func (d *deploying) refuses() bool {
	for _, l := range d.result.Rewrite.Left {
		if l.Missing {
			return true
		}
	}
	for _, o := range d.result.Objects {
		if o.State == ObjectRefused {
			return true
		}
	}
	return slices.ContainsFunc(d.result.Verdicts, func(v preflight.Verdict) bool { return len(v.Problems) > 0 }) ||
		slices.ContainsFunc(d.result.Logins, func(l DeployLogin) bool { return l.State == LoginRefused })
}
