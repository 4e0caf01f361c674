package ferry_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/ferry"
	"ferry/internal/progress"
)

// shelf is a runtime that keeps images in memory, and may be told to lie.
type shelf struct {
	platform ocispec.Platform
	mu       sync.Mutex
	held     map[string]ferry.Held
	read     map[digest.Digest]int
	took     map[digest.Digest]int64 // bytes
	loads    int
	got      []ferry.LoadImage
	loadErr  error
	// away is why it cannot be opened.
	away error
	// forget takes images in and does not keep them.
	forget bool
	// refuse fails the one image of this name.
	refuse string
	// keepPacked can leave layers packed.
	keepPacked bool
	// sparse takes upstream's index.
	sparse bool
	// pause runs while a blob is open and not read yet, finished after a load.
	pause, finished func()
	// wrong, where set, is kept under every name in place of the image.
	wrong digest.Digest
}

func newShelf(p ocispec.Platform) *shelf {
	return &shelf{platform: p, held: map[string]ferry.Held{}, read: map[digest.Digest]int{}, took: map[digest.Digest]int64{}}
}

func (s *shelf) Platform(context.Context) (ocispec.Platform, error) { return s.platform, s.away }
func (s *shelf) Close() error                                       { return nil }

func (s *shelf) Sparse() bool { return s.sparse }

// Lacks is a number of its own.
func (s *shelf) Lacks(_ context.Context, images []ferry.LoadImage) (int64, error) {
	return int64(7 * len(images)), nil
}

func (s *shelf) Holds(_ context.Context, img ferry.LoadImage) (ferry.Held, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.held[img.Label()]
	if !ok {
		return h, content.ErrNotFound
	}
	return h, nil
}

func (s *shelf) Load(ctx context.Context, d ferry.Delivery) error {
	s.loads++
	s.got = append(s.got, d.Images...)
	if s.loadErr != nil {
		return s.loadErr
	}
	for _, img := range d.Images {
		if s.refuse != "" && strings.Contains(img.Label(), s.refuse) {
			d.Failed(img, errors.New("a layer is not a tar"))
			continue
		}
		for _, b := range append(img.Manifest.Children(), img.Manifest.Desc) {
			if err := s.take(ctx, d, b); err != nil {
				return err
			}
		}
		h := ferry.Held{Digest: img.Top.Digest, Complete: true, Pin: ferry.PinNo}
		if d.NoUnpack && s.keepPacked {
			h.Complete, h.Packed = false, true
		}
		if d.Pin {
			h.Pin = ferry.PinYes
		}
		if s.wrong != "" {
			h.Digest = s.wrong
		}
		if !s.forget {
			s.held[img.Label()] = h
		}
	}
	if s.finished != nil {
		s.finished()
	}
	return nil
}

func (s *shelf) take(ctx context.Context, d ferry.Delivery, b ocispec.Descriptor) error {
	r, err := d.Source.Open(ctx, b, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	if s.pause != nil {
		s.pause()
	}
	n, err := io.Copy(io.Discard, r)
	s.mu.Lock()
	s.read[b.Digest]++
	s.took[b.Digest] += n
	s.mu.Unlock()
	d.Sent(n)
	return err
}

// loadWorld is a world whose targets are shelves.
func loadWorld(t *testing.T, shelves map[string]*shelf) ferry.World {
	t.Helper()
	w := world(t)
	w.CacheDir = t.TempDir()
	w.Runtimes = func(_ context.Context, target string) ([]ferry.NamedRuntime, error) {
		s, ok := shelves[target]
		if !ok {
			return nil, errors.New("no such shelf")
		}
		if s.away != nil {
			return nil, s.away
		}
		return []ferry.NamedRuntime{{Name: target, Kind: "shelf", Runtime: s}}, nil
	}
	return w
}

func TestLoadTakesThePlatformOfTheRuntime(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1", s.index)
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{name}, To: file})
	a, b := newShelf(amd64), newShelf(arm64)
	w := loadWorld(t, map[string]*shelf{"a": a, "b": b})
	req := ferry.LoadRequest{Places: []string{file}, To: []string{"a", "b"}}
	r, err := ferry.Load(t.Context(), w, req)
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range []ocispec.Descriptor{s.amd64, s.arm64} {
		img := r.Targets[k].Images[0]
		if img.State != ferry.LoadDone || img.Digest != s.index.Digest || img.Pin != ferry.PinYes {
			t.Errorf("target %d: %+v", k, img)
		}
		shelf := []*shelf{a, b}[k]
		if shelf.read[want.Digest] != 1 || shelf.read[s.s390x.Digest] != 0 {
			t.Errorf("target %d read %v", k, shelf.read)
		}
	}
	// Again: nothing is loaded.
	r, err = ferry.Load(t.Context(), w, req)
	if err != nil {
		t.Fatal(err)
	}
	if a.loads != 1 || r.Targets[0].Images[0].State != ferry.LoadThere || r.Targets[0].Sent != 0 {
		t.Errorf("the second load: %d loads, %+v", a.loads, r.Targets[0])
	}
}

