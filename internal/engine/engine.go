// Package engine speaks with the container engines of this machine, podman
// and docker, through their command lines.
//
// It is not for reading what they export: package archive does that.
package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"ferry/internal/command"
	"ferry/internal/content"
	"ferry/internal/ref"
)

// MaxInspect is the most that is read of what an engine tells of an image.
const MaxInspect = 8 << 20

// Engine is podman or docker.
type Engine struct {
	// Program is "podman" or "docker".
	Program string
	// Run runs it; nil is on this machine.
	Run command.Runner
}

// Info is what an engine says of an image. None of it is proven.
type Info struct {
	// ID is the digest of the image's config. From a docker that keeps its
	// images in containerd it is the one of what stands under the name.
	ID digest.Digest
	// Claimed is the digest that the image had, by the engine's word, where
	// it came from: for the repository that was asked for; empty where the
	// engine names none, or several. An image that was only given a name here
	// can have one too.
	Claimed  digest.Digest
	RepoTags []string
	// Digests are all that the engine knows the image by in the repository
	// that was asked for: the index that was pulled, its own manifest.
	Digests []digest.Digest
	// OS and Architecture are what the image is for.
	OS, Architecture string
}

// Save writes images in the docker-archive form to w, in one archive. An
// image that is named with a digest has no name in it.
func (e Engine) Save(ctx context.Context, names []string, w io.Writer) error {
	images, err := parse(names)
	if err != nil {
		return err
	}
	argv := []string{e.Program, "save"}
	if e.Program == "podman" {
		argv = append(argv, "--quiet", "--format", "docker-archive")
		if len(images) > 1 {
			// Without it, podman writes the first image alone, under all names.
			argv = append(argv, "--multi-image-archive")
		}
	}
	if err := e.run(ctx, append(argv, images...), w); err != nil {
		return e.blame(ctx, "save", images, err)
	}
	return nil
}

// parse completes names, and drops those that occur again.
func parse(names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, errors.New("no images were named")
	}
	var full []string
	for _, name := range names {
		n, err := ref.Parse(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(full, n.String()) {
			full = append(full, n.String())
		}
	}
	return full, nil
}

func (e Engine) run(ctx context.Context, argv []string, w io.Writer) error {
	if e.Program != "podman" && e.Program != "docker" {
		return fmt.Errorf("%q is not an engine that ferry knows: use podman or docker", e.Program)
	}
	return e.runner().Run(ctx, command.Command{Argv: argv, Stdout: w})
}

func (e Engine) runner() command.Runner {
	if e.Run != nil {
		return e.Run
	}
	return command.Local{}
}

// blame says what failed where, and whether it is that an image is not there.
func (e Engine) blame(ctx context.Context, deed string, images []string, err error) error {
	if failed, ok := errors.AsType[*command.Error](err); ok && failed.ExitCode > 0 {
		for _, image := range images {
			if e.lacks(ctx, image) {
				return fmt.Errorf("%s %s: %w in %s: see %s image ls, or pull or build it first", deed, image, content.ErrNotFound, e.Program, e.Program)
			}
		}
	}
	return fmt.Errorf("%s %s from %s: %w", deed, strings.Join(images, ", "), e.Program, err)
}

// lacks asks the engine in the way that answers by exit code and not by text.
// It is true only where the engine clearly said so.
func (e Engine) lacks(ctx context.Context, image string) bool {
	n, err := ref.Parse(image)
	if err != nil {
		return false
	}
	if e.Program == "podman" {
		failed, ok := errors.AsType[*command.Error](e.run(ctx, []string{"podman", "image", "exists", image}, nil))
		return ok && failed.ExitCode == 1
	}
	if n.Digest() != "" {
		return false
	}
	out := &limited{left: MaxInspect}
	err = e.run(ctx, []string{"docker", "image", "ls", "--quiet", "--no-trunc", n.Familiar()}, out)
	return err == nil && len(bytes.TrimSpace(out.b)) == 0
}

// Inspect tells of the image called name. The error is content.ErrNotFound
// where the engine has none.
func (e Engine) Inspect(ctx context.Context, name string) (Info, error) {
	n, err := ref.Parse(name)
	if err != nil {
		return Info{}, err
	}
	out := &limited{left: MaxInspect}
	if err := e.run(ctx, []string{e.Program, "image", "inspect", n.String()}, out); err != nil {
		return Info{}, e.blame(ctx, "inspect", []string{n.String()}, err)
	}
	info, err := read(out.b, n)
	if err != nil {
		return Info{}, fmt.Errorf("inspect %s: what %s answers %w", n, e.Program, err)
	}
	return info, nil
}

func read(b []byte, n ref.Name) (Info, error) {
	var images []struct {
		ID          string        `json:"Id"`
		Digest      digest.Digest `json:"Digest"` // podman's own manifest
		RepoTags    []string      `json:"RepoTags"`
		RepoDigests []string      `json:"RepoDigests"`
		OS          string        `json:"Os"`
		Arch        string        `json:"Architecture"`
	}
	if err := json.Unmarshal(b, &images); err != nil {
		return Info{}, fmt.Errorf("is not the expected JSON: %w", err)
	}
	if len(images) != 1 {
		return Info{}, fmt.Errorf("describes %d images instead of one", len(images))
	}
	image := images[0]
	id := image.ID
	if !strings.Contains(id, ":") {
		id = "sha256:" + id // podman leaves it out
	}
	d, err := digest.Parse(id)
	if err != nil {
		return Info{}, fmt.Errorf("has an ID that is not a digest, %q: %w", image.ID, err)
	}
	known := digestsOf(image.RepoDigests, n)
	info := Info{ID: d, Claimed: claimed(known, n, image.Digest), RepoTags: image.RepoTags, OS: image.OS, Architecture: image.Arch, Digests: known}
	if image.Digest != "" && !slices.Contains(known, image.Digest) {
		info.Digests = append(slices.Clone(known), image.Digest)
	}
	return info, nil
}

// digestsOf are the digests that an engine lists for n's repository.
func digestsOf(repoDigests []string, n ref.Name) []digest.Digest {
	var found []digest.Digest
	for _, s := range repoDigests {
		r, err := ref.Parse(s)
		if err == nil && r.Digest() != "" && r.Repository() == n.Repository() && !slices.Contains(found, r.Digest()) {
			found = append(found, r.Digest())
		}
	}
	return found
}

// claimed picks the digest of n's repository. podman lists the index that was
// pulled and the manifest that it took from it; the index is what upstream
// has under the name.
func claimed(known []digest.Digest, n ref.Name, manifest digest.Digest) digest.Digest {
	if n.Registry() == "localhost" {
		return "" // podman's name for what was built here
	}
	found := slices.Clone(known)
	if n.Digest() != "" && slices.Contains(found, n.Digest()) {
		return n.Digest()
	}
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(d digest.Digest) bool { return d == manifest })
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// limited keeps what is written to it, up to a limit.
type limited struct {
	b    []byte
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, &content.TooLargeError{What: "the engine's answer", Size: int64(len(l.b) + len(p)), Limit: MaxInspect}
	}
	l.left -= len(p)
	l.b = append(l.b, p...)
	return len(p), nil
}
