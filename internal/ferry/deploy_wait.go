package ferry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ferry/internal/diagnose"
	"ferry/internal/progress"
	"ferry/internal/workload"
)

// How often workloads are looked at, after how long doctor is asked, and how
// long it all may take.
const (
	deployLook    = time.Second
	deployPatient = 15 * time.Second
	deployTimeout = 5 * time.Minute
)

// waits says whether an object has pods that are to come up: not a CronJob's,
// whose time has not come, and none of what is suspended.
func (o DeployObject) waits() bool {
	return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"}, o.Kind) && !o.workload.Suspended
}

// waiting is what is still waited for.
type waiting struct {
	*deploying

	silence silence
	objects []*DeployObject
	start   time.Time
	asked   time.Time // when doctor was asked last
	sure    []string  // the causes that doctor was certain of then
}

// wait waits for the pods. Where they do not come, doctor is asked; a cause
// that it is certain of twice will not go away by itself.
func (d *deploying) wait(ctx context.Context) error {
	now := d.world.Now()
	w := &waiting{deploying: d, silence: silence{world: d.world}, start: now, asked: now}
	limit, cancel := context.WithTimeout(ctx, w.timeout())
	defer cancel()
	for i := range d.result.Objects {
		if o := &d.result.Objects[i]; o.waits() {
			w.objects = append(w.objects, o)
		}
	}
	if len(w.objects) > 0 {
		d.world.Progress.Emit(progress.Phase{Name: "waiting", Items: len(w.objects), Unit: "workloads"})
	}
	for len(w.objects) > 0 {
		over, err := w.turn(ctx, limit)
		if err != nil {
			return &DeployError{Done: len(d.result.Objects), All: len(d.result.Objects), Err: err}
		}
		if over || len(w.objects) == 0 {
			break
		}
		if err := pause(limit, deployLook); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return w.end(ctx)
}

// turn looks once at all that is waited for, and says whether that is enough.
// No question outlasts limit, but for the last ones to a server that answers.
func (w *waiting) turn(ctx, limit context.Context) (over bool, err error) {
	if limit.Err() != nil && w.silence.since.IsZero() {
		limit = ctx
	}
	w.env.Cluster.Again()
	put := w.world.Now()
	over, err = w.heard(ctx, put, w.look(limit))
	if err != nil || len(w.objects) == 0 || !w.silence.since.IsZero() {
		return over, err
	}
	now := w.world.Now()
	if !over && now.Sub(w.asked) < deployPatient {
		return false, nil
	}
	if over {
		limit = ctx
	}
	w.asked = now
	before := w.sure
	w.result.Doctor, w.sure, err = w.ask(limit, w.objects)
	if err != nil {
		return w.heard(ctx, now, err)
	}
	return over || slices.ContainsFunc(w.sure, func(c string) bool { return slices.Contains(before, c) }), nil
}

// heard takes what came of the questions since put, and says whether the time
// is over. An API server that does not answer is an error only then.
func (w *waiting) heard(ctx context.Context, put time.Time, err error) (over bool, _ error) {
	over = w.world.Now().Sub(w.start) >= w.timeout()
	if err != nil && (!passing(err) || ctx.Err() != nil) {
		return true, err
	}
	w.silence.heard(put, err)
	if over {
		return true, w.silence.broken()
	}
	return false, nil
}

func (w *waiting) timeout() time.Duration {
	if w.req.Timeout > 0 {
		return w.req.Timeout
	}
	return deployTimeout
}

// passing says whether an error is one of an API server that starts again, or
// has too much to do.
func passing(err error) bool {
	var e interface{ StatusCode() int }
	return errors.As(err, &e) && (e.StatusCode() == 0 || e.StatusCode() == statusTooMany || e.StatusCode() >= statusServerError)
}

// end says what did not come up: what is still waited for, and what failed.
func (w *waiting) end(ctx context.Context) error {
	down := w.objects
	for i := range w.result.Objects {
		if o := &w.result.Objects[i]; o.failed() {
			down = append(down, o)
		}
	}
	for _, o := range down {
		w.result.Waiting = append(w.result.Waiting, o.String())
	}
	switch {
	case len(down) == 0:
		w.result.Doctor = nil
	case w.result.Doctor == nil:
		var err error
		if w.result.Doctor, _, err = w.ask(ctx, down); err != nil {
			return err
		}
	}
	if d := w.result.Doctor; d != nil && d.Healthy() && len(d.Refused) == 0 {
		w.result.Next = w.world.Given.typed(tells(down[0])...)
	}
	return nil
}

// tells is what a person would ask where no image is the reason.
func tells(o *DeployObject) []string {
	if o.failed() {
		return []string{"kubectl", "logs", "-n", o.Namespace, ObjectArgument(diagnose.Object{Kind: o.Kind, Name: o.Name})}
	}
	return []string{"kubectl", "get", "events", "-n", o.Namespace, "--field-selector", "type=Warning"}
}

func (o DeployObject) failed() bool { return o.workload.Ended == workload.EndFailed && o.Outcome != "" }

// look drops what is up, or ended.
func (w *waiting) look(ctx context.Context) error {
	var rest []*DeployObject
	for i, o := range w.objects {
		outcome, err := w.outcome(ctx, o)
		if err != nil {
			w.objects = append(rest, w.objects[i:]...)
			return err
		}
		if outcome == "" {
			rest = append(rest, o)
			continue
		}
		o.Outcome = outcome
		w.world.Progress.Emit(progress.Advance{Items: 1})
		switch {
		case outcome == noPods(o.Kind):
			w.step("nothing to wait for at " + o.String() + ": " + outcome)
		case outcome == done:
			w.step("finished " + o.String())
		case !o.failed():
			w.step("running " + o.String() + ", " + outcome)
		}
	}
	w.objects = rest
	return nil
}

// outcome is what became of a workload; "" while it is not up.
func (w *waiting) outcome(ctx context.Context, o *DeployObject) (string, error) {
	now, err := w.env.Cluster.Workload(ctx, o.Kind, o.Namespace, o.Name)
	if err != nil {
		return "", err
	}
	o.workload = now
	if o.Kind == "Job" || o.Kind == "Pod" {
		return w.outcomeOfPods(ctx, o, now)
	}
	if now.Observed && now.Desired == 0 {
		return noPods(o.Kind), nil
	}
	if !now.Observed || now.Updated < now.Desired || now.Ready < now.Desired {
		return "", nil
	}
	return fmt.Sprintf("%d of %d ready", now.Ready, now.Desired), nil
}

// noPods is the outcome of what wants none.
func noPods(kind string) string {
	if kind == "DaemonSet" {
		return "no node takes its pods"
	}
	return "it is to have no pods"
}

// done is the outcome of what ended well.
const done = "done"

// outcomeOfPods is the outcome of what ends: a Job may work for hours, so that
// it is enough that its pods have started, with all their images.
func (w *waiting) outcomeOfPods(ctx context.Context, o *DeployObject, now workload.Workload) (string, error) {
	switch now.Ended {
	case workload.EndFailed:
		return "failed: " + now.Why, nil
	case workload.EndComplete, workload.EndSucceeded:
		return done, nil
	}
	pods, err := w.env.Cluster.Pods(ctx, now)
	if err != nil {
		return "", err
	}
	pods = slices.DeleteFunc(pods, func(p workload.Pod) bool { return p.Deleting || p.Phase == workload.EndFailed })
	started := func(p workload.Pod) bool {
		return p.Ready || p.Phase == workload.EndSucceeded || now.Kind == "Job" && p.Phase == "Running" && p.HasImages()
	}
	if len(pods) == 0 || !allOf(pods, started) {
		return "", nil
	}
	if now.Kind == "Pod" {
		return "ready", nil
	}
	// What starts and dies at once is met running as well.
	if o.started++; o.started == 1 {
		return "", nil
	}
	return fmt.Sprintf("its pods have started (%d)", len(pods)), nil
}

func allOf[T any](all []T, is func(T) bool) bool {
	return !slices.ContainsFunc(all, func(v T) bool { return !is(v) })
}

// ask asks doctor about what does not come up, and returns the causes that it
// is certain of.
func (d *deploying) ask(ctx context.Context, down []*DeployObject) (*DoctorResult, []string, error) {
	scope := diagnose.Scope{Namespace: down[0].Namespace}
	for _, o := range down {
		scope.Objects = append(scope.Objects, diagnose.Object{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name})
	}
	start := d.world.Now()
	r, err := look(ctx, d.env.Cluster, scope)
	if err != nil {
		return nil, nil, err
	}
	d.world.Given.advised(r.Findings)
	r.Took = d.world.Now().Sub(start)
	var sure []string
	for _, f := range r.Findings {
		if f.Confidence == diagnose.Certain {
			sure = append(sure, string(f.Cause.Cause))
		}
	}
	return r, sure, nil
}
