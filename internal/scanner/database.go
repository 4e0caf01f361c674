package scanner

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/anchore/grype/grype/db/v6"
	"github.com/anchore/grype/grype/db/v6/distribution"
	"github.com/anchore/grype/grype/db/v6/installation"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/afero"
	"gorm.io/gorm"

	"ferry/internal/content"
	"ferry/internal/scan"
)

// ledgerName is the file beside a database that says what it was when it came.
const ledgerName = "ferry.json"

// maxDatabase is the largest database, in bytes, unpacked.
const maxDatabase = 16 << 30

// ledger is what is known of a database since its import.
type ledger struct {
	Database scan.Database `json:"database"`
	// File is the digest of the database's file as it was made ready: not one
	// bit of it is another when it is used.
	File digest.Digest `json:"file"`
	Size int64         `json:"size"`
}

func install(dir string) installation.Config {
	// Its age is for ferry to judge, which knows what was asked for; its
	// checksum is looked at by status, which knows a better one.
	return installation.Config{DBRootDir: dir}
}

// importArchive makes of an archive of grype's a database in dir, which is
// new. Whoever asked puts it in place.
func importArchive(ctx context.Context, archive, dir string) (scan.Database, error) {
	at := install(dir)
	if err := os.MkdirAll(at.DBDirectoryPath(), 0o700); err != nil {
		return scan.Database{}, err
	}
	sum, err := unpackDatabase(ctx, archive, at.DBFilePath())
	switch {
	case isFull(err):
		return scan.Database{}, err
	case err != nil:
		return scan.Database{}, fmt.Errorf("it is no vulnerability database of grype's: %w", err)
	}
	d, err := readyDatabase(at)
	if err != nil {
		return scan.Database{}, fmt.Errorf("the database in it cannot be used: %w", err)
	}
	d.Checksum = sum
	l := ledger{Database: d}
	if l.File, l.Size, err = hashFile(ctx, at.DBFilePath()); err != nil {
		return scan.Database{}, err
	}
	b, err := json.Marshal(l)
	if err != nil {
		return scan.Database{}, err
	}
	return d, os.WriteFile(filepath.Join(dir, ledgerName), b, 0o600)
}

// unpackDatabase takes the database out of an archive, and returns the digest
// of the archive. Nothing else of it is written down.
func unpackDatabase(ctx context.Context, archive, to string) (digest.Digest, error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := digest.SHA256.Digester()
	raw := bufio.NewReaderSize(io.TeeReader(f, h.Hash()), 1<<20)
	plain, closePlain, err := decompress(raw)
	if err != nil {
		return "", err
	}
	defer closePlain()
	tr, found := tar.NewReader(plain), false
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		e, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("it is no whole archive: %w", err)
		}
		if found, err = databaseEntry(tr, e, to, found); err != nil {
			return "", err
		}
	}
	if !found {
		return "", fmt.Errorf("there is no %s in it", v6.VulnerabilityDBFileName)
	}
	// Behind the tar there may be padding; the checksums of the compression
	// and the archive's digest want all of it.
	if _, err := io.Copy(io.Discard, io.LimitReader(plain, 1<<20)); err != nil {
		return "", fmt.Errorf("it is no whole archive: %w", err)
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return "", err
	}
	return h.Digest(), nil
}

