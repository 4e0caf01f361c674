package ferry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// derivedFrom marks an index that ferry made of an upstream index by leaving
// platforms out.
const derivedFrom = "dev.ferry.derived-from"

// PlatformError says that an image does not come for a platform.
type PlatformError struct {
	Want []string
	Have []string
}

func (e *PlatformError) Error() string {
	have := "says nothing of its platform"
	if len(e.Have) > 0 {
		have = "has " + strings.Join(e.Have, ", ")
	}
	return fmt.Sprintf("no image for %s: it %s", strings.Join(e.Want, ", "), have)
}

// choose returns what will stand under the name: top itself, one platform's
// manifest of it, or an index derived from it.
func (l *looking) choose(ctx context.Context, top ocispec.Descriptor) (ocispec.Descriptor, error) {
	if len(l.platforms) == 0 {
		return top, nil
	}
	want, err := parsePlatforms(l.platforms)
	if err != nil {
		return top, err
	}
	n, err := l.node(ctx, top)
	if err != nil {
		return top, err
	}
	if n.Config != nil {
		return top, l.onlyPlatform(ctx, n, want)
	}
	children, err := l.withPlatforms(ctx, n.Manifests)
	if err != nil {
		return top, err
	}
	keep, missing := match(children, want)
	if len(missing) > 0 {
		have, err := l.platformsOf(ctx, top)
		if err != nil {
			return top, err
		}
		return top, &PlatformError{Want: missing, Have: have}
	}
	if len(want) == 1 {
		return bare(n.Manifests[keep[0]]), nil
	}
	return l.derive(top, n, keep)
}

// withPlatforms returns children with the platforms that their configs name,
// where the index says none.
func (l *looking) withPlatforms(ctx context.Context, children []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	children = slices.Clone(children)
	for i, m := range children {
		if m.Platform != nil || !content.IsManifest(m.MediaType) {
			continue
		}
		n, err := l.node(ctx, m)
		if err != nil {
			return nil, err
		}
		if children[i].Platform, err = l.configPlatform(ctx, *n.Config); err != nil {
			return nil, err
		}
	}
	return children, nil
}

// onePlatformForm writes platforms in the one form that a lock has: the same
// choice is the same lock, however it was typed.
func onePlatformForm(list []string) ([]string, error) {
	all, err := parsePlatforms(list)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for _, p := range all {
		set[content.FormatPlatform(&p)] = true
	}
	return sortedKeys(set), nil
}

func parsePlatforms(list []string) ([]ocispec.Platform, error) {
	var all []ocispec.Platform
	for _, s := range list {
		p, err := content.ParsePlatform(s)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// onlyPlatform checks an image that comes for one platform alone. It serves
// only if that is the one that was asked for.
func (l *looking) onlyPlatform(ctx context.Context, n *content.Node, want []ocispec.Platform) error {
	p, err := l.configPlatform(ctx, *n.Config)
	if err != nil || p == nil {
		return err // an artifact has no platform to be wrong
	}
	for _, w := range want {
		if content.Matches(w, p) {
			return nil
		}
	}
	e := &PlatformError{Have: []string{content.FormatPlatform(p)}}
	for _, w := range want {
		e.Want = append(e.Want, content.FormatPlatform(&w))
	}
	return e
}

// match returns the children to keep, in their order: one for each platform,
// and the attestations about those. missing are platforms that none is for.
func match(children []ocispec.Descriptor, want []ocispec.Platform) (keep []int, missing []string) {
	chosen := map[int]bool{}
	kept := map[string]bool{}
	for _, w := range want {
		i := best(children, w)
		if i < 0 {
			missing = append(missing, content.FormatPlatform(&w))
			continue
		}
		chosen[i], kept[children[i].Digest.String()] = true, true
	}
	for i, m := range children {
		if chosen[i] || (len(want) > 1 && kept[m.Annotations["vnd.docker.reference.digest"]]) {
			keep = append(keep, i)
		}
	}
	return keep, missing
}

// best is the child that serves w; -1 if none does. The one that is just w
// goes before a variant of it, which may want a newer processor.
func best(children []ocispec.Descriptor, w ocispec.Platform) int {
	first := -1
	for i, m := range children {
		if !content.Matches(w, m.Platform) {
			continue
		}
		if content.FormatPlatform(m.Platform) == content.FormatPlatform(&w) {
			return i
		}
		if first < 0 {
			first = i
		}
	}
	return first
}

// derive makes the index that holds only the kept children. Their descriptors
// stay as upstream wrote them.
func (l *looking) derive(top ocispec.Descriptor, n *content.Node, keep []int) (ocispec.Descriptor, error) {
	if len(keep) == len(n.Manifests) {
		return top, nil // nothing is left out: upstream's own index serves
	}
	var upstream struct {
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(l.memory[top.Digest], &upstream); err != nil {
		return top, err
	}
	derived := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Manifests     []json.RawMessage `json:"manifests"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{SchemaVersion: 2, MediaType: ocispec.MediaTypeImageIndex, Annotations: map[string]string{derivedFrom: top.Digest.String()}}
	for _, i := range keep {
		var compact bytes.Buffer
		if err := json.Compact(&compact, upstream.Manifests[i]); err != nil {
			return top, err
		}
		derived.Manifests = append(derived.Manifests, compact.Bytes())
	}
	b, err := json.Marshal(derived)
	if err != nil {
		return top, err
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(b), Size: int64(len(b))}
	l.keep(desc, b)
	return desc, nil
}

// bare is d without what its parent says about it.
func bare(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}
