package ferry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/evidence"
	"ferry/internal/lock"
	"ferry/internal/policy"
	"ferry/internal/progress"
)

// ReportRequest says what to report on.
type ReportRequest struct {
	File string
	// Compare is an earlier bundle.
	Compare string
	// Policy is the reader's own. Without one the verdict is the packer's,
	// worked out again from the policy that the bundle carries.
	Policy PolicyRequest
	Jobs   int
}

// ReportResult is all that a person needs to know who has to answer for a
// bundle.
type ReportResult struct {
	File       string
	Digest     digest.Digest
	Size       int64
	Blobs      int
	ResolvedAt time.Time
	AsOf       time.Time
	MadeAt     time.Time
	Gate       string
	LockDigest digest.Digest

	// Verdict is nil where nobody can say: the bundle was not gated, and no
	// policy was given.
	Verdict *policy.Verdict
	// PolicyFile is the reader's policy; "" where it is the packer's.
	PolicyFile string
	Clauses    []policy.Clause
	Exceptions []policy.Exception
	Database   policy.DatabaseInfo
	Tool       evidence.Tool

	Images   []ReportImage
	Findings []ReportFinding
	// Compared is nil where there is nothing to compare with.
	Compared *Comparison
}

// ReportImage is an image by its name, all of its platforms as one.
type ReportImage struct {
	lock.Image
	// ReferrerOf is the image that it hangs on; "" where it hangs on none.
	ReferrerOf   string
	Bytes, Own   int64
	Layers       int
	Distribution string
	Created      time.Time
	Packages     int
	// Empty says that on some platform no package was found: nothing is known
	// of its vulnerabilities.
	Empty bool
	// Database says that it is the vulnerability database, and no image.
	Database bool
	// Warnings say where less was seen than there may be, on any platform.
	Warnings []string
	// Problem says why it could not be judged; "" where it was scanned.
	Problem string
	// Severities counts vulnerabilities, each once, by severity's rank.
	Severities [6]int
	Exploited  int
	Refused    int
	Accepted   int
}

// ReportFinding is a vulnerability in a package, in all images that have it.
type ReportFinding struct {
	policy.Finding
	Name, Version, Type string
	// Images are places in the report's list.
	Images  []int
	Refused bool
	// Accepted says who accepted it, where somebody did.
	Accepted *policy.Acceptance
	// New says that the bundle compared with does not have it.
	New bool
}

// Report verifies a bundle, and gathers what there is to say about it.
func Report(ctx context.Context, w World, req ReportRequest) (*ReportResult, error) {
	w.Progress.Emit(progress.Phase{Name: "verifying", Unit: "blobs", Bytes: fileSize(req.File)})
	b, err := bundle.Verify(ctx, req.File, bundle.VerifyOptions{Jobs: req.Jobs, Advance: func(blobs int, bytes int64) {
		w.Progress.Emit(progress.Advance{Items: blobs, Bytes: bytes})
	}})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	p, err := loadPolicy(req.Policy)
	if err != nil {
		return nil, err
	}
	r := &reporting{world: w, bundle: b, policy: p}
	if err := r.gather(ctx); err != nil {
		return nil, err
	}
	r.describe(req)
	if req.Compare != "" {
		old, err := gatherOld(ctx, w, req.Compare)
		if err != nil {
			return nil, fmt.Errorf("compare with %s: %w", req.Compare, err)
		}
		r.result.Compared = compare(old, &r.result)
	}
	return &r.result, nil
}

// gatherOld reads an earlier bundle as far as it is compared.
func gatherOld(ctx context.Context, w World, file string) (*ReportResult, error) {
	b, err := bundle.Open(file)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	r := &reporting{world: w, bundle: b}
	if err := r.gather(ctx); err != nil {
		return nil, err
	}
	// Its findings would be missing, and all of them new.
	for _, i := range r.read.images {
		if b.Seal().Gate == bundle.Passed && i.Failed != "" {
			return nil, fmt.Errorf("what it says about %s does not hold: %s", i.Name, i.Failed)
		}
	}
	r.describe(ReportRequest{File: file})
	return &r.result, nil
}

// reporting is one run of Report.
type reporting struct {
	world  World
	bundle *bundle.Bundle
	policy *loadedPolicy
	read   verifying
	result ReportResult
}