func databaseEntry(tr *tar.Reader, e *tar.Header, to string, found bool) (bool, error) {
	switch name := filepath.Base(filepath.FromSlash(e.Name)); {
	case e.Typeflag == tar.TypeDir:
		return found, nil
	case e.Typeflag != tar.TypeReg:
		return false, fmt.Errorf("%q in it is no regular file", e.Name)
	case name == v6.ImportMetadataFileName && e.Size < 1<<20:
		return found, nil // made anew: grype's is of the file before it is ready
	case name != v6.VulnerabilityDBFileName:
		return false, fmt.Errorf("%q is in it, which no database has", e.Name)
	case found:
		return false, fmt.Errorf("it holds %s twice", name)
	case e.Size > maxDatabase:
		return false, fmt.Errorf("its database has %d bytes, and at most %d are read", e.Size, int64(maxDatabase))
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(f, io.LimitReader(tr, maxDatabase))
	return true, errors.Join(err, f.Close())
}

// readyDatabase makes the indexes that grype wants, and looks at the database
// from end to end: what came whole in its archive may have been built broken.
func readyDatabase(at installation.Config) (scan.Database, error) {
	head := make([]byte, 16)
	f, err := os.Open(at.DBFilePath())
	if err != nil {
		return scan.Database{}, err
	}
	_, err = io.ReadFull(f, head)
	if err = errors.Join(err, f.Close()); err != nil || !bytes.Equal(head, []byte("SQLite format 3\x00")) {
		return scan.Database{}, errors.New("it is no SQLite database")
	}
	if err := sound(at.DBFilePath()); err != nil {
		return scan.Database{}, err
	}
	// What grype is asked to make ready it makes whole first, also of nothing:
	// so what the database says of itself is asked before.
	d, err := v6.ReadDescription(at.DBFilePath())
	if err != nil {
		return scan.Database{}, err
	}
	if d.SchemaVersion.Model != v6.ModelVersion {
		return scan.Database{}, fmt.Errorf("it has schema %s, and this ferry reads %d", d.SchemaVersion, v6.ModelVersion)
	}
	if err := v6.Hydrater()(at.DBDirectoryPath()); err != nil {
		return scan.Database{}, err
	}
	if _, err := v6.WriteImportMetadata(afero.NewOsFs(), at.DBDirectoryPath(), "ferry"); err != nil {
		return scan.Database{}, err
	}
	epss, err := holdsEPSS(at.DBFilePath())
	return scan.Database{Built: d.Built.UTC().Truncate(time.Second), Schema: d.SchemaVersion.String(), EPSS: epss}, err
}

// holdsEPSS says whether the database knows of any vulnerability how likely it
// is to be exploited. Not every one does; a policy may ask for it. Without the
// date that they are of, grype reads none of them.
func holdsEPSS(path string) (holds bool, err error) {
	err = query(path, func(db *gorm.DB) error {
		rated, errRated := filled(db, "epss_handles")
		dated, errDated := filled(db, "epss_metadata")
		holds = rated && dated
		return errors.Join(errRated, errDated)
	})
	return holds, err
}

// sound has SQLite check every page, and wants records of vulnerabilities: a
// database without any finds nothing, in everything.
func sound(path string) error { return query(path, soundIn) }

// query asks the database in a file.
func query(path string, ask func(*gorm.DB) error) error {
	db, err := v6.NewLowLevelDB(path, false, false, false)
	if err != nil {
		return err
	}
	sql, err := db.DB()
	if err != nil {
		return err
	}
	return errors.Join(ask(db), sql.Close())
}

func soundIn(db *gorm.DB) error {
	var said string
	if err := db.Raw("PRAGMA integrity_check(1)").Scan(&said).Error; err != nil {
		return fmt.Errorf("SQLite finds it damaged: %w", err)
	}
	if said != "ok" {
		return fmt.Errorf("SQLite finds it damaged: %s", said)
	}
	// grype makes a table that is missing, of nothing: then nothing is known to
	// be exploited, or has another name, and nobody says so.
	for _, table := range []string{"operating_systems", "vulnerability_aliases", "epss_handles"} {
		if !db.Migrator().HasTable(table) {
			return fmt.Errorf("there is no table %s in it", table)
		}
	}
	// Of these none is ever empty: without the lists of what is exploited, and
	// of what packages are called elsewhere, a gate would say yes too easily.
	for _, table := range []string{
		"vulnerability_handles", "affected_package_handles", "packages", "blobs", "providers",
		"known_exploited_vulnerability_handles", "operating_system_specifier_overrides", "package_specifier_overrides",
	} {
		if !db.Migrator().HasTable(table) {
			return fmt.Errorf("there is no table %s in it", table)
		}
		switch some, err := filled(db, table); {
		case err != nil:
			return err
		case !some:
			return fmt.Errorf("it is empty: there is nothing in %s", table)
		}
	}
	// grype breaks down over a vulnerability whose provider is not there.
	var n int64
	err := db.Raw("SELECT count(*) FROM (SELECT 1 FROM vulnerability_handles WHERE provider_id NOT IN (SELECT id FROM providers) LIMIT 1)").Scan(&n).Error
	if err == nil && n > 0 {
		err = errors.New("there are vulnerabilities in it whose provider is not")
	}
	return err
}

// filled says whether there is anything in a table.
func filled(db *gorm.DB, table string) (bool, error) {
	var n int64
	err := db.Raw("SELECT count(*) FROM (SELECT 1 FROM " + table + " LIMIT 1)").Scan(&n).Error
	return n > 0, err
}

// errDamaged says that a database is not what it was when it came.
var errDamaged = errors.New("damaged")

// damage is such an error, with a text of its own.
type damage struct{ error }

func (damage) Is(target error) bool { return target == errDamaged } //nolint:errorlint // it is the one that was asked for

func (d damage) Unwrap() error { return d.error }

// status checks a database against what it was when it came.
func status(ctx context.Context, dir string) (scan.Database, error) {
	d, err := held(ctx, dir)
	if err != nil && ctx.Err() == nil {
		err = damage{err}
	}
	return d, err
}

// held holds a database against its ledger.
func held(ctx context.Context, dir string) (scan.Database, error) {
	b, err := os.ReadFile(filepath.Join(dir, ledgerName))
	if err != nil {
		return scan.Database{}, fmt.Errorf("the vulnerability database was not imported whole: %w", err)
	}
	var l ledger
	if err := json.Unmarshal(b, &l); err != nil {
		return scan.Database{}, fmt.Errorf("the vulnerability database's %s is damaged: %w", ledgerName, err)
	}
	sum, size, err := hashFile(ctx, install(dir).DBFilePath())
	if err != nil {
		return scan.Database{}, fmt.Errorf("the vulnerability database cannot be read: %w", err)
	}
	if sum != l.File {
		return scan.Database{}, fmt.Errorf("the vulnerability database is damaged, or was changed since it was imported: it has %d bytes with digest %s, and had %d with %s",
			size, sum, l.Size, l.File)
	}
	// An earlier ferry did not write down whether there is EPSS in it.
	if !l.Database.EPSS {
		l.Database.EPSS, err = holdsEPSS(install(dir).DBFilePath())
	}
	return l.Database, err
}

func hashFile(ctx context.Context, path string) (digest.Digest, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := digest.SHA256.Digester()
	n, err := io.Copy(h.Hash(), interruptible{ctx, f})
	return h.Digest(), n, err
}

// interruptible ends a long read when nobody waits for it any more.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// opened is a checked database in use.
type opened struct {
	matching
	database scan.Database
	path     string
	file     os.FileInfo
}

// openDatabase checks a database and opens it.
func openDatabase(ctx context.Context, dir string) (*opened, error) {
	path := install(dir).DBFilePath()
	file, err := os.Stat(path)
	if err != nil {
		return nil, damage{fmt.Errorf("the vulnerability database cannot be read: %w", err)}
	}
	d, err := status(ctx, dir)
	if err != nil {
		return nil, err
	}
	client, err := distribution.NewClient(distribution.DefaultConfig())
	if err != nil {
		return nil, err
	}
	c, err := installation.NewCurator(install(dir), client)
	if err != nil {
		return nil, err
	}
	r, err := c.Reader()
	if err != nil {
		return nil, fmt.Errorf("the vulnerability database cannot be read: %w", err)
	}
	return &opened{matching: newMatching(r, d.EPSS), database: d, path: path, file: file}, nil
}

// unchanged fails where the file is not the one that was checked: SQLite opens
// it by its name, and more than once.
func (o *opened) unchanged() error {
	now, err := os.Stat(o.path)
	if err != nil || !os.SameFile(o.file, now) || content.StampOf(now) != content.StampOf(o.file) {
		return errors.New("the vulnerability database was exchanged while it was used")
	}
	return nil
}
