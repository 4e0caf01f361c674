package ferry

import (
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/lock"
)

// InspectResult is what a bundle holds.
type InspectResult struct {
	File       string        `json:"file"`
	Digest     digest.Digest `json:"digest"`
	Size       int64         `json:"size"`
	Blobs      int           `json:"blobs"`
	ResolvedAt time.Time     `json:"resolvedAt"`
	Platforms  []string      `json:"platforms,omitempty"`
	AsOf       time.Time     `json:"asOf"`
	Gate       string        `json:"gate"`
	// Policy and Database are those that the gate asked.
	Policy   digest.Digest    `json:"policy,omitempty"`
	Database *bundle.Database `json:"database,omitempty"`
	Images   []InspectImage   `json:"images"`
	// Shared is how many bytes sharing saves: what the images would weigh
	// one by one, less what they weigh together.
	Shared int64 `json:"sharedBytes"`
}

// InspectImage is an image with what it weighs.
type InspectImage struct {
	lock.Image
	// Bytes are all that the image needs; Own what no other image needs.
	Bytes  int64 `json:"bytes"`
	Own    int64 `json:"ownBytes"`
	Layers int   `json:"layers"`
}

// Inspect says what a bundle holds. It reads only what it shows; verify reads
// everything.
func Inspect(file string) (*InspectResult, error) {
	b, err := bundle.Open(file)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	c := b.Contents()
	r := &InspectResult{
		File: file, Digest: b.Digest(), Size: b.Size(), Blobs: len(c.Blobs()),
		ResolvedAt: b.Lock().ResolvedAt, Platforms: b.Lock().Platforms, AsOf: b.Seal().AsOf, Gate: b.Seal().Gate,
		Policy: b.Seal().Policy, Database: b.Seal().Database,
	}
	users := map[digest.Digest]int{}
	var total, sum int64
	images := b.Images()
	for _, img := range images {
		c.Reach(img, func(d ocispec.Descriptor) {
			if users[d.Digest] == 0 {
				total += d.Size
			}
			users[d.Digest]++
		})
	}
	for _, img := range images {
		i := inspectImage(c, img, users)
		sum += i.Bytes
		r.Images = append(r.Images, i)
	}
	r.Shared = sum - total
	return r, nil
}

func inspectImage(c *bundle.Contents, img lock.Image, users map[digest.Digest]int) InspectImage {
	i := InspectImage{Image: img}
	layers := map[digest.Digest]bool{}
	c.Reach(img, func(d ocispec.Descriptor) {
		i.Bytes += d.Size
		if users[d.Digest] == 1 {
			i.Own += d.Size
		}
		if n := c.Node(d.Digest); n != nil && n.Config != nil && content.IsImageConfig(n.Config.MediaType) {
			for _, l := range n.Layers {
				layers[l.Digest] = true
			}
		}
	})
	i.Layers = len(layers)
	return i
}

// fileSize is the size of a file as far as it can be known.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
