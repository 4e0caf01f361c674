package ferry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/progress"
	"ferry/internal/ref"
	"ferry/internal/scan"
)

// ListingURL is where grype's databases are published.
const ListingURL = "https://grype.anchore.io/databases/v6/latest.json"

// maxListing is the largest listing, in bytes.
const maxListing = 1 << 20

// latest is what a listing says of the newest database: grype's own form.
type latest struct {
	Status        string        `json:"status"`
	SchemaVersion string        `json:"schemaVersion"`
	Built         time.Time     `json:"built"`
	Path          string        `json:"path"`
	Checksum      digest.Digest `json:"checksum"`
}

// PullRequest says where a database is fetched from.
type PullRequest struct {
	// URL is that of a listing, or oci://REGISTRY/REPOSITORY; "" is grype's.
	URL string
	DatabaseRequest
}

// PullDatabase fetches the newest database and puts it to use.
func PullDatabase(ctx context.Context, w World, req PullRequest) (*DatabaseResult, error) {
	s, err := w.databases()
	if err != nil {
		return nil, err
	}
	from := req.URL
	if from == "" {
		from = ListingURL
	}
	var r *DatabaseResult
	if reference, ok := cutScheme(from); ok {
		r, err = s.pullImage(ctx, reference, req.DatabaseRequest)
	} else {
		r, err = s.pullListed(ctx, from, req.DatabaseRequest)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch the vulnerability database from %s: %w", from, err)
	}
	return r, nil
}

// pullListed fetches what a listing names.
func (s *databases) pullListed(ctx context.Context, from string, req DatabaseRequest) (*DatabaseResult, error) {
	l, archive, err := s.listing(ctx, from)
	if err != nil {
		return nil, err
	}
	announced := scan.Database{Built: l.Built, Checksum: l.Checksum, Schema: l.SchemaVersion}
	// Before any of it is fetched.
	if err := announced.Usable(s.world.Now(), req.MaxAge); err != nil {
		return nil, err
	}
	if had, err := s.status(ctx); err == nil && had.Checksum == l.Checksum {
		had.Unchanged = true
		return had, nil
	}
	body, size, err := s.world.Fetcher.Fetch(ctx, archive)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	s.world.Progress.Emit(progress.Phase{Name: "fetching", Bytes: max(size, 0)})
	r, err := s.accept(ctx, counted{body, s.world.Progress}, l.Checksum, req)
	if err != nil {
		return nil, err
	}
	if !r.Built.Equal(l.Built.UTC().Truncate(time.Second)) {
		return nil, fmt.Errorf("the listing says that it is of %s, and itself that it is of %s", l.Built.UTC().Format(time.RFC3339), r.Built.UTC().Format(time.RFC3339))
	}
	return r, nil
}

// counted tells of bytes as they come.
type counted struct {
	io.Reader
	progress progress.Func
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.progress.Emit(progress.Advance{Bytes: int64(n)})
	return n, err
}

// listing reads a listing and checks it: what it names lies beside it, and has
// a checksum.
func (s *databases) listing(ctx context.Context, from string) (latest, string, error) {
	var l latest
	if s.world.Fetcher == nil {
		return l, "", errors.New("nothing is fetched here")
	}
	u, err := url.Parse(from)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return l, "", usage("%s is no listing: write https://HOST/…/latest.json, or oci://REGISTRY/REPOSITORY", from)
	}
	body, _, err := s.world.Fetcher.Fetch(ctx, from)
	if err != nil {
		return l, "", err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxListing+1))
	if err != nil {
		return l, "", err
	}
	if len(b) > maxListing {
		return l, "", &content.TooLargeError{What: "the listing", Size: int64(len(b)), Limit: maxListing}
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, "", fmt.Errorf("the listing is not JSON: %w", err)
	}
	archive, err := l.locate(u)
	return l, archive, err
}

func (l latest) locate(listing *url.URL) (string, error) {
	if model := strings.TrimPrefix(l.SchemaVersion, "v"); model != "6" && !strings.HasPrefix(model, "6.") {
		return "", fmt.Errorf("the listing names a database of schema %q, and this ferry reads 6", l.SchemaVersion)
	}
	if err := content.Supported(l.Checksum); err != nil || l.Checksum.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("the listing names a database without a SHA-256: %q", l.Checksum)
	}
	if l.Path == "" || path.IsAbs(l.Path) || strings.Contains(l.Path, "://") || strings.Contains("/"+path.Clean(l.Path), "/..") {
		return "", fmt.Errorf("the listing names a database that does not lie beside it: %q", l.Path)
	}
	there := *listing
	there.Path, there.RawPath, there.RawQuery = path.Join(path.Dir(listing.Path), path.Clean(l.Path)), "", ""
	return there.String(), nil
}

// cutScheme cuts oci:// off.
func cutScheme(s string) (string, bool) { return strings.CutPrefix(s, "oci://") }

// artifact looks a database up in a registry.
func (s *databases) artifact(ctx context.Context, reference string) (Repository, *content.Node, error) {
	n, err := ref.Parse(reference)
	if err != nil {
		return nil, nil, usage("%v", err)
	}
	ask := n.Tag()
	switch {
	case n.Digest() != "":
		ask = n.Digest().String()
	case n.Assumed():
		ask = databaseTag()
	}
	if s.world.Repository == nil {
		return nil, nil, errors.New("no registry is asked here")
	}
	repo, err := s.world.Repository(n)
	if err != nil {
		return nil, nil, err
	}
	desc, raw, err := repo.Fetch(ctx, ask)
	if err != nil {
		return nil, nil, err
	}
	node, err := content.Parse(desc, raw)
	if err != nil {
		return nil, nil, err
	}
	if !isDatabase(node) {
		return nil, nil, fmt.Errorf("what stands under %s is no vulnerability database, but a %q", ask, node.ArtifactType)
	}
	return repo, node, nil
}

func databaseTag() string { return DatabaseName[strings.LastIndexByte(DatabaseName, ':')+1:] }

// pullArtifact brings the database of a registry into the store, unless it is
// there.
func (s *databases) pullArtifact(ctx context.Context, reference string) (string, error) {
	repo, node, err := s.artifact(ctx, reference)
	if err != nil {
		return "", err
	}
	archive := node.Layers[0]
	folder := s.folder(archive.Digest)
	if _, err := s.world.Databases.Check(ctx, folder); err == nil {
		return folder, nil
	}
	body, err := s.open(ctx, repo, archive)
	if err != nil {
		return "", err
	}
	defer body.Close()
	folder, _, err = s.add(ctx, counted{body, s.world.Progress}, archive.Digest)
	return folder, err
}

func (s *databases) open(ctx context.Context, repo Repository, archive ocispec.Descriptor) (io.ReadCloser, error) {
	if archive.Size > maxArchive {
		return nil, &content.TooLargeError{What: "the database", Size: archive.Size, Limit: maxArchive}
	}
	s.world.Progress.Emit(progress.Phase{Name: "fetching", Bytes: archive.Size})
	return repo.Open(ctx, archive, 0)
}

// pullImage fetches the database of a registry and puts it to use.
func (s *databases) pullImage(ctx context.Context, reference string, req DatabaseRequest) (*DatabaseResult, error) {
	repo, node, err := s.artifact(ctx, reference)
	if err != nil {
		return nil, err
	}
	body, err := s.open(ctx, repo, node.Layers[0])
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return s.accept(ctx, counted{body, s.world.Progress}, node.Layers[0].Digest, req)
}
