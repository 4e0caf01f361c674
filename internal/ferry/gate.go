package ferry

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/evidence"
	"ferry/internal/lock"
	"ferry/internal/policy"
	"ferry/internal/progress"
	"ferry/internal/scratch"
)

// databaseAge is how old the vulnerability database may be on the connected
// side, where the policy does not say.
const databaseAge = 7 * 24 * time.Hour

// RefusedError says that a gate did not say yes: because the policy refuses
// what was found, or because it could not be asked.
type RefusedError struct {
	// File is the bundle that was not written.
	File string
	// Policy is the policy's file.
	Policy  string
	Verdict *policy.Verdict // nil where it could not be asked
	Cause   error           // why it could not be asked
	// Read says that the bundle was only read: verify asked, and not pack.
	Read bool
	// Kept says that what was pulled is kept for the next try.
	Kept bool
	// Layers says which layer of its image a digest is, from 1 on.
	Layers map[digest.Digest]int
	// Referrers are the images that hang on another, with that one's name.
	Referrers map[string]string
}

func (e *RefusedError) Error() string {
	if e.Verdict != nil {
		return fmt.Sprintf("the policy %s refuses it: %d findings", e.Policy, e.Verdict.Refused())
	}
	return fmt.Sprintf("the policy %s could not be asked, so the answer is no: %v", e.Policy, e.Cause)
}

func (e *RefusedError) Unwrap() error { return e.Cause }

// Hint says what to do next.
func (e *RefusedError) Hint() string {
	var h interface{ Hint() string }
	switch {
	case errors.As(e.Cause, &h):
		return h.Hint()
	case errors.Is(e.Cause, ErrNoDatabase):
		return "Fetch one with ferry db pull, or import one with ferry db import FILE."
	}
	return ""
}

// gate is a policy, and what it takes to ask it.
type gate struct {
	*loadedPolicy
	world    World
	file     string    // the bundle that it stands before
	asOf     time.Time // zero for now
	database policy.DatabaseInfo
}

// openGate reads the policy where there is one, and makes sure that it can be
// asked before anything is pulled. It returns nil where there is no policy.
func openGate(ctx context.Context, w World, file string, req PolicyRequest, asOf time.Time) (*gate, error) {
	p, err := loadPolicy(req)
	if p == nil || err != nil {
		return nil, err
	}
	g := &gate{loadedPolicy: p, world: w, file: file, asOf: asOf}
	if w.Scanner == nil {
		return nil, g.cannot(errors.New("this ferry has no scanner"))
	}
	if g.database, err = w.Scanner.Database(ctx); err != nil {
		return nil, g.cannot(err)
	}
	g.database.Built = g.database.Built.UTC().Truncate(time.Second)
	// With nothing scanned yet this says what is wrong with the database.
	v := policy.Evaluate(g.question(nil, w.Now()))
	v.Decisions = slices.DeleteFunc(v.Decisions, func(d policy.Decision) bool { return d.Reasons[0].Rule == policy.RuleUnread })
	v.Unused = nil
	if v.Refused() > 0 {
		return nil, g.refuse(v)
	}
	return g, nil
}

func (g *gate) cannot(err error) error {
	return &RefusedError{File: g.file, Policy: g.path, Cause: err}
}

func (g *gate) refuse(v *policy.Verdict) *RefusedError {
	return &RefusedError{File: g.file, Policy: g.path, Verdict: v}
}

func (g *gate) question(images []policy.Image, at time.Time) policy.Question {
	return policy.Question{
		Policy: g.policy, VEX: g.vex, AsOf: at, DatabaseAge: databaseAge,
		Scan: policy.Scan{Images: images, Database: g.database},
	}
}

// names judges what can be judged before anything is pulled.
func (g *gate) names(names []string) error {
	if v := policy.Names(g.policy, names, g.world.Now()); !v.Passed {
		return g.refuse(v)
	}
	return nil
}

// judged is a verdict, and the evidence for it.
type judged struct {
	verdict *policy.Verdict
	seal    bundle.Seal
	store   *evidence.Store
}

// judge scans the images of the whole bundle at path and asks the policy. dir
// is a folder for what the scan writes; the evidence is read from there.
func (g *gate) judge(ctx context.Context, path, dir string, asOf time.Time) (*judged, error) {
	b, err := bundle.Open(path)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	images, err := platformImages(ctx, b)
	if err != nil {
		return nil, g.cannot(err)
	}
	scanned, err := g.scan(ctx, path, images, dir)
	if err != nil {
		return nil, err
	}
	for i := range images {
		images[i].found(scanned[images[i].key()])
	}
	v := policy.Evaluate(g.question(facts(images), asOf))
	// The moment that counts for dates does not bring back what has expired.
	// Nor does a clock that was set back since the lock was made.
	today := g.question(facts(images), g.world.Now())
	today.NotBefore = b.Lock().ResolvedAt
	now := policy.Evaluate(today)
	for _, verdict := range []*policy.Verdict{v, now} {
		if !verdict.Passed {
			r := g.refuse(verdict)
			r.Layers, r.Referrers = layerNumbers(images), referrersAmong(images)
			return nil, r
		}
	}
	j := &judged{verdict: v, store: evidence.NewStore()}
	if !now.Until.IsZero() && (v.Until.IsZero() || now.Until.Before(v.Until)) {
		j.verdict.Until = now.Until
	}
	j.seal, err = g.seal(j, images, scanned)
	return j, err
}

