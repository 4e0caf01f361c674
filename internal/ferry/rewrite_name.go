package ferry

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/lock"
	"ferry/internal/manifest"
	"ferry/internal/ref"
)

// insider knows what images are called inside.
type insider struct {
	mapping ref.Mapping
	policy  string
	// from is the bundle or lock that digests come from; "" for none.
	from string
	// outside are the lock's images by name, repository those of one
	// repository inside, inside by name and tag there.
	outside    map[string]lock.Image
	inside     map[string]lock.Image
	repository map[string][]lock.Image
}

func newInsider(req RewriteRequest) (*insider, error) {
	m, err := ref.ParseTarget(req.Registry)
	if err != nil {
		return nil, usage("--registry: %v", err)
	}
	m.Flatten = req.Flatten
	in := &insider{mapping: m, policy: req.PullPolicy}
	switch in.policy {
	case "":
		in.policy = "IfNotPresent"
	case KeepPolicy:
		in.policy = ""
	case "IfNotPresent", "Always", "Never":
	default:
		return nil, usage("--pull-policy %s: write IfNotPresent, Never, Always or keep", req.PullPolicy)
	}
	if req.Bundle != "" && req.Lock != "" {
		return nil, usage("a bundle has its lock in it: leave --bundle or --lock out")
	}
	l, err := digests(req)
	if err != nil || l == nil {
		return in, err
	}
	in.from = req.Bundle + req.Lock
	return in, in.know(*l)
}

// digests reads the lock asked for; nil where none was.
func digests(req RewriteRequest) (*lock.Lock, error) {
	switch {
	case req.Bundle != "":
		b, err := bundle.Open(req.Bundle)
		if err != nil {
			return nil, err
		}
		defer b.Close()
		l := b.Lock()
		return &l, nil
	case req.Lock != "":
		return readLock(req.Lock)
	}
	return nil, nil
}

// know takes up a lock.
func (in *insider) know(l lock.Lock) error {
	in.outside, in.inside, in.repository = map[string]lock.Image{}, map[string]lock.Image{}, map[string][]lock.Image{}
	var names []ref.Name
	for _, img := range l.Images {
		n, err := ref.Parse(img.Name)
		if err != nil {
			return err
		}
		mapped, err := in.mapping.Map(n)
		if err != nil {
			return err
		}
		names = append(names, n)
		in.outside[img.Name] = img
		in.repository[mapped.Repository()] = append(in.repository[mapped.Repository()], img)
		if n.Tag() != "" {
			// A tag that the lock has twice means the first one, as in push.
			if key := mapped.Repository() + ":" + n.Tag(); in.inside[key].Name == "" {
				in.inside[key] = img
			}
		}
	}
	return in.mapping.Collision(names)
}

// has says whether a name is one of inside.
func (in *insider) has(n ref.Name) bool {
	return n.Registry() == in.mapping.Registry &&
		(in.mapping.Prefix == "" || strings.HasPrefix(n.Path(), in.mapping.Prefix+"/"))
}

// change says what becomes of an image.
func (in *insider) change(img manifest.Image) (manifest.Change, RewriteImage) {
	did := RewriteImage{
		Line: img.Line, Object: img.Object.String(), Path: img.Path, In: img.In, Name: img.Name,
		Policy: img.Policy, Before: img.Policy,
	}
	n, err := ref.Parse(img.Name)
	if err == nil {
		did.Inside, did.State, err = in.nameOf(n)
	}
	if err != nil {
		did.State, did.Why = Left, problemOf(err)
		return manifest.Change{}, did
	}
	var c manifest.Change
	if did.Inside != img.Name {
		c.Name = did.Inside
	}
	if in.policy != "" && img.HasPolicy && img.Policy != in.policy {
		c.Policy, did.Policy, did.PolicySet = in.policy, in.policy, true
	}
	return c, did
}

// problemOf says what is wrong with a name that the caller shows anyway.
func problemOf(err error) string {
	if e, ok := errors.AsType[*ref.Error](err); ok {
		return e.Problem
	}
	return err.Error()
}

func (in *insider) nameOf(n ref.Name) (inside, state string, err error) {
	if in.has(n) {
		now := in.pinInside(n)
		if now == n.String() {
			return now, Inside, nil
		}
		return now, Renamed, nil
	}
	mapped, err := in.mapping.Map(n)
	if err != nil {
		return "", "", err
	}
	if in.from == "" {
		return mapped.String(), Renamed, nil
	}
	if img, ok := in.outside[n.String()]; ok {
		return pinned(mapped, img.Digest), Renamed, nil
	}
	if d := in.digestOf(mapped); d != "" {
		return pinned(mapped, d), Renamed, nil
	}
	return mapped.String(), Unlocked, nil
}

// name is what an image would be called inside, pinned where it can be.
func (in *insider) name(n ref.Name) (string, error) {
	s, _, err := in.nameOf(n)
	return s, err
}

// pinInside pins a name of inside by its tag, and again when a later bundle
// has another image under that tag.
func (in *insider) pinInside(n ref.Name) string {
	if n.Digest() != "" && in.digestOf(n) != "" {
		return n.String()
	}
	if img, ok := in.inside[n.Repository()+":"+n.Tag()]; ok && n.Tag() != "" {
		return pinned(n, img.Digest)
	}
	return n.String()
}

// digestOf finds the digest of a name of inside among the lock's images: "" if
// none has it. Of an image of some platforms only, upstream's digest stands
// for the one that is inside.
func (in *insider) digestOf(n ref.Name) digest.Digest {
	if n.Digest() == "" {
		return ""
	}
	for _, img := range in.repository[n.Repository()] {
		if img.Digest == n.Digest() || img.Upstream != nil && img.Upstream.Digest == n.Digest() {
			return img.Digest
		}
	}
	return ""
}

func pinned(n ref.Name, d digest.Digest) string {
	if n.Tag() == "" {
		return n.WithDigest(d)
	}
	return n.Repository() + ":" + n.Tag() + "@" + d.String()
}

var listItem = regexp.MustCompile(`\[\d+\]`)

// imagePath is the --image-path that reaches a finding; "" where none does,
// since the image is only a part of what stands there.
func imagePath(l manifest.Finding) string {
	known := []string{"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "ConfigMap", "Secret"}
	if l.Whole && l.Object.Kind != "" && !slices.Contains(known, l.Object.Kind) {
		return l.Object.Kind + ":" + listItem.ReplaceAllString(l.Path, "[*]")
	}
	return ""
}
