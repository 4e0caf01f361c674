package ferry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"ferry/internal/bundle"
	"ferry/internal/content"
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
	// Jobs is how many blobs move at once to each runtime; 0 means 4.
	Jobs int
	// DryRun looks and plans, and loads nothing.
	DryRun bool
}

// LoadResult says what each runtime holds now, or would.
type LoadResult struct {
	File    string        `json:"file"`
	Digest  digest.Digest `json:"digest"`
	Gate    string        `json:"gate"`
	Targets []LoadTarget  `json:"targets"`
	DryRun  bool          `json:"dryRun,omitempty"`
}

// LoadTarget is one runtime with what came of it.
type LoadTarget struct {
	// Target is what was asked for, Name the runtime or node it led to.
	Target   string        `json:"target"`
	Name     string        `json:"name"`
	Kind     string        `json:"kind,omitempty"`
	Platform string        `json:"platform,omitempty"`
	Images   []LoadedImage `json:"images,omitempty"`
	Sent     int64         `json:"sentBytes"`
	ByHand   [][]string    `json:"byHand,omitempty"`
	Err      error         `json:"-"`
	Error    string        `json:"error,omitempty"`
}

// The states of an image at a runtime.
const (
	LoadThere   = "there"
	LoadPlanned = "planned"
	LoadDone    = "loaded"
	LoadFailed  = "failed"
)

// LoadedImage is an image as one runtime has it.
type LoadedImage struct {
	Name     string        `json:"name"`
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"`
	State    string        `json:"state"`
	// Replaces is the digest that stood under the name before.
	Replaces digest.Digest `json:"replaces,omitempty"`
	Pin      string        `json:"pin,omitempty"`
	// As is how the runtime was seen to find it.
	As    string `json:"as,omitempty"`
	Err   error  `json:"-"`
	Error string `json:"error,omitempty"`
}

func (i *LoadedImage) fail(err error) { i.State, i.Err, i.Error = LoadFailed, err, err.Error() }

func (t *LoadTarget) fail(err error) { t.Err, t.Error = err, err.Error() }

// Failed says whether something of t did not arrive.
func (t LoadTarget) Failed() bool {
	if t.Err != nil {
		return true
	}
	for _, i := range t.Images {
		if i.State == LoadFailed {
			return true
		}
	}
	return false
}

// Failed counts the targets where something did not arrive.
func (r *LoadResult) Failed() int {
	n := 0
	for _, t := range r.Targets {
		if t.Failed() {
			n++
		}
	}
	return n
}

// LoadError says that not one target took the images.
type LoadError struct{ Targets []LoadTarget }

// Errors are the causes, a line each.
func (e *LoadError) Errors() []error {
	var all []error
	for _, t := range e.Targets {
		all = append(all, t.Errors()...)
	}
	return all
}

// Errors are what went wrong at t, each with image and target.
func (t LoadTarget) Errors() []error {
	if t.Err != nil {
		return []error{fmt.Errorf("load into %s: %w", t.Name, t.Err)}
	}
	var all []error
	for _, i := range t.Images {
		if i.State == LoadFailed {
			all = append(all, fmt.Errorf("load %s into %s: %w", i.Name, t.Name, i.Err))
		}
	}
	return all
}

