package ferry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
	"ferry/internal/progress"
)

// apply pushes what is missing. Images fail one by one; only damage in the
// bundle ends all of it.
func (p *pushing) apply(ctx context.Context) error {
	s := p.sender()
	if len(s.images) == 0 {
		return nil
	}
	p.world.Progress.Emit(progress.Phase{Name: "pushing", Items: len(s.images), Unit: "images", Bytes: s.bytes})
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.jobs())
	for _, i := range s.images {
		g.Go(func() error {
			err := s.image(ctx, i)
			if _, damaged := errors.AsType[*DamagedBlobError](err); damaged || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			if err != nil {
				i.fail(err)
			} else {
				i.State = PushDone
			}
			p.world.Progress.Emit(progress.Advance{Items: 1})
			return nil
		})
	}
	err := g.Wait()
	p.result.Sent, p.result.Mounted, p.result.Present = s.sent.Load(), s.mounted.Load(), s.present.Load()
	return err
}

// sender moves blobs, each once, however many repositories want it.
type sender struct {
	source   verified
	progress progress.Func
	slots    chan struct{} // as many as blobs may move at once
	images   []*pushImage
	bytes    int64

	mu      sync.Mutex
	flights map[digest.Digest]*flight
	placed  map[place]*placing

	sent, mounted, present atomic.Int64
}

// place is a blob in a repository.
type place struct {
	path   string
	digest digest.Digest
}

// placing is the work to get a blob into a repository, done once.
type placing struct {
	done chan struct{}
	err  error
}

// flight is what is known of a blob in all of the registry.
type flight struct {
	// turn is held by the one that uploads it while no repository has it.
	turn chan struct{}

	mu      sync.Mutex
	holder  string // the path of a repository that has it
	counted bool
}

func (f *flight) where() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.holder
}

func (f *flight) is(at string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holder == "" {
		f.holder = at
	}
}

// sender prepares the blobs of all images that are missing. Those of images
// that are there can be taken from them.
func (p *pushing) sender() *sender {
	s := &sender{
		source: verified{p.bundle}, progress: p.world.Progress,
		slots:   make(chan struct{}, p.jobs()),
		flights: map[digest.Digest]*flight{}, placed: map[place]*placing{},
	}
	for _, i := range p.images {
		if i.State != PushPlanned {
			continue
		}
		s.images = append(s.images, i)
		for _, d := range i.order.blobs {
			if s.flights[d.Digest] == nil {
				s.flights[d.Digest] = &flight{turn: make(chan struct{}, 1)}
				s.bytes += d.Size
			}
		}
	}
	for _, i := range p.images {
		if i.State != PushThere {
			continue
		}
		for _, d := range i.order.blobs {
			if f := s.flights[d.Digest]; f != nil {
				f.is(i.path)
			}
		}
	}
	return s
}

// image pushes one image: blobs, manifests from below, referrers, the tag.
func (s *sender) image(ctx context.Context, i *pushImage) error {
	if err := s.blobs(ctx, i); err != nil {
		return err
	}
	o := i.order
	below, top := o.manifests[:len(o.manifests)-1], o.manifests[len(o.manifests)-1]
	for _, d := range below {
		if err := s.manifest(ctx, i, d, d.Digest.String()); err != nil {
			return err
		}
	}
	if len(o.referrers) > 0 {
		// Some registries want a subject to be there.
		if err := s.manifest(ctx, i, top, top.Digest.String()); err != nil {
			return err
		}
	}
	if err := s.referrers(ctx, i); err != nil {
		return err
	}
	return s.tag(ctx, i, top, i.reference, i.Inside)
}

// blobs gets all blobs of i into its repository. The first failure ends the
// others, with a plain cancellation: as a cause it could reach another image's
// request over a connection that both used.
func (s *sender) blobs(ctx context.Context, i *pushImage) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for _, d := range i.order.blobs {
		wg.Go(func() {
			if err := s.blob(ctx, i, d); err != nil {
				once.Do(func() {
					first = err
					cancel()
				})
			}
		})
	}
	wg.Wait()
	return first
}

func (s *sender) referrers(ctx context.Context, i *pushImage) error {
	for _, d := range i.order.referrers {
		if err := s.manifest(ctx, i, d, d.Digest.String()); err != nil {
			return fmt.Errorf("referrer: %w", err)
		}
	}
	// A referrer may be a part of the image too.
	for _, d := range i.order.all() {
		for _, t := range i.order.tags[d.Digest] {
			if err := s.tag(ctx, i, d, t, i.path+":"+t); err != nil {
				return fmt.Errorf("referrer: %w", err)
			}
		}
	}
	return nil
}

