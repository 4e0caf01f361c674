package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/content"
	"ferry/internal/lock"
)

// SealMediaType is the media type of the seal inside a bundle.
const SealMediaType = "application/vnd.ferry.seal.v1+json"

// What a seal says of the gate. A bundle that the gate refuses is not sealed.
const (
	NotGated = "not gated" // no policy was asked
	Passed   = "passed"    // by the policy that the seal names
)

// Limits of the evidence in a bundle.
const (
	maxSeal     = 16 << 20 // bytes
	maxEvidence = 1 << 16  // artifacts
)

// Seal closes a bundle: it names the lock, the moment that counts for dates,
// what the gate said, and the evidence for it.
type Seal struct {
	Version int           `json:"version"`
	AsOf    time.Time     `json:"asOf"`
	Lock    digest.Digest `json:"lock"`
	Gate    string        `json:"gate"`
	// Policy is the digest of the policy that was asked.
	Policy digest.Digest `json:"policy,omitempty"`
	// Database is the vulnerability database that was used.
	Database *Database `json:"database,omitempty"`
	// Evidence are the artifacts in the tail that speak about images, sorted
	// by digest.
	Evidence []lock.Referrer `json:"evidence,omitempty"`
}

// Database names a vulnerability database.
type Database struct {
	Built    time.Time     `json:"built"`
	Checksum digest.Digest `json:"checksum"`
}

func (s Seal) encode() ([]byte, error) {
	s.AsOf = s.AsOf.UTC().Truncate(time.Second)
	if s.Database != nil {
		d := *s.Database
		d.Built = d.Built.UTC().Truncate(time.Second)
		s.Database = &d
	}
	return encode(s)
}

func decodeSeal(b []byte) (Seal, error) {
	var s Seal
	if err := json.Unmarshal(b, &s); err != nil {
		return Seal{}, fmt.Errorf("the seal is not JSON: %w", err)
	}
	if s.Version != 1 {
		return Seal{}, fmt.Errorf("the seal has version %d; this ferry knows version 1", s.Version)
	}
	again, err := s.encode()
	if err != nil {
		return Seal{}, err
	}
	if !bytes.Equal(again, b) {
		return Seal{}, fmt.Errorf("the seal is not in the form that ferry writes")
	}
	return s, s.check()
}

// check holds for every seal that is written or read.
func (s Seal) check() error {
	switch {
	case s.Gate != NotGated && s.Gate != Passed:
		return fmt.Errorf("the seal says that the gate said %q", s.Gate)
	case s.Gate == Passed && (s.Policy == "" || s.Database == nil):
		return fmt.Errorf("the seal says that a gate was passed, but not which policy and database")
	case s.Gate == Passed && len(s.Evidence) == 0:
		return errors.New("the seal says that a gate was passed, and there is no evidence of it")
	case len(s.Evidence) > maxEvidence:
		return fmt.Errorf("the seal names %d artifacts of evidence; ferry takes at most %d", len(s.Evidence), maxEvidence)
	}
	if s.Policy != "" {
		if err := content.Supported(s.Policy); err != nil {
			return fmt.Errorf("the seal's policy: %w", err)
		}
	}
	if s.Database != nil {
		if err := content.Supported(s.Database.Checksum); err != nil {
			return fmt.Errorf("the seal's database: %w", err)
		}
	}
	if !slices.IsSortedFunc(s.Evidence, compareEvidence) {
		return fmt.Errorf("the seal's evidence is not sorted")
	}
	for i, e := range s.Evidence {
		if i > 0 && s.Evidence[i-1].Digest == e.Digest {
			return fmt.Errorf("the seal names the evidence %s twice", e.Digest)
		}
		for _, d := range []digest.Digest{e.Digest, e.Subject} {
			if err := content.Supported(d); err != nil {
				return fmt.Errorf("the seal's evidence: %w", err)
			}
		}
	}
	return nil
}

func compareEvidence(a, b lock.Referrer) int {
	return strings.Compare(string(a.Digest), string(b.Digest))
}
