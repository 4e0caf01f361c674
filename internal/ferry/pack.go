package ferry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/lock"
	"ferry/internal/policy"
	"ferry/internal/progress"
	"ferry/internal/ref"
	"ferry/internal/transfer"
)

// PackRequest says what to pack.
type PackRequest struct {
	// Places are images as people write them: references, archives, engines.
	Places []string
	// To is the bundle's file name.
	To string
	// Platforms to take; none takes all.
	Platforms []string
	// ungated leaves the policy out: what is pulled is only looked into.
	ungated bool
	// Lock is a lock file whose images are taken, by digest.
	Lock string
	// Base is an earlier bundle to take unchanged blobs from.
	Base string
	// Jobs is how many images and blobs move at once; 0 means 4.
	Jobs int
	// NoReferrers leaves signatures, SBOMs and attestations behind.
	NoReferrers bool
	// KeepGoing packs the others when some images fail.
	KeepGoing bool
	// DryRun resolves and plans, and writes nothing.
	DryRun bool
	// AsOf is the moment that counts for dates; zero means now.
	AsOf time.Time
	// Policy says which policy the gate asks; where there is none, the bundle
	// is not gated.
	Policy PolicyRequest
	// WithDatabase packs the vulnerability database in use along.
	WithDatabase bool
}

