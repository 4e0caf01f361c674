package ferry

import (
	"context"
	"errors"
	"sync"
	"time"

	"ferry/internal/diagnose"
	"ferry/internal/workload"
)

// FixRequest says what is to run.
type FixRequest struct {
	// Objects are KIND/NAME; with All, everything in the namespace that does
	// not run for the sake of an image.
	Objects []string
	All     bool
	// From is a bundle or an archive that has the images.
	From string
	// Policy is the pull policy that containers get whose policy would ignore
	// the image: IfNotPresent, or Never for all of them. "" is IfNotPresent.
	Policy string
	// Gate says which policy has to let the images pass; where there is none,
	// nothing is scanned.
	Gate PolicyRequest
	// Recreate allows pods without an owner to be deleted and made anew.
	Recreate bool
	// Undo brings back the policies that an earlier fix replaced.
	Undo   bool
	DryRun bool
	// Timeout is how long to wait for the pods; 0 means five minutes.
	Timeout time.Duration
	Jobs    int
}

// FixPlan is what will be done, in this order.
type FixPlan struct {
	Cluster   diagnose.Place `json:"cluster"`
	Workloads []FixWorkload  `json:"workloads"`
	Pull      []FixPull      `json:"pull,omitempty"`
	// Scan is what a scanner will do, or why none looks.
	Scan  string    `json:"scan,omitempty"`
	Nodes []FixNode `json:"nodes,omitempty"`
	// Blocked is why nothing can be done, where that is so.
	Blocked []FixBlock `json:"blocked,omitempty"`
	// Left is what All passes over, for each a reason: the others are fixed.
	Left []FixBlock `json:"left,omitempty"`
	// Notes are what one should know before.
	Notes []string `json:"notes,omitempty"`
	Undo  bool     `json:"undo,omitempty"`
}

// FixWorkload is a workload that is to run.
type FixWorkload struct {
	diagnose.Object

	Desired int `json:"desired"`
	Ready   int `json:"ready"`
	// Images that it needs and that some of its pods lack.
	Images []string `json:"images"`
	// Changes are made in its template.
	Changes []workload.Change `json:"changes,omitempty"`
	// Restart are pods that are deleted, to be made anew at once.
	Restart []string `json:"restart,omitempty"`
	// Recreate says that the pod itself is deleted and made anew.
	Recreate bool `json:"recreate,omitempty"`
	// Managers may put the old policy back.
	Managers []string `json:"managers,omitempty"`
	// ByHand are the commands for the changes and restarts, Watch is that for
	// waiting.
	ByHand [][]string `json:"byHand,omitempty"`
	Watch  []string   `json:"watch,omitempty"`

	asked  diagnose.Object // as doctor or the request names it
	w      workload.Workload
	places map[string]string // of its images: place key → image as written
	nodes  []string          // that get its images
}

// FixPull is an image and where it is taken from.
type FixPull struct {
	Image string `json:"image"`
	// From says where in words: podman, docker, registry docker.io, a file.
	From      string     `json:"from"`
	Platforms []string   `json:"platforms"`
	Bytes     int64      `json:"bytes,omitempty"`
	ByHand    [][]string `json:"byHand,omitempty"`

	place string
}

// FixNode is a node that gets images.
type FixNode struct {
	Name     string     `json:"name"`
	Platform string     `json:"platform"`
	Runtime  string     `json:"runtime"`
	ByHand   [][]string `json:"byHand,omitempty"`

	found found
}

// FixBlock is a reason why fix does nothing.
type FixBlock struct {
	// Object is the workload that it is about, where All passes over it.
	Object string `json:"object,omitempty"`
	Text   string `json:"text"`
	// Next is what to do instead.
	Next string `json:"next,omitempty"`
	// Finding is the cause, where doctor found it.
	Finding *diagnose.Finding `json:"finding,omitempty"`

	Err error `json:"-"`
}

// The steps of a fix.
const (
	StepPulled  = "pulled"
	StepScanned = "scanned"
	StepLoaded  = "loaded"
	StepPatched = "patched"
	StepStarted = "restarted"
	StepRunning = "running"
)

// FixStep is a step that was done.
type FixStep struct {
	Step string        `json:"step"`
	Text string        `json:"text"`
	Took time.Duration `json:"tookNanoseconds,omitempty"`
}

// FixResult says what came of it.
type FixResult struct {
	Plan *FixPlan `json:"plan"`
	// Nothing says that there was nothing to do.
	Nothing bool `json:"nothing,omitempty"`
	DryRun  bool `json:"dryRun,omitempty"`
	// Declined says that the person did not want it.
	Declined bool        `json:"declined,omitempty"`
	Steps    []FixStep   `json:"steps"`
	Load     *LoadResult `json:"load,omitempty"`
	Pods     []FixedPod  `json:"pods,omitempty"`
	// Undo is the command that brings the policies back.
	Undo []string `json:"undo,omitempty"`
	// Findings are what is wrong still, where something is.
	Findings []diagnose.Finding `json:"findings,omitempty"`
	Took     time.Duration      `json:"tookNanoseconds"`
}

// FixedPod is a pod with the images that it runs.
type FixedPod struct {
	Name  string `json:"name"`
	Node  string `json:"node"`
	Ready bool   `json:"ready"`
	// Phase is what the kubelet says of the pod: Running, Succeeded, Failed.
	Phase string `json:"phase"`
	// Loaded says that it runs exactly what was loaded.
	Loaded bool `json:"loaded"`

	ends bool // it is a Job's
}

