package ferry

// Which runtimes the targets of a load lead to, opened, and for which
// platforms they want their images.

import (
	"context"
	"errors"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
)

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
			continue
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
