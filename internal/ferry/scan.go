package ferry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"ferry/internal/bundle"
	"ferry/internal/evidence"
	"ferry/internal/policy"
	"ferry/internal/progress"
	"ferry/internal/scan"
	"ferry/internal/scratch"
)

// ScanRequest says what to look into.
type ScanRequest struct {
	// Places are a bundle, or images as people write them for pack.
	Places []string
	// Images picks some by name; none takes all.
	Images []string
	// Platforms to look into; none takes all that are there.
	Platforms []string
	// MaxAge is how old the database may be; 0 takes any age.
	MaxAge time.Duration
	// FailOn is the severity from which on the answer is no; "" is none.
	FailOn policy.Severity
	// OnlyFixed leaves out what no update mends.
	OnlyFixed bool
	// Form asks for the SBOMs in a form too: scan.SPDX or scan.CycloneDX.
	Form string
	Jobs int
}

// ScanResult says what was found.
type ScanResult struct {
	File     string         `json:"file"`
	Tool     evidence.Tool  `json:"tool"`
	Database scan.Database  `json:"database"`
	Count    scan.Count     `json:"count"`
	Images   []scan.Subject `json:"images"`
	Updates  []scan.Update  `json:"updates,omitempty"`
	// Over is how many findings are as bad as FailOn or worse.
	FailOn policy.Severity `json:"failOn,omitempty"`
	Over   int             `json:"over,omitempty"`
	// Documents are the SBOMs in the form that was asked for, by image.
	Documents [][]byte `json:"-"`
	// Since is set where only what is new counts.
	Since *Since `json:"since,omitempty"`
}

// UnscannedError says that images could not be looked into. What was found in
// the others is in the result.
type UnscannedError struct {
	Images []scan.Subject // those that failed
	Of     int
	advice string // what else may help
}

func (e *UnscannedError) Error() string {
	var lines []string
	for _, i := range e.Images {
		lines = append(lines, fmt.Sprintf("scan %s: %s", strings.TrimSpace(i.Name+" "+i.Platform), i.Failed))
	}
	return strings.Join(lines, "\n")
}

// Hint says what it means.
func (e *UnscannedError) Hint() string {
	return fmt.Sprintf("Nothing is known about %d of %d images: that is not the same as no vulnerabilities.", len(e.Images), e.Of) + e.advice
}

// Scan looks into images. Where some cannot be read the error is an
// *UnscannedError, and the result is there all the same.
func Scan(ctx context.Context, w World, req ScanRequest) (*ScanResult, error) {
	if len(req.Places) == 0 {
		return nil, usage("say which bundle or which images to scan")
	}
	// Before anything is pulled.
	db, err := usableDatabase(ctx, w, req.MaxAge)
	if err != nil {
		return nil, err
	}
	file, err := AsBundle(ctx, w, PackRequest{Places: req.Places, Platforms: req.Platforms, Jobs: req.Jobs, ungated: true})
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(file)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	images, err := scanImages(ctx, b, req)
	if err != nil {
		return nil, err
	}
	s := &scanning{world: w, req: req, file: file, result: ScanResult{File: file, Database: db, FailOn: req.FailOn}}
	return s.run(ctx, images)
}

// usableDatabase is the one that will be asked.
func usableDatabase(ctx context.Context, w World, maxAge time.Duration) (scan.Database, error) {
	if w.Scanner == nil {
		return scan.Database{}, errors.New("this ferry has no scanner")
	}
	info, err := w.Scanner.Database(ctx)
	if err != nil {
		return scan.Database{}, err
	}
	db := scan.Database{Built: info.Built, Checksum: info.Checksum, Schema: info.Schema, EPSS: info.EPSS}
	return db, db.Usable(w.Now(), maxAge)
}

// scanImages are the images that are asked for, each digest and platform once.
func scanImages(ctx context.Context, b *bundle.Bundle, req ScanRequest) ([]platformImage, error) {
	all, err := platformImages(ctx, b)
	if err != nil {
		return nil, err
	}
	picked, err := pickImages(b.Lock().Images, req.Images)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var images []platformImage
	for _, i := range all {
		wanted := slices.ContainsFunc(picked, func(w wantedImage) bool { return w.image.Name == i.under() })
		if !wanted || len(req.Platforms) > 0 && !slices.Contains(req.Platforms, i.Platform) || seen[i.key()] {
			continue
		}
		seen[i.key()] = true
		images = append(images, i)
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("%s holds no image that could be scanned", b.Path())
	}
	return images, nil
}