// scan scans every image once, however many names it has, and wants an answer
// about each, by the database that was checked.
func (g *gate) scan(ctx context.Context, path string, images []platformImage, dir string) (map[string]Scanned, error) {
	var wanted []evidence.Wanted
	seen := map[string]bool{}
	for _, i := range images {
		if i.Failed == "" && !seen[i.key()] {
			seen[i.key()] = true
			wanted = append(wanted, evidence.Wanted{Image: i.Name, Digest: i.Digest, Platform: i.Platform})
		}
	}
	g.world.Progress.Emit(progress.Phase{Name: "scanning", Items: len(wanted), Unit: "images"})
	results, err := g.world.Scanner.Scan(ctx, path, wanted, dir)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, g.cannot(err)
	}
	if len(results) != len(wanted) {
		return nil, g.cannot(fmt.Errorf("the scanner answered for %d of %d images", len(results), len(wanted)))
	}
	scanned := map[string]Scanned{}
	for i, r := range results {
		if r.Failed == "" && r.Database.Checksum != g.database.Checksum {
			return nil, g.cannot(fmt.Errorf("the vulnerability database was exchanged while %s was scanned: it was %s, and is %s",
				wanted[i].Image, g.database.Checksum, r.Database.Checksum))
		}
		scanned[keyOf(wanted[i].Digest, wanted[i].Platform)] = r
	}
	return scanned, nil
}

// seal makes the evidence, and the seal that names it.
func (g *gate) seal(j *judged, images []platformImage, scanned map[string]Scanned) (bundle.Seal, error) {
	s := bundle.Seal{
		AsOf: j.verdict.AsOf, Gate: bundle.Passed, Policy: g.policy.Digest,
		Database: &bundle.Database{Built: g.database.Built, Checksum: g.database.Checksum},
	}
	for _, i := range images {
		artifacts, err := g.evidence(j, i, scanned[i.key()])
		if err != nil {
			return s, g.cannot(err)
		}
		for _, a := range artifacts {
			s.Evidence = append(s.Evidence, lock.Referrer{
				Digest: a.Desc.Digest, MediaType: a.Desc.MediaType, Size: a.Desc.Size,
				ArtifactType: a.Desc.ArtifactType, Subject: a.Subject,
			})
		}
	}
	slices.SortFunc(s.Evidence, func(a, b lock.Referrer) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	s.Evidence = slices.CompactFunc(s.Evidence, func(a, b lock.Referrer) bool { return a.Digest == b.Digest })
	return s, nil
}

// evidence makes the artifacts about one image on one platform.
func (g *gate) evidence(j *judged, i platformImage, s Scanned) ([]evidence.Artifact, error) {
	r := evidence.Report{
		Image: i.Name, Digest: i.Digest, Platform: i.Platform, AsOf: j.verdict.AsOf,
		Tool: s.Tool, Database: g.database, Policy: g.policy.Digest, SBOMs: map[string]digest.Digest{},
		Distribution: s.Distribution, Packages: s.Packages, Findings: s.Findings, Warnings: s.Warnings, Passed: j.verdict.Passed,
	}
	for _, d := range j.verdict.Decisions {
		if d.Image == i.Name && d.Digest == i.Digest && d.Platform == i.Platform {
			r.Decisions = append(r.Decisions, d)
		}
	}
	var all []evidence.Artifact
	for _, doc := range s.SBOMs {
		a, layer, err := j.store.SBOM(i.desc, doc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i.Name, err)
		}
		all = append(all, a)
		r.SBOMs[doc.MediaType] = layer
	}
	if len(s.SBOMs) == 0 {
		return nil, fmt.Errorf("the scanner made no SBOM of %s", i.Name)
	}
	a, err := j.store.Report(i.desc, r, g.text, g.documents)
	return append(all, a), err
}

// stillHolds says whether what the verdict rests on has not run out while it
// was made.
func (g *gate) stillHolds(j *judged) error {
	if u := j.verdict.Until; !u.IsZero() && !g.world.Now().Before(u) {
		return g.cannot(fmt.Errorf("an exception that the verdict rests on ran out at %s, while the images were scanned", u.Format(time.RFC3339)))
	}
	return nil
}

// scanFolder makes the folder that a scan writes to, beside the bundle, where
// there is room for it.
func scanFolder(file string) (dir string, remove func(), err error) {
	return scratch.Dir(filepath.Dir(file), "."+filepath.Base(file)+".scan-")
}
