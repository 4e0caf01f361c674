package ferry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/diagnose"
	"ferry/internal/policy"
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
	// Since is a bundle with evidence: only what is not in its reports counts.
	Since string
}

// Since says what the findings are new against.
type Since struct {
	File string    `json:"file"`
	AsOf time.Time `json:"asOf"`
	// Known are findings that its reports have already.
	Known int `json:"known"`
	// Workloads are those that something new was found in.
	Workloads []string `json:"workloads,omitempty"`
}

// ScanCluster looks into the images that run in a cluster, by the digests that
// its nodes name. An image that cannot be had is one that failed: the error is
// an *UnscannedError, as Scan's.
func ScanCluster(ctx context.Context, w World, cluster RunningCluster, req ScanClusterRequest) (*ScanResult, error) {
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
		cluster:  req, images: groupRunning(running, req.Platforms),
	}
	return s.run(ctx)
}

// runningImage is what runs under one digest.
type runningImage struct {
	name      string // as a pod has it
	id        string // as the node has it
	digest    digest.Digest
	place     string   // where a registry has it; "" where only a bundle can
	platforms []string // of the nodes; none where they may not be read
	workloads []string
	exact     bool     // this very image was looked into, and no index of it
	done      []string // platforms that were looked into
	failed    string
}

// groupRunning has one for each digest. platforms, if there are any, are all
// that is to be looked into.
func groupRunning(all []workload.Running, platforms []string) []*runningImage {
	by := map[string]*runningImage{}
	var images []*runningImage
	for _, r := range all {
		i := runningOf(r)
		key := cmp.Or(i.digest.String(), i.name+" "+i.failed)
		if had := by[key]; had != nil {
			had.place = cmp.Or(had.place, i.place)
			i = had
		} else {
			by[key] = i
			images = append(images, i)
		}
		i.workloads = add(i.workloads, r.Workload)
		if r.Platform != "" {
			i.platforms = add(i.platforms, r.Platform)
		}
		if len(platforms) > 0 {
			i.platforms = platforms
		}
	}
	slices.SortFunc(images, func(a, b *runningImage) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.id, b.id))
	})
	return images
}

func add(all []string, s string) []string {
	if at, there := slices.BinarySearch(all, s); !there {
		return slices.Insert(all, at, s)
	}
	return all
}

// runningOf reads what a node says of an image: REPOSITORY@DIGEST, with a
// scheme before it from some runtimes, or the digest of a config.
func runningOf(r workload.Running) *runningImage {
	i := &runningImage{name: r.Image, id: r.ID}
	id := r.ID
	if _, rest, ok := strings.Cut(id, "://"); ok {
		id = rest
	}
	if id == "" {
		// A volume: nobody says what was mounted, but a digest in its name does.
		id = r.Image
	}
	if d, err := digest.Parse(id); err == nil {
		i.digest = d
		return i
	}
	n, err := ref.Parse(id)
	if err != nil || n.Digest() == "" {
		i.failed = "its node does not say by which digest it runs"
		return i
	}
	i.digest, i.place = n.Digest(), n.WithDigest(n.Digest())
	return i
}

// clusterScan is one run of ScanCluster.
type clusterScan struct {
	scanning
	cluster ScanClusterRequest
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

// looked says whether it was looked into for every platform that it runs on.
func (r *runningImage) looked() bool {
	return r.exact || len(r.done) > 0 && len(r.missing()) == 0
}

func (r *runningImage) missing() []string {
	return slices.DeleteFunc(slices.Clone(r.platforms), func(p string) bool {
		return slices.ContainsFunc(r.done, func(done string) bool { return fitsNode(done, p) })
	})
}

// runsOn says whether an image's platform is one that it runs on.
func (r *runningImage) runsOn(platform string) bool {
	return len(r.platforms) == 0 || slices.ContainsFunc(r.platforms, func(p string) bool { return fitsNode(platform, p) })
}

// fitsNode says whether an image for linux/arm/v7 runs on a linux/arm.
func fitsNode(image, node string) bool { return image == node || strings.HasPrefix(image, node+"/") }

// fromRegistries pulls what no bundle has, those of the same platforms
// together. Where one of them cannot be had, each is asked for by itself.
func (s *clusterScan) fromRegistries(ctx context.Context) error {
	groups := map[string][]*runningImage{}
	for _, r := range s.images {
		switch {
		case r.looked() || r.failed != "":
		case r.place == "":
			r.failed = fmt.Sprintf("it was loaded into the node, which knows it by its config alone (%s): say with which bundle it came, ferry scan --cluster BUNDLE", r.digest)
		default:
			key := strings.Join(r.missing(), ",")
			groups[key] = append(groups[key], r)
		}
	}
	for _, group := range groups {
		err := s.pull(ctx, group)
		for _, r := range group {
			if err != nil && ctx.Err() == nil && len(group) > 1 {
				r.say(s.pull(ctx, []*runningImage{r}))
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

// say notes why an image could not be had.
func (r *runningImage) say(err error) {
	if err != nil && !r.looked() {
		r.failed = err.Error()
	}
}

// pull looks into images of registries.
func (s *clusterScan) pull(ctx context.Context, group []*runningImage) error {
	req := PackRequest{Platforms: group[0].missing(), Jobs: s.req.Jobs, ungated: true}
	names := map[string]*runningImage{}
	for _, r := range group {
		n, err := ref.Parse(r.place)
		if err != nil {
			return err
		}
		names[n.String()] = r
		req.Places = append(req.Places, r.place)
	}
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
			Failed: cmp.Or(r.failed, "there is no image for that platform under its digest"),
		}
		s.result.Images, failed = append(s.result.Images, subject), append(failed, subject)
	}
	slices.SortStableFunc(s.result.Images, func(a, b scan.Subject) int { return strings.Compare(a.Name, b.Name) })
	s.conclude()
	if len(failed) > 0 {
		return &s.result, &UnscannedError{Images: failed, Of: len(s.result.Images)}
	}
	return &s.result, nil
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
