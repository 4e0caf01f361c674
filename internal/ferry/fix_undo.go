package ferry

import (
	"context"

	"ferry/internal/diagnose"
	"ferry/internal/workload"
)

// undo brings back the pull policies that earlier fixes replaced, from what
// they noted in the workload itself.
func (f *fixing) undo(ctx context.Context) (*FixResult, error) {
	objects, err := ParseObjects(f.req.Objects, f.plan.Cluster.Namespace)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		w, err := f.outermost(ctx, o)
		if err != nil {
			return nil, err
		}
		if err := f.planUndo(ctx, w); err != nil {
			return nil, err
		}
	}
	if len(f.plan.Blocked) > 0 {
		return f.result, &BlockedError{Plan: f.plan}
	}
	if len(f.plan.Workloads) == 0 {
		f.result.Nothing = true
		return f.result, nil
	}
	goOn, err := f.agreed()
	if err != nil || !goOn {
		return f.result, err
	}
	for i := range f.plan.Workloads {
		if err := f.putBack(ctx, &f.plan.Workloads[i]); err != nil {
			return f.result, err
		}
	}
	f.result.Took = f.world.Now().Sub(f.start)
	return f.result, nil
}

func (f *fixing) planUndo(ctx context.Context, w workload.Workload) error {
	if _, ok := w.Annotations[workload.Former]; !ok {
		return nil
	}
	changes, err := w.Back()
	if err != nil {
		return err
	}
	p := FixWorkload{
		Object:  diagnose.Object{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name},
		Desired: w.Desired, Ready: w.Ready, Images: []string{}, Changes: changes, Managers: w.Managers(), w: w,
	}
	p.ByHand = f.world.Given.allTyped(p.byHand())
	right := f.env.Cluster.RightTo("patch", w.Kind, w.Namespace, w.Name)
	ok, err := f.env.Cluster.May(ctx, right)
	if err != nil {
		return err
	}
	if !ok {
		f.plan.Blocked = append(f.plan.Blocked, FixBlock{Text: "this user may not " + right.String(), Next: "docs/rbac/fix.yaml has the permissions that fix uses."})
	}
	f.plan.Workloads = append(f.plan.Workloads, p)
	return nil
}

func (f *fixing) putBack(ctx context.Context, p *FixWorkload) error {
	since := f.world.Now()
	var err error
	for range patchTries {
		var patch []byte
		if patch, err = p.w.BackPatch(p.Changes); err != nil {
			return err
		}
		if err = f.env.Cluster.Patch(ctx, p.w, patch, false); !conflict(err) {
			break
		}
		if p.w, err = f.env.Cluster.Workload(ctx, p.Kind, p.Namespace, p.Name); err != nil {
			return err
		}
		if p.Changes, err = p.w.Back(); err != nil {
			return err
		}
	}
	if err == nil {
		f.done(StepPatched, ObjectArgument(p.Object), since)
	}
	return err
}