// gather reads the evidence and works out the verdict: the reader's, or else
// the packer's.
func (r *reporting) gather(ctx context.Context) error {
	r.read = verifying{world: r.world, bundle: r.bundle, policy: r.policy}
	var err error
	if r.read.images, err = platformImages(ctx, r.bundle); err != nil {
		return err
	}
	if err := r.read.read(ctx); err != nil {
		return err
	}
	at := r.world.Now()
	if r.policy == nil {
		if r.policy, err = r.packed(); r.policy == nil || err != nil {
			return err
		}
		at = r.bundle.Seal().AsOf
	} else {
		r.result.PolicyFile = r.policy.path
	}
	r.read.policy, r.read.req.AsOf = r.policy, at
	r.result.Verdict = r.read.judge()
	r.result.Clauses, r.result.Exceptions = policy.Explain(r.policy.policy), r.policy.policy.Exceptions
	return nil
}

// packed is the policy that the bundle carries; nil where it was not gated.
func (r *reporting) packed() (*loadedPolicy, error) {
	i := slices.IndexFunc(r.read.abouts, func(a evidence.About) bool { return a.Policy != nil && a.Report.Policy == r.bundle.Seal().Policy })
	if i < 0 {
		return nil, nil //nolint:nilnil // no policy is no error: the bundle was not gated
	}
	about := r.read.abouts[i]
	p, err := policy.Parse("the packer's policy", about.Policy)
	if err != nil {
		return nil, err
	}
	if len(about.VEX) != len(p.VEX) {
		return nil, fmt.Errorf("the packer's policy names %d OpenVEX documents, the bundle carries %d", len(p.VEX), len(about.VEX))
	}
	l := &loadedPolicy{policy: p}
	for k, source := range p.VEX {
		v, err := policy.ParseVEX(source, about.VEX[k])
		if err != nil {
			return nil, err
		}
		l.vex = append(l.vex, v)
	}
	return l, nil
}

func (r *reporting) describe(req ReportRequest) {
	b, out := r.bundle, &r.result
	out.File, out.Digest, out.Size, out.Blobs = req.File, b.Digest(), b.Size(), len(b.Contents().Blobs())
	out.ResolvedAt, out.AsOf, out.MadeAt = b.Lock().ResolvedAt, b.Seal().AsOf, r.world.Now().UTC().Truncate(time.Second)
	out.Gate, out.LockDigest = b.Seal().Gate, b.Seal().Lock
	out.Database = r.read.result.Used
	for _, a := range r.read.abouts {
		if a.Report.Version != 0 {
			out.Tool = a.Report.Tool
			break
		}
	}
	r.images()
	r.findings()
}

// images describes every image by its name.
func (r *reporting) images() {
	c := r.bundle.Contents()
	users := map[digest.Digest]int{}
	all := r.bundle.Images()
	for _, img := range all {
		c.Reach(img, func(d ocispec.Descriptor) { users[d.Digest]++ })
	}
	for _, img := range all {
		i := inspectImage(c, img, users)
		one := ReportImage{Image: img, Bytes: i.Bytes, Own: i.Own, Layers: i.Layers}
		n := c.Node(img.Digest)
		one.Database = n != nil && isDatabase(n)
		for _, p := range r.read.images {
			if p.Name == img.Name {
				one.add(p)
			}
		}
		r.result.Images = append(r.result.Images, one)
	}
	r.referrers(users)
}

// referrers describes the images that hang on another one.
func (r *reporting) referrers(users map[digest.Digest]int) {
	at := map[string]int{}
	for _, p := range r.read.images {
		if p.referrerOf == "" {
			continue
		}
		n, ok := at[p.Name]
		if !ok {
			n = len(r.result.Images)
			at[p.Name] = n
			img := lock.Image{Name: p.Name, Digest: p.referrer.Digest, MediaType: p.referrer.MediaType, Size: p.referrer.Size}
			i := inspectImage(r.bundle.Contents(), img, users)
			r.result.Images = append(r.result.Images, ReportImage{Image: img, Bytes: i.Bytes, Own: i.Own, Layers: i.Layers, ReferrerOf: p.referrerOf})
		}
		r.result.Images[n].Platforms = add(r.result.Images[n].Platforms, p.Platform)
		r.result.Images[n].add(p)
	}
}

