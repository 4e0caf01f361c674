package ferry

import (
	"slices"
	"strings"

	"ferry/internal/diagnose"
	"ferry/internal/ref"
)

// passOver has All go on with the others, where something stands in the way of
// these workloads alone; goes says which of the plan they are.
func (f *fixing) passOver(whose []diagnose.Object, goes func(FixWorkload) bool) {
	if !f.req.All || len(f.plan.Blocked) == 0 {
		return
	}
	for _, b := range f.plan.Blocked {
		for _, o := range whose {
			b.Object = ObjectArgument(o)
			f.plan.Left = append(f.plan.Left, b)
		}
	}
	f.plan.Blocked = nil
	f.plan.Workloads = slices.DeleteFunc(f.plan.Workloads, goes)
	f.narrow()
}

// passOverThose has All go on without those of the workloads that something
// keeps from being fixed.
func (f *fixing) passOverThose(workloads []FixWorkload, kept func(FixWorkload) bool) {
	var whose []diagnose.Object
	for _, p := range workloads {
		if kept(p) {
			whose = append(whose, p.Object)
		}
	}
	f.passOver(whose, kept)
}

// unloaded is an image that a node did not take; "" is any.
type unloaded struct {
	node, image string
	err         error
}

func unloadedOf(r *LoadResult) []unloaded {
	var all []unloaded
	for _, t := range r.Targets {
		if t.Err != nil {
			all = append(all, unloaded{node: t.Target, err: t.Errors()[0]})
			continue
		}
		for _, i := range t.Images {
			if i.State == LoadFailed {
				all = append(all, unloaded{node: t.Target, image: i.Name, err: t.failure(i)})
			}
		}
	}
	return all
}

// keeps says whether p cannot run for want of it.
func (u unloaded) keeps(p FixWorkload) bool {
	return slices.Contains(p.nodes, u.node) && (u.image == "" || slices.ContainsFunc(p.Images, func(image string) bool {
		n, err := ref.Parse(image)
		return err == nil && n.String() == u.image
	}))
}

// withoutUnloaded has All go on without the workloads whose nodes did not take
// their images. Where that is all of them, or workloads were named, nothing is
// changed.
func (f *fixing) withoutUnloaded(r *LoadResult) error {
	missing, workloads := unloadedOf(r), slices.Clone(f.plan.Workloads)
	some := slices.ContainsFunc(workloads, func(p FixWorkload) bool {
		return allOf(missing, func(u unloaded) bool { return !u.keeps(p) })
	})
	if !f.req.All || !some {
		return &PartlyLoadedError{Load: r}
	}
	for _, u := range missing {
		f.plan.Blocked = append(f.plan.Blocked, FixBlock{Text: u.err.Error(), Next: hintOf(u.err), Err: u.err})
		f.passOverThose(workloads, u.keeps)
	}
	return nil
}

// narrow leaves nodes and images out that no workload of the plan needs.
func (f *fixing) narrow() {
	f.plan.Nodes = slices.DeleteFunc(f.plan.Nodes, func(n FixNode) bool {
		needed := slices.ContainsFunc(f.plan.Workloads, func(p FixWorkload) bool { return slices.Contains(p.nodes, n.Name) })
		if !needed {
			_ = n.found.Runtime.Close()
		}
		return !needed
	})
	images := f.images()
	f.plan.Pull = slices.DeleteFunc(f.plan.Pull, func(p FixPull) bool { return !slices.Contains(images, p.Image) })
}

// nothingLeft makes of a plan that passes over everything one that is blocked.
func (f *fixing) nothingLeft() {
	if len(f.plan.Workloads) == 0 || len(f.plan.Blocked) > 0 {
		f.plan.Blocked, f.plan.Left = append(f.plan.Blocked, f.plan.Left...), nil
	}
}

// unfixed is an error where All passed over something.
func (p *FixPlan) unfixed() error {
	if len(p.Left) == 0 {
		return nil
	}
	return &LeftError{Left: p.Left}
}

// LeftError says that All passed over some workloads. The others were fixed, or
// would be.
type LeftError struct{ Left []FixBlock }

func (e *LeftError) Error() string {
	var names []string
	for _, b := range e.Left {
		if !slices.Contains(names, b.Object) {
			names = append(names, b.Object)
		}
	}
	return "left as it was, for the reasons that were given: " + strings.Join(names, ", ")
}

// Unwrap returns the causes that are errors.
func (e *LeftError) Unwrap() []error {
	var all []error
	for _, b := range e.Left {
		if b.Err != nil {
			all = append(all, b.Err)
		}
	}
	return all
}
