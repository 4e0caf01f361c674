package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// catalog finds repositories by the names that clients give them.
type catalog struct {
	full map[string]*repository
	// paths are full names by their part behind the registry.
	paths map[string][]string
	names []string // full names, sorted
}

// repository is a Repository with what is made of it.
type repository struct {
	Repository
	tags []string // sorted
	// made are the lists of referrers as manifests, by digest; fallback names
	// them by the tag at which clients look that know no referrers API.
	made     map[digest.Digest][]byte
	fallback map[string]digest.Digest
}

func newCatalog(repos []Repository) catalog {
	c := catalog{full: map[string]*repository{}, paths: map[string][]string{}}
	for _, r := range repos {
		c.full[r.Name] = newRepository(r)
	}
	c.names = slices.Sorted(maps.Keys(c.full))
	for _, name := range c.names {
		_, path, _ := strings.Cut(name, "/")
		c.paths[path] = append(c.paths[path], name)
	}
	return c
}

func newRepository(r Repository) *repository {
	x := &repository{
		Repository: r, tags: slices.Sorted(maps.Keys(r.Tags)),
		made: map[digest.Digest][]byte{}, fallback: map[string]digest.Digest{},
	}
	for subject := range r.Referrers {
		b := x.referrers(subject, "")
		d := digest.FromBytes(b)
		x.made[d] = b
		x.fallback[fallbackTag(subject)] = d
	}
	return x
}

// fallbackTag is the distribution specification's referrers tag.
func fallbackTag(d digest.Digest) string {
	hex := d.Encoded()
	return d.Algorithm().String() + "-" + hex[:min(64, len(hex))]
}

// resolve returns the digest that a tag names.
func (r *repository) resolve(tag string) (digest.Digest, bool) {
	d, ok := r.Tags[tag]
	if !ok {
		d, ok = r.fallback[tag]
	}
	return d, ok
}

// referrers is the list of what speaks about subject, as an index; of one
// artifact type, unless that is "".
func (r *repository) referrers(subject digest.Digest, artifactType string) []byte {
	all := []ocispec.Descriptor{}
	for _, d := range r.Referrers[subject] {
		if artifactType == "" || d.ArtifactType == artifactType {
			all = append(all, d)
		}
	}
	b := encodeIndex(all)
	if len(b) <= content.MaxManifest {
		return b
	}
	// The list has to be one that clients read; annotations are in the
	// manifests too.
	for i := range all {
		all[i].Annotations = nil
	}
	return encodeIndex(all)
}

func encodeIndex(manifests []ocispec.Descriptor) []byte {
	return encode(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests,
	})
}

// encode writes values of this package's own types: that cannot fail.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("serve: encode an answer: %v", err))
	}
	return b.Bytes()
}

var (
	// validName is the distribution specification's name, behind a registry
	// that may have a port.
	validName = regexp.MustCompile(`^([a-zA-Z0-9.-]+(:[0-9]+)?/|\[[0-9a-fA-F:]+\](:[0-9]+)?/)?[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	validHost = regexp.MustCompile(`^([a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]+)?$`)
)

const maxName = 512

// find returns the repository that a client means by name. ns is the registry
// that the client was told to ask, where it sends it: containerd does.
func (c catalog) find(name, ns string) (*repository, *problem) {
	if len(name) > maxName || !validName.MatchString(name) {
		return nil, badRequest(nameInvalid, fmt.Sprintf("%s is no name of a repository", cut(name)))
	}
	if ns != "" {
		return c.within(name, ns)
	}
	if r := c.full[name]; r != nil {
		return r, nil
	}
	switch choices := c.paths[name]; len(choices) {
	case 0:
		return nil, notFound(nameUnknown, fmt.Sprintf("the bundle has no repository %s; nothing else is asked for it", name))
	case 1:
		return c.full[choices[0]], nil
	default:
		return nil, notFound(nameUnknown, fmt.Sprintf("%s is in several registries: ask for %s", name, strings.Join(choices, " or ")))
	}
}

func (c catalog) within(name, ns string) (*repository, *problem) {
	if len(ns) > maxName || !validHost.MatchString(ns) {
		return nil, badRequest(nameInvalid, fmt.Sprintf("ns=%s is no registry", cut(ns)))
	}
	if ns == "index.docker.io" || ns == "registry-1.docker.io" {
		ns = "docker.io"
	}
	if r := c.full[ns+"/"+name]; r != nil {
		return r, nil
	}
	if ns == "docker.io" && c.full["docker.io/library/"+name] != nil {
		return c.full["docker.io/library/"+name], nil
	}
	// A mirror whose address ends in the registry says it twice.
	if strings.HasPrefix(name, ns+"/") && c.full[name] != nil {
		return c.full[name], nil
	}
	return nil, notFound(nameUnknown, fmt.Sprintf("the bundle has no repository %s/%s; nothing else is asked for it", ns, name))
}

// cut bounds what an answer repeats of a request.
func cut(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%q…", s[:100])
	}
	return fmt.Sprintf("%q", s)
}
