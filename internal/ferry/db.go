package ferry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/scan"
)

// DatabaseRequest says where a vulnerability database comes from.
type DatabaseRequest struct {
	// File is an archive of grype's, or a bundle that holds a database.
	File string
	// Digest is what the archive has to have; "" takes any.
	Digest string
	// MaxAge is how old it may be; 0 takes any age.
	MaxAge time.Duration
	// Older lets an older database take the place of a newer one.
	Older bool
}

// DatabaseResult says which database is in use.
type DatabaseResult struct {
	scan.Database
	Folder string `json:"folder"`
	// AgeHours is how old it is.
	AgeHours int `json:"ageHours"`
	// Before is the one that was in use, if any.
	Before *scan.Database `json:"before,omitempty"`
	// Unchanged says that it was in use already.
	Unchanged bool     `json:"unchanged,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
}

// OlderError says that a newer database is in use.
type OlderError struct{ New, Current scan.Database }

func (e *OlderError) Error() string {
	const form = "2006-01-02 15:04 MST"
	return fmt.Sprintf("it is of %s, and the one in use is newer: of %s", e.New.Built.UTC().Format(form), e.Current.Built.UTC().Format(form))
}

// Hint says how to take it all the same.
func (*OlderError) Hint() string { return "--older takes it all the same." }

// ImportDatabase takes an archive, or the database of a bundle, and puts it to
// use once it is checked and ready.
func ImportDatabase(ctx context.Context, w World, req DatabaseRequest) (*DatabaseResult, error) {
	if req.File == "" {
		return nil, usage("say which file: ferry db import FILE")
	}
	want, err := wantedDigest(req.Digest)
	if err != nil {
		return nil, err
	}
	s, err := w.databases()
	if err != nil {
		return nil, err
	}
	r, err := s.importFile(ctx, req, want)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", req.File, err)
	}
	return r, nil
}

func wantedDigest(s string) (digest.Digest, error) {
	if s == "" {
		return "", nil
	}
	d := digest.Digest(s)
	if err := content.Supported(d); err != nil {
		return "", usage("--digest: %v", err)
	}
	return d, nil
}

func (s *databases) importFile(ctx context.Context, req DatabaseRequest, want digest.Digest) (*DatabaseResult, error) {
	src, announced, closeIt, err := databaseFile(ctx, req.File)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeIt() }()
	if want != "" && announced != "" && want != announced {
		return nil, &WrongDatabaseError{Want: want, Got: announced}
	}
	if announced != "" {
		want = announced
	}
	return s.accept(ctx, src, want, req)
}

// databaseFile opens an archive, or the one in a bundle; announced is its
// digest, as the bundle says it.
func databaseFile(ctx context.Context, file string) (r io.Reader, announced digest.Digest, closeIt func() error, err error) {
	b, err := bundle.Open(file)
	var not *bundle.NotBundleError
	if errors.As(err, &not) {
		f, err := os.Open(file)
		if err != nil {
			return nil, "", nil, err
		}
		return f, "", f.Close, nil
	}
	if err != nil {
		return nil, "", nil, err
	}
	for _, img := range b.Lock().Images {
		n := b.Contents().Node(img.Digest)
		if n == nil || !isDatabase(n) {
			continue
		}
		r, err := b.Open(ctx, n.Layers[0], 0)
		return r, n.Layers[0].Digest, b.Close, err
	}
	return nil, "", nil, errors.Join(errors.New("the bundle holds no vulnerability database: pack one with --with-db"), b.Close())
}

// isDatabase says whether n is a vulnerability database, and nothing else.
// Only what it consists of counts: no runtime could take it for an image.
func isDatabase(n *content.Node) bool {
	return n.ArtifactType == DatabaseArtifactType && n.Config != nil && n.Config.MediaType == databaseConfigType &&
		len(n.Layers) == 1 && n.Layers[0].MediaType == databaseLayerType
}

// accept takes a database into the store, judges its age, and puts it to use.
func (s *databases) accept(ctx context.Context, src io.Reader, want digest.Digest, req DatabaseRequest) (*DatabaseResult, error) {
	folder, d, err := s.add(ctx, src, want)
	if err != nil {
		return nil, err
	}
	now := s.world.Now()
	if err := d.Usable(now, req.MaxAge); err != nil {
		return nil, err
	}
	r := &DatabaseResult{Database: d, Folder: folder, AgeHours: int(now.Sub(d.Built).Hours())}
	if d.Usable(now, scan.DefaultAge) != nil {
		r.Warnings = append(r.Warnings, fmt.Sprintf("it is %s old: what became known since then is not in it", scan.Age(now.Sub(d.Built))))
	}
	if before, err := s.status(ctx); err == nil {
		r.Before = &before.Database
		r.Unchanged = before.Checksum == d.Checksum
		if before.Built.After(d.Built) && !req.Older && before.Usable(now, 0) == nil {
			return nil, &OlderError{New: d, Current: before.Database}
		}
	}
	return r, s.use(d.Checksum)
}

// DatabaseStatus checks the database in use.
func DatabaseStatus(ctx context.Context, w World, maxAge time.Duration) (*DatabaseResult, error) {
	s, err := w.databases()
	if err != nil {
		return nil, err
	}
	r, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	return r, r.Usable(w.Now(), maxAge)
}

func (s *databases) status(ctx context.Context) (*DatabaseResult, error) {
	folder, err := s.current()
	if err != nil {
		return nil, err
	}
	d, err := s.world.Databases.Check(ctx, folder)
	if err != nil {
		return nil, DamagedDatabase(folder, err)
	}
	r := &DatabaseResult{Database: d, Folder: folder, AgeHours: int(s.world.Now().Sub(d.Built).Hours())}
	if age := s.world.Now().Sub(d.Built); age > scan.DefaultAge {
		r.Warnings = append(r.Warnings, fmt.Sprintf("it is %s old: what became known since then is not in it", scan.Age(age)))
	}
	return r, nil
}

// DamagedDatabase adds to what a scanner says of a damaged database where it
// lies; any other error stays as it is.
func DamagedDatabase(folder string, err error) error {
	if e, ok := errors.AsType[*scan.AnswerError](err); ok && e.Cause == scan.CauseDamaged {
		return &DamagedDatabaseError{Folder: folder, Err: err}
	}
	return err
}

// DamagedDatabaseError says that the database in use is not what it was.
type DamagedDatabaseError struct {
	Folder string
	Err    error
}

func (e *DamagedDatabaseError) Error() string { return e.Err.Error() }

func (e *DamagedDatabaseError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *DamagedDatabaseError) Hint() string {
	return "Import it again with ferry db import, or fetch one with ferry db pull; it lies in " + e.Folder + "."
}

// DatabaseFrom returns the folder of the database that is asked for: the one
// in use where from is "", else that of an archive, a bundle, or, with oci://,
// a registry. Such a one is not put to use beyond this run.
func DatabaseFrom(ctx context.Context, w World, from string) (string, error) {
	s, err := w.databases()
	if err != nil {
		return "", err
	}
	if from == "" {
		return s.current()
	}
	if reference, ok := cutScheme(from); ok {
		folder, err := s.pullArtifact(ctx, reference)
		if err != nil {
			return "", fmt.Errorf("take the vulnerability database from %s: %w", reference, err)
		}
		return folder, nil
	}
	src, announced, closeIt, err := databaseFile(ctx, from)
	if err != nil {
		return "", fmt.Errorf("take the vulnerability database from %s: %w", from, err)
	}
	defer func() { _ = closeIt() }()
	folder, _, err := s.add(ctx, src, announced)
	if err != nil {
		return "", fmt.Errorf("take the vulnerability database from %s: %w", from, err)
	}
	return folder, nil
}
