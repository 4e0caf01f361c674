package ferry

import (
	"cmp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"ferry/internal/ref"
	"ferry/internal/workload"
)

// runningImage is what runs under one digest.
type runningImage struct {
	name      string // as a pod has it
	id        string // as the node has it
	digest    digest.Digest
	place     string   // where a registry has it; "" where only a bundle can
	platforms []string // of the nodes; none where they may not be read
	workloads []string
	exact     bool     // this very image was looked into, and no index of it
	done      []string // platforms that were looked into
	failed    string
	refused   []string // what those said that were asked for it
}

// groupRunning has one for each digest. platforms, if there are any, are all
// that is to be looked into.
func groupRunning(all []workload.Running, platforms []string) []*runningImage {
	by := map[string]*runningImage{}
	var images []*runningImage
	for _, r := range all {
		i := runningOf(r)
		key := cmp.Or(i.digest.String(), i.name+" "+i.failed)
		if had := by[key]; had != nil {
			had.place = cmp.Or(had.place, i.place)
			i = had
		} else {
			by[key] = i
			images = append(images, i)
		}
		i.workloads = add(i.workloads, r.Workload)
		if r.Platform != "" {
			i.platforms = add(i.platforms, r.Platform)
		}
		if len(platforms) > 0 {
			i.platforms = platforms
		}
	}
	slices.SortFunc(images, func(a, b *runningImage) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.id, b.id))
	})
	return images
}

func add(all []string, s string) []string {
	if at, there := slices.BinarySearch(all, s); !there {
		return slices.Insert(all, at, s)
	}
	return all
}

// runningOf reads what a node says of an image: REPOSITORY@DIGEST, with a
// scheme before it from some runtimes, or the digest of a config.
func runningOf(r workload.Running) *runningImage {
	i := &runningImage{name: r.Image, id: r.ID}
	id := r.ID
	if _, rest, ok := strings.Cut(id, "://"); ok {
		id = rest
	}
	if id == "" {
		// A volume: nobody says what was mounted, but a digest in its name does.
		id = r.Image
	}
	if d, err := digest.Parse(id); err == nil {
		i.digest = d
		return i
	}
	n, err := ref.Parse(id)
	if err != nil || n.Digest() == "" {
		i.failed = "its node does not say by which digest it runs"
		return i
	}
	i.digest, i.place = n.Digest(), n.WithDigest(n.Digest())
	return i
}

// looked says whether it was looked into for every platform that it runs on.
func (r *runningImage) looked() bool {
	return r.exact || len(r.done) > 0 && len(r.missing()) == 0
}

func (r *runningImage) missing() []string {
	return slices.DeleteFunc(slices.Clone(r.platforms), func(p string) bool {
		return slices.ContainsFunc(r.done, func(done string) bool { return fitsNode(done, p) })
	})
}

// runsOn says whether an image's platform is one that it runs on.
func (r *runningImage) runsOn(platform string) bool {
	return len(r.platforms) == 0 || slices.ContainsFunc(r.platforms, func(p string) bool { return fitsNode(platform, p) })
}

// fitsNode says whether an image for linux/arm/v7 runs on a linux/arm.
func fitsNode(image, node string) bool { return image == node || strings.HasPrefix(image, node+"/") }

// say notes why an image could not be had from one place.
func (r *runningImage) say(err error) {
	if err != nil && !r.looked() {
		r.refused = append(r.refused, err.Error())
	}
}

// why says why an image was not looked into.
func (r *runningImage) why() string {
	return cmp.Or(r.failed, strings.Join(r.refused, "; "), "there is no image for that platform under its digest")
}
