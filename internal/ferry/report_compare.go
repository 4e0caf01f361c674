package ferry

import (
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/ref"
)

// Comparison is what differs between two bundles.
type Comparison struct {
	File   string
	Digest digest.Digest
	AsOf   time.Time
	// Scanned says whether the earlier one has evidence: without it nothing
	// is known of its findings.
	Scanned bool

	Added, Removed []string
	Updated        []UpdatedImage
	Same           int
	// Come and Gone are findings: in the new bundle alone, in the old alone.
	Come, Gone []ReportFinding
}

// UpdatedImage is an image that is another one now.
type UpdatedImage struct {
	From, To             string
	FromDigest, ToDigest digest.Digest
}

// compare says what is new. Images are the same ones by their name, or, where
// just one of a repository was there and just one is, by that.
func compare(old, now *ReportResult) *Comparison {
	c := &Comparison{File: old.File, Digest: old.Digest, AsOf: old.AsOf, Scanned: !old.Database.Built.IsZero()}
	before, after := byName(old), byName(now)
	for name, img := range after {
		was, ok := before[name]
		switch {
		case ok && was.Digest == img.Digest:
			c.Same++
		case ok:
			c.Updated = append(c.Updated, UpdatedImage{From: name, To: name, FromDigest: was.Digest, ToDigest: img.Digest})
		default:
			continue
		}
		delete(before, name)
		delete(after, name)
	}
	c.retagged(before, after)
	for name := range after {
		c.Added = append(c.Added, name)
	}
	for name := range before {
		c.Removed = append(c.Removed, name)
	}
	slices.Sort(c.Added)
	slices.Sort(c.Removed)
	slices.SortFunc(c.Updated, func(a, b UpdatedImage) int { return strings.Compare(a.To, b.To) })
	c.findings(old, now)
	return c
}

func byName(r *ReportResult) map[string]ReportImage {
	all := map[string]ReportImage{}
	for _, img := range r.Images {
		all[img.Name] = img
	}
	return all
}

// retagged takes out of both what is the one image of a repository.
func (c *Comparison) retagged(before, after map[string]ReportImage) {
	was, is := byRepository(before), byRepository(after)
	for repository, names := range is {
		if len(names) != 1 || len(was[repository]) != 1 {
			continue
		}
		from, to := was[repository][0], names[0]
		c.Updated = append(c.Updated, UpdatedImage{From: from, To: to, FromDigest: before[from].Digest, ToDigest: after[to].Digest})
		delete(before, from)
		delete(after, to)
	}
}

func byRepository(images map[string]ReportImage) map[string][]string {
	all := map[string][]string{}
	for name := range images {
		if n, err := ref.Parse(name); err == nil {
			all[n.Repository()] = append(all[n.Repository()], name)
		}
	}
	return all
}

// findings compares by vulnerability, package and repository: another version
// of a package with the same vulnerability is nothing new.
func (c *Comparison) findings(old, now *ReportResult) {
	if !c.Scanned || now.Database.Built.IsZero() {
		return
	}
	before, after := findingKeys(old), findingKeys(now)
	for i := range now.Findings {
		f := &now.Findings[i]
		for _, key := range keysOfFinding(now, f) {
			f.New = f.New || !before[key]
		}
		if f.New {
			c.Come = append(c.Come, *f)
		}
	}
	for i := range old.Findings {
		f := &old.Findings[i]
		gone := true
		for _, key := range keysOfFinding(old, f) {
			gone = gone && !after[key]
		}
		if gone {
			c.Gone = append(c.Gone, *f)
		}
	}
}

func findingKeys(r *ReportResult) map[string]bool {
	all := map[string]bool{}
	for i := range r.Findings {
		for _, key := range keysOfFinding(r, &r.Findings[i]) {
			all[key] = true
		}
	}
	return all
}

func keysOfFinding(r *ReportResult, f *ReportFinding) []string {
	var keys []string
	for _, n := range f.Images {
		repository := r.Images[n].Name
		if name, err := ref.Parse(repository); err == nil {
			repository = name.Repository()
		}
		keys = append(keys, f.ID+"\x00"+f.Name+"\x00"+repository)
	}
	return keys
}
