package ferry

import (
	"context"
	"errors"

	"ferry/internal/evidence"
	"ferry/internal/policy"
)

// ErrNoDatabase says that there is no vulnerability database here.
var ErrNoDatabase = errors.New("there is no vulnerability database here")

// Scanner finds out what images consist of, and what is known against that.
type Scanner interface {
	// Database says which database it would use. A damaged one is an error;
	// where there is none, the error is ErrNoDatabase.
	Database(ctx context.Context) (policy.DatabaseInfo, error)
	// Scan reads images out of the bundle at file. Documents that it makes
	// may lie in dir, which the caller removes. An image that cannot be read
	// says so in Failed; the others are not held up.
	Scan(ctx context.Context, file string, images []evidence.Wanted, dir string) ([]Scanned, error)
	// Match asks the database anew about SBOMs that were made before.
	Match(ctx context.Context, sboms []evidence.Document) ([]Scanned, error)
}

// Scanned is what a scan found in one image on one platform.
type Scanned struct {
	Tool         evidence.Tool
	Database     policy.DatabaseInfo
	Distribution policy.Distribution
	Packages     []policy.Package
	Findings     []policy.Finding
	SBOMs        []evidence.Document
	Failed       string
	// Warnings are what makes the findings worth less: an unknown
	// distribution, no packages at all.
	Warnings []string
}
