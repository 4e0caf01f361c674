package ferry

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/progress"
)

// VerifyRequest says which bundle to verify.
type VerifyRequest struct {
	File string
	// Digest, if given, is the bundle's digest or the SHA-256 of the file.
	Digest string
	Jobs   int
	// Policy is the reader's own; the zero value asks none.
	Policy PolicyRequest
	// Rescan reads the layers anew instead of trusting the evidence.
	Rescan bool
	// DatabaseAge is how old the database may be where the policy does not
	// say; 0 for any age.
	DatabaseAge time.Duration
	// AsOf is the moment that counts for dates; zero means now.
	AsOf time.Time
}

// VerifyResult is what a whole bundle says about itself.
type VerifyResult struct {
	File       string        `json:"file"`
	Digest     digest.Digest `json:"digest"`
	Size       int64         `json:"size"`
	Blobs      int           `json:"blobs"`
	Images     int           `json:"images"`
	ResolvedAt time.Time     `json:"resolvedAt"`
	AsOf       time.Time     `json:"asOf"`
	Gate       string        `json:"gate"`
	Signed     bool          `json:"signed"`
	// Expected says whether the digest was compared with one from outside.
	Expected bool `json:"digestCompared"`
	// Evidence is what the reader's policy made of the evidence.
	Evidence *EvidenceResult `json:"evidence,omitempty"`
}

// Verify checks every byte of a bundle.
func Verify(ctx context.Context, w World, req VerifyRequest) (*VerifyResult, error) {
	o := bundle.VerifyOptions{Jobs: req.Jobs}
	if req.Digest != "" {
		d, err := digest.Parse(req.Digest)
		if err != nil {
			return nil, usage("--digest %q: write sha256: and 64 hexadecimal digits, as pack prints it", req.Digest)
		}
		o.Digest = d
	}
	w.Progress.Emit(progress.Phase{Name: "verifying", Unit: "blobs", Bytes: fileSize(req.File)})
	o.Advance = func(blobs int, bytes int64) {
		w.Progress.Emit(progress.Advance{Items: blobs, Bytes: bytes})
	}
	b, err := bundle.Verify(ctx, req.File, o)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	r := &VerifyResult{
		File: req.File, Digest: b.Digest(), Size: b.Size(),
		Blobs: len(b.Contents().Blobs()), Images: len(b.Lock().Images),
		ResolvedAt: b.Lock().ResolvedAt, AsOf: b.Seal().AsOf, Gate: b.Seal().Gate,
		Expected: o.Digest != "",
	}
	if req.Policy != (PolicyRequest{}) {
		r.Evidence, err = verifyEvidence(ctx, w, b, req)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}
