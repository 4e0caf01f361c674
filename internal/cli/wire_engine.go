package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/archive"
	"ferry/internal/command"
	"ferry/internal/engine"
	"ferry/internal/ferry"
	"ferry/internal/serve"
)

// openEngine looks whether podman or docker answer, and how they keep images.
func openEngine(ctx context.Context, program string) (ferry.NamedRuntime, error) {
	e := engineStore{engine.Engine{Program: program, Run: command.Local{}}}
	n := ferry.NamedRuntime{Name: program, Kind: program}
	if err := e.Version(ctx); err != nil {
		return n, err
	}
	if program == "docker" {
		inContainerd, err := e.InContainerd(ctx)
		n.Runtime = dockerStore{e, inContainerd}
		n.ByHand = func(file string, _ []ferry.LoadImage) [][]string { return [][]string{{"docker", "load", "-i", file}} }
		return n, err
	}
	n.Runtime = podmanStore{e, e.Remote(ctx)}
	n.ByHand = func(file string, images []ferry.LoadImage) [][]string {
		var all [][]string
		for _, img := range images {
			all = append(all, []string{"podman", "pull", "oci-archive:" + file + ":" + img.Label()})
		}
		return all
	}
	return n, nil
}

// engineStore is what podman and docker have in common.
type engineStore struct{ engine.Engine }

func (engineStore) Platform(context.Context) (ocispec.Platform, error) { return localPlatform(), nil }

func (engineStore) Close() error { return nil }

func (e engineStore) Holds(ctx context.Context, img ferry.LoadImage) (ferry.Held, error) {
	info, err := e.Inspect(ctx, img.Label())
	if err != nil {
		return ferry.Held{}, err
	}
	held := ferry.Held{Config: info.ID, Complete: info.OS == img.Platform.OS && info.Architecture == img.Platform.Architecture, Pin: ferry.PinCannot}
	if slices.Contains(info.Digests, img.Top.Digest) {
		held.Digest = img.Top.Digest
	}
	return held, nil
}

// podmanStore is podman's. It pulls from the bundle as from a registry: so
// digests stay, and what is there is not copied.
type podmanStore struct {
	engineStore
	// remote: podman is a client here. Its service, in a virtual machine or
	// elsewhere, neither reaches this machine's loopback nor reads a
	// registries.conf of it: told to pull, it would ask the registry that the
	// name leads to.
	remote bool
}

func (p podmanStore) Load(ctx context.Context, d ferry.Delivery) error {
	if p.remote {
		d.Note("podman's service is on another machine: each image goes there whole, in an archive")
		return p.loadArchives(ctx, d)
	}
	s, err := serveBundle(ctx, d)
	if err != nil {
		return err
	}
	for _, img := range d.Images {
		if err := p.pull(ctx, d, s, img); err != nil && ctx.Err() == nil {
			d.Failed(img, err)
		}
	}
	return s.stop()
}

// pull falls back to an archive where podman never came to where the bundle is
// served. Whatever else fails would fail again.
func (p podmanStore) pull(ctx context.Context, d ferry.Delivery, s *served, img ferry.LoadImage) error {
	asked := s.asked.Load()
	err := p.PullFrom(ctx, img.Label(), s.address)
	if err == nil || s.asked.Load() > asked || ctx.Err() != nil {
		return err
	}
	d.Note(fmt.Sprintf("podman does not reach %s on this machine: %s goes to it in an archive", s.address, img.Label()))
	if again := p.loadArchive(ctx, d, img); again != nil {
		return errors.Join(err, again)
	}
	return nil
}

func (p podmanStore) loadArchives(ctx context.Context, d ferry.Delivery) error {
	for _, img := range d.Images {
		err := p.loadArchive(ctx, d, img)
		if _, damaged := errors.AsType[*ferry.DamagedBlobError](err); damaged {
			return err
		}
		if err != nil && ctx.Err() == nil {
			d.Failed(img, err)
		}
	}
	return ctx.Err()
}