func (e *LoadError) Error() string {
	var lines []string
	for _, err := range e.Errors() {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns all causes.
func (e *LoadError) Unwrap() []error { return e.Errors() }

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
	file, err := AsBundle(ctx, w, PackRequest{Places: req.Places, Jobs: req.Jobs})
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

// found is a runtime that a target led to.
type found struct {
	NamedRuntime
	target string
}

func findRuntimes(ctx context.Context, w World, targets []string) ([]found, error) {
	var all []found
	for _, target := range targets {
		named, err := w.Runtimes(ctx, target)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		for _, n := range named {
			all = append(all, found{n, target})
		}
	}
	return all, nil
}

func closeAll(runtimes []found) {
	for _, f := range runtimes {
		_ = f.Runtime.Close()
	}
}

// loadAll serves every runtime at once: a slow or broken one keeps none of the
// others from its images.
func loadAll(ctx context.Context, w World, req LoadRequest, b *bundle.Bundle, runtimes []found) (*LoadResult, error) {
	r := &LoadResult{File: b.Path(), Digest: b.Digest(), Gate: b.Seal().Gate, DryRun: req.DryRun, Targets: make([]LoadTarget, len(runtimes))}
	images, err := pickImages(b.Lock().Images, req.Images)
	if err != nil {
		return nil, err
	}
	w.Progress.Emit(progress.Phase{Name: "loading", Items: len(runtimes), Unit: "targets"})
	var g errgroup.Group
	for k, f := range runtimes {
		g.Go(func() error {
			l := loading{world: w, req: req, bundle: b, wanted: images, runtime: f}
			r.Targets[k] = l.run(ctx)
			w.Progress.Emit(progress.Advance{Items: 1})
			return nil
		})
	}
	_ = g.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if n := r.Failed(); n == len(r.Targets) && !anyLoaded(r) {
		return nil, &LoadError{Targets: r.Targets}
	}
	return r, nil
}

func anyLoaded(r *LoadResult) bool {
	for _, t := range r.Targets {
		for _, i := range t.Images {
			if i.State == LoadDone || i.State == LoadThere {
				return true
			}
		}
	}
	return false
}

// loading is the work at one runtime.
type loading struct {
	world   World
	req     LoadRequest
	bundle  *bundle.Bundle
	wanted  []wantedImage
	runtime found

	mu     sync.Mutex
	target LoadTarget
}

func (l *loading) run(ctx context.Context) LoadTarget {
	l.target = LoadTarget{Target: l.runtime.target, Name: l.runtime.Name, Kind: l.runtime.Kind}
	if err := l.do(ctx); err != nil {
		l.target.fail(err)
	}
	return l.target
}

func (l *loading) do(ctx context.Context) error {
	platform, err := l.runtime.Runtime.Platform(ctx)
	if err != nil {
		return err
	}
	l.target.Platform = content.FormatPlatform(&platform)
	images, err := l.plan(ctx, platform)
	if err != nil {
		return err
	}
	missing := l.look(ctx, images)
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.runtime.Whole && len(missing) > 0 {
		missing = images
	}
	if l.runtime.ByHand != nil && len(missing) > 0 {
		l.target.ByHand = l.runtime.ByHand(l.bundle.Path(), missing)
	}
	if l.req.DryRun || len(missing) == 0 {
		return nil
	}
	loadErr := l.runtime.Runtime.Load(ctx, Delivery{
		Bundle: l.bundle.Path(), Source: verified{l.bundle}, Images: missing, Pin: !l.req.NoPin, Jobs: l.jobs(), Sent: l.sent,
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	l.ask(ctx, missing, loadErr)
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

// plan picks the runtime's platform of every image. One that does not come
// for it is refused here, before a byte is sent.
func (l *loading) plan(ctx context.Context, platform ocispec.Platform) ([]LoadImage, error) {
	c := chooser{ctx: ctx, bundle: l.bundle, platform: platform}
	var images []LoadImage
	for _, w := range l.wanted {
		entry := LoadedImage{Name: w.label(), Digest: w.image.Digest, State: LoadPlanned}
		img, err := c.choose(w)
		if err != nil {
			if fatal(err) {
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

// fatal is an error of the bundle, and not of one image in it.
func fatal(err error) bool {
	var damaged *DamagedBlobError
	return errors.As(err, &damaged)
}

// look asks the runtime what it has already, and returns what is missing.
func (l *loading) look(ctx context.Context, images []LoadImage) []LoadImage {
	var missing []LoadImage
	for _, img := range images {
		held, err := l.runtime.Runtime.Holds(ctx, img)
		entry := l.entry(img)
		switch {
		case errors.Is(err, content.ErrNotFound):
			missing = append(missing, img)
		case err != nil:
			entry.fail(err)
		case held.Is(img) && (l.req.NoPin || held.Pin != PinNo):
			entry.State, entry.Pin, entry.As = LoadThere, held.Pin, held.As
		default:
			if held.Digest != img.Top.Digest {
				entry.Replaces = held.Digest
			}
			missing = append(missing, img)
		}
	}
	return missing
}

func (l *loading) entry(img LoadImage) *LoadedImage {
	for k := range l.target.Images {
		if l.target.Images[k].Name == img.Label() {
			return &l.target.Images[k]
		}
	}
	return &LoadedImage{}
}

// ask is what makes "loaded" true: the runtime itself says that it has the
// image. loadErr is what loading said; an image may be there all the same.
func (l *loading) ask(ctx context.Context, images []LoadImage, loadErr error) {
	for _, img := range images {
		entry := l.entry(img)
		held, err := l.runtime.Runtime.Holds(ctx, img)
		switch {
		case err == nil && held.Is(img):
			entry.State, entry.Pin, entry.As = LoadDone, held.Pin, held.As
		case loadErr != nil:
			entry.fail(loadErr)
		case err != nil:
			entry.fail(fmt.Errorf("the runtime said that it took the image, and then: %w", err))
		default:
			entry.fail(&NotHeldError{Image: img, Held: held})
		}
	}
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
