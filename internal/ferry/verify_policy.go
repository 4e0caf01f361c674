package ferry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/evidence"
	"ferry/internal/policy"
	"ferry/internal/progress"
	"ferry/internal/scratch"
)

// EvidenceResult is what a bundle's evidence says, and what the reader's own
// policy makes of it.
type EvidenceResult struct {
	Policy string `json:"policyFile"`
	// Images are how many there have to be reports about: one for each name
	// and platform.
	Images int `json:"images"`
	// Packed is the database that the reports were made with, Used the one
	// that the verdict rests on.
	Packed policy.DatabaseInfo `json:"packedDatabase"`
	Used   policy.DatabaseInfo `json:"database"`
	// Basis says what was looked at: evidence, sboms, or layers.
	Basis string `json:"basis"`
	// PackedPolicy is the digest of the policy that the packer asked; Same
	// says that it is the reader's.
	PackedPolicy digest.Digest   `json:"packedPolicy"`
	Same         bool            `json:"samePolicy"`
	Verdict      *policy.Verdict `json:"verdict"`
	// Older is the database here, where it was not asked because the reports
	// say that theirs is newer.
	Older *policy.DatabaseInfo `json:"olderDatabase,omitempty"`
	// Come are findings that the packer's reports do not have.
	Come int `json:"newFindings"`
}

// What a verdict rests on.
const (
	BasisEvidence = "evidence" // the findings in the reports
	BasisSBOMs    = "sboms"    // the SBOMs, matched anew
	BasisLayers   = "layers"   // the layers, read anew
)

// verifyEvidence holds a whole bundle against the reader's policy.
func verifyEvidence(ctx context.Context, w World, b *bundle.Bundle, req VerifyRequest) (*EvidenceResult, error) {
	p, err := loadPolicy(req.Policy)
	if p == nil || err != nil {
		return nil, err
	}
	v := &verifying{world: w, bundle: b, req: req, policy: p}
	if v.images, err = platformImages(ctx, b); err != nil {
		return nil, err
	}
	v.result = EvidenceResult{Policy: p.path, Images: len(v.images), PackedPolicy: b.Seal().Policy, Same: b.Seal().Policy == p.policy.Digest}
	if err := v.read(ctx); err != nil {
		return nil, err
	}
	if err := v.look(ctx); err != nil {
		return nil, v.refuse(nil, err)
	}
	v.result.Verdict = v.judge()
	if !v.result.Verdict.Passed {
		return nil, v.refuse(v.result.Verdict, nil)
	}
	return &v.result, nil
}

// verifying is one run of it.
type verifying struct {
	world  World
	bundle *bundle.Bundle
	req    VerifyRequest
	policy *loadedPolicy
	images []platformImage
	abouts []evidence.About
	result EvidenceResult
}

func (v *verifying) refuse(verdict *policy.Verdict, cause error) error {
	return &RefusedError{
		File: v.bundle.Path(), Policy: v.policy.path, Verdict: verdict, Cause: cause, Read: true,
		Layers: layerNumbers(v.images), Referrers: referrersAmong(v.images),
	}
}

// read reads the evidence. An image without any is one that failed.
func (v *verifying) read(ctx context.Context) error {
	abouts, errs := readEvidence(ctx, v.bundle, v.images)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	v.abouts = abouts
	for i := range v.images {
		switch {
		case v.images[i].Failed != "":
		case errs[i] != nil:
			v.images[i].Failed = errors.Unwrap(errs[i]).Error()
		default:
			v.take(i)
		}
	}
	return nil
}

// readEvidence reads what a bundle's evidence says about its images: of each
// something, or why there is nothing.
func readEvidence(ctx context.Context, b *bundle.Bundle, images []platformImage) ([]evidence.About, []error) {
	var nodes []*content.Node
	for _, r := range b.Seal().Evidence {
		nodes = append(nodes, b.Contents().Node(r.Digest))
	}
	var wanted []evidence.Wanted
	for _, i := range images {
		wanted = append(wanted, evidence.Wanted{Image: i.Name, Digest: i.Digest, Platform: i.Platform})
	}
	return evidence.Read(ctx, b, nodes, wanted)
}

// take takes over what a report says. All have to be of one database, which
// is the one that the seal names.
func (v *verifying) take(i int) {
	r := v.abouts[i].Report
	sealed := v.bundle.Seal()
	switch {
	case sealed.Database == nil || r.Database.Checksum != sealed.Database.Checksum || r.Policy != sealed.Policy:
		v.images[i].Failed = "its scan report is of another database or policy than the seal names"
	case !r.Database.Built.Equal(sealed.Database.Built) || !r.AsOf.Equal(sealed.AsOf):
		v.images[i].Failed = "its scan report bears other dates than the seal"
	case !r.Passed:
		v.images[i].Failed = "its scan report says that it was refused, and the seal that it passed"
	}
	if v.images[i].Failed != "" {
		return
	}
	v.result.Packed, v.result.Used, v.result.Basis = r.Database, r.Database, BasisEvidence
	v.images[i].Distribution, v.images[i].Packages, v.images[i].Findings = r.Distribution, r.Packages, r.Findings
	v.images[i].Warnings = r.Warnings
}

