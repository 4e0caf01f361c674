package ferry

// What a runtime says that it holds, before a load and after it.

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
)

// answer is what a runtime says of an image.
type answer struct {
	held Held
	err  error
}

// askAtOnce is how many images a runtime is asked for at once: those that are
// programs are started for each.
const askAtOnce = 4

func (l *loading) holds(ctx context.Context, images []LoadImage) []answer {
	all := make([]answer, len(images))
	var g errgroup.Group
	g.SetLimit(askAtOnce)
	for k, img := range images {
		g.Go(func() error {
			all[k].held, all[k].err = l.runtime.Runtime.Holds(ctx, img)
			if l.req.NoUnpack && all[k].held.Packed {
				all[k].held.Complete = true
			}
			return nil
		})
	}
	_ = g.Wait()
	return all
}

// look asks the runtime what it has already, and returns what is missing.
func (l *loading) look(ctx context.Context, images []LoadImage) []LoadImage {
	var missing []LoadImage
	for k, a := range l.holds(ctx, images) {
		img := images[k]
		entry := l.entry(img)
		switch {
		case errors.Is(a.err, content.ErrNotFound):
			missing = append(missing, img)
		case a.err != nil:
			entry.fail(a.err)
		case a.held.Is(img) && (l.req.NoPin || a.held.Pin != PinNo):
			entry.State, entry.Pin, entry.As = LoadThere, a.held.Pin, a.held.As
		default:
			if a.held.Digest != img.Top.Digest {
				entry.Replaces = a.held.Digest
			}
			missing = append(missing, img)
		}
	}
	return missing
}

// ask is what makes "loaded" true: the runtime itself says that it has the
// image. loadErr is what loading said; an image may be there all the same.
func (l *loading) ask(ctx context.Context, images []LoadImage, loadErr error) {
	for k, a := range l.holds(ctx, images) {
		img := images[k]
		entry := l.entry(img)
		why := l.failed[img.Label()]
		if why == nil {
			why = loadErr
		}
		switch {
		case a.err == nil && a.held.Is(img):
			entry.State, entry.Pin, entry.As = LoadDone, a.held.Pin, a.held.As
		case why != nil:
			entry.fail(why)
		case a.err != nil:
			entry.fail(fmt.Errorf("the runtime said that it took the image, and then: %w", a.err))
		default:
			entry.fail(&NotHeldError{Image: img, Held: a.held})
		}
	}
}

func (l *loading) entry(img LoadImage) *LoadedImage {
	for k := range l.target.Images {
		if l.target.Images[k].Name == img.Label() {
			return &l.target.Images[k]
		}
	}
	return &LoadedImage{}
}

// NotHeldError says that a runtime took an image and has another, or a part.
type NotHeldError struct {
	Image LoadImage
	Held  Held
}

func (e *NotHeldError) Error() string {
	if e.Held.Digest != "" && e.Held.Digest != e.Image.Top.Digest {
		return fmt.Sprintf("under the name stands %s instead of %s", e.Held.Digest, e.Image.Top.Digest)
	}
	if e.Held.Digest == "" && e.Held.Config != "" {
		return fmt.Sprintf("under the name stands an image with the config %s instead of %s", e.Held.Config, e.Image.Manifest.Config.Digest)
	}
	return "the runtime took the image, but says that a part of it is missing"
}
