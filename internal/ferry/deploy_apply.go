package ferry

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// DeployError says what ended a deploy midway, and where that left it.
type DeployError struct {
	Done, All int // objects
	// Object is the one that could not be applied; "" where all were, and
	// their pods could not be looked at any more.
	Object string
	Err    error
}

func (e *DeployError) Error() string {
	if e.Object == "" {
		return fmt.Sprintf("all %d objects were applied, and whether their pods come up can no longer be seen: %v", e.All, e.Err)
	}
	return fmt.Sprintf("%v; %d of %d objects were applied", e.Err, e.Done, e.All)
}

func (e *DeployError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *DeployError) Hint() string {
	again := "What was applied stays; the same command again goes on from there."
	var h interface{ Hint() string }
	if errors.As(e.Err, &h) && h.Hint() != "" {
		return h.Hint() + " " + again
	}
	return again
}

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
		o.learn(done)
		o.State, o.Why = ObjectApplied, ""
		d.step("applied " + o.String())
		if o.Kind == definition {
			if err := d.established(ctx, o.Name); err != nil {
				return &DeployError{Done: i + 1, All: len(objects), Object: o.String(), Err: err}
			}
		}
	}
	return nil
}

func (d *deploying) step(text string) {
	if d.env.Step != nil {
		d.env.Step(text)
	}
}

// applyOne applies an object. A kind whose definition came just before may
// take a moment to be served, even once it is established.
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

// established waits until a definition is in force: what is of its kind comes
// next.
func (d *deploying) established(ctx context.Context, name string) error {
	const tries = 40
	for i := 0; ; i++ {
		in, why, err := d.env.Cluster.Established(ctx, name)
		switch {
		case err != nil || in:
			return err
		case why != "":
			return fmt.Errorf("the cluster does not take the names of the kind %s: %s", name, why)
		case i == tries:
			return fmt.Errorf("the kind %s is not established after %v", name, tries*250*time.Millisecond)
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
}
