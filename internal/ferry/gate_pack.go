package ferry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"ferry/internal/bundle"
)

// openGate finds out whether pack has to pass a gate, and judges what is known
// by name alone before anything is pulled.
func (p *packing) openGate(ctx context.Context) error {
	if p.req.ungated {
		return nil
	}
	var err error
	if p.gate, err = openGate(ctx, p.world, p.req.To, p.req.Policy, p.req.AsOf); p.gate == nil || err != nil {
		return err
	}
	p.result.PolicyFile = p.gate.path
	var names []string
	for _, w := range p.wanted {
		names = append(names, w.name.String())
	}
	return p.gate.names(names)
}

// passGate holds what was pulled against the policy, where there is one. The
// bundle is whole by then, but does not have its name yet.
func (p *packing) passGate(ctx context.Context, w *bundle.Writer) error {
	if p.gate == nil {
		return nil
	}
	if err := w.Stage(); err != nil {
		return err
	}
	dir, remove, err := scanFolder(p.req.To)
	if err != nil {
		return err
	}
	defer remove()
	j, err := p.judge(ctx, w.Staged(), dir, p.moment())
	if err != nil {
		return err
	}
	if err := w.Seal(ctx, j.seal, j.store); err != nil {
		return err
	}
	// Seal read the evidence's manifests; its blobs are written here, while
	// the scan's folder is still there.
	if err := w.Stage(); err != nil {
		return err
	}
	return p.gate.stillHolds(j)
}

func (p *packing) moment() time.Time {
	if p.req.AsOf.IsZero() {
		return p.world.Now()
	}
	return p.req.AsOf
}

func (p *packing) judge(ctx context.Context, path, dir string, asOf time.Time) (*judged, error) {
	j, err := p.gate.judge(ctx, path, dir, asOf)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		refused.Kept = true
	}
	if err != nil {
		return nil, err
	}
	p.result.Gate, p.result.Verdict = j.seal.Gate, j.verdict
	return j, nil
}

// gateAgain holds a bundle that has all that is wanted against the policy, and
// gives it the seal and the evidence that come of it. Where nothing came of it
// that the bundle does not have, it stays as it is.
func (p *packing) gateAgain(ctx context.Context, had bundle.Seal) error {
	dir, remove, err := scanFolder(p.req.To)
	if err != nil {
		return err
	}
	defer remove()
	asOf := p.moment()
	if p.req.AsOf.IsZero() && p.gate.sealed(had) {
		asOf = had.AsOf
	}
	j, err := p.judge(ctx, p.req.To, dir, asOf)
	if err != nil {
		return err
	}
	if err := p.gate.stillHolds(j); err != nil {
		return err
	}
	if sameSeal(j.seal, had) {
		return nil
	}
	p.result.Unchanged, p.result.Resealed = false, true
	p.result.Digest, p.result.Size, err = bundle.Reseal(ctx, p.req.To, j.seal, j.store)
	return err
}

// sealed says whether a seal was made by the same policy and database.
func (g *gate) sealed(s bundle.Seal) bool {
	return s.Gate == bundle.Passed && s.Policy == g.policy.Digest && s.Database.Checksum == g.database.Checksum
}

func sameSeal(a, b bundle.Seal) bool {
	a.Version, a.Lock = b.Version, b.Lock
	a.AsOf, b.AsOf = a.AsOf.UTC().Truncate(time.Second), b.AsOf.UTC()
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