// loadArchive gives podman one image in an archive of its own: of an OCI
// archive podman load takes one image, under one name.
func (p podmanStore) loadArchive(ctx context.Context, d ferry.Delivery, img ferry.LoadImage) error {
	list := onePlatform([]ferry.LoadImage{img})
	list[0].Name, list[0].DigestName = img.Label(), ""
	return stream(ctx, func(w io.Writer) error { return archive.WriteOCI(ctx, w, d.Source, list, d.Sent) }, p.LoadStream)
}

// Holds says aloud where podman has the image and not its digest.
func (p podmanStore) Holds(ctx context.Context, img ferry.LoadImage) (ferry.Held, error) {
	held, err := p.engineStore.Holds(ctx, img)
	if err == nil && held.Digest == "" && held.Is(img) {
		held.As = "by its config: podman has it under another digest, and does not find it by this one"
	}
	return held, err
}

// served is a bundle on loopback.
type served struct {
	address string
	// asked counts the requests.
	asked atomic.Int64
	stop  func() error
}

// serveBundle serves a bundle on loopback, to an engine of this machine.
func serveBundle(ctx context.Context, d ferry.Delivery) (*served, error) {
	s, err := ferry.Serve(ctx, d.Bundle)
	if err != nil {
		return nil, err
	}
	l, err := serve.Listen(ctx, "127.0.0.1:0", nil, nil)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	to := &served{address: l.Addr().String()}
	opts := serve.Options{Blobs: s.Bundle, Done: func(a serve.Access) {
		to.asked.Add(1)
		d.Sent(a.Bytes)
	}}
	for _, r := range s.Repositories {
		opts.Repositories = append(opts.Repositories, serve.Repository(r))
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- serve.New(opts).Serve(ctx, l) }()
	to.stop = func() error {
		cancel()
		return errors.Join(<-ended, s.Close())
	}
	return to, nil
}

// dockerStore is docker's, which takes archives only.
type dockerStore struct {
	engineStore
	// inContainerd: it keeps manifests and indexes, as Docker 29 does where it
	// was not upgraded, and not configs and unpacked layers alone.
	inContainerd bool
}

// Sparse: a store in containerd keeps an index with its own platform alone, as
// when it pulls.
func (k dockerStore) Sparse() bool { return k.inContainerd }

func (k dockerStore) Load(ctx context.Context, d ferry.Delivery) error {
	write, list := archive.WriteDocker, entries(d.Images)
	if k.inContainerd {
		write, list = archive.WriteOCI, onePlatform(d.Images)
	}
	return stream(ctx, func(w io.Writer) error { return write(ctx, w, d.Source, list, d.Sent) }, k.LoadStream)
}

// stream gives an archive to a program while it is made.
func stream(ctx context.Context, write func(io.Writer) error, load func(context.Context, io.Reader) error) error {
	r, w := io.Pipe()
	ended, wrote := errors.New("the program ended"), make(chan error, 1)
	go func() {
		err := write(w)
		wrote <- err
		w.CloseWithError(err)
	}()
	err := load(ctx, r)
	r.CloseWithError(ended)
	// What is wrong with the bundle is the cause of what the program says then.
	if werr := <-wrote; werr != nil && !errors.Is(werr, ended) {
		return werr
	}
	return err
}

// Holds compares what stands under the name. That is a digest in a store in
// containerd, and in docker's own only the config.
func (k dockerStore) Holds(ctx context.Context, img ferry.LoadImage) (ferry.Held, error) {
	if img.Name == "" {
		return ferry.Held{}, fmt.Errorf("docker load takes no image that has only a digest for a name; give it a tag when you pack it")
	}
	held, err := k.engineStore.Holds(ctx, img)
	if err == nil && k.inContainerd {
		held.Digest, held.Config = held.Config, ""
	}
	return held, err
}

// onePlatform are images with what their runtime runs of them, and the indexes
// above it.
func onePlatform(images []ferry.LoadImage) []archive.Entry {
	all := entries(images)
	for k, img := range images {
		all[k].Blobs = append(img.Manifest.Children(), img.Manifest.Desc)
		for _, n := range slices.Backward(img.Parents) {
			all[k].Blobs = append(all[k].Blobs, n.Desc)
		}
	}
	return all
}
