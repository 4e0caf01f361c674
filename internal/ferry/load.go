package ferry

// Load, the verb: what it is asked, and every runtime served at once.

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"ferry/internal/bundle"
	"ferry/internal/progress"
)

// LoadRequest says which images go where.
type LoadRequest struct {
	// Places are a bundle, or images as people write them for pack.
	Places []string
	// To are the targets: podman, docker, containerd[:SOCKET], …
	To []string
	// Images picks some of the bundle by name; none takes all.
	Images []string
	// NoPin leaves the images to the runtime's garbage collection.
	NoPin bool
	// NoUnpack leaves layers packed until a container first wants them, where
	// the runtime keeps them so.
	NoUnpack bool
	// Jobs is how many blobs move at once to each runtime; 0 means 4.
	Jobs int
	// DryRun looks and plans, and loads nothing.
	DryRun bool
}

// Load brings images into runtimes, and asks each afterwards whether they are
// there.
func Load(ctx context.Context, w World, req LoadRequest) (*LoadResult, error) {
	if len(req.To) == 0 {
		return nil, usage("say where the images go: --to podman, --to docker, --to containerd, …")
	}
	runtimes, err := findRuntimes(ctx, w, req.To)
	if err != nil {
		return nil, err
	}
	defer closeAll(runtimes)
	file, err := AsBundle(ctx, w, PackRequest{Places: req.Places, Jobs: req.Jobs, Platforms: wantedPlatforms(runtimes)})
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(file)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return loadAll(ctx, w, req, b, runtimes)
}

// loadAll serves every runtime at once: a slow or broken one keeps none of the
// others from its images. Only damage in the bundle ends all of it.
func loadAll(ctx context.Context, w World, req LoadRequest, b *bundle.Bundle, runtimes []found) (*LoadResult, error) {
	r := &LoadResult{File: b.Path(), Digest: b.Digest(), Gate: b.Seal().Gate, DryRun: req.DryRun, Targets: make([]LoadTarget, len(runtimes))}
	images, err := pickImages(b.Lock().Images, req.Images)
	if err != nil {
		return nil, err
	}
	w.Progress.Emit(progress.Phase{Name: "loading", Items: len(runtimes) * len(images), Unit: "images"})
	g, group := errgroup.WithContext(ctx)
	source := newProving(group, b)
	defer source.Close()
	for k, f := range runtimes {
		g.Go(func() error {
			l := loading{world: w, req: req, bundle: b, source: source, wanted: images, runtime: f}
			r.Targets[k] = l.run(group)
			return l.damage
		})
	}
	damage := g.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if damage != nil {
		return nil, damage
	}
	if n := r.Failed(); n == len(r.Targets) && !anyLoaded(r) {
		return nil, &LoadError{Targets: r.Targets}
	}
	return r, nil
}

func anyLoaded(r *LoadResult) bool {
	return slices.ContainsFunc(r.Targets, func(t LoadTarget) bool { return t.arrived() > 0 })
}
