package ferry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
	"ferry/internal/diagnose"
	"ferry/internal/ref"
)

// The limits of what doctor asks of registries.
const (
	probeMost     = 12               // images in all
	probeEach     = 2                // images of one finding
	probeAtOnce   = 6                // at the same time
	probeTime     = 15 * time.Second // one image
	probeTags     = 10000            // tags that are looked through for a near miss
	probePlatform = 16               // platforms that are named
)

// A probe is one image, asked for as one pod would ask.
type probe struct {
	image ref.Name
	login *diagnose.Login

	way  Way
	desc ocispec.Descriptor
	// took is how long the registry took to say what the image is, or no.
	took      time.Duration
	err       error
	platforms []string
	// Where the image is not there: the repository's tags, or why they could
	// not be had.
	tags    []string
	tagsErr error
}

// doctoring is one run of Doctor, after the facts are there.
type doctoring struct {
	facts  *diagnose.Facts
	probes []*probe
	// of says which probes belong to a finding.
	of map[int][]*probe
}

// plan decides what is asked: the images of the most harmful findings first.
func (d *doctoring) plan(findings []diagnose.Finding) {
	d.of = map[int][]*probe{}
	for i, f := range findings {
		if !asksRegistry(f.Cause.Cause) {
			continue
		}
		for _, pod := range f.Pods {
			if len(d.of[i]) >= probeEach {
				break
			}
			if p := d.probeFor(f, pod); p != nil && !slices.Contains(d.of[i], p) {
				d.of[i] = append(d.of[i], p)
			}
		}
	}
}

// asksRegistry says whether a registry can know more about a cause.
func asksRegistry(l diagnose.Label) bool {
	return !slices.Contains([]diagnose.Label{
		diagnose.InvalidName, diagnose.RuntimeDown, diagnose.DiskFull, diagnose.ShortNameAmbiguous,
		diagnose.UnpackPermission, diagnose.PullQPSExceeded, diagnose.SignaturePolicy,
	}, l)
}

// probeFor returns the probe for a pod of a finding: one that is planned
// already, or a new one; nil where there is nothing to ask or enough is.
func (d *doctoring) probeFor(f diagnose.Finding, pod diagnose.HitPod) *probe {
	image := cmp.Or(pod.Image, f.Image)
	if f.Cause.Cause == diagnose.SandboxImage {
		image = f.Image
	}
	n, err := ref.Parse(image)
	if err != nil || meansNode(n) {
		return nil
	}
	p := &probe{image: n}
	if login, ok := d.facts.LoginFor(pod.Namespace, d.secretsOf(pod), n); ok {
		p.login = &login
	}
	for _, other := range d.probes {
		if other.image == p.image && sameLogin(other.login, p.login) {
			return other
		}
	}
	if len(d.probes) >= probeMost {
		return nil
	}
	d.probes = append(d.probes, p)
	return p
}

func (d *doctoring) secretsOf(pod diagnose.HitPod) []string {
	for _, p := range d.facts.Pods {
		if p.Object() == pod.Object {
			return p.Secrets
		}
	}
	return nil
}

func sameLogin(a, b *diagnose.Login) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// meansNode says whether a registry's host means the node itself, so that the
// same host here is another one, which is nobody's to ask.
func meansNode(n ref.Name) bool {
	host := n.Registry()
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// run asks, several at once, each within its time.
func (d *doctoring) run(ctx context.Context, prober Prober) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(probeAtOnce)
	for _, p := range d.probes {
		g.Go(func() error {
			within, cancel := context.WithTimeout(ctx, probeTime)
			defer cancel()
			p.run(within, prober)
			return ctx.Err()
		})
	}
	return g.Wait()
}

func (p *probe) run(ctx context.Context, prober Prober) {
	if p.way = prober.Way(ctx, p.image); !p.way.Open() {
		return
	}
	repo, err := prober.Open(p.image, p.login)
	if err != nil {
		p.err = err
		return
	}
	start := time.Now()
	var b []byte
	p.desc, b, p.err = repo.Fetch(ctx, reference(p.image))
	p.took = time.Since(start)
	switch {
	case p.err == nil:
		p.platforms = platformsOf(ctx, repo, p.desc, b)
	case errors.Is(p.err, content.ErrNotFound) && p.image.Tag() != "":
		p.tags, p.tagsErr = repo.Tags(ctx, probeTags)
	}
}

// reference is what is asked for: the digest, where there is one.
func reference(n ref.Name) string {
	return cmp.Or(n.Digest().String(), n.Tag())
}

// platformsOf names the platforms that an image is for, where it says so.
func platformsOf(ctx context.Context, src content.Source, desc ocispec.Descriptor, b []byte) []string {
	var platforms []string
	add := func(p *ocispec.Platform) {
		s := content.FormatPlatform(p)
		if s != "" && !strings.HasPrefix(s, "unknown/") && !slices.Contains(platforms, s) && len(platforms) < probePlatform {
			platforms = append(platforms, s)
		}
	}
	if content.IsIndex(desc.MediaType) {
		var index ocispec.Index
		if json.Unmarshal(b, &index) == nil {
			for _, m := range index.Manifests {
				add(m.Platform)
			}
		}
		return platforms
	}
	var manifest ocispec.Manifest
	if json.Unmarshal(b, &manifest) != nil || manifest.Config.Digest == "" {
		return nil
	}
	config, err := content.ReadAll(ctx, src, manifest.Config, content.MaxConfig)
	var image ocispec.Image
	if err == nil && json.Unmarshal(config, &image) == nil {
		add(&image.Platform)
	}
	return platforms
}