// PackResult says what was packed.
type PackResult struct {
	File      string        `json:"file"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	Images    []lock.Image  `json:"images"`
	Blobs     int           `json:"blobs"`
	Fetched   int64         `json:"fetchedBytes"`
	Reused    int64         `json:"reusedBytes"`
	Unchanged bool          `json:"unchanged,omitempty"`
	DryRun    bool          `json:"dryRun,omitempty"`
	Failed    []ImageError  `json:"failed,omitempty"`
	Warnings  []string      `json:"warnings,omitempty"`
	// Gate is what the seal says of the gate, Verdict what the policy said.
	Gate string `json:"gate,omitempty"`
	// Resealed says that the content was there, and its seal and evidence
	// were replaced.
	Resealed bool            `json:"resealed,omitempty"`
	Verdict  *policy.Verdict `json:"verdict,omitempty"`
	// PolicyFile is the policy that was asked, or will be.
	PolicyFile string `json:"policyFile,omitempty"`
	// ByHand are commands that do about the same without ferry.
	ByHand [][]string `json:"byHand,omitempty"`
}

// Pack resolves names, pulls what they stand for, and seals it in one file.
func Pack(ctx context.Context, w World, req PackRequest) (*PackResult, error) {
	if req.WithDatabase {
		place, err := databasePlace(ctx, w)
		if err != nil {
			return nil, fmt.Errorf("pack the vulnerability database: %w", err)
		}
		req.Places = append(slices.Clone(req.Places), place)
	}
	p := &packing{world: w, req: req}
	defer p.cleanUp()
	if err := p.gather(ctx); err != nil {
		return nil, err
	}
	if !req.DryRun {
		// Before anything is pulled for it.
		if err := bundle.Writable(req.To); err != nil {
			return nil, err
		}
	}
	if err := p.openGate(ctx); err != nil {
		return nil, err
	}
	if err := p.resolve(ctx); err != nil {
		return nil, err
	}
	for {
		again, err := p.try(ctx)
		if err != nil {
			return nil, err
		}
		if !again {
			return &p.result, nil
		}
	}
}

// packing is one run of Pack.
type packing struct {
	world  World
	req    PackRequest
	locked *lock.Lock // of --lock
	wanted []wanted
	found  []resolved
	near   []transfer.Origin // places on this machine that may have blobs
	closer []io.Closer
	gate   *gate // nil where there is no policy
	result PackResult
}

// cleanUp closes the last one first: a file has to be closed before it can be
// removed on Windows.
func (p *packing) cleanUp() {
	for _, c := range slices.Backward(p.closer) {
		_ = c.Close()
	}
}

// resolve looks all names up, and gives up only after all were tried, so that
// every failing one is named.
func (p *packing) resolve(ctx context.Context) error {
	p.world.Progress.Emit(progress.Phase{Name: "resolving", Items: len(p.wanted), Unit: "images"})
	r := resolver{platforms: p.req.Platforms, referrers: !p.req.NoReferrers}
	if p.locked != nil {
		r.platforms = p.locked.Platforms
	}
	found, failed, err := r.all(ctx, p.wanted, max(p.jobs(), lookups), p.world.Progress)
	if err != nil {
		return err
	}
	return p.settle(found, failed)
}

func (p *packing) jobs() int {
	if p.req.Jobs > 0 {
		return p.req.Jobs
	}
	return 4
}

// settle goes on with what was found, if that is allowed and there is any.
func (p *packing) settle(found []resolved, failed []ImageError) error {
	p.result.Failed = append(p.result.Failed, failed...)
	if len(failed) > 0 && (!p.req.KeepGoing || len(found) == 0) {
		return &PackError{File: p.req.To, Images: p.result.Failed, Kept: p.result.Fetched > 0, Others: len(found) > 0}
	}
	slices.SortFunc(found, func(a, b resolved) int { return strings.Compare(a.image.Name, b.image.Name) })
	p.found = found
	return nil
}

// try plans and writes what was found; again says that images fell out on the
// way and the rest has to be laid out anew.
func (p *packing) try(ctx context.Context) (again bool, err error) {
	c, err := p.contents()
	if err != nil {
		return false, err
	}
	p.describe(c)
	if done, err := p.unchanged(ctx, c); done || err != nil {
		return false, err
	}
	if p.req.DryRun {
		return false, nil
	}
	if err := p.openNear(); err != nil {
		return false, err
	}
	return p.write(ctx, c)
}

// contents is the pure middle: from what was found to what the bundle holds.
func (p *packing) contents() (*bundle.Contents, error) {
	l := lock.Lock{Version: lock.Version, ResolvedAt: p.world.Now(), Platforms: p.req.Platforms}
	if p.locked != nil {
		l.ResolvedAt, l.Platforms = p.locked.ResolvedAt, p.locked.Platforms
	}
	manifests := map[digest.Digest][]byte{}
	for _, f := range p.found {
		l.Images = append(l.Images, f.image)
		for d, b := range f.memory {
			manifests[d] = b
		}
	}
	return bundle.Expand(l, func(d ocispec.Descriptor) ([]byte, error) {
		b, ok := manifests[d.Digest]
		if !ok {
			return nil, fmt.Errorf("%s: %w", d.Digest, content.ErrNotFound)
		}
		return b, content.Check(d, b)
	})
}

func (p *packing) describe(c *bundle.Contents) {
	r := &p.result
	r.File, r.Images, r.DryRun = p.req.To, c.Lock.Images, p.req.DryRun
	r.Blobs, r.Size = len(c.Blobs()), 0
	for _, b := range c.Blobs() {
		r.Size += b.Size
	}
	r.ByHand = p.byHand()
}

// byHand is what a person would type for the same end.
func (p *packing) byHand() [][]string {
	cmds := p.world.Given.trust()
	n := len(cmds)
	for _, f := range p.found {
		if f.image.Source.Type != lock.Registry {
			continue
		}
		n, err := ref.Parse(f.image.Name)
		if err != nil {
			continue // it was pulled by this name, so it parses
		}
		cmd := []string{"skopeo", "copy"}
		if len(p.req.Platforms) == 0 {
			cmd = append(cmd, "--all")
		}
		cmds = append(cmds, p.world.Given.typed(append(cmd, n.Docker(), "oci-archive:"+p.req.To+":"+f.image.Name)...))
	}
	if len(cmds) == n {
		return nil // nothing of it comes from a registry
	}
	return cmds
}

// unchanged says whether the bundle that stands there holds just this.
// It is hashed first: a damaged one is packed anew.
func (p *packing) unchanged(ctx context.Context, c *bundle.Contents) (bool, error) {
	b, err := bundle.Open(p.req.To)
	if err != nil {
		return false, nil //nolint:nilerr // no bundle, or not a sound one: bundle.Create judges that
	}
	defer b.Close()
	if !p.serves(b, c.Lock) {
		return false, nil
	}
	p.world.Progress.Emit(progress.Phase{Name: "checking", Unit: "blobs", Bytes: b.Size()})
	whole, err := bundle.Verify(ctx, p.req.To, bundle.VerifyOptions{Jobs: p.jobs(), Advance: func(blobs int, bytes int64) {
		p.world.Progress.Emit(progress.Advance{Items: blobs, Bytes: bytes})
	}})
	if _, damaged := errors.AsType[*bundle.DamageError](err); damaged {
		p.result.Warnings = append(p.result.Warnings, err.Error()+"; it is packed anew")
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer whole.Close()
	p.result.Unchanged = true
	p.result.Digest, p.result.Size, p.result.Gate = b.Digest(), b.Size(), b.Seal().Gate
	if p.req.DryRun {
		return true, nil
	}
	if p.gate != nil {
		seal, l := b.Seal(), b.Lock()
		// A file that is open cannot be replaced everywhere.
		if err := errors.Join(b.Close(), whole.Close()); err != nil {
			return false, err
		}
		if err := p.gateAgain(ctx, seal); err != nil {
			return false, err
		}
		return true, writeLock(p.req.To, l)
	}
	return true, writeLock(p.req.To, b.Lock())
}

// serves says whether b is as good as a new bundle of l: the same images, and
// the same dates where they were asked for.
func (p *packing) serves(b *bundle.Bundle, l lock.Lock) bool {
	have := b.Lock()
	if p.locked == nil {
		have.ResolvedAt = l.ResolvedAt
	}
	x, errX := have.Encode()
	y, errY := l.Encode()
	sameDate := p.req.AsOf.IsZero() || p.req.AsOf.Truncate(time.Second).Equal(b.Seal().AsOf)
	return errX == nil && errY == nil && bytes.Equal(x, y) && sameDate
}

// openNear opens the bundles of this machine that may hold blobs already: the
// one named by --base, and the one that is about to be replaced.
func (p *packing) openNear() error {
	if len(p.near) > 0 {
		return nil
	}
	if p.req.Base != "" {
		b, err := bundle.Open(p.req.Base)
		if err != nil {
			return fmt.Errorf("open the base: %w", err)
		}
		p.useNear(b)
	}
	if b, err := bundle.Open(p.req.To); err == nil {
		p.useNear(b)
	}
	return nil
}

func (p *packing) useNear(b *bundle.Bundle) {
	p.closer = append(p.closer, b)
	p.near = append(p.near, transfer.Origin{Name: b.Path(), Source: b, Near: true})
}

func (p *packing) write(ctx context.Context, c *bundle.Contents) (again bool, err error) {
	asOf := p.req.AsOf
	if asOf.IsZero() {
		asOf = p.world.Now()
	}
	w, err := bundle.Create(p.req.To, c, bundle.Seal{AsOf: asOf, Gate: bundle.NotGated})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	blobs := c.Blobs()
	p.world.Progress.Emit(progress.Phase{Name: "pulling", Items: len(blobs), Unit: "blobs", Bytes: p.result.Size})
	stats, failed, err := transfer.Copy(ctx, p.transfers(blobs, w.Former()), w,
		transfer.Options{Jobs: p.jobs(), Progress: p.world.Progress})
	p.result.Fetched += stats.Fetched
	p.result.Reused += stats.Reused
	if err != nil {
		return false, err
	}
	if len(failed) > 0 {
		return true, p.dropFailed(c, failed)
	}
	if err := p.passGate(ctx, w); err != nil {
		return false, err
	}
	// The file that is about to be replaced may be open as a place to take
	// blobs from, and some systems do not replace an open file.
	p.cleanUp()
	if err := w.Finish(); err != nil {
		return false, err
	}
	p.result.Digest, p.result.Size = w.Digest(), w.Size()
	if p.gate == nil {
		p.result.Gate = bundle.NotGated
	}
	return false, writeLock(p.req.To, c.Lock)
}

// transfers says for every blob where it may come from, nearest first.
func (p *packing) transfers(blobs []ocispec.Descriptor, former content.Source) []transfer.Job {
	memory := memory{}
	origins := map[digest.Digest][]transfer.Origin{}
	for _, f := range p.found {
		for d, b := range f.memory {
			memory[d] = b
		}
		f.reach(func(d digest.Digest) {
			if o := origins[d]; len(o) == 0 || o[len(o)-1].Name != f.origin.Name {
				origins[d] = append(o, f.origin)
			}
		})
	}
	near := p.near
	if former != nil {
		near = append([]transfer.Origin{{Name: "an interrupted run", Source: former, Near: true}}, near...)
	}
	jobs := make([]transfer.Job, 0, len(blobs))
	for _, d := range blobs {
		j := transfer.Job{Desc: d}
		if _, ok := memory[d.Digest]; ok {
			j.From = []transfer.Origin{{Name: "memory", Source: memory}}
		} else {
			j.From = slices.Concat(near, origins[d.Digest])
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// dropFailed takes the images out that miss a blob.
func (p *packing) dropFailed(c *bundle.Contents, failed map[digest.Digest]error) error {
	var left []resolved
	var lost []ImageError
	for _, f := range p.found {
		var cause error
		c.Reach(f.image, func(d ocispec.Descriptor) {
			if err := failed[d.Digest]; err != nil && cause == nil {
				cause = err
			}
		})
		if cause != nil {
			lost = append(lost, imageError(f.image.Name, cause))
		} else {
			left = append(left, f)
		}
	}
	return p.settle(left, lost)
}

// LockSuffix is what the lock beside a bundle is called by.
const LockSuffix = ".lock"

func writeLock(to string, l lock.Lock) error {
	b, err := l.Encode()
	if err != nil {
		return err
	}
	return writeFile(to+LockSuffix, b)
}

// writeFile puts b at path, whole or not at all.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// memory is content that was read while names were resolved.
type memory map[digest.Digest][]byte

func (m memory) Open(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	b, ok := m[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", desc.Digest, content.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(b[offset:])), nil
}
