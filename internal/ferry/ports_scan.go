package ferry

import (
	"context"
	"io"

	"ferry/internal/scan"
)

// Databases makes and checks vulnerability databases; their inside is the
// scanner's own affair.
type Databases interface {
	// Import makes of an archive a database in dir, which is new and empty.
	Import(ctx context.Context, archive, dir string) (scan.Database, error)
	// Check hashes the database in dir against what it was when it was made.
	Check(ctx context.Context, dir string) (scan.Database, error)
}

// Fetcher reads a file over HTTP, from its beginning.
type Fetcher interface {
	Fetch(ctx context.Context, url string) (body io.ReadCloser, size int64, err error)
}