// scanning is one run of Scan.
type scanning struct {
	world  World
	req    ScanRequest
	file   string // the bundle that is looked into
	result ScanResult
}

func (s *scanning) run(ctx context.Context, images []platformImage) (*ScanResult, error) {
	if err := s.look(ctx, images); err != nil {
		return nil, err
	}
	var failed []scan.Subject
	for _, i := range s.result.Images {
		if i.Failed != "" {
			failed = append(failed, i)
		}
	}
	s.conclude()
	if len(failed) > 0 {
		return &s.result, &UnscannedError{Images: failed, Of: len(images)}
	}
	return &s.result, nil
}

// look looks into images of the bundle, and has an answer about each.
func (s *scanning) look(ctx context.Context, images []platformImage) error {
	dir, remove, err := scratch.Dir(os.TempDir(), "ferry-scan-")
	if err != nil {
		return err
	}
	defer remove()
	var wanted []evidence.Wanted
	for _, i := range images {
		wanted = append(wanted, evidence.Wanted{Image: i.Name, Digest: i.Digest, Platform: i.Platform})
	}
	found, err := s.findAll(ctx, wanted, dir)
	if err != nil {
		return err
	}
	for k, i := range images {
		subject, err := s.subject(i, found[k])
		if err != nil {
			return err
		}
		s.result.Images = append(s.result.Images, subject)
	}
	return nil
}

// findAll looks into what was not looked into before.
func (s *scanning) findAll(ctx context.Context, wanted []evidence.Wanted, dir string) ([]Scanned, error) {
	var cache scanCache
	if s.req.Form == "" {
		cache = s.world.scanCache(s.result.Database.Checksum)
	}
	found := make([]Scanned, len(wanted))
	var ask []evidence.Wanted
	var at []int
	for k, w := range wanted {
		if had := cache.get(w); had != nil {
			found[k] = *had
			continue
		}
		ask, at = append(ask, w), append(at, k)
	}
	if n := len(wanted) - len(ask); n > 0 {
		s.world.Progress.Emit(progress.Note{Text: fmt.Sprintf("%d of %d images were looked into before with this database", n, len(wanted))})
	}
	if len(ask) == 0 {
		return found, nil
	}
	s.world.Progress.Emit(progress.Phase{Name: "scanning", Items: len(ask), Unit: "images"})
	now, err := s.world.Scanner.Scan(ctx, s.file, ask, dir)
	if err != nil {
		return nil, err
	}
	if len(now) != len(ask) {
		return nil, fmt.Errorf("the scanner answered for %d of %d images", len(now), len(ask))
	}
	for k, f := range now {
		found[at[k]] = f
		if f.Database.Checksum == s.result.Database.Checksum {
			cache.put(ask[k], f)
		}
	}
	cache.trim()
	return found, nil
}

func (s *scanning) subject(i platformImage, found Scanned) (scan.Subject, error) {
	subject := scan.Subject{
		Name: i.Name, ReferrerOf: i.referrerOf, Digest: i.Digest, Platform: i.Platform, Distribution: found.Distribution, Packages: found.Packages,
		Findings: found.Findings, Warnings: found.Warnings, Failed: found.Failed,
	}
	for _, l := range i.layers {
		subject.Layers = append(subject.Layers, l.Digest)
	}
	if i.Failed != "" {
		subject.Failed = i.Failed
	}
	if subject.Failed != "" {
		return subject, nil
	}
	if found.Database.Checksum != s.result.Database.Checksum {
		return subject, errors.New("the vulnerability database was exchanged while the images were scanned")
	}
	s.result.Tool = found.Tool
	if s.req.OnlyFixed {
		subject.Findings = slices.DeleteFunc(subject.Findings, func(f policy.Finding) bool { return !scan.Fixed(f) })
	}
	for _, doc := range found.SBOMs {
		if doc.MediaType == s.req.Form {
			b, err := os.ReadFile(doc.Path)
			if err != nil {
				return subject, err
			}
			s.result.Documents = append(s.result.Documents, b)
		}
	}
	return subject, nil
}

// conclude counts, and says what to do.
func (s *scanning) conclude() {
	var all []policy.Finding
	for _, i := range s.result.Images {
		all = append(all, i.Findings...)
	}
	s.result.Count = scan.CountOf(all)
	s.result.Updates = scan.Updates(s.result.Images)
	for _, f := range all {
		severity := f.Severity
		if severity.Rank() == 0 {
			// What nobody rated counts as high, as for a policy.
			severity = policy.High
		}
		if s.req.FailOn != "" && severity.AtLeast(s.req.FailOn) {
			s.result.Over++
		}
	}
}