// TestLoadBelievesTheRuntimeOnly is the promise that loaded means that the
// runtime was asked afterwards.
func TestLoadBelievesTheRuntimeOnly(t *testing.T) {
	u, s := startUpstream(t), newSample()
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1", s.amd64)}, To: file})
	other := digest.FromString("another")
	for what, c := range map[string]struct {
		spoil func(*shelf)
		want  string
	}{
		"says nothing and keeps nothing": {func(s *shelf) { s.forget = true }, "said that it took the image"},
		"keeps another":                  {func(s *shelf) { s.wrong = other }, "stands " + other.String() + " instead of " + s.amd64.Digest.String()},
		"fails":                          {func(s *shelf) { s.loadErr = errors.New("no room") }, "no room"},
	} {
		t.Run(what, func(t *testing.T) {
			a := newShelf(amd64)
			c.spoil(a)
			_, err := ferry.Load(t.Context(), loadWorld(t, map[string]*shelf{"a": a}), ferry.LoadRequest{Places: []string{file}, To: []string{"a"}})
			says(t, err, "load ", " into a: ", c.want)
			if _, ok := errors.AsType[*ferry.LoadError](err); !ok {
				t.Errorf("%T, want a LoadError", err)
			}
		})
	}
}

func TestLoadOfAnotherPlatformSendsNothing(t *testing.T) {
	u, s := startUpstream(t), newSample()
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1", s.arm64)}, To: file})
	a := newShelf(amd64)
	_, err := ferry.Load(t.Context(), loadWorld(t, map[string]*shelf{"a": a}), ferry.LoadRequest{Places: []string{file}, To: []string{"a"}})
	says(t, err, "no image for linux/amd64: it has linux/arm64")
	if a.loads != 0 || len(a.read) != 0 {
		t.Errorf("%d loads, read %v", a.loads, a.read)
	}
}

func TestLoadInPart(t *testing.T) {
	u, s := startUpstream(t), newSample()
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1", s.index)}, To: file})
	a, b := newShelf(amd64), newShelf(amd64)
	b.loadErr = errors.New("the node went away")
	r, err := ferry.Load(t.Context(), loadWorld(t, map[string]*shelf{"a": a, "b": b}), ferry.LoadRequest{Places: []string{file}, To: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed() != 1 || r.Targets[0].Failed() || !strings.Contains(r.Targets[1].Images[0].Error, "went away") {
		t.Errorf("%+v", r.Targets)
	}
}

func TestLoadReplacesAName(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1", s.index)
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{name}, To: file})
	a := newShelf(amd64)
	old := digest.FromString("old")
	a.held[name] = ferry.Held{Digest: old, Complete: true, Pin: ferry.PinYes}
	w := loadWorld(t, map[string]*shelf{"a": a})
	req := ferry.LoadRequest{Places: []string{file}, To: []string{"a"}, DryRun: true}
	for _, dry := range []bool{true, false} {
		req.DryRun = dry
		r, err := ferry.Load(t.Context(), w, req)
		if err != nil {
			t.Fatal(err)
		}
		if img := r.Targets[0].Images[0]; img.Replaces != old {
			t.Errorf("dry %v: %+v", dry, img)
		}
	}
	if a.loads != 1 {
		t.Errorf("%d loads, want the one that was not dry", a.loads)
	}
}

// TestLoadPinsWhatWasThere: an image that is there unpinned is named again.
func TestLoadPinsWhatWasThere(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1", s.index)
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{name}, To: file})
	a := newShelf(amd64)
	a.held[name] = ferry.Held{Digest: s.index.Digest, Complete: true, Pin: ferry.PinNo}
	w := loadWorld(t, map[string]*shelf{"a": a})
	req := ferry.LoadRequest{Places: []string{file}, To: []string{"a"}, NoPin: true}
	if _, err := ferry.Load(t.Context(), w, req); err != nil || a.loads != 0 {
		t.Errorf("without a pin: %d loads, %v", a.loads, err)
	}
	req.NoPin = false
	if _, err := ferry.Load(t.Context(), w, req); err != nil || a.held[name].Pin != ferry.PinYes {
		t.Errorf("%+v, %v", a.held[name], err)
	}
}

