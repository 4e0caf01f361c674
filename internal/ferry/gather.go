package ferry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/archive"
	"ferry/internal/content"
	"ferry/internal/lock"
	"ferry/internal/quote"
	"ferry/internal/ref"
	"ferry/internal/transfer"
)

// UsageError says that a request cannot be meant so.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

func usage(format string, args ...any) error {
	return &UsageError{Text: fmt.Sprintf(format, args...)}
}

// gather finds out which images are wanted, from arguments or from a lock.
func (p *packing) gather(ctx context.Context) error {
	if p.req.To == "" {
		return usage("say where the bundle goes: --to release.tar")
	}
	platforms, err := onePlatformForm(p.req.Platforms)
	if err != nil {
		return usage("%v", err)
	}
	p.req.Platforms = platforms
	places, err := p.places()
	if err != nil {
		return err
	}
	if p.req.Lock != "" {
		return p.gatherLock(ctx, places)
	}
	if len(places) == 0 {
		return usage("say which images to pack: ferry pack nginx:1.27 --to %s", p.req.To)
	}
	for _, place := range places {
		if place.Transport == ref.Registry {
			if err := p.want(place.Name); err != nil {
				return err
			}
		}
	}
	return p.gatherLocal(ctx, places)
}

func (p *packing) places() ([]ref.Place, error) {
	var all []ref.Place
	for _, arg := range p.req.Places {
		if err := unreadFolder(arg); err != nil {
			return nil, err
		}
		place, err := ref.ParsePlace(arg, exists)
		if err != nil {
			return nil, usage("%v", err)
		}
		all = append(all, place)
	}
	return all, nil
}

// exists says whether an argument is meant as a file: a regular one, or a
// folder that is an OCI layout. A folder named nginx beside one does not keep
// anyone from packing nginx.
func exists(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if info.IsDir() {
		_, err = os.Stat(filepath.Join(path, ocispec.ImageLayoutFile))
		return err == nil
	}
	return info.Mode().IsRegular()
}

// unreadFolder refuses a folder that skopeo wrote as dir:, a form that is not
// read: taken for the name of an image, it would be asked of Docker Hub.
func unreadFolder(arg string) error {
	dir := strings.TrimPrefix(arg, "dir:")
	f, err := os.Open(filepath.Join(dir, "version"))
	if err != nil {
		return nil //nolint:nilerr // it is no such folder
	}
	defer f.Close()
	begins := make([]byte, len(dirVersion))
	if _, err := io.ReadFull(f, begins); err != nil || string(begins) != dirVersion {
		return nil //nolint:nilerr // nor is this one
	}
	return usage("%s is a folder of skopeo's form dir:, which names no image and is not read: write it as another with %s",
		quote.Terminal(dir), quote.Shell("skopeo", "copy", "--all", "dir:"+dir, "oci-archive:image.tar:NAME:TAG"))
}

// dirVersion begins the file version of such a folder.
const dirVersion = "Directory Transport Version:"

// want adds an image of a registry.
func (p *packing) want(reference string) error {
	n, err := ref.Parse(reference)
	if err != nil {
		return usage("%v", err)
	}
	if n.Tag() == "latest" && n.Digest() == "" {
		p.result.Warnings = append(p.result.Warnings, latestWarning(n))
	}
	ask := n.Tag()
	if n.Digest() != "" {
		ask = n.Digest().String()
	}
	return p.wantRegistry(n, ask, nil)
}

func latestWarning(n ref.Name) string {
	if n.Assumed() {
		return fmt.Sprintf("%s has no tag, so latest is taken: that names no release, and means another image tomorrow", n.Familiar())
	}
	return n.Familiar() + ": latest names no release, and means another image tomorrow"
}

