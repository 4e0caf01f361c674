package ferry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/ref"
)

// bundles are those that images are taken from.
func (s *clusterScan) bundles() []string {
	all := slices.Clone(s.cluster.Places)
	if s.since != nil && !slices.Contains(all, s.cluster.Since) {
		all = append([]string{s.cluster.Since}, all...)
	}
	return all
}

// fromBundle looks into the images that a bundle has.
func (s *clusterScan) fromBundle(ctx context.Context, file string) error {
	b, err := bundle.Open(file)
	if err != nil {
		return err
	}
	defer b.Close()
	all, err := platformImages(ctx, b)
	if err != nil {
		return err
	}
	index := map[string]digest.Digest{}
	for _, i := range b.Lock().Images {
		index[i.Name] = i.Digest
	}
	return s.lookInto(ctx, file, all, func(r *runningImage, i platformImage) (is, exact bool) {
		n := b.Contents().Node(i.Digest)
		exact = r.digest == i.Digest || n != nil && n.Config != nil && r.digest == n.Config.Digest
		return r.digest != "" && (exact || r.digest == index[i.Name]), exact
	})
}

// lookInto scans the images of a bundle that are those that run. is says
// whether an image is one of them, and whether it is that very one and not of
// the same index.
func (s *clusterScan) lookInto(ctx context.Context, file string, all []platformImage, is func(*runningImage, platformImage) (is, exact bool)) error {
	var images []platformImage
	for _, i := range all {
		for _, r := range s.images {
			same, exact := is(r, i)
			if r.looked() || !same || !exact && !r.runsOn(i.Platform) {
				continue
			}
			r.exact, r.done = r.exact || exact, append(r.done, i.Platform)
			if s.of[i.key()] == nil {
				images = append(images, i)
			}
			s.of[i.key()] = append(s.of[i.key()], r)
		}
	}
	if len(images) == 0 {
		return nil
	}
	s.file = file
	return s.look(ctx, images)
}

// fromRegistries pulls what no bundle has: from the registry inside, if one
// was named, and what that has not from where the node says.
func (s *clusterScan) fromRegistries(ctx context.Context) error {
	for _, r := range s.images {
		if !r.looked() && r.failed == "" && r.place == "" {
			r.failed = fmt.Sprintf("it was loaded into the node, which knows it by its config alone (%s): say with which bundle it came, ferry scan --cluster BUNDLE", r.digest)
		}
	}
	if s.mapping != nil {
		if err := s.ask(ctx, s.inside); err != nil {
			return err
		}
	}
	return s.ask(ctx, func(r *runningImage) string { return r.place })
}

// inside is what an image is called in the registry that was named; "" where
// its node names that registry itself, or it can have no name there.
func (s *clusterScan) inside(r *runningImage) string {
	n, err := ref.Parse(r.place)
	if err != nil || n.Registry() == s.mapping.Registry {
		return ""
	}
	if n, err = s.mapping.Map(n); err != nil {
		r.say(err)
		return ""
	}
	return n.String()
}

// ask pulls what was not looked into yet, those of the same platforms
// together. Where one of them cannot be had, each is asked for by itself. name
// is what an image is asked for by, "" where it is not asked for.
func (s *clusterScan) ask(ctx context.Context, name func(*runningImage) string) error {
	groups := map[string]map[string]*runningImage{}
	for _, r := range s.images {
		if r.looked() || r.failed != "" {
			continue
		}
		if n := name(r); n != "" {
			key := strings.Join(r.missing(), ",")
			if groups[key] == nil {
				groups[key] = map[string]*runningImage{}
			}
			groups[key][n] = r
		}
	}
	for _, group := range groups {
		err := s.pull(ctx, group)
		for n, r := range group {
			if err != nil && ctx.Err() == nil && len(group) > 1 {
				r.say(s.pull(ctx, map[string]*runningImage{n: r}))
			} else {
				r.say(err)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// pull looks into images of registries, by their names there. All run on the
// same platforms.
func (s *clusterScan) pull(ctx context.Context, group map[string]*runningImage) error {
	req := PackRequest{Jobs: s.req.Jobs, ungated: true}
	names := map[string]*runningImage{}
	for place, r := range group {
		n, err := ref.Parse(place)
		if err != nil {
			return err
		}
		names[n.String()] = r
		req.Places, req.Platforms = append(req.Places, place), r.missing()
	}
	slices.Sort(req.Places)
	file, err := AsBundle(ctx, s.world, req)
	if err != nil {
		return err
	}
	b, err := bundle.Open(file)
	if err != nil {
		return err
	}
	defer b.Close()
	all, err := platformImages(ctx, b)
	if err != nil {
		return err
	}
	return s.lookInto(ctx, file, all, func(r *runningImage, i platformImage) (is, exact bool) {
		return names[i.Name] == r, r.digest == i.Digest
	})
}
