package ferry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/scan"
	"ferry/internal/scratch"
)

// What a vulnerability database is as an OCI artifact: a config that says
// what it is, and the archive that grype publishes, byte for byte.
const (
	DatabaseArtifactType = "application/vnd.ferry.vulnerability-db.v1"
	databaseConfigType   = "application/vnd.ferry.vulnerability-db.config.v1+json"
	databaseLayerType    = "application/vnd.ferry.vulnerability-db.layer.v1"
)

// DatabaseName is what the database is called in bundles. Pushed, it is
// REGISTRY/ferry/vulnerability-db:v6.
const DatabaseName = "localhost/ferry/vulnerability-db:v6"

// maxArchive is the largest archive of a database, in bytes.
const maxArchive = 4 << 30

// kept is how many databases stay in the store.
const kept = 2

// databases is the store of vulnerability databases on this machine: a folder
// for each, named by its archive's digest, and a file that names the one in
// use. A database in use is never written to: a new one gets a folder of its
// own.
type databases struct {
	dir   string
	world World
}

func (w World) databases() (*databases, error) {
	if w.Databases == nil {
		return nil, errors.New("this ferry has no scanner, which makes databases ready")
	}
	dir, err := w.cacheDir("db")
	return &databases{dir: dir, world: w}, err
}

const currentName = "current"

// current is the folder of the database in use.
func (s *databases) current() (string, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, currentName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNoDatabase
	}
	if err != nil {
		return "", err
	}
	d := digest.Digest(strings.TrimSpace(string(b)))
	if err := content.Supported(d); err != nil {
		return "", fmt.Errorf("%s is damaged: %w", filepath.Join(s.dir, currentName), err)
	}
	return s.folder(d), nil
}

func (s *databases) folder(d digest.Digest) string {
	return filepath.Join(s.dir, d.Algorithm().String()+"-"+d.Encoded())
}

// layout is where the archive of a database lies, as an OCI layout.
func layout(folder string) string { return filepath.Join(folder, "oci") }

// add takes an archive into the store, checked and made ready, and returns its
// folder. want is the digest that it has to have; "" takes any.
func (s *databases) add(ctx context.Context, archive io.Reader, want digest.Digest) (folder string, d scan.Database, err error) {
	defer func() {
		if errors.Is(err, syscall.ENOSPC) {
			err = &FullStoreError{Dir: s.dir, Err: err}
		}
	}()
	tmp, remove, err := scratch.Dir(s.dir, ".new-")
	if err != nil {
		return "", d, err
	}
	defer remove()
	blob, err := s.receive(ctx, archive, tmp)
	if err != nil {
		return "", d, err
	}
	if want != "" && blob.Digest != want {
		return "", d, &WrongDatabaseError{Want: want, Got: blob.Digest}
	}
	if folder = s.folder(blob.Digest); exists(filepath.Join(folder, "oci", ocispec.ImageIndexFile)) {
		if d, err = s.world.Databases.Check(ctx, folder); err == nil {
			return folder, d, nil
		}
		// It is damaged: the archive makes it anew.
	}
	if d, err = s.world.Databases.Import(ctx, blobPath(layout(tmp), blob.Digest), tmp); err != nil {
		return "", d, err
	}
	if d.Checksum != blob.Digest {
		return "", d, &WrongDatabaseError{Want: blob.Digest, Got: d.Checksum}
	}
	if err := describeDatabase(layout(tmp), d, blob); err != nil {
		return "", d, err
	}
	if err := os.RemoveAll(folder); err != nil {
		return "", d, err
	}
	return folder, d, os.Rename(tmp, folder)
}

// FullStoreError says that there is no room for a database.
type FullStoreError struct {
	Dir string
	Err error
}

func (e *FullStoreError) Error() string { return e.Err.Error() }

func (e *FullStoreError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *FullStoreError) Hint() string {
	return "Free some space in " + e.Dir + ", where ferry keeps databases unpacked. The one that was in use still is."
}

// WrongDatabaseError says that an archive is not the one that was announced.
type WrongDatabaseError struct{ Want, Got digest.Digest }

func (e *WrongDatabaseError) Error() string {
	return fmt.Sprintf("it is not the database that was announced: its digest is %s, and has to be %s", e.Got, e.Want)
}

// receive writes the archive down while it is hashed.
func (s *databases) receive(ctx context.Context, archive io.Reader, tmp string) (ocispec.Descriptor, error) {
	dir := filepath.Join(layout(tmp), ocispec.ImageBlobsDir, digest.SHA256.String())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ocispec.Descriptor{}, err
	}
	f, err := os.CreateTemp(dir, "part-")
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	h := digest.SHA256.Digester()
	n, err := io.Copy(io.MultiWriter(f, h.Hash()), io.LimitReader(cancellable{ctx, archive}, maxArchive+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return ocispec.Descriptor{}, err
	}
	if n > maxArchive {
		return ocispec.Descriptor{}, &content.TooLargeError{What: "the database", Size: n, Limit: maxArchive}
	}
	d := ocispec.Descriptor{MediaType: databaseLayerType, Digest: h.Digest(), Size: n}
	return d, os.Rename(f.Name(), blobPath(layout(tmp), d.Digest))
}

// cancellable ends a long copy when nobody waits for it any more.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func blobPath(layout string, d digest.Digest) string {
	return filepath.Join(layout, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// describeDatabase makes of the archive an OCI artifact. The same archive
// gives the same artifact, wherever it is made.
func describeDatabase(layout string, d scan.Database, archive ocispec.Descriptor) error {
	config, err := oneForm(d)
	if err != nil {
		return err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: DatabaseArtifactType,
		Config: ocispec.Descriptor{MediaType: databaseConfigType, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: []ocispec.Descriptor{archive},
	}
	manifest, err := oneForm(m)
	if err != nil {
		return err
	}
	desc := ocispec.Descriptor{
		MediaType: m.MediaType, ArtifactType: m.ArtifactType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest)),
		Annotations: map[string]string{ocispec.AnnotationRefName: DatabaseName},
	}
	index, err := oneForm(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{desc},
	})
	if err != nil {
		return err
	}
	for path, b := range map[string][]byte{
		blobPath(layout, m.Config.Digest): config, blobPath(layout, desc.Digest): manifest,
		filepath.Join(layout, ocispec.ImageIndexFile):  index,
		filepath.Join(layout, ocispec.ImageLayoutFile): []byte(`{"imageLayoutVersion":"1.0.0"}`),
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func oneForm(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

// use makes a database the one in use, and forgets those before the last.
func (s *databases) use(d digest.Digest) error {
	f, err := os.CreateTemp(s.dir, ".current-")
	if err != nil {
		return err
	}
	_, err = f.WriteString(d.String() + "\n")
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.dir, currentName))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return s.forget(d)
}

// forget removes all databases but the newest ones that came.
func (s *databases) forget(keep digest.Digest) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var old []os.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), digest.SHA256.String()+"-") && filepath.Join(s.dir, e.Name()) != s.folder(keep) {
			old = append(old, info)
		}
	}
	slices.SortFunc(old, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, info := range old[min(len(old), kept-1):] {
		if err := os.RemoveAll(filepath.Join(s.dir, info.Name())); err != nil {
			return err
		}
	}
	return nil
}

// databasePlace is the database in use, checked, as a place to pack from.
func databasePlace(ctx context.Context, w World) (string, error) {
	s, err := w.databases()
	if err != nil {
		return "", err
	}
	r, err := s.status(ctx)
	if err != nil {
		return "", err
	}
	return "oci:" + layout(r.Folder) + ":" + DatabaseName, r.Usable(w.Now(), 0)
}
