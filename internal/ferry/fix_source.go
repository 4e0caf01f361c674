package ferry

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/ref"
)

// sources finds out where each image can be had, and reaches the nodes.
func (f *fixing) sources(ctx context.Context) error {
	g, within := errgroup.WithContext(ctx)
	platforms := f.platforms()
	for _, image := range f.images() {
		f.plan.Pull = append(f.plan.Pull, FixPull{Image: image, Platforms: platforms})
	}
	if err := f.gate(ctx); err != nil {
		return err
	}
	files := f.files()
	noImage, noNode := make([]error, len(f.plan.Pull)), make([]error, len(f.plan.Nodes))
	for i := range f.plan.Pull {
		g.Go(func() error {
			noImage[i] = f.source(within, &f.plan.Pull[i], files[f.plan.Pull[i].Image])
			return within.Err()
		})
	}
	for i := range f.plan.Nodes {
		g.Go(func() error {
			n := &f.plan.Nodes[i]
			n.found.platform, noNode[i] = n.found.Runtime.Platform(within)
			return within.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	unreached := map[string]error{}
	for i, n := range f.plan.Nodes {
		unreached[n.Name] = noNode[i]
	}
	f.withoutImages(noImage)
	f.withoutNodes(unreached)
	f.loadByHand()
	f.trustByHand()
	return nil
}

// withoutImages blocks the workloads whose image nobody has.
func (f *fixing) withoutImages(errs []error) {
	pulls, workloads := slices.Clone(f.plan.Pull), slices.Clone(f.plan.Workloads)
	for i, err := range errs {
		if err == nil {
			continue
		}
		f.plan.Blocked = append(f.plan.Blocked, FixBlock{Text: err.Error(), Next: hintOf(err), Err: err})
		f.passOverThose(workloads, func(p FixWorkload) bool { return slices.Contains(p.Images, pulls[i].Image) })
	}
}

// withoutNodes blocks the workloads that need a node which cannot be reached.
// Where all do, each such node is told once, and not with each workload.
func (f *fixing) withoutNodes(unreached map[string]error) {
	nodes, workloads := slices.Clone(f.plan.Nodes), slices.Clone(f.plan.Workloads)
	some := slices.ContainsFunc(workloads, func(p FixWorkload) bool {
		return allOf(p.nodes, func(node string) bool { return unreached[node] == nil })
	})
	for _, n := range nodes {
		err := unreached[n.Name]
		if err == nil {
			continue
		}
		f.plan.Blocked = append(f.plan.Blocked, FixBlock{Text: fmt.Sprintf("node %s: %v", n.Name, err), Next: hintOf(err), Err: err})
		if some {
			f.passOverThose(workloads, func(p FixWorkload) bool { return slices.Contains(p.nodes, n.Name) })
		}
	}
}

// loadByHand says what a person would type for each node.
func (f *fixing) loadByHand() {
	files := f.files()
	for i := range f.plan.Nodes {
		n := &f.plan.Nodes[i]
		if n.found.ByHand == nil {
			continue
		}
		told := map[string]bool{}
		for _, p := range f.plan.Pull {
			if file := files[p.Image]; !told[file] {
				told[file] = true
				n.ByHand = append(n.ByHand, n.found.ByHand(file, nil)...)
			}
		}
	}
}

// trustByHand puts what makes the folder of authorities before the first line
// that pulls from a registry.
func (f *fixing) trustByHand() {
	for i := range f.plan.Pull {
		p := &f.plan.Pull[i]
		if len(p.ByHand) > 0 && p.ByHand[0][1] == "pull" {
			p.ByHand = append(f.world.Given.trust(), p.ByHand...)
			return
		}
	}
}

// archive is what the gate calls all images together.
func (f *fixing) archive() string {
	files := f.files()
	if images := f.images(); len(images) == 1 || f.req.From != "" {
		return files[images[0]]
	}
	return "images.tar"
}

// gate makes sure that the policy can be asked, where there is one, and asks
// it what it can be asked before anything moves.
func (f *fixing) gate(ctx context.Context) error {
	g, err := openGate(ctx, f.world, f.archive(), f.req.Gate, time.Time{})
	if err != nil {
		return err
	}
	if g == nil {
		f.plan.Scan = "not scanned: no policy here asks for it"
		return nil
	}
	f.gated, f.plan.Scan = g.path, "held against "+g.path
	var names []string
	for _, p := range f.plan.Pull {
		n, err := ref.Parse(p.Image)
		if err != nil {
			return err
		}
		names = append(names, n.String())
	}
	return g.names(names)
}

// files are the archives that the commands by hand make, one for each image:
// podman save writes no second image into one that is there.
func (f *fixing) files() map[string]string {
	files, taken := map[string]string{}, map[string]bool{}
	for _, image := range f.images() {
		if f.req.From != "" {
			files[image] = f.req.From
			continue
		}
		base := "image"
		if n, err := ref.Parse(image); err == nil {
			base = path.Base(n.Path())
		}
		name := base
		for i := 2; taken[name]; i++ {
			name = fmt.Sprintf("%s-%d", base, i)
		}
		taken[name] = true
		files[image] = name + ".tar"
	}
	return files
}

func (f *fixing) images() []string {
	var all []string
	for _, w := range f.plan.Workloads {
		for _, image := range w.Images {
			if !slices.Contains(all, image) {
				all = append(all, image)
			}
		}
	}
	return all
}

func (f *fixing) platforms() []string {
	var all []string
	for _, n := range f.plan.Nodes {
		if !slices.Contains(all, n.Platform) {
			all = append(all, n.Platform)
		}
	}
	return all
}

// source finds one image: in the file that was named, in the engines here, in
// its registry.
func (f *fixing) source(ctx context.Context, p *FixPull, file string) error {
	n, err := ref.Parse(p.Image)
	if err != nil {
		return err
	}
	if f.req.From != "" {
		p.From, p.place = f.req.From, f.req.From
		return f.inFile(n)
	}
	local, err := f.env.Local(ctx, n)
	switch {
	case err == nil && len(p.Platforms) == 1 && local.Platform == p.Platforms[0]:
		p.From, p.place = local.Engine+" on this machine", local.Place
		p.ByHand = [][]string{{local.Engine, "save", "-o", file, n.String()}}
		return nil
	case err == nil:
		f.note(fmt.Sprintf("%s here has %s for %s only: it is taken from its registry", local.Engine, n.Familiar(), local.Platform))
	case !errors.Is(err, content.ErrNotFound):
		return err
	}
	p.From, p.place = n.Registry(), n.String()
	p.ByHand = [][]string{f.world.Given.typed("podman", "pull", n.String()), {"podman", "save", "-o", file, n.String()}}
	dry, err := Pack(ctx, f.world, PackRequest{Places: []string{p.place}, Platforms: p.Platforms, To: file, NoReferrers: true, DryRun: true})
	if err != nil {
		return fmt.Errorf("%s is in no engine on this machine, and its registry does not give it: %w", n.Familiar(), firstCause(err))
	}
	p.Bytes = dry.Size
	return nil
}

// inFile looks whether the bundle or archive that was named has the image.
func (f *fixing) inFile(n ref.Name) error {
	file, ok := bundleFile([]string{f.req.From})
	if !ok {
		return f.inArchive(n)
	}
	b, err := bundle.Open(file)
	if err != nil {
		return err
	}
	defer b.Close()
	if _, err := pickImages(b.Lock().Images, []string{n.String()}); err != nil {
		return &MissingImageError{Image: n.Familiar(), File: f.req.From}
	}
	return nil
}

// inArchive looks by name alone: which digest an image of an archive has is
// known when it was read.
func (f *fixing) inArchive(n ref.Name) error {
	place, err := ref.ParsePlace(f.req.From, exists)
	if err != nil || place.Path == "" || n.Digest() != "" {
		return nil //nolint:nilerr // what is no archive is told when the images are taken from it
	}
	p := &packing{world: f.world}
	defer p.cleanUp()
	if err := p.wantArchive(place.Path, place.Transport, place.Name); err != nil {
		return err
	}
	if !slices.ContainsFunc(p.wanted, func(w wanted) bool { return w.name.String() == n.String() }) {
		return &MissingImageError{Image: n.Familiar(), File: f.req.From}
	}
	return nil
}

// firstCause is why pack could not have the one image.
func firstCause(err error) error {
	var failed *PackError
	if errors.As(err, &failed) && len(failed.Images) > 0 {
		return failed.Images[0].Err
	}
	return err
}

func (f *fixing) note(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan.Notes = append(f.plan.Notes, text)
}
