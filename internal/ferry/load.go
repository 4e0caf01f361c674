package ferry

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// NoUnpack leaves layers packed until a container first wants them, where
	// the runtime keeps them so.
	NoUnpack bool
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
	// Planned is what has to be sent, or where the runtime cannot tell, what
	// the images weigh that it does not have.
	Planned int64      `json:"plannedBytes"`
	Sent    int64      `json:"sentBytes"`
	ByHand  [][]string `json:"byHand,omitempty"`
	Err     error      `json:"-"`
	Error   string     `json:"error,omitempty"`
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

// found is a runtime that a target led to.
type found struct {
	NamedRuntime
	target   string
	platform ocispec.Platform
	err      error
}

// findRuntimes opens all runtimes. Where there are several, one that cannot be
// opened keeps none of the others from its images.
func findRuntimes(ctx context.Context, w World, targets []string) ([]found, error) {
	var all []found
	for _, target := range targets {
		named, err := w.Runtimes(ctx, target)
		if _, wrong := errors.AsType[*UsageError](err); wrong || err != nil && len(targets) == 1 {
			closeAll(all)
			return nil, err
		}
		if err != nil {
			all = append(all, found{NamedRuntime: NamedRuntime{Name: target}, target: target, err: err})
		}
		for _, n := range named {
			all = append(all, found{NamedRuntime: n, target: target})
		}
	}
	var g errgroup.Group
	for k := range all {
		g.Go(func() error {
			if f := &all[k]; f.err == nil {
				f.platform, f.err = f.Runtime.Platform(ctx)
			}
			return nil
		})
	}
	_ = g.Wait()
	return all, ctx.Err()
}

func closeAll(runtimes []found) {
	for _, f := range runtimes {
		if f.Runtime != nil {
			_ = f.Runtime.Close()
		}
	}
}

// wantedPlatforms are the platforms that have to be packed for the runtimes; none
// is all, which a runtime takes that runs nothing.
func wantedPlatforms(runtimes []found) []string {
	var all []string
	for _, f := range runtimes {
		if f.err != nil {
			continue
		}
		p := content.FormatPlatform(&f.platform)
		if p == "" {
			return nil
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
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
	for k, f := range runtimes {
		g.Go(func() error {
			l := loading{world: w, req: req, bundle: b, wanted: images, runtime: f}
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
	l.world.Progress.Emit(progress.Advance{Items: len(l.wanted)})
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

func (l *loading) load(ctx context.Context, missing []LoadImage) error {
	l.world.Progress.Emit(progress.Grow{Bytes: l.target.Planned})
	err := l.runtime.Runtime.Load(ctx, Delivery{
		Bundle: l.bundle.Path(), Source: verified{l.bundle}, Images: missing, Pin: !l.req.NoPin, NoUnpack: l.req.NoUnpack, Jobs: l.jobs(),
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

// fatal is an error of the bundle, and not of one image in it.
func fatal(err error) bool {
	var damaged *DamagedBlobError
	return errors.As(err, &damaged)
}

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
