package ferry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry/internal/diagnose"
)

// WatchEvents are what Watch tells while it runs.
type WatchEvents struct {
	// Show is called with the first result, and whenever the findings change.
	Show func(*DoctorResult) error
	// Lost is called when the cluster could not be looked at; it is tried
	// again.
	Lost func(error)
}

// Watch is Doctor again and again, until ctx ends. Only what changes is shown,
// and registries are asked only then. The first look has to succeed.
func Watch(ctx context.Context, w World, cluster Cluster, prober Prober, req DoctorRequest, on WatchEvents) error {
	scope, err := scopeOf(req, cluster.Place().Namespace)
	if err != nil {
		return err
	}
	shown, facts := "", (*diagnose.Facts)(nil)
	for first := true; ctx.Err() == nil; first = false {
		start := w.Now()
		r, err := look(ctx, cluster, scope)
		switch {
		case err != nil && first:
			return err
		case err != nil && ctx.Err() == nil:
			on.Lost(err)
			facts = &diagnose.Facts{} // whose version nobody can watch from: a pause
		case err == nil:
			facts = r.Facts
			if key := r.key(); key != shown {
				shown = key
				if err := r.show(ctx, w, prober, req, start, on); err != nil {
					return err
				}
			}
		}
		if err := cluster.Changed(ctx, scope, facts); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *DoctorResult) show(ctx context.Context, w World, prober Prober, req DoctorRequest, start time.Time, on WatchEvents) error {
	if prober != nil && !req.NoProbe {
		if err := r.probe(ctx, prober); err != nil {
			return err
		}
	}
	w.Given.advised(r.Findings)
	r.Took = w.Now().Sub(start)
	return on.Show(r)
}

// key is what has to change for a result to be news: the causes and the
// workloads and images that they hit, not how often, since when, and which of
// them was seen last.
func (r *DoctorResult) key() string {
	lines := []string{"looked"}
	for _, f := range r.Findings {
		line := fmt.Sprintf("%s %q %q", f.Cause.Cause, f.Images, f.Nodes)
		for _, w := range f.Workloads {
			line += fmt.Sprintf(" %v", w.Object)
		}
		lines = append(lines, line)
	}
	for _, u := range r.Unseen {
		lines = append(lines, "unseen "+u.What)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