func (p *packing) wantRegistry(n ref.Name, reference string, locked *lock.Image) error {
	repo, err := p.world.Repository(n)
	if err != nil {
		return err
	}
	p.add(wanted{
		name: n, source: lock.Source{Type: lock.Registry}, repository: repo, reference: reference, locked: locked,
		origin: transfer.Origin{Name: n.Repository(), Source: repo},
	})
	return nil
}

// add adds an image; the same name again is the same image.
func (p *packing) add(w wanted) {
	if !slices.ContainsFunc(p.wanted, func(o wanted) bool { return o.name.String() == w.name.String() }) {
		p.wanted = append(p.wanted, w)
	}
}

// gatherLock wants what a lock names. Images that came from local places are
// matched with the places given again as arguments.
func (p *packing) gatherLock(ctx context.Context, places []ref.Place) error {
	if len(p.req.Platforms) > 0 {
		return usage("a lock already says which platforms: leave --platform out")
	}
	l, err := readLock(p.req.Lock)
	if err != nil {
		return err
	}
	p.locked = l
	for _, place := range places {
		if place.Transport == ref.Registry {
			return usage("with --lock the images come from the lock: leave %s out", place.Name)
		}
	}
	if err := p.gatherLocal(ctx, places); err != nil {
		return err
	}
	local := p.wanted
	p.wanted = nil
	for _, img := range l.Images {
		if err := p.wantLocked(img, local); err != nil {
			return err
		}
	}
	return nil
}

func (p *packing) wantLocked(img lock.Image, local []wanted) error {
	n, err := ref.Parse(img.Name)
	if err != nil {
		return err
	}
	top := img.Digest
	if img.Upstream != nil {
		top = img.Upstream.Digest
	}
	if img.Source.Type == lock.Registry {
		return p.wantRegistry(n, top.String(), &img)
	}
	for _, w := range local {
		if w.name.String() == img.Name && w.local.Digest == top {
			w.locked, w.source = &img, img.Source
			p.add(w)
			return nil
		}
	}
	return fmt.Errorf("%s came from a %s and not from a registry: give it again, as an argument; its manifest has to be %s",
		img.Name, img.Source.Kind, top)
}

// gatherLocal wants what archives and engines hold.
func (p *packing) gatherLocal(ctx context.Context, places []ref.Place) error {
	engines := map[ref.Transport][]string{}
	for _, place := range places {
		switch place.Transport {
		case ref.Registry:
		case ref.DockerDaemon, ref.ContainersStorage:
			n, err := ref.Parse(place.Name)
			if err != nil {
				return usage("%v", err)
			}
			engines[place.Transport] = append(engines[place.Transport], n.String())
		default:
			if err := p.wantArchive(place.Path, place.Transport, place.Name); err != nil {
				return err
			}
		}
	}
	for _, t := range []ref.Transport{ref.DockerDaemon, ref.ContainersStorage} {
		if len(engines[t]) > 0 {
			if err := p.wantEngine(ctx, t, engines[t]); err != nil {
				return err
			}
		}
	}
	return nil
}

// wantArchive wants the images of an archive: all, or the one called name.
func (p *packing) wantArchive(path string, kind ref.Transport, name string) error {
	a, err := archive.Open(path, kind)
	if err != nil {
		return err
	}
	p.closer = append(p.closer, a)
	images, err := pick(a.Images(), path, name)
	if err != nil {
		return err
	}
	for _, img := range images {
		n, err := ref.Parse(img.Name)
		if err != nil {
			return fmt.Errorf("%s names an image %q: %w", path, img.Name, err)
		}
		p.wantLocal(n, img, path, a, "")
	}
	return nil
}

func (p *packing) wantLocal(n ref.Name, img archive.Image, from string, a content.Source, claim digest.Digest) {
	p.add(wanted{
		name: n, local: img.Desc,
		source: lock.Source{Type: lock.Local, Kind: img.Kind, Exported: img.Desc.Digest, Claimed: claim},
		origin: transfer.Origin{Name: from, Source: a},
	})
}

