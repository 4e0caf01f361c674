package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/bundle"
	"ferry/internal/demo"
	"ferry/internal/ferry"
	"ferry/internal/quote"
	"ferry/internal/ui"
)

func (a *app) demo() *cobra.Command {
	var keep string
	var onCluster bool
	var where kubeFlags
	var reach nodeFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the journey on this machine, without a network",
		Long: `Show ferry's journey on this machine: an upstream registry inside this process,
with images made on the spot; pack, verify, a damaged copy, a push into a private
registry with a password, the bundle served as a registry, loaded into podman and
run where podman is installed, an unchanged second pack. Each step shows the
command that you would type. Nothing leaves the machine, and nothing is left on
it unless --keep names a folder.

--cluster shows the laptop's journey on the current context's cluster instead: a
job whose image only this machine can pull, in a namespace of its own, why it
fails, and ferry fix. The namespace is deleted in the end; nothing else in the
cluster is changed, but the image stays on the nodes for a while.`,
		Example: "  ferry demo\n  ferry demo --keep ./journey\n  ferry demo --cluster --context minikube",
		Args:    exactly(0, "nothing more"),
		RunE: func(c *cobra.Command, _ []string) error {
			if onCluster {
				return a.runClusterDemo(c.Context(), &where, &reach)
			}
			return a.runDemo(c.Context(), keep)
		},
	}
	c.Flags().BoolVar(&onCluster, "cluster", false, "the laptop's journey, on the current context's cluster")
	where.registerPlace(c.Flags())
	reach.register(c.Flags())
	c.Flags().StringVar(&keep, "keep", "", "keep the bundle in this folder")
	_ = c.MarkFlagDirname("keep")
	return c
}

func (a *app) runDemo(ctx context.Context, keep string) (err error) {
	dir, done, err := demoFolder(keep)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	upstream, images, err := demo.StartSample(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, upstream.Close()) }()
	j := &journey{app: a, dir: dir, file: filepath.Join(dir, "release.tar")}
	for _, img := range images {
		j.images = append(j.images, upstream.Host()+"/"+img.Name())
	}
	return j.run(ctx)
}

func demoFolder(keep string) (dir string, done func() error, err error) {
	if keep != "" {
		return keep, func() error { return nil }, os.MkdirAll(keep, 0o755)
	}
	dir, err = os.MkdirTemp("", "ferry-demo-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

// journey is the demo under way.
type journey struct {
	*app
	dir    string
	file   string
	images []string
	packed *ferry.PackResult
	steps  int
}

func (j *journey) run(ctx context.Context) error {
	began := time.Now()
	for _, step := range []func(context.Context) error{j.pack, j.verify, j.damage, j.push, j.answer, j.bring, j.again} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	j.say("")
	j.say("%s That was the journey, in %.1f s. On a cluster: ferry demo --cluster", j.printer.Mark(true), time.Since(began).Seconds())
	return nil
}

func (j *journey) say(format string, args ...any) {
	fmt.Fprintf(j.printer.Out, format+"\n", args...)
}

// step announces a step: why, and the command that does it.
func (j *journey) step(why string, argv ...string) {
	j.steps++
	j.say("")
	j.say("%d. %s", j.steps, why)
	j.say("   $ %s", quote.Shell(argv...))
}

func (j *journey) pack(ctx context.Context) error {
	j.say("An upstream registry is running inside this process, with %d images for linux/amd64 and linux/arm64.", len(j.images))
	j.step("On the connected side: pull the images with all they need, and seal them in one file.",
		append(append([]string{"ferry", "pack"}, j.images...), "--to", "release.tar")...)
	w, done, err := j.world()
	if err != nil {
		return err
	}
	began := time.Now()
	j.packed, err = ferry.Pack(ctx, w, ferry.PackRequest{Places: j.images, To: j.file})
	done()
	if err != nil {
		return err
	}
	for _, img := range j.packed.Images {
		j.say("   %s %s  %s", j.printer.Mark(true), img.Name, img.Digest)
	}
	j.say("   %d blobs, %s, each pulled once though images share them; %s fetched in %v", j.packed.Blobs,
		ui.Bytes(j.packed.Size), ui.Bytes(j.packed.Fetched), time.Since(began).Round(time.Millisecond))
	j.say("   digest %s", j.packed.Digest)
	return nil
}

func (j *journey) verify(ctx context.Context) error {
	j.step("Behind the gap: is it whole, and is it the one that was packed? The digest came another way than the file.",
		"ferry", "verify", "release.tar", "--digest", j.packed.Digest.String())
	w, done := j.offlineWorld()
	r, err := ferry.Verify(ctx, w, ferry.VerifyRequest{File: j.file, Digest: j.packed.Digest.String()})
	done()
	if err != nil {
		return err
	}
	j.say("   %s %d blobs, every digest right, every other byte follows from the lock", j.printer.Mark(true), r.Blobs)
	return nil
}

// damage flips one bit of a copy, and wants it to be found.
func (j *journey) damage(ctx context.Context) error {
	damaged := filepath.Join(j.dir, "damaged.tar")
	j.step("A disk, a cable or a person changed one bit of a copy. ferry says where, and exits with 4.",
		"ferry", "verify", "damaged.tar")
	if err := copyDamaged(j.file, damaged); err != nil {
		return err
	}
	defer func() { _ = os.Remove(damaged) }()
	w, done := j.offlineWorld()
	_, err := ferry.Verify(ctx, w, ferry.VerifyRequest{File: damaged})
	done()
	var found *bundle.DamageError
	if !errors.As(err, &found) {
		return fmt.Errorf("the damaged copy was not refused as damaged: %w", err)
	}
	j.say("   %s %s at byte %d: %s", j.printer.Mark(false), found.Entry, found.Offset, found.Detail)
	return nil
}

func copyDamaged(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	size, err := io.Copy(dst, src)
	if err == nil {
		err = flipBit(dst, size/2)
	}
	return errors.Join(err, dst.Close())
}

func flipBit(f *os.File, at int64) error {
	b := []byte{0}
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 1
	_, err := f.WriteAt(b, at)
	return err
}

func (j *journey) again(ctx context.Context) error {
	j.step("The same pack again: the names still mean the same digests, so nothing is pulled and nothing is written.",
		append(append([]string{"ferry", "pack"}, j.images...), "--to", "release.tar")...)
	w, done, err := j.world()
	if err != nil {
		return err
	}
	began := time.Now()
	r, err := ferry.Pack(ctx, w, ferry.PackRequest{Places: j.images, To: j.file})
	done()
	if err != nil {
		return err
	}
	if !r.Unchanged || r.Fetched != 0 {
		return fmt.Errorf("the second pack was not unchanged: %d bytes were fetched", r.Fetched)
	}
	j.say("   %s unchanged, in %d ms", j.printer.Mark(true), time.Since(began).Milliseconds())
	return nil
}
