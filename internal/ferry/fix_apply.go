package ferry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry/internal/bundle"
	"ferry/internal/progress"
	"ferry/internal/ref"
	"ferry/internal/workload"
)

// pullAndLoad gets the images into a bundle, and from there into every node.
func (f *fixing) pullAndLoad(ctx context.Context) error {
	since := f.world.Now()
	file, err := f.bundle(ctx)
	if err != nil {
		return err
	}
	b, err := bundle.Open(file)
	if err != nil {
		return err
	}
	defer b.Close()
	names, err := f.names(b)
	if err != nil {
		return err
	}
	f.done(StepPulled, describeImages(b, names), since)
	if f.gated != "" {
		f.done(StepScanned, f.gated+" lets it pass", since)
	}
	return f.load(ctx, b, names)
}

// busyPatience is how long another fix may take to pull the same images.
const busyPatience = 5 * time.Minute

// bundle is the file that was named, or one in the cache.
func (f *fixing) bundle(ctx context.Context) (string, error) {
	var places []string
	for _, p := range f.plan.Pull {
		if !slices.Contains(places, p.place) {
			places = append(places, p.place)
		}
	}
	req := PackRequest{Places: places, Platforms: f.platforms(), Jobs: f.req.Jobs, Policy: f.req.Gate}
	if f.req.From != "" {
		req.Platforms = nil // what is in the file is in the file
	}
	deadline := f.world.Now().Add(busyPatience)
	for {
		file, err := AsBundle(ctx, f.world, req)
		var busy *bundle.BusyError
		if err == nil {
			return file, f.judge(ctx, file)
		}
		if !errors.As(err, &busy) || f.world.Now().After(deadline) {
			return "", firstCause(err)
		}
		// Another fix pulls the same images: what it pulled is there then.
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// judge holds a bundle that someone else packed against the policy here. One
// that was packed just now has passed it.
func (f *fixing) judge(ctx context.Context, file string) error {
	if f.gated == "" || file != f.req.From {
		return nil
	}
	_, err := Verify(ctx, f.world, VerifyRequest{File: file, Policy: f.req.Gate, Jobs: f.req.Jobs})
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// names are what the bundle calls the images, and it has to have all.
func (f *fixing) names(b *bundle.Bundle) ([]string, error) {
	var names []string
	for _, p := range f.plan.Pull {
		n, err := ref.Parse(p.Image)
		if err != nil {
			return nil, err
		}
		picked, err := pickImages(b.Lock().Images, []string{n.String()})
		if err != nil {
			return nil, &MissingImageError{Image: n.Familiar(), File: cmp.Or(f.req.From, b.Path())}
		}
		names = append(names, n.String())
		f.accept(b, picked[0])
	}
	return names, nil
}

// MissingImageError says that a file does not have an image that is needed.
type MissingImageError struct{ Image, File string }

func (e *MissingImageError) Error() string {
	return fmt.Sprintf("%s does not have %s", e.File, e.Image)
}

// Hint says what to do next.
func (e *MissingImageError) Hint() string {
	return "Nothing was changed. ferry inspect shows what a bundle has; an archive has the names it was saved by."
}

// accept notes every digest by which the kubelet may speak of an image.
func (f *fixing) accept(b *bundle.Bundle, w wantedImage) {
	f.digests[w.image.Digest.String()] = true
	for _, d := range orderOf(b.Contents(), w.image).manifests {
		f.digests[d.Digest.String()] = true
		if n := b.Contents().Node(d.Digest); n != nil && n.Config != nil {
			f.digests[n.Config.Digest.String()] = true
		}
	}
}

func describeImages(b *bundle.Bundle, names []string) string {
	var all []string
	for _, img := range b.Lock().Images {
		if slices.Contains(names, img.Name) {
			all = append(all, fmt.Sprintf("%s as %s", img.Name, img.Digest))
		}
	}
	return strings.Join(all, ", ")
}

// load brings the images into all nodes at once. What needs a node that does
// not take them is not changed.
func (f *fixing) load(ctx context.Context, b *bundle.Bundle, names []string) error {
	since := f.world.Now()
	var runtimes []found
	for _, n := range f.plan.Nodes {
		runtimes = append(runtimes, n.found)
	}
	r, err := loadAll(ctx, f.world, LoadRequest{Images: names, Jobs: f.req.Jobs}, b, runtimes)
	if err != nil {
		return err
	}
	f.result.Load = r
	for _, t := range r.Targets {
		for _, i := range t.Images {
			f.digests[i.Digest.String()] = true // an index of upstream's, where the runtime takes it
		}
	}
	for _, t := range r.Targets {
		if !t.Failed() {
			f.done(StepLoaded, loadedText(t), since)
		}
	}
	if r.Failed() > 0 {
		return f.withoutUnloaded(r)
	}
	return nil
}

func loadedText(t LoadTarget) string {
	var parts []string
	for _, i := range t.Images {
		s := i.Name
		if i.State == LoadThere {
			s += " (was there)"
		}
		if i.Pin == PinYes || i.Pin == PinSilent {
			s += ", " + i.Pin
		}
		parts = append(parts, s)
	}
	return t.Name + " holds " + strings.Join(parts, "; ")
}

// patchAll makes the changes of policies.
func (f *fixing) patchAll(ctx context.Context) error {
	for i := range f.plan.Workloads {
		p := &f.plan.Workloads[i]
		if len(p.Changes) == 0 && !p.Recreate {
			continue
		}
		since := f.world.Now()
		if p.Recreate {
			if err := f.env.Cluster.Recreate(ctx, p.w, p.Changes); err != nil {
				return err
			}
			f.done(StepStarted, "pod/"+p.Name+" was deleted and made anew", since)
			continue
		}
		if err := f.patch(ctx, p); err != nil {
			return err
		}
		if len(p.Changes) > 0 {
			f.done(StepPatched, ObjectArgument(p.Object), since)
			f.result.Undo = f.undoCommand(p.Namespace)
		}
	}
	return nil
}

// undoCommand brings back the policies of all that was patched.
func (f *fixing) undoCommand(namespace string) []string {
	argv := []string{"ferry", "fix", "-n", namespace, "--undo"}
	return append(append(argv, f.patched()...), f.world.Given.place()...)
}

func (f *fixing) patched() []string {
	var all []string
	for _, s := range f.result.Steps {
		if s.Step == StepPatched {
			all = append(all, s.Text)
		}
	}
	return all
}

// patchTries is how often a workload that others change is planned anew.
const patchTries = 4

// patch patches p's template. Where someone changed the workload since it was
// read, what has to be changed is found out again; what they changed stays.
func (f *fixing) patch(ctx context.Context, p *FixWorkload) error {
	var err error
	for range patchTries {
		if len(p.Changes) == 0 {
			return nil // whoever changed it did what was needed
		}
		var patch []byte
		if patch, err = p.w.Patch(p.Changes); err != nil {
			return err
		}
		if err = f.env.Cluster.Patch(ctx, p.w, patch, false); !conflict(err) {
			return err
		}
		if err := f.again(ctx, p); err != nil {
			return err
		}
	}
	return err
}

// again plans anew for a workload that was changed.
func (f *fixing) again(ctx context.Context, p *FixWorkload) error {
	w, err := f.env.Cluster.Workload(ctx, p.Kind, p.Namespace, p.Name)
	if err != nil {
		return err
	}
	if w.UID != p.w.UID {
		return &MeanwhileError{Object: ObjectArgument(p.Object), What: "it was deleted and made anew"}
	}
	for _, at := range w.Spec.Places {
		if was, ok := p.places[at.Key()]; ok && was != at.Image {
			return &MeanwhileError{Object: ObjectArgument(p.Object), What: fmt.Sprintf("%s wants %s now, and not %s", at.Name, at.Image, was)}
		}
	}
	f.world.Progress.Emit(progress.Note{Text: ObjectArgument(p.Object) + " was changed meanwhile: planned anew"})
	p.w = w
	policy := p.Changes[0].To
	p.Changes = workload.Changes(w.Spec.Places, policy, func(at workload.Place) bool { return p.places[at.Key()] != "" })
	return nil
}

// MeanwhileError says that a workload is not what was planned for any more.
type MeanwhileError struct{ Object, What string }

func (e *MeanwhileError) Error() string {
	return fmt.Sprintf("%s was changed meanwhile: %s", e.Object, e.What)
}

// Hint says what to do next.
func (e *MeanwhileError) Hint() string {
	return "It was not patched. What was loaded stays; the same command again plans for what it is now."
}

// restartAll deletes the pods that would wait out their back-off.
func (f *fixing) restartAll(ctx context.Context) error {
	for _, p := range f.plan.Workloads {
		if len(p.Restart) == 0 {
			continue
		}
		since := f.world.Now()
		n, err := f.restart(ctx, p)
		if err != nil {
			return err
		}
		if n > 0 {
			pods := "1 waiting pod"
			if n != 1 {
				pods = fmt.Sprintf("%d waiting pods", n)
			}
			f.done(StepStarted, pods+" of "+ObjectArgument(p.Object), since)
		}
	}
	return nil
}

// moreLooks is how often the pods are looked at again because one of them
// changed between the look and its deletion.
const moreLooks = 5

// restart deletes the waiting pods of one workload, and says how many. What
// changed since it was looked at may be running by now, or have ended, and is
// looked at again first; what changes all the time is left to the kubelet.
func (f *fixing) restart(ctx context.Context, p FixWorkload) (int, error) {
	n := 0
	for range moreLooks {
		pods, err := f.env.Cluster.Pods(ctx, p.w)
		if err != nil {
			return n, err
		}
		changed := false
		for _, pod := range pods {
			if !waits(pod) {
				continue // it came up meanwhile, or is another one
			}
			switch err := f.env.Cluster.DeletePod(ctx, pod); {
			case err == nil:
				n++
			case conflict(err):
				changed = true
			case !gone(err):
				return n, err
			}
		}
		if !changed {
			break
		}
	}
	return n, nil
}

func gone(err error) bool {
	var g interface{ Gone() bool }
	return errors.As(err, &g) && g.Gone()
}