// pick returns the images to take, each with a name.
func pick(images []archive.Image, path, name string) ([]archive.Image, error) {
	if len(images) == 0 {
		return nil, fmt.Errorf("%s holds no image", path)
	}
	if name == "" {
		for _, img := range images {
			if img.Name == "" {
				return nil, fmt.Errorf("%s holds an image without a name: give it one, as in %s:%s:registry.example/app:1.0", path, img.Kind, path)
			}
		}
		return withoutEchoes(images), nil
	}
	n, err := ref.Parse(name)
	if err != nil {
		return nil, usage("%v", err)
	}
	for _, img := range images {
		if img.Name == n.String() {
			return []archive.Image{img}, nil
		}
	}
	if called := calledBy(images, name); len(called) == 1 {
		if called[0].Name == "" {
			return nil, fmt.Errorf("%s calls its image %q, which is a tag and not a full name: give it one, as in %s:%s:registry.example/app:%s",
				path, name, called[0].Kind, path, name)
		}
		return called, nil
	}
	if len(images) == 1 && images[0].Name == "" {
		images[0].Name = n.String()
		return images, nil
	}
	return nil, fmt.Errorf("%s holds no %s, but %s", path, n, strings.Join(labels(images), ", "))
}

// withoutEchoes leaves out the names by digest that a bundle gives each of its
// images beside the tag: packed again, they come by themselves.
func withoutEchoes(images []archive.Image) []archive.Image {
	echo := map[string]bool{}
	for _, img := range images {
		if n, err := ref.Parse(img.Name); err == nil && n.Tag() != "" {
			echo[n.WithDigest(img.Desc.Digest)] = true
		}
	}
	return slices.DeleteFunc(images, func(img archive.Image) bool { return echo[img.Name] })
}

// calledBy returns the images that an OCI layout itself calls by name, as in
// oci:FOLDER:TAG.
func calledBy(images []archive.Image, name string) []archive.Image {
	var called []archive.Image
	for _, img := range images {
		if img.Ref == name {
			called = append(called, img)
		}
	}
	return called
}

// labels are what images can be told apart by.
func labels(images []archive.Image) []string {
	var all []string
	for _, img := range images {
		switch {
		case img.Name != "":
			all = append(all, img.Name)
		case img.Ref != "":
			all = append(all, fmt.Sprintf("one called %q", img.Ref))
		default:
			all = append(all, "one without a name, "+img.Desc.Digest.String())
		}
	}
	return all
}

// wantEngine exports images from an engine's store, beside the bundle, and
// wants what the export holds.
func (p *packing) wantEngine(ctx context.Context, t ref.Transport, names []string) error {
	e := p.world.Engine(t)
	f, err := p.exportFile()
	if err != nil {
		return err
	}
	if err = e.Save(ctx, names, f); err != nil {
		return errors.Join(err, f.Close())
	}
	a, err := archive.OpenFile(f, ref.Archive)
	if err != nil {
		return fmt.Errorf("read what %s exported: %w", t, err)
	}
	p.closer = append(p.closer, a)
	for _, name := range names {
		images, err := pick(a.Images(), string(t), name)
		if err != nil {
			return err
		}
		n, err := ref.Parse(name)
		if err != nil {
			return err
		}
		claim, err := e.Claim(ctx, name)
		if err != nil {
			return err
		}
		images[0].Kind = string(t)
		p.wantLocal(n, images[0], string(t), a, claim)
	}
	return nil
}

// exportFile is a file that goes with this process, however that ends. Where an
// open file cannot lose its name (Windows), it is removed when the work is done.
func (p *packing) exportFile() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(p.req.To), ".ferry-export-*.tar")
	if err == nil && os.Remove(f.Name()) != nil {
		p.closer = append(p.closer, removal{f.Name()})
	}
	return f, err
}

// removal is a file that goes when the work is done.
type removal struct{ path string }

func (r removal) Close() error { return os.Remove(r.path) }
