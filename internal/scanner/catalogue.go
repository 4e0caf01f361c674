package scanner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/filetree"
	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/cataloging"
	"github.com/anchore/syft/syft/cataloging/pkgcataloging"
	"github.com/anchore/syft/syft/format/syftjson"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	"github.com/anchore/syft/syft/source/stereoscopesource"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// catalogued is what an image consists of, and which layer brought what.
type catalogued struct {
	list  *sbom.SBOM
	layer map[artifact.ID]digest.Digest
	// warnings are about files that could not be read.
	warnings []string
}

// catalogue lists what an image consists of. dir is its own, for as long as it
// is looked at.
func (l *listing) catalogue(ctx context.Context, from *layers, dir string) (c *catalogued, err error) {
	r, err := l.prepare(ctx, from, dir)
	if err != nil {
		return nil, err
	}
	gen := file.NewTempDirGenerator("ferry-scanner")
	defer func() { err = errors.Join(err, gen.Cleanup()) }()
	seen := image.New(r, gen, dir, image.WithManifest(l.manifest), image.WithConfig(l.config))
	if err := seen.Read(ctx); err != nil {
		return nil, fmt.Errorf("read its layers: %w", err)
	}
	defer func() { err = errors.Join(err, seen.Cleanup()) }()
	if err := addFolders(seen); err != nil {
		return nil, fmt.Errorf("list its folders: %w", err)
	}
	src := stereoscopesource.New(seen, stereoscopesource.ImageConfig{Reference: l.Name})
	list, err := syft.CreateSBOM(ctx, src, config())
	if err != nil {
		return nil, fmt.Errorf("list its packages: %w", err)
	}
	// syft's settings name the folders of whoever runs it.
	list.Descriptor.Configuration = nil
	plainReasons(list)
	warnings, err := unread(seen, list)
	if err != nil {
		return nil, err
	}
	c = &catalogued{list: list, layer: map[artifact.ID]digest.Digest{}, warnings: warnings}
	for p := range list.Artifacts.Packages.Enumerate() {
		if i, ok := broughtBy(seen, p); ok {
			c.layer[p.ID()] = l.node.Layers[i].Digest
		}
	}
	return c, nil
}

// config is syft's own, with the symbols of Go programs: they show which
// functions of a module are there at all, and remove matches of those that are
// not. Digests of single files are of no use here, and take time.
func config() *syft.CreateSBOMConfig {
	packages := pkgcataloging.DefaultConfig()
	packages.Golang = packages.Golang.WithCaptureSymbols(cataloging.SymbolScopeAll)
	return syft.DefaultCreateSBOMConfig().WithPackagesConfig(packages).WithoutFiles().WithParallelism(runtime.NumCPU())
}

// asked is how many files of a package are asked which layer they are from.
const asked = 50

// broughtBy says which layer brought a package. The list of a package manager
// lies in the last layer that installed anything, so its files are asked
// first: most of them lie in the layer that they came with.
func broughtBy(seen *image.Image, p pkg.Package) (int, bool) {
	votes := map[int]int{}
	if owner, ok := p.Metadata.(pkg.FileOwner); ok {
		files := owner.OwnedFiles()
		for _, name := range files[:min(len(files), asked)] {
			exists, at, err := seen.SquashedTree().File(file.Path(name), filetree.FollowBasenameLinks)
			if err != nil || !exists || at == nil || at.Reference == nil {
				continue
			}
			if l := seen.FileCatalog.Layer(*at.Reference); l != nil {
				votes[int(l.Metadata.Index)]++
			}
		}
	}
	if len(votes) == 0 {
		for _, at := range p.Locations.ToSlice() {
			i := slices.IndexFunc(seen.Layers, func(l *image.Layer) bool { return l.Metadata.Digest == at.FileSystemID })
			if i >= 0 {
				return i, true
			}
		}
		return 0, false
	}
	best := -1
	for i, n := range votes {
		if best < 0 || n > votes[best] || n == votes[best] && i < best {
			best = i
		}
	}
	return best, true
}

// encode writes an SBOM in syft's form, the one that loses nothing.
func encode(s *sbom.SBOM, limit int64) ([]byte, error) {
	b := &limitedBuffer{limit: limit}
	if err := syftjson.NewFormatEncoder().Encode(b, *s); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// limitedBuffer fails where an SBOM gets too large.
type limitedBuffer struct {
	bytes.Buffer
	limit int64
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if n := int64(b.Len()) + int64(len(p)); n > b.limit {
		return 0, &content.TooLargeError{What: "its SBOM", Size: n, Limit: b.limit}
	}
	return b.Buffer.Write(p)
}

// fromDocument says which layer brought a package, from what an SBOM in syft's
// form tells of its image: where its list lies, which is the best that is left.
func fromDocument(s *sbom.SBOM, id artifact.ID) digest.Digest {
	about, ok := s.Source.Metadata.(source.ImageMetadata)
	if !ok {
		return ""
	}
	n, err := content.Parse(ocispec.Descriptor{
		MediaType: about.MediaType, Digest: digest.FromBytes(about.RawManifest), Size: int64(len(about.RawManifest)),
	}, about.RawManifest)
	if err != nil || len(n.Layers) != len(about.Layers) {
		return ""
	}
	p := s.Artifacts.Packages.Package(id)
	if p == nil {
		return ""
	}
	for _, at := range p.Locations.ToSlice() {
		i := slices.IndexFunc(about.Layers, func(l source.LayerMetadata) bool { return l.Digest == at.FileSystemID })
		if i >= 0 {
			return n.Layers[i].Digest
		}
	}
	return ""
}

// ownFolder makes a folder for one image.
func ownFolder(dir string) (string, func(), error) {
	own, err := os.MkdirTemp(dir, "image-")
	return own, func() { _ = os.RemoveAll(own) }, err
}
