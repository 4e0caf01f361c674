package ferry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ferry/internal/diagnose"
)

// DeployError says that an object could not be applied, and where that left
// the others.
type DeployError struct {
	Done, All int
	Object    string
	Err       error
}

func (e *DeployError) Error() string {
	return fmt.Sprintf("%v; %d of %d objects were applied", e.Err, e.Done, e.All)
}

func (e *DeployError) Unwrap() error { return e.Err }

// apply applies all objects in order.
func (d *deploying) apply(ctx context.Context) error {
	objects := d.result.Objects
	for i := range objects {
		o := &objects[i]
		done, err := d.applyOne(ctx, o)
		if err != nil {
			o.State, o.Err, o.Error = ObjectFailed, err, err.Error()
			return &DeployError{Done: i, All: len(objects), Object: o.String(), Err: err}
		}
		o.State, o.Namespace, o.workload = ObjectApplied, done.Namespace, done.Workload
		d.step("applied " + o.String())
	}
	return nil
}

func (d *deploying) step(text string) {
	if d.env.Step != nil {
		d.env.Step(text)
	}
}

// applyOne applies an object. A kind whose definition came just before may
// take a moment to be served.
func (d *deploying) applyOne(ctx context.Context, o *DeployObject) (Applied, error) {
	const tries = 40
	for i := 0; ; i++ {
		done, err := d.env.Cluster.Apply(ctx, o.body, d.env.Cluster.Place().Namespace, false, d.req.Force)
		var unknown interface{ UnknownKind() bool }
		if err == nil || i == tries || o.State != ObjectUnchecked || !errors.As(err, &unknown) {
			return done, err
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return done, err
		}
	}
}

// How often workloads are looked at, and after how long doctor is asked.
const (
	deployLook    = time.Second
	deployPatient = 15 * time.Second
	deployTimeout = 5 * time.Minute
)

// wait waits for the pods. Where they do not come, doctor is asked; a cause
// that it is certain of twice will not go away by itself.
func (d *deploying) wait(ctx context.Context) error {
	var waiting []*DeployObject
	for i := range d.result.Objects {
		if o := &d.result.Objects[i]; waitsFor(o.Kind) {
			waiting = append(waiting, o)
		}
	}
	timeout := d.req.Timeout
	if timeout <= 0 {
		timeout = deployTimeout
	}
	start := d.world.Now()
	asked := start
	var sure []string
	for len(waiting) > 0 {
		var err error
		if waiting, err = d.stillWaiting(ctx, waiting); err != nil {
			return err
		}
		now := d.world.Now()
		over := now.Sub(start) >= timeout
		if len(waiting) > 0 && (over || now.Sub(asked) >= deployPatient) {
			asked = now
			before := sure
			if d.result.Doctor, sure, err = d.ask(ctx, waiting); err != nil {
				return err
			}
			if over || slices.ContainsFunc(sure, func(c string) bool { return slices.Contains(before, c) }) {
				break
			}
		}
		if len(waiting) > 0 {
			if err := pause(ctx, deployLook); err != nil {
				return err
			}
		}
	}
	if len(waiting) == 0 {
		d.result.Doctor = nil
	}
	for _, o := range waiting {
		d.result.Waiting = append(d.result.Waiting, o.String())
	}
	return nil
}

// waitsFor says whether a kind has pods that stay.
func waitsFor(kind string) bool {
	return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, kind)
}

// stillWaiting drops what is up.
func (d *deploying) stillWaiting(ctx context.Context, waiting []*DeployObject) ([]*DeployObject, error) {
	var rest []*DeployObject
	for _, o := range waiting {
		w, err := d.env.Cluster.Workload(ctx, o.Kind, o.Namespace, o.Name)
		if err != nil {
			return nil, err
		}
		if !w.Observed || w.Updated < w.Desired || w.Ready < w.Desired {
			rest = append(rest, o)
			continue
		}
		d.step(fmt.Sprintf("running %s, %d of %d ready", o, w.Ready, w.Desired))
	}
	return rest, nil
}

// ask asks doctor about what does not come up, and returns the causes that it
// is certain of.
func (d *deploying) ask(ctx context.Context, waiting []*DeployObject) (*DoctorResult, []string, error) {
	scope := diagnose.Scope{Namespace: waiting[0].Namespace}
	for _, o := range waiting {
		scope.Objects = append(scope.Objects, diagnose.Object{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name})
	}
	r, err := look(ctx, d.env.Cluster, scope)
	if err != nil {
		return nil, nil, err
	}
	var sure []string
	for _, f := range r.Findings {
		if f.Confidence == diagnose.Certain {
			sure = append(sure, string(f.Cause.Cause))
		}
	}
	return r, sure, nil
}
