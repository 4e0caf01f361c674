package ferry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
	"ferry/internal/manifest"
	"ferry/internal/preflight"
	"ferry/internal/ref"
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
	// Timeout is how long pods may take; 0 means 5 minutes.
	Timeout time.Duration
}

// DeployResult is the plan, and what came of it.
type DeployResult struct {
	Rewrite *RewriteResult `json:"rewrite"`
	Objects []DeployObject `json:"objects"`
	// Verdicts say of each workload whether its images are there.
	Verdicts []preflight.Verdict `json:"verdicts"`
	// Refused says that something of the plan cannot go well; nothing was
	// applied then.
	Refused  bool `json:"refused,omitempty"`
	DryRun   bool `json:"dryRun,omitempty"`
	Declined bool `json:"declined,omitempty"`
	// Waiting are workloads that did not come up, Doctor says why.
	Waiting []string      `json:"waiting,omitempty"`
	Doctor  *DoctorResult `json:"doctor,omitempty"`
}

// DeployObject is an object, in the order in which they are applied.
type DeployObject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// State is new, changed, same, unchecked (what it needs is new too),
	// refused; after applying: applied, failed.
	State string `json:"state"`
	Error string `json:"error,omitempty"`
	Err   error  `json:"-"`

	body     json.RawMessage
	workload workload.Workload
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
	d.result = DeployResult{Rewrite: rewritten, DryRun: d.req.DryRun, Verdicts: []preflight.Verdict{}}
	if d.result.Objects, err = objectsOf(rewritten); err != nil {
		return err
	}
	nodes, err := d.env.Cluster.AllNodes(ctx)
	if err != nil {
		return err
	}
	if err := d.rehearse(ctx); err != nil {
		return err
	}
	there, err := d.look(ctx)
	if err != nil {
		return err
	}
	d.result.Verdicts = preflight.Check(d.needs(nodes), there)
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
			all = append(all, DeployObject{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, body: bodies[i]})
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
		"Namespace", "CustomResourceDefinition", "PriorityClass", "StorageClass", "ServiceAccount", "Secret", "ConfigMap",
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
		o.Namespace, o.workload = cmp.Or(done.Namespace, o.Namespace), done.Workload
		var unknown interface{ UnknownKind() bool }
		switch {
		case err == nil && done.New:
			o.State = ObjectNew
			created[o.Name] = created[o.Name] || o.Kind == "Namespace"
			definitions = definitions || o.Kind == "CustomResourceDefinition"
		case err == nil && done.Changed:
			o.State = ObjectChanged
		case err == nil:
			o.State = ObjectSame
		case errors.As(err, &unknown) && definitions, created[o.Namespace]:
			o.State = ObjectUnchecked
		default:
			o.State, o.Err, o.Error = ObjectRefused, err, err.Error()
		}
	}
	return nil
}

// look asks the registry for each image.
func (d *deploying) look(ctx context.Context) (map[string]preflight.There, error) {
	names := map[string]bool{}
	for _, i := range d.result.Rewrite.Images {
		if i.Inside != "" {
			names[i.Inside] = true
		}
	}
	there := map[string]preflight.There{}
	results := make(chan func(), len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookups)
	for name := range names {
		g.Go(func() error {
			t := d.lookFor(ctx, name)
			results <- func() { there[name] = t }
			return ctx.Err()
		})
	}
	err := g.Wait()
	close(results)
	for take := range results {
		take()
	}
	return there, err
}

func (d *deploying) lookFor(ctx context.Context, name string) preflight.There {
	n, err := ref.Parse(name)
	if err != nil {
		return preflight.There{Err: err}
	}
	repo, err := d.world.Repository(n)
	if err != nil {
		return preflight.There{Err: err}
	}
	reference := cmp.Or(n.Digest().String(), n.Tag())
	desc, b, err := repo.Fetch(ctx, reference)
	if errors.Is(err, content.ErrNotFound) {
		err = fmt.Errorf("the registry does not have it: %w", err)
	}
	if err != nil {
		return preflight.There{Err: err}
	}
	return preflight.There{Platforms: platformsOf(ctx, repo, desc, b)}
}

// needs says what each workload needs, of the nodes that it may run on.
func (d *deploying) needs(nodes []workload.Node) []preflight.Need {
	byObject := map[string]*preflight.Need{}
	var order []*preflight.Need
	for _, i := range d.result.Rewrite.Images {
		if i.Inside == "" {
			continue
		}
		n := byObject[i.Object]
		if n == nil {
			n = &preflight.Need{Workload: i.Object}
			byObject[i.Object], order = n, append(order, n)
		}
		n.Images = append(n.Images, i.Inside)
	}
	for _, o := range d.result.Objects {
		// In the manifest the namespace may be missing.
		n := cmp.Or(byObject[o.String()], byObject[manifest.Object{Kind: o.Kind, Name: o.Name}.String()])
		if n == nil {
			continue
		}
		for _, node := range nodes {
			if node.Ready && o.workload.Spec.MayRun(node, o.Kind) && !slices.Contains(n.Platforms, node.Platform()) {
				n.Platforms = append(n.Platforms, node.Platform())
			}
		}
	}
	var needs []preflight.Need
	for _, n := range order {
		needs = append(needs, *n)
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
	return slices.ContainsFunc(d.result.Verdicts, func(v preflight.Verdict) bool { return len(v.Problems) > 0 })
}
