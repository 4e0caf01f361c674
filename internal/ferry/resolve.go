package ferry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
	"ferry/internal/lock"
	"ferry/internal/progress"
	"ferry/internal/ref"
	"ferry/internal/transfer"
)

// Limits of what one image may consist of.
const (
	maxChildren      = 1000
	maxReferrerDepth = 3
	maxReferrers     = 1000
)

// wanted is an image to be packed, and where to look.
type wanted struct {
	name   ref.Name
	source lock.Source
	origin transfer.Origin
	// top is asked of repository, or known already in a local place.
	repository Repository
	reference  string
	local      ocispec.Descriptor
	locked     *lock.Image
}

// resolved is an image with all of its manifests.
type resolved struct {
	image  lock.Image
	origin transfer.Origin
	// memory are the manifests, and what else was read on the way.
	memory map[digest.Digest][]byte
	nodes  []*content.Node
}

// reach calls visit for every digest that belongs to the image.
func (r resolved) reach(visit func(digest.Digest)) {
	for _, n := range r.nodes {
		visit(n.Desc.Digest)
		for _, c := range n.Children() {
			visit(c.Digest)
		}
	}
}

// resolver looks names up.
type resolver struct {
	platforms []string
	referrers bool
}

// all resolves every wanted image and says which could not be.
func (r resolver) all(ctx context.Context, wanted []wanted, jobs int, p progress.Func) ([]resolved, []ImageError, error) {
	found := make([]*resolved, len(wanted))
	failed := make([]error, len(wanted))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i, w := range wanted {
		g.Go(func() error {
			found[i], failed[i] = r.one(ctx, w)
			p.Emit(progress.Advance{Items: 1})
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	var good []resolved
	var bad []ImageError
	for i, w := range wanted {
		if failed[i] != nil {
			bad = append(bad, imageError(w.name.String(), failed[i]))
		} else {
			good = append(good, *found[i])
		}
	}
	return good, bad, nil
}

// looking is the look-up of one image.
type looking struct {
	resolver
	wanted
	mu     sync.Mutex
	memory map[digest.Digest][]byte
	nodes  map[digest.Digest]*content.Node
}

func (r resolver) one(ctx context.Context, w wanted) (*resolved, error) {
	l := &looking{resolver: r, wanted: w, memory: map[digest.Digest][]byte{}, nodes: map[digest.Digest]*content.Node{}}
	top, err := l.top(ctx)
	if err != nil {
		return nil, err
	}
	stands, err := l.choose(ctx, top)
	if err != nil {
		return nil, err
	}
	if w.locked != nil && stands.Digest != w.locked.Digest {
		return nil, fmt.Errorf("the lock says %s, but the platforms it names make %s of it", w.locked.Digest, stands.Digest)
	}
	if err := l.descend(ctx, stands, 0); err != nil {
		return nil, err
	}
	platforms, err := l.platformsOf(ctx, stands)
	if err != nil {
		return nil, err
	}
	img := lock.Image{
		Name: w.name.String(), Digest: stands.Digest, MediaType: stands.MediaType, Size: stands.Size,
		Platforms: platforms, Source: w.source,
	}
	if stands.Digest != top.Digest {
		img.Upstream = &lock.Descriptor{Digest: top.Digest, MediaType: top.MediaType, Size: top.Size}
	}
	if img.Referrers, err = l.findReferrers(ctx, top); err != nil {
		return nil, err
	}
	return l.result(img), nil
}

func (l *looking) result(img lock.Image) *resolved {
	r := &resolved{image: img, origin: l.origin, memory: l.memory}
	for _, n := range l.nodes {
		r.nodes = append(r.nodes, n)
	}
	return r
}

// top is what the name stands for where it comes from.
func (l *looking) top(ctx context.Context) (ocispec.Descriptor, error) {
	if l.repository == nil {
		_, err := l.node(ctx, l.local)
		return l.local, err
	}
	desc, b, err := l.repository.Fetch(ctx, l.reference)
	if err != nil {
		if l.locked != nil && errors.Is(err, content.ErrNotFound) {
			err = fmt.Errorf("upstream no longer has %s, which the lock names: %w", l.reference, err)
		}
		return desc, err
	}
	if want := l.name.Digest(); want != "" && l.locked == nil && desc.Digest != want {
		return desc, &content.DigestError{Want: want, Got: desc.Digest, Size: desc.Size, Read: desc.Size}
	}
	l.keep(desc, b)
	_, err = l.node(ctx, desc)
	return desc, err
}

func (l *looking) keep(desc ocispec.Descriptor, b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory[desc.Digest] = b
}

func (l *looking) bytes(ctx context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	l.mu.Lock()
	b, ok := l.memory[desc.Digest]
	l.mu.Unlock()
	if ok {
		return b, content.Check(desc, b)
	}
	b, err := content.ReadAll(ctx, l.origin.Source, desc, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", desc.Digest, err)
	}
	l.keep(desc, b)
	return b, nil
}

func (l *looking) node(ctx context.Context, desc ocispec.Descriptor) (*content.Node, error) {
	l.mu.Lock()
	n := l.nodes[desc.Digest]
	l.mu.Unlock()
	if n != nil {
		return n, nil
	}
	b, err := l.bytes(ctx, desc, content.MaxManifest)
	if err != nil {
		return nil, err
	}
	if n, err = content.Parse(desc, b); err != nil {
		return nil, err
	}
	if len(n.Children()) > maxChildren {
		return nil, fmt.Errorf("%s names %d children; ferry follows at most %d", desc.Digest, len(n.Children()), maxChildren)
	}
	l.mu.Lock()
	l.nodes[desc.Digest] = n
	l.mu.Unlock()
	return n, nil
}

// descend reads all manifests below desc.
func (l *looking) descend(ctx context.Context, desc ocispec.Descriptor, depth int) error {
	if depth > maxReferrerDepth+4 {
		return fmt.Errorf("%s: indexes are nested too deep", desc.Digest)
	}
	n, err := l.node(ctx, desc)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, m := range n.Manifests {
		if content.IsIndex(m.MediaType) || content.IsManifest(m.MediaType) {
			g.Go(func() error { return l.descend(ctx, m, depth+1) })
		}
	}
	return g.Wait()
}

// platformsOf lists the platforms of the images below desc.
func (l *looking) platformsOf(ctx context.Context, desc ocispec.Descriptor) ([]string, error) {
	n, err := l.node(ctx, desc)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for _, m := range n.Manifests {
		below, err := l.childPlatforms(ctx, m)
		if err != nil {
			return nil, err
		}
		for _, p := range below {
			set[p] = true
		}
	}
	if n.Config != nil {
		p, err := l.configPlatform(ctx, *n.Config)
		if err != nil {
			return nil, err
		}
		set[content.FormatPlatform(p)] = true
	}
	delete(set, "")
	return sortedKeys(set), nil
}

func (l *looking) childPlatforms(ctx context.Context, m ocispec.Descriptor) ([]string, error) {
	switch {
	case m.Platform != nil && m.Platform.OS == "unknown":
		return nil, nil // an attestation that a build tool stores this way
	case m.Platform != nil && m.Platform.OS != "":
		return []string{content.FormatPlatform(m.Platform)}, nil
	case content.IsIndex(m.MediaType) || content.IsManifest(m.MediaType):
		return l.platformsOf(ctx, m)
	}
	return nil, nil
}

func (l *looking) configPlatform(ctx context.Context, config ocispec.Descriptor) (*ocispec.Platform, error) {
	if !content.IsImageConfig(config.MediaType) {
		return nil, nil
	}
	b, err := l.bytes(ctx, config, content.MaxConfig)
	if err != nil {
		return nil, err
	}
	var p ocispec.Platform
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("config %s is not JSON: %w", config.Digest, err)
	}
	return &p, nil
}

// findReferrers finds what speaks about the image: about the index that its
// name has upstream, and about each manifest that is taken.
func (l *looking) findReferrers(ctx context.Context, top ocispec.Descriptor) ([]lock.Referrer, error) {
	if l.locked != nil {
		return l.locked.Referrers, l.readReferrers(ctx, l.locked.Referrers)
	}
	if l.repository == nil || !l.referrers {
		return nil, nil
	}
	subjects := []ocispec.Descriptor{top}
	for _, n := range l.nodes {
		if n.Desc.Digest != top.Digest {
			subjects = append(subjects, n.Desc)
		}
	}
	all := map[digest.Digest]lock.Referrer{}
	for depth := 0; len(subjects) > 0 && depth < maxReferrerDepth; depth++ {
		next, err := l.referrersOf(ctx, subjects, all)
		if err != nil {
			return nil, err
		}
		subjects = next
	}
	return sortedReferrers(all), nil
}

// referrersOf adds what speaks about subjects to all, and returns the new ones.
func (l *looking) referrersOf(ctx context.Context, subjects []ocispec.Descriptor, all map[digest.Digest]lock.Referrer) ([]ocispec.Descriptor, error) {
	lists := make([][]content.Referrer, len(subjects))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, s := range subjects {
		g.Go(func() (err error) {
			lists[i], err = l.repository.Referrers(gctx, s)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("%w (without signatures and SBOMs: --no-referrers)", err)
	}
	var fresh []ocispec.Descriptor
	for i, list := range lists {
		for _, r := range list {
			if _, ok := all[r.Desc.Digest]; ok || l.nodes[r.Desc.Digest] != nil {
				continue
			}
			if len(all) >= maxReferrers {
				return nil, fmt.Errorf("more than %d referrers; leave them with --no-referrers", maxReferrers)
			}
			n, err := l.referrerNode(ctx, r.Desc)
			if err != nil {
				return nil, err
			}
			all[r.Desc.Digest] = lock.Referrer{
				Digest: r.Desc.Digest, MediaType: r.Desc.MediaType, Size: r.Desc.Size,
				ArtifactType: n.ArtifactType, Subject: subjects[i].Digest, Tag: r.Tag,
			}
			fresh = append(fresh, r.Desc)
		}
	}
	return fresh, nil
}

func (l *looking) referrerNode(ctx context.Context, desc ocispec.Descriptor) (*content.Node, error) {
	if err := l.descend(ctx, desc, 0); err != nil {
		return nil, fmt.Errorf("referrer: %w", err)
	}
	return l.node(ctx, desc)
}

func (l *looking) readReferrers(ctx context.Context, referrers []lock.Referrer) error {
	for _, r := range referrers {
		if _, err := l.referrerNode(ctx, r.Desc()); err != nil {
			return err
		}
	}
	return nil
}

func sortedReferrers(all map[digest.Digest]lock.Referrer) []lock.Referrer {
	var list []lock.Referrer
	for _, r := range all {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b lock.Referrer) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return list
}

func sortedKeys(set map[string]bool) []string {
	var keys []string
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