// TestLoadOfADamagedBundle: the bytes are checked on their way.
func TestLoadOfADamagedBundle(t *testing.T) {
	u, s := startUpstream(t), newSample()
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1", s.amd64)}, To: file})
	flip(t, file, s.bytes(t, s.own))
	a, b := newShelf(amd64), newShelf(amd64)
	_, err := ferry.Load(t.Context(), loadWorld(t, map[string]*shelf{"a": a, "b": b}), ferry.LoadRequest{Places: []string{file}, To: []string{"a", "b"}})
	says(t, err, "is damaged", s.own.Digest.String())
	for _, at := range []*shelf{a, b} {
		if n := at.took[s.own.Digest]; n >= s.own.Size {
			t.Errorf("all %d bytes of the damaged layer were given out", n)
		}
	}
}

// TestLoadToAStuckTargetHoldsUpNoOther: who reads a blob first is not waited
// for by who reads it too.
func TestLoadToAStuckTargetHoldsUpNoOther(t *testing.T) {
	u, s := startUpstream(t), newSample()
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1", s.amd64)}, To: file})
	stuck, quick := newShelf(amd64), newShelf(amd64)
	begun, done := make(chan struct{}), make(chan struct{})
	var once sync.Once
	stuck.pause = func() {
		once.Do(func() { close(begun) })
		<-done
	}
	quick.pause = func() { <-begun }
	quick.finished = func() { close(done) }
	r, err := ferry.Load(t.Context(), loadWorld(t, map[string]*shelf{"a": stuck, "b": quick}), ferry.LoadRequest{Places: []string{file}, To: []string{"a", "b"}})
	if err != nil || r.Failed() > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestLoadOfAReferenceKeepsItInTheCache(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1", s.index)
	w := loadWorld(t, map[string]*shelf{"a": newShelf(amd64), "b": newShelf(amd64)})
	for _, to := range []string{"a", "b"} {
		if _, err := ferry.Load(t.Context(), w, ferry.LoadRequest{Places: []string{name}, To: []string{to}}); err != nil {
			t.Fatal(err)
		}
	}
	gets := u.blobGets()
	if gets[s.base.Digest] != 1 || gets[s.own.Digest] != 1 || len(gets) != 3 {
		t.Errorf("%v, want the layers and the config of one platform, layers once", gets)
	}
	tars, err := filepath.Glob(filepath.Join(w.CacheDir, "packed", "*.tar"))
	if err != nil || len(tars) != 1 {
		t.Errorf("in the cache: %v, %v", tars, err)
	}
}

// TestLoadImagesFailAlone: one that cannot be loaded keeps none of the others
// out.
func TestLoadImagesFailAlone(t *testing.T) {
	u, s := startUpstream(t), newSample()
	file := target(t)
	good, bad := u.push(s.Store, "team/good", "1", s.index), u.push(s.Store, "team/bad", "1", s.index)
	packed(t, ferry.PackRequest{Places: []string{good, bad}, To: file})
	a := newShelf(amd64)
	a.refuse = "team/bad"
	w := loadWorld(t, map[string]*shelf{"a": a})
	items := 0
	w.Progress = func(e progress.Event) {
		if e, ok := e.(progress.Advance); ok {
			items += e.Items
		}
	}
	r, err := ferry.Load(t.Context(), w, ferry.LoadRequest{Places: []string{file}, To: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if items != 1 {
		t.Errorf("%d of 2 images are told of as done", items)
	}
	bads, goods := r.Targets[0].Images[0], r.Targets[0].Images[1]
	if bads.State != ferry.LoadFailed || !strings.Contains(bads.Error, "not a tar") || goods.State != ferry.LoadDone {
		t.Errorf("%+v\n%+v", bads, goods)
	}
	if r.Failed() != 1 || r.Targets[0].Planned != 14 {
		t.Errorf("%+v", r.Targets[0])
	}
}

// TestLoadOneTargetIsAway: where it is the only one, that is the answer; else
// the others get their images.
func TestLoadOneTargetIsAway(t *testing.T) {
	u, s := startUpstream(t), newSample()
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1", s.index)}, To: file})
	a, b := newShelf(amd64), newShelf(amd64)
	b.away = errors.New("no route to the host")
	w := loadWorld(t, map[string]*shelf{"a": a, "b": b})
	r, err := ferry.Load(t.Context(), w, ferry.LoadRequest{Places: []string{file}, To: []string{"b", "a"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Targets[0].Error != "no route to the host" || r.Targets[1].Images[0].State != ferry.LoadDone {
		t.Errorf("%+v", r.Targets)
	}
	_, err = ferry.Load(t.Context(), w, ferry.LoadRequest{Places: []string{file}, To: []string{"b"}})
	says(t, err, "no route to the host")
	// What is not a target at all is a mistake, and nothing is begun.
	b.away = &ferry.UsageError{Text: "--to b: no such kind"}
	a.held = map[string]ferry.Held{}
	if _, err := ferry.Load(t.Context(), w, ferry.LoadRequest{Places: []string{file}, To: []string{"a", "b"}}); !errors.Is(err, b.away) || a.loads != 1 {
		t.Errorf("%v, %d loads", err, a.loads)
	}
}

// TestLoadGivesUpstreamsIndex: from a bundle of one platform, a runtime that
// keeps sparse indexes gets the digest that upstream has under the name.
func TestLoadGivesUpstreamsIndex(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1", s.index)
	repository, _, _ := strings.Cut(name, "/team")
	repository += "/team/app"
	for _, c := range []struct {
		platforms []string
		sparse    bool
		want      digest.Digest
	}{
		{[]string{"linux/amd64"}, true, s.index.Digest},
		{[]string{"linux/amd64", "linux/arm64"}, true, s.index.Digest},
		{[]string{"linux/amd64"}, false, s.amd64.Digest},
		{nil, true, s.index.Digest},
	} {
		file := target(t)
		r := packed(t, ferry.PackRequest{Places: []string{name}, To: file, Platforms: c.platforms})
		a := newShelf(amd64)
		a.sparse = c.sparse
		l, err := ferry.Load(t.Context(), loadWorld(t, map[string]*shelf{"a": a}), ferry.LoadRequest{Places: []string{file}, To: []string{"a"}})
		if err != nil {
			t.Fatal(err)
		}
		if img := l.Targets[0].Images[0]; img.Digest != c.want || img.State != ferry.LoadDone {
			t.Errorf("%v, sparse %v: %+v, want %s", c.platforms, c.sparse, img, c.want)
		}
		got := a.got[0]
		if got.DigestName != repository+"@"+c.want.String() || got.PackedName != repository+"@"+r.Images[0].Digest.String() || got.Manifest.Desc.Digest != s.amd64.Digest {
			t.Errorf("%v, sparse %v: %+v", c.platforms, c.sparse, got)
		}
		if last := got.All[len(got.All)-1].Digest; last != c.want {
			t.Errorf("%v, sparse %v: the last of the graph is %s", c.platforms, c.sparse, last)
		}
	}
}

// late is a shelf that is reached when its platform is asked for, as a node
// is. By itself it can do no more than any runtime.
type late struct {
	ferry.Runtime
	behind *shelf
}

func (l *late) Platform(ctx context.Context) (ocispec.Platform, error) {
	l.Runtime = l.behind
	return l.Runtime.Platform(ctx)
}

func (l *late) Opened() ferry.Runtime { return l.Runtime }

func (l *late) Close() error { return nil }

// TestLoadAsksWhatWasOpened: a runtime that is opened late is asked for what
// it lacks, and gets upstream's index, like one that was open from the start.
func TestLoadAsksWhatWasOpened(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1", s.index)
	file := target(t)
	packed(t, ferry.PackRequest{Places: []string{name}, To: file, Platforms: []string{"linux/amd64"}})
	a := newShelf(amd64)
	a.sparse = true
	w := loadWorld(t, nil)
	w.Runtimes = func(context.Context, string) ([]ferry.NamedRuntime, error) {
		return []ferry.NamedRuntime{{Name: "node", Kind: "node", Runtime: &late{behind: a}}}, nil
	}
	r, err := ferry.Load(t.Context(), w, ferry.LoadRequest{Places: []string{file}, To: []string{"node"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Targets[0]; got.Planned != 7 || got.Images[0].Digest != s.index.Digest {
		t.Errorf("planned %d bytes of %s, want what the shelf lacks (7) of upstream's %s", got.Planned, got.Images[0].Digest, s.index.Digest)
	}
}

// TestLoadNoUnpack: what is there and not unpacked is enough where that was
// asked for, and is loaded again where it was not.
func TestLoadNoUnpack(t *testing.T) {
	u, s := startUpstream(t), newSample()
	file := target(t)
	name := u.push(s.Store, "team/app", "1", s.index)
	packed(t, ferry.PackRequest{Places: []string{name}, To: file})
	a := newShelf(amd64)
	a.keepPacked = true
	w := loadWorld(t, map[string]*shelf{"a": a})
	req := ferry.LoadRequest{Places: []string{file}, To: []string{"a"}, NoUnpack: true}
	for _, want := range []string{ferry.LoadDone, ferry.LoadThere} {
		r, err := ferry.Load(t.Context(), w, req)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Targets[0].Images[0].State; got != want || a.loads != 1 {
			t.Errorf("%s after %d loads, want %s", got, a.loads, want)
		}
	}
	req.NoUnpack = false
	if r, err := ferry.Load(t.Context(), w, req); err != nil || r.Targets[0].Images[0].State != ferry.LoadDone || a.loads != 2 {
		t.Errorf("%+v, %v, %d loads", r, err, a.loads)
	}
}