func (s *sender) manifest(ctx context.Context, i *pushImage, d ocispec.Descriptor, reference string) error {
	b, err := content.ReadAll(ctx, s.source, d, content.MaxManifest)
	if err != nil {
		return err
	}
	return i.target.PushManifest(ctx, d, b, reference)
}

// tag puts the manifest under its name and looks whether it stands there. A
// registry that refuses to write a tag which has the digest already has done
// no harm.
func (s *sender) tag(ctx context.Context, i *pushImage, d ocispec.Descriptor, reference, inside string) error {
	perr := s.manifest(ctx, i, d, reference)
	if perr != nil && !refusedTag(perr) {
		return perr
	}
	stands, err := i.target.Lookup(ctx, reference)
	switch {
	case err == nil && stands.Digest == d.Digest:
		return nil
	case perr != nil && err != nil:
		return perr
	case err != nil && !errors.Is(err, content.ErrNotFound):
		return err
	}
	return &TagError{Inside: inside, Stands: stands.Digest, Want: d.Digest, Err: perr}
}

// refusedTag says whether a registry's error may mean that a tag is not to be
// changed, and not that nothing can be pushed at all.
func refusedTag(err error) bool {
	var answered interface{ StatusCode() int }
	if !errors.As(err, &answered) {
		return false
	}
	switch answered.StatusCode() {
	case 400, 403, 405, 409, 412, 422:
		return true
	}
	return false
}

// blob gets d into the image's repository, once: who comes second waits. An
// image that fails takes its own blobs with it, and not those of others.
func (s *sender) blob(ctx context.Context, i *pushImage, d ocispec.Descriptor) error {
	for {
		w, begun := s.begin(place{i.path, d.Digest})
		if !begun {
			w.err = s.place(ctx, i, d)
			s.end(place{i.path, d.Digest}, w)
			return w.err
		}
		if err := wait(ctx, w.done); err != nil {
			return err
		}
		if w.err == nil || !errors.Is(w.err, context.Canceled) {
			return w.err
		}
	}
}

func (s *sender) begin(at place) (w *placing, begun bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, begun = s.placed[at]
	if !begun {
		w = &placing{done: make(chan struct{})}
		s.placed[at] = w
	}
	return w, begun
}

func (s *sender) end(at place, w *placing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.err != nil {
		delete(s.placed, at)
	}
	close(w.done)
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sender) place(ctx context.Context, i *pushImage, d ocispec.Descriptor) error {
	f := s.flights[d.Digest]
	if f.where() == "" {
		// Whoever comes second waits, and then has a place to take it from.
		if err := take(ctx, f.turn); err != nil {
			return err
		}
		if f.where() == "" {
			defer func() { <-f.turn }()
		} else {
			<-f.turn
		}
	}
	if err := take(ctx, s.slots); err != nil {
		return err
	}
	defer func() { <-s.slots }()
	there, err := i.target.HasBlob(ctx, d)
	if err != nil {
		return err
	}
	if there {
		s.note(i, d, "was there")
		s.count(f, d, &s.present)
		f.is(i.path)
		return nil
	}
	return s.upload(ctx, i, f, d)
}

func (s *sender) upload(ctx context.Context, i *pushImage, f *flight, d ocispec.Descriptor) error {
	var told int64
	mounted, err := i.target.PushBlob(ctx, d, s.source, f.where(), func(n int64) {
		told += n
		s.progress.Emit(progress.Advance{Bytes: n})
	})
	if err != nil {
		return err
	}
	if mounted {
		s.note(i, d, "taken from "+f.where())
		s.count(f, d, &s.mounted)
	} else {
		s.note(i, d, "sent")
		s.sent.Add(d.Size)
		f.mu.Lock()
		if f.counted {
			s.progress.Emit(progress.Advance{Bytes: -told})
		}
		f.counted = true
		f.mu.Unlock()
	}
	f.is(i.path)
	return nil
}

func (s *sender) note(i *pushImage, d ocispec.Descriptor, how string) {
	s.progress.Emit(progress.Note{Text: fmt.Sprintf("%s  %d bytes, %s: %s", d.Digest, d.Size, i.path, how)})
}

// count adds d to a sum, and to the progress the first time.
func (s *sender) count(f *flight, d ocispec.Descriptor, sum *atomic.Int64) {
	sum.Add(d.Size)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.counted {
		f.counted = true
		s.progress.Emit(progress.Advance{Bytes: d.Size})
	}
}

func take(ctx context.Context, from chan struct{}) error {
	select {
	case from <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
