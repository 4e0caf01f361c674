package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/ferry"
)

// k3sDir is a folder of archives that k3s or rke2 reads when it starts, and no
// runtime that could be asked: /var/lib/rancher/k3s/agent/images. Each image has
// an archive of its own, so that the next one of its name takes its place.
type k3sDir struct{ path string }

func k3sRuntime(dir string) ferry.NamedRuntime {
	return ferry.NamedRuntime{Name: "k3s-dir:" + dir, Kind: "k3s-dir", Runtime: k3sDir{dir}}
}

// Platform is none: what is for another one lies there and is not used.
func (k3sDir) Platform(context.Context) (ocispec.Platform, error) { return ocispec.Platform{}, nil }

func (k3sDir) Close() error { return nil }

// archive is the file of an image. What stands for / and : is in no name of one.
func (k k3sDir) archive(img ferry.LoadImage) archiveFile {
	name := strings.NewReplacer("/", "+", ":", "=").Replace(img.Label())
	return archiveFile{kind: "oci-archive", path: filepath.Join(k.path, name+".tar")}
}

func (k k3sDir) Load(ctx context.Context, d ferry.Delivery) error {
	if err := os.MkdirAll(k.path, 0o755); err != nil {
		return err
	}
	for _, img := range d.Images {
		one := d
		one.Images = []ferry.LoadImage{img}
		if err := k.archive(img).Load(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

func (k k3sDir) Holds(ctx context.Context, img ferry.LoadImage) (ferry.Held, error) {
	held, err := k.archive(img).Holds(ctx, img)
	held.As = "k3s takes it in when it starts"
	return held, err
}
