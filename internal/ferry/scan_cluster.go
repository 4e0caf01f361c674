package ferry

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"ferry/internal/bundle"
	"ferry/internal/diagnose"
	"ferry/internal/ref"
	"ferry/internal/scan"
	"ferry/internal/workload"
)

// RunningCluster says what runs in a cluster.
type RunningCluster interface {
	Place() diagnose.Place
	// Running are the images of containers in a namespace, "" for all.
	Running(ctx context.Context, namespace string) ([]workload.Running, error)
}

// ScanClusterRequest says what to look into.
type ScanClusterRequest struct {
	// ScanRequest counts but for Images; Places are bundles that images are
	// taken from before a registry is asked.
	ScanRequest
	All bool // namespaces
	// Registry is REGISTRY[/PREFIX], where push puts images: it is asked first
	// for those that nodes name as outside, as they do where it is a mirror.
	Registry string
	// Since is a bundle with evidence: only what is not in its reports counts.
	Since string
}

// ScanCluster looks into the images that run in a cluster, by the digests that
// its nodes name. An image that cannot be had is one that failed: the error is
// an *UnscannedError, as Scan's.
func ScanCluster(ctx context.Context, w World, cluster RunningCluster, req ScanClusterRequest) (*ScanResult, error) {
	mapping, err := insideOf(req)
	if err != nil {
		return nil, err
	}
	db, err := usableDatabase(ctx, w, req.MaxAge)
	if err != nil {
		return nil, err
	}
	place := cluster.Place()
	namespace := place.Namespace
	if req.All {
		namespace = ""
	}
	running, err := cluster.Running(ctx, namespace)
	if err != nil {
		return nil, err
	}
	if len(running) == 0 {
		return nil, fmt.Errorf("nothing runs in %s: that says nothing about vulnerabilities. -A looks at all namespaces", cmp.Or(namespace, "any namespace"))
	}
	s := &clusterScan{
		scanning: scanning{world: w, req: req.ScanRequest, result: ScanResult{File: "cluster " + cmp.Or(place.Context, place.Server), Database: db, FailOn: req.FailOn}},
		cluster:  req, mapping: mapping, images: groupRunning(running, req.Platforms),
	}
	return s.run(ctx)
}

// insideOf is how images are called in the registry inside, if one was named.
func insideOf(req ScanClusterRequest) (*ref.Mapping, error) {
	if req.Registry == "" {
		return nil, nil
	}
	m, err := ref.ParseTarget(req.Registry)
	if err != nil {
		return nil, usage("--registry: %v", err)
	}
	return &m, nil
}

// clusterScan is one run of ScanCluster.
type clusterScan struct {
	scanning
	cluster ScanClusterRequest
	mapping *ref.Mapping // nil where no registry inside was named
	images  []*runningImage
	since   *bundle.Bundle
	known   map[string]bool            // findings of its reports
	of      map[string][]*runningImage // by the key of what was looked into
}

func (s *clusterScan) run(ctx context.Context) (*ScanResult, error) {
	s.of = map[string][]*runningImage{}
	if err := s.openSince(ctx); err != nil {
		return nil, err
	}
	if s.since != nil {
		defer s.since.Close()
	}
	for _, file := range s.bundles() {
		if err := s.fromBundle(ctx, file); err != nil {
			return nil, err
		}
	}
	if err := s.fromRegistries(ctx); err != nil {
		return nil, err
	}
	return s.finish()
}

// advice is for where nodes have images from elsewhere than they name them.
func (s *clusterScan) advice() string {
	refused := slices.ContainsFunc(s.images, func(r *runningImage) bool { return !r.looked() && len(r.refused) > 0 })
	if s.mapping != nil || !refused {
		return ""
	}
	return " Where the nodes pull through a mirror inside, say which: --registry REGISTRY[/PREFIX]."
}

// finish adds what failed, says where each image runs, and counts.
func (s *clusterScan) finish() (*ScanResult, error) {
	var failed []scan.Subject
	for i := range s.result.Images {
		subject := &s.result.Images[i]
		for _, r := range s.of[keyOf(subject.Digest, subject.Platform)] {
			subject.Name = r.name
			for _, w := range r.workloads {
				subject.Workloads = add(subject.Workloads, w)
			}
		}
		if subject.Failed != "" {
			failed = append(failed, *subject)
		} else if s.since != nil {
			s.onlyNew(subject)
		}
	}
	for _, r := range s.images {
		if r.looked() {
			continue
		}
		subject := scan.Subject{
			Name: r.name, Digest: r.digest, Workloads: r.workloads, Platform: strings.Join(r.missing(), ","),
			Failed: r.why(),
		}
		s.result.Images, failed = append(s.result.Images, subject), append(failed, subject)
	}
	slices.SortStableFunc(s.result.Images, func(a, b scan.Subject) int { return strings.Compare(a.Name, b.Name) })
	s.conclude()
	if len(failed) > 0 {
		return &s.result, &UnscannedError{Images: failed, Of: len(s.result.Images), advice: s.advice()}
	}
	return &s.result, nil
}