// BlockedError says that the plan cannot be carried out. Nothing was touched.
type BlockedError struct{ Plan *FixPlan }

func (e *BlockedError) Error() string {
	if len(e.Plan.Blocked) == 1 {
		return e.Plan.Blocked[0].Text
	}
	return "this cannot be fixed by loading images"
}

// Unwrap returns the causes that are errors.
func (e *BlockedError) Unwrap() []error {
	var all []error
	for _, b := range e.Plan.Blocked {
		if b.Err != nil {
			all = append(all, b.Err)
		}
	}
	return all
}

// UnfinishedError says that all was done and the pods do not run all the same.
type UnfinishedError struct {
	Result *FixResult
	Text   string
	// Silent is why the pods could not be looked at any more, where that is so.
	Silent error

	given Given
	// next tells more, where no image is the problem.
	next []string
	// asks says that the kubelet asks a registry for what its node holds.
	asks bool
}

// Unwrap returns why the pods could not be looked at.
func (e *UnfinishedError) Unwrap() error { return e.Silent }

func (e *UnfinishedError) Error() string { return e.Text }

// PartlyLoadedError says that not all nodes have the images. Nothing was
// patched.
type PartlyLoadedError struct {
	Load *LoadResult
}

func (e *PartlyLoadedError) Error() string {
	return "not every node that the scheduler may choose has the images; no workload was changed, and what was loaded stays"
}

// fixing is one run of Fix.
type fixing struct {
	world World
	env   FixEnv
	req   FixRequest

	mu     sync.Mutex // guards plan.Notes while sources are looked for
	start  time.Time
	plan   *FixPlan
	result *FixResult
	// seen are the workloads that were looked at, by their UIDs.
	seen map[string]bool
	// gated is the policy that is asked; "" is none.
	gated string
	// digests are those that stand for the images that were loaded.
	digests map[string]bool
}

// Fix brings the images of workloads to where they are to run, makes their
// pull policies fit, and waits until they run.
func Fix(ctx context.Context, w World, env FixEnv, req FixRequest) (*FixResult, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	f := &fixing{world: w, env: env, req: req, start: w.Now(), digests: map[string]bool{}, seen: map[string]bool{}}
	f.plan = &FixPlan{Cluster: env.Cluster.Place(), Undo: req.Undo}
	f.result = &FixResult{Plan: f.plan, DryRun: req.DryRun, Steps: []FixStep{}}
	defer f.close()
	if req.Undo {
		return f.undo(ctx)
	}
	if err := f.gather(ctx); err != nil {
		return nil, err
	}
	return f.carryOut(ctx)
}

func (req FixRequest) check() error {
	switch {
	case len(req.Objects) == 0 && !req.All:
		return usage("say which workload, as in deploy/my-web, or --all for everything in the namespace that waits for an image")
	case len(req.Objects) > 0 && req.All:
		return usage("--all takes everything in the namespace: leave %s out, or --all", req.Objects[0])
	case req.Policy != "" && req.Policy != workload.IfNotPresent && req.Policy != workload.Never:
		return usage("--pull-policy %s: write IfNotPresent or Never; with Always a loaded image is ignored", req.Policy)
	case req.Undo && (req.From != "" || req.Recreate || req.All):
		return usage("--undo only takes workloads")
	}
	return nil
}

func (f *fixing) close() {
	for _, n := range f.plan.Nodes {
		_ = n.found.Runtime.Close()
	}
}

// carryOut shows the plan and does it.
func (f *fixing) carryOut(ctx context.Context) (*FixResult, error) {
	if len(f.plan.Blocked) > 0 {
		return f.result, &BlockedError{Plan: f.plan}
	}
	if len(f.plan.Workloads) == 0 {
		f.result.Nothing = true
		return f.result, nil
	}
	goOn, err := f.agreed()
	switch {
	case err != nil:
		return f.result, err
	case f.req.DryRun:
		return f.result, f.plan.unfixed()
	case !goOn:
		return f.result, nil
	}
	for _, step := range []func(context.Context) error{f.pullAndLoad, f.patchAll, f.restartAll, f.waitAll} {
		if err := step(ctx); err != nil {
			f.result.Took = f.world.Now().Sub(f.start)
			if left := f.plan.unfixed(); left != nil && failed(err) {
				err = errors.Join(err, left)
			}
			return f.result, err
		}
	}
	f.result.Took = f.world.Now().Sub(f.start)
	return f.result, f.plan.unfixed()
}

// agreed shows the plan, and says whether it is to be carried out.
func (f *fixing) agreed() (bool, error) {
	if f.env.Show != nil {
		if err := f.env.Show(f.plan); err != nil {
			return false, err
		}
	}
	if f.req.DryRun {
		return false, nil
	}
	if f.env.Confirm != nil && !f.env.Confirm() {
		f.result.Declined = true
		return false, nil
	}
	return true, nil
}

func (f *fixing) done(step, text string, since time.Time) {
	s := FixStep{Step: step, Text: text, Took: f.world.Now().Sub(since)}
	f.result.Steps = append(f.result.Steps, s)
	if f.env.Step != nil {
		f.env.Step(s)
	}
}

// conflict says whether the API server refused a change for the sake of one
// that came between.
func conflict(err error) bool {
	var c interface{ Conflict() bool }
	return errors.As(err, &c) && c.Conflict()
}
