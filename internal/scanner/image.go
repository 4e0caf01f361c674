// Package scanner finds out what images consist of, with syft, and what is
// known against that, with grype. It is the one door to both, and linked into
// ferry-scanner alone: their set-up would cost every command of ferry 55 ms
// and 60 MB, and what reads hostile layers is better off in a process of its
// own.
//
// It decides nothing: package policy does, and ferry asks it.
package scanner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/scan"
)

// listing is one image of a request, as far as its manifest and config tell.
type listing struct {
	scan.Image
	at       int
	node     *content.Node
	manifest []byte
	config   []byte
	about    ocispec.Image
	err      error
}

// list reads manifest and config.
func list(ctx context.Context, b *bundle.Bundle, img scan.Image, at int) *listing {
	l := &listing{Image: img, at: at}
	l.err = l.read(ctx, b)
	return l
}

func (l *listing) read(ctx context.Context, b *bundle.Bundle) (err error) {
	n := b.Contents().Node(l.Digest)
	if n == nil {
		return fmt.Errorf("%s: %w in the bundle", l.Digest, content.ErrNotFound)
	}
	if l.manifest, err = content.ReadAll(ctx, b, n.Desc, content.MaxManifest); err != nil {
		return err
	}
	if n.Config == nil || !content.IsImageConfig(n.Config.MediaType) {
		return errors.New("it is no container image")
	}
	if l.config, err = content.ReadAll(ctx, b, *n.Config, content.MaxConfig); err != nil {
		return err
	}
	if err := json.Unmarshal(l.config, &l.about); err != nil {
		return fmt.Errorf("its config is not JSON: %w", err)
	}
	if diffs := l.about.RootFS.DiffIDs; len(diffs) != len(n.Layers) {
		return fmt.Errorf("its config tells of %d layers, its manifest of %d", len(diffs), len(n.Layers))
	}
	l.node = n
	return nil
}

// layers are the digests of the layers that are needed.
func (l *listing) layers() []digest.Digest {
	var all []digest.Digest
	if l.err == nil {
		for _, d := range l.node.Layers {
			all = append(all, d.Digest)
		}
	}
	return all
}

// order compares images by their layers from the base up, so that those that
// share some are looked into one after another.
func (l *listing) order(o *listing) int {
	return slices.CompareFunc(l.layers(), o.layers(), func(a, b digest.Digest) int { return strings.Compare(string(a), string(b)) })
}

// date is the moment that the image's documents bear: its own, so that the
// same image gives the same bytes.
func (l *listing) date() time.Time {
	if l.about.Created == nil || l.about.Created.Unix() < 0 {
		return time.Unix(0, 0).UTC()
	}
	return l.about.Created.UTC().Truncate(time.Second)
}

// ready is an image whose layers lie unpacked, each under the name that the
// library would unpack it to.
type ready struct {
	*listing
	paths []string
}

// prepare unpacks what is not unpacked yet, and lays the layers out in dir.
func (l *listing) prepare(ctx context.Context, from *layers, dir string) (*ready, error) {
	r, files := &ready{listing: l}, 0
	for i, d := range l.node.Layers {
		u, err := from.get(ctx, d)
		if err != nil {
			return nil, fmt.Errorf("layer %d, %s: %w", i+1, d.Digest, err)
		}
		if want := l.about.RootFS.DiffIDs[i]; u.diff != want {
			return nil, fmt.Errorf("layer %d, %s: it unpacks to %s, and the image's config says %s", i+1, d.Digest, u.diff, want)
		}
		if files += u.files; files > from.limits.Files {
			return nil, &LimitError{What: "files in one image", Limit: int64(from.limits.Files)}
		}
		// A second name for the same bytes. Where the library looks for
		// another, it copies them.
		name := fmt.Sprintf("%d-%s-%s", i, u.diff.Algorithm(), u.diff.Encoded())
		if err := os.Link(u.path, filepath.Join(dir, name)); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
		r.paths = append(r.paths, u.path)
	}
	return r, nil
}

// The methods of v1.Image, which is how the library sees images.
var _ v1.Image = (*ready)(nil)

// Layers are those of the image, from the base up.
func (r *ready) Layers() ([]v1.Layer, error) {
	var all []v1.Layer
	for i := range r.paths {
		all = append(all, layer{r, i})
	}
	return all, nil
}

// MediaType is the manifest's.
func (r *ready) MediaType() (types.MediaType, error) {
	return types.MediaType(r.node.Desc.MediaType), nil
}

// Size is the manifest's.
func (r *ready) Size() (int64, error) { return int64(len(r.manifest)), nil }

// ConfigName is the config's digest.
func (r *ready) ConfigName() (v1.Hash, error) { return v1.NewHash(r.node.Config.Digest.String()) }

// ConfigFile is the config.
func (r *ready) ConfigFile() (*v1.ConfigFile, error) {
	return v1.ParseConfigFile(bytes.NewReader(r.config))
}

// RawConfigFile is the config as it lies.
func (r *ready) RawConfigFile() ([]byte, error) { return r.config, nil }

// Digest is the manifest's.
func (r *ready) Digest() (v1.Hash, error) { return v1.NewHash(r.node.Desc.Digest.String()) }

// Manifest is the manifest.
func (r *ready) Manifest() (*v1.Manifest, error) {
	return v1.ParseManifest(bytes.NewReader(r.manifest))
}

// RawManifest is the manifest as it lies.
func (r *ready) RawManifest() ([]byte, error) { return r.manifest, nil }

// LayerByDigest finds a layer.
func (r *ready) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	if h.String() == r.node.Config.Digest.String() {
		return partial.ConfigLayer(r)
	}
	return r.find(func(i int) digest.Digest { return r.node.Layers[i].Digest }, h)
}

// LayerByDiffID finds a layer.
func (r *ready) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	return r.find(func(i int) digest.Digest { return r.about.RootFS.DiffIDs[i] }, h)
}

func (r *ready) find(of func(int) digest.Digest, h v1.Hash) (v1.Layer, error) {
	for i := range r.paths {
		if of(i).String() == h.String() {
			return layer{r, i}, nil
		}
	}
	return nil, fmt.Errorf("%s is no layer of it", h)
}

// layer is one layer of a ready image.
type layer struct {
	of *ready
	at int
}

func (l layer) desc() ocispec.Descriptor { return l.of.node.Layers[l.at] }

func (l layer) Digest() (v1.Hash, error) { return v1.NewHash(l.desc().Digest.String()) }

func (l layer) DiffID() (v1.Hash, error) {
	return v1.NewHash(l.of.about.RootFS.DiffIDs[l.at].String())
}

func (l layer) Size() (int64, error) { return l.desc().Size, nil }

func (l layer) MediaType() (types.MediaType, error) { return types.MediaType(l.desc().MediaType), nil }

func (l layer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.of.paths[l.at]) }

func (layer) Compressed() (io.ReadCloser, error) {
	return nil, errors.New("only the unpacked layer is here")
}