// look asks a database that is not older, where there is one, about what the
// bundle holds: findings that somebody took out of a report are back.
func (v *verifying) look(ctx context.Context) error {
	if v.world.Scanner == nil {
		if v.req.Rescan {
			return errors.New("this ferry has no scanner")
		}
		return nil
	}
	db, err := v.world.Scanner.Database(ctx)
	switch {
	case errors.Is(err, ErrNoDatabase) && !v.req.Rescan:
		return nil
	case err != nil:
		return err
	case v.req.Rescan:
		return v.rescan(ctx, db)
	case v.result.Basis == "":
		return nil
	case db.Built.Before(v.result.Packed.Built):
		v.result.Older = &db
		return nil
	}
	return v.rematch(ctx, db)
}

// rescan reads the layers anew and trusts nothing that the evidence says.
func (v *verifying) rescan(ctx context.Context, db policy.DatabaseInfo) error {
	g := &gate{loadedPolicy: v.policy, world: v.world, file: v.bundle.Path(), database: db}
	dir, remove, err := scratch.Dir(os.TempDir(), "ferry-rescan-")
	if err != nil {
		return err
	}
	defer remove()
	scanned, err := g.scan(ctx, v.bundle.Path(), v.images, dir)
	if err != nil {
		return err
	}
	for i := range v.images {
		if v.images[i].Failed == "" {
			v.compare(i, scanned[v.images[i].key()])
		}
	}
	v.result.Used, v.result.Basis = db, BasisLayers
	return nil
}

// rematch asks the database about the SBOMs in the bundle.
func (v *verifying) rematch(ctx context.Context, db policy.DatabaseInfo) error {
	dir, remove, err := scratch.Dir(os.TempDir(), "ferry-sboms-")
	if err != nil {
		return err
	}
	defer remove()
	var docs []evidence.Document
	var at []int
	for i := range v.images {
		if v.images[i].Failed != "" {
			continue
		}
		doc, err := v.extract(ctx, v.abouts[i], dir)
		if err != nil {
			return err
		}
		docs, at = append(docs, doc), append(at, i)
	}
	v.world.Progress.Emit(progress.Phase{Name: "matching", Items: len(docs), Unit: "SBOMs"})
	matched, err := v.world.Scanner.Match(ctx, docs)
	if err != nil {
		return err
	}
	if len(matched) != len(docs) {
		return fmt.Errorf("the scanner answered for %d of %d SBOMs", len(matched), len(docs))
	}
	for k, i := range at {
		if matched[k].Failed == "" && matched[k].Database.Checksum != db.Checksum {
			return fmt.Errorf("the vulnerability database was exchanged while the SBOMs were matched")
		}
		v.compare(i, matched[k])
		// What could not be read in the image, an SBOM does not say.
		for _, w := range v.abouts[i].Report.Warnings {
			if !slices.Contains(v.images[i].Warnings, w) {
				v.images[i].Warnings = append(v.images[i].Warnings, w)
			}
		}
		// Not every form of an SBOM says which distribution it is of.
		if v.images[i].Distribution == (policy.Distribution{}) && v.images[i].Failed == "" {
			v.images[i].Distribution = v.abouts[i].Report.Distribution
		}
	}
	v.result.Used, v.result.Basis = db, BasisSBOMs
	return nil
}

// preferred is the order in which SBOMs are read back: the first has most to
// say.
func preferred() []string {
	return []string{evidence.SyftMediaType, evidence.CycloneDXMediaType, evidence.SPDXMediaType}
}

// extract writes an SBOM to a file of its own.
func (v *verifying) extract(ctx context.Context, a evidence.About, dir string) (evidence.Document, error) {
	for _, mediaType := range preferred() {
		desc, ok := a.SBOMs[mediaType]
		if !ok {
			continue
		}
		path, err := v.copyOut(ctx, desc, dir)
		return evidence.Document{MediaType: mediaType, Path: path}, err
	}
	return evidence.Document{}, fmt.Errorf("%s has no SBOM in a form that can be read back", a.Report.Image)
}

func (v *verifying) copyOut(ctx context.Context, desc ocispec.Descriptor, dir string) (string, error) {
	b, err := content.ReadAll(ctx, v.bundle, desc, evidence.MaxSBOM)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "sbom-*.json")
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	return f.Name(), errors.Join(err, f.Close())
}

// compare takes over what was found anew, and counts what was not known when
// the bundle was packed.
func (v *verifying) compare(i int, s Scanned) {
	had := map[string]bool{}
	for _, f := range v.images[i].Findings {
		had[f.ID] = true
	}
	for _, f := range s.Findings {
		if !had[f.ID] {
			v.result.Come++
		}
	}
	v.images[i].found(s)
}

func (v *verifying) judge() *policy.Verdict {
	at := v.req.AsOf
	if at.IsZero() {
		at = v.world.Now()
	}
	q := policy.Question{
		Policy: v.policy.policy, VEX: v.policy.vex, AsOf: at, DatabaseAge: v.req.DatabaseAge,
		Scan: policy.Scan{Images: facts(v.images), Database: v.result.Used}, NotBefore: v.bundle.Lock().ResolvedAt,
	}
	if sealed := v.bundle.Seal().AsOf; sealed.After(q.NotBefore) {
		q.NotBefore = sealed
	}
	return policy.Evaluate(q)
}