// add adds what is known of one platform.
func (i *ReportImage) add(p platformImage) {
	if p.Failed != "" {
		i.Problem = p.Failed
	}
	if d := strings.TrimSpace(p.Distribution.ID + " " + p.Distribution.Version); d != "" {
		i.Distribution = d
	}
	if p.Created.After(i.Created) {
		i.Created = p.Created
	}
	for _, w := range p.Warnings {
		if !slices.Contains(i.Warnings, w) {
			i.Warnings = append(i.Warnings, w)
		}
	}
	i.Packages, i.Empty = max(i.Packages, len(p.Packages)), i.Empty || len(p.Packages) == 0
}

// findings puts those together that differ only in where they are.
func (r *reporting) findings() {
	at := map[string]int{}
	place := map[string]int{}
	for n, img := range r.result.Images {
		place[img.Name] = n
	}
	states := r.states()
	for _, p := range r.read.images {
		for _, f := range p.Findings {
			if f.Package >= len(p.Packages) {
				continue
			}
			pkg := p.Packages[f.Package]
			s := states[stateKey(p.Name, p.Digest, p.Platform, f.ID, pkg.Name, pkg.Version, pkg.Type)]
			// What is refused in one image and accepted in another is two rows.
			key := strings.Join([]string{f.ID, pkg.Name, pkg.Version, pkg.Type, fmt.Sprint(s.refused), fmt.Sprint(s.accepted)}, "\x00")
			i, ok := at[key]
			if !ok {
				i = len(r.result.Findings)
				at[key] = i
				r.result.Findings = append(r.result.Findings, ReportFinding{
					Finding: f, Name: pkg.Name, Version: pkg.Version, Type: pkg.Type, Refused: s.refused, Accepted: s.by,
				})
			}
			if n := place[p.Name]; !slices.Contains(r.result.Findings[i].Images, n) {
				r.result.Findings[i].Images = append(r.result.Findings[i].Images, n)
			}
		}
	}
	slices.SortStableFunc(r.result.Findings, worstFirst)
	r.count()
}

// state is what the verdict says of one finding.
type state struct {
	refused  bool
	accepted string
	by       *policy.Acceptance
}

func stateKey(image string, d digest.Digest, parts ...string) string {
	return image + "\x00" + d.String() + "\x00" + strings.Join(parts, "\x00")
}

func (r *reporting) states() map[string]state {
	all := map[string]state{}
	if r.result.Verdict == nil {
		return all
	}
	for _, d := range r.result.Verdict.Decisions {
		s := state{refused: d.Refuses(), by: d.Accepted}
		if d.Accepted != nil {
			s.accepted = d.Accepted.By + d.Accepted.Owner + d.Accepted.Until
		}
		all[stateKey(d.Image, d.Digest, d.Platform, d.Vulnerability, d.Package, d.Version, d.Type)] = s
	}
	return all
}

func worstFirst(a, b ReportFinding) int {
	exploited := func(f ReportFinding) int {
		if f.KnownExploited {
			return 1
		}
		return 0
	}
	switch {
	case exploited(a) != exploited(b):
		return exploited(b) - exploited(a)
	case a.Severity.Rank() != b.Severity.Rank():
		return b.Severity.Rank() - a.Severity.Rank()
	case a.EPSS != b.EPSS:
		if a.EPSS > b.EPSS {
			return -1
		}
		return 1
	}
	return strings.Compare(a.ID+a.Name+a.Version, b.ID+b.Name+b.Version)
}

// count counts each vulnerability once an image, at its worst.
func (r *reporting) count() {
	type one struct {
		image int
		id    string
	}
	seen := map[one]bool{}
	for _, f := range r.result.Findings {
		for _, n := range f.Images {
			img := &r.result.Images[n]
			if f.Refused {
				img.Refused++
			}
			if f.Accepted != nil {
				img.Accepted++
			}
			if seen[one{n, f.ID}] {
				continue
			}
			seen[one{n, f.ID}] = true
			img.Severities[f.Severity.Rank()]++
			if f.KnownExploited {
				img.Exploited++
			}
		}
	}
}

// SaveReport puts a page at path, whole or not at all. What stands there is
// replaced only if it is a page too: a slip should not cost anyone a bundle.
func SaveReport(path string, page []byte) error {
	head, err := readLimited(path, 14)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case len(head) > 0 && !strings.HasPrefix(strings.ToLower(string(head)), "<!doctype html"):
		return fmt.Errorf("%s exists and is no HTML page, so it is not replaced: choose another name or remove it", path)
	}
	return writeFile(path, page)
}
