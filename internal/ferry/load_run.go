package ferry

// A load at one runtime: plan, send what is missing, ask again.

import (
	"context"
	"errors"
	"sync"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/progress"
)

// loading is the work at one runtime.
type loading struct {
	world   World
	req     LoadRequest
	bundle  *bundle.Bundle
	source  content.Source
	wanted  []wantedImage
	runtime found
	// damage is what is wrong with the bundle itself.
	damage error

	mu     sync.Mutex
	target LoadTarget
	failed map[string]error // by the images' labels
}

func (l *loading) run(ctx context.Context) LoadTarget {
	l.target = LoadTarget{Target: l.runtime.target, Name: l.runtime.Name, Kind: l.runtime.Kind}
	l.failed = map[string]error{}
	if err := l.do(ctx); err != nil {
		l.target.fail(err)
	}
	l.world.Progress.Emit(progress.Advance{Items: l.target.arrived()})
	return l.target
}

func (l *loading) do(ctx context.Context) error {
	if l.runtime.err != nil {
		return l.runtime.err
	}
	l.target.Platform = content.FormatPlatform(&l.runtime.platform)
	images, err := l.plan(ctx)
	if err != nil {
		return err
	}
	missing := l.look(ctx, images)
	if l.runtime.Whole && len(missing) > 0 {
		missing = images
	}
	if len(missing) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	if err := l.weigh(ctx, missing); err != nil {
		return err
	}
	if l.runtime.ByHand != nil {
		l.target.ByHand = l.runtime.ByHand(l.bundle.Path(), missing)
	}
	if l.req.DryRun {
		return nil
	}
	return l.load(ctx, missing)
}

// plan picks the runtime's platform of every image. One that does not come
// for it is refused here, before a byte is sent.
func (l *loading) plan(ctx context.Context) ([]LoadImage, error) {
	sparse, ok := opened(l.runtime.Runtime).(Sparse)
	c := chooser{ctx: ctx, bundle: l.bundle, platform: l.runtime.platform, upstream: ok && sparse.Sparse()}
	var images []LoadImage
	for _, w := range l.wanted {
		img, err := c.choose(w)
		entry := LoadedImage{Name: img.Label(), Digest: img.Top.Digest, State: LoadPlanned}
		if err != nil {
			if fatal(err) {
				l.damage = err
				return nil, err
			}
			entry.fail(err)
		} else {
			entry.Platform = content.FormatPlatform(&img.Platform)
			images = append(images, img)
		}
		l.target.Images = append(l.target.Images, entry)
	}
	return images, nil
}

// weigh says what has to be sent, or at most.
func (l *loading) weigh(ctx context.Context, missing []LoadImage) error {
	if r, ok := opened(l.runtime.Runtime).(Lacking); ok {
		n, err := r.Lacks(ctx, missing)
		l.target.Planned = n
		return err
	}
	seen := map[digest.Digest]bool{}
	for _, img := range missing {
		blobs := img.Manifest.Children()
		if l.runtime.platform.OS == "" {
			blobs = img.All
		}
		for _, d := range blobs {
			if !seen[d.Digest] {
				l.target.Planned += d.Size
			}
			seen[d.Digest] = true
		}
	}
	return nil
}

func (l *loading) load(ctx context.Context, missing []LoadImage) error {
	l.world.Progress.Emit(progress.Grow{Bytes: l.target.Planned})
	err := l.runtime.Runtime.Load(ctx, Delivery{
		Bundle: l.bundle.Path(), Source: l.source, Images: missing, Pin: !l.req.NoPin, NoUnpack: l.req.NoUnpack, Jobs: l.jobs(),
		Sent: l.sent, Failed: l.fails, Note: func(text string) { l.world.Progress.Emit(progress.Note{Text: text}) },
	})
	if fatal(err) {
		l.damage = err
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.ask(ctx, missing, err)
	return nil
}

func (l *loading) jobs() int {
	if l.req.Jobs > 0 {
		return l.req.Jobs
	}
	return 4
}

func (l *loading) sent(bytes int64) {
	l.mu.Lock()
	l.target.Sent += bytes
	l.mu.Unlock()
	l.world.Progress.Emit(progress.Advance{Bytes: bytes})
}

func (l *loading) fails(img LoadImage, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed[img.Label()] = err
}

// fatal is an error of the bundle, and not of one image in it.
func fatal(err error) bool {
	var damaged *DamagedBlobError
	return errors.As(err, &damaged)
}
