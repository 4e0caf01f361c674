package ferry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry/internal/bundle"
	"ferry/internal/policy"
	"ferry/internal/scan"
)

// Since says what the findings are new against.
type Since struct {
	File string    `json:"file"`
	AsOf time.Time `json:"asOf"`
	// Known are findings that its reports have already.
	Known int `json:"known"`
	// Workloads are those that something new was found in.
	Workloads []string `json:"workloads,omitempty"`
}

// openSince reads what the reports of a bundle have found.
func (s *clusterScan) openSince(ctx context.Context) (err error) {
	if s.cluster.Since == "" {
		return nil
	}
	if s.since, err = bundle.Open(s.cluster.Since); err != nil {
		return err
	}
	s.known, err = knownFindings(ctx, s.since)
	if err != nil {
		return errors.Join(fmt.Errorf("compare with %s: %w", s.cluster.Since, err), s.since.Close())
	}
	s.result.Since = &Since{File: s.cluster.Since, AsOf: s.since.Seal().AsOf}
	return nil
}

// knownFindings are all that a bundle's reports have found. Every image has to
// have one: what is not known cannot be held against anything.
func knownFindings(ctx context.Context, b *bundle.Bundle) (map[string]bool, error) {
	if b.Seal().Gate != bundle.Passed {
		return nil, errors.New("it was not gated, so it has no scan reports: nobody knows what was known when it was packed")
	}
	images, err := platformImages(ctx, b)
	if err != nil {
		return nil, err
	}
	abouts, errs := readEvidence(ctx, b, images)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for i, a := range abouts {
		for _, f := range a.Report.Findings {
			known[findingKey(images[i].key(), a.Report.Packages, f)] = true
		}
	}
	return known, nil
}

// findingKey is a vulnerability in a package of an image.
func findingKey(image string, packages []policy.Package, f policy.Finding) string {
	p := packages[f.Package]
	return strings.Join([]string{image, f.ID, p.Type, p.Name, p.Version}, "\x00")
}

// onlyNew leaves the findings that the reports do not have. Of an image that
// is in none of them, all are new.
func (s *clusterScan) onlyNew(i *scan.Subject) {
	key, all := keyOf(i.Digest, i.Platform), len(i.Findings)
	i.Findings = slices.DeleteFunc(i.Findings, func(f policy.Finding) bool { return s.known[findingKey(key, i.Packages, f)] })
	s.result.Since.Known += all - len(i.Findings)
	if s.since.Contents().Node(i.Digest) == nil {
		i.Warnings = append(i.Warnings, "it is not in "+s.cluster.Since+": all that is known against it counts as new")
	}
	if len(i.Findings) > 0 {
		for _, w := range i.Workloads {
			s.result.Since.Workloads = add(s.result.Since.Workloads, w)
		}
	}
}
