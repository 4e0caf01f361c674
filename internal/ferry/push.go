package ferry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/lock"
	"ferry/internal/progress"
	"ferry/internal/ref"
)

// PushRequest says which bundle goes into which registry.
type PushRequest struct {
	// File is the bundle.
	File string
	// To is REGISTRY[/PREFIX].
	To string
	// Flatten makes one level of each image's path.
	Flatten bool
	// Jobs is how many blobs move at once; 0 means 4.
	Jobs int
	// DryRun looks and plans, and sends nothing.
	DryRun bool
}

// PushResult says what is in the registry now, or would be.
type PushResult struct {
	File   string        `json:"file"`
	Digest digest.Digest `json:"digest"`
	To     string        `json:"to"`
	Images []PushImage   `json:"images"`
	// Planned is what the images weigh that are not there yet: at most so
	// much has to move.
	Planned int64 `json:"plannedBytes"`
	// Sent went over the network; Mounted was taken by the registry from
	// other repositories of its own; Present was there.
	Sent    int64 `json:"sentBytes"`
	Mounted int64 `json:"mountedBytes"`
	Present int64 `json:"presentBytes"`
	// Gate is what the policy gate said when it was packed.
	Gate   string `json:"gate"`
	DryRun bool   `json:"dryRun,omitempty"`
	// ByHand are commands that do about the same without ferry.
	ByHand [][]string `json:"byHand,omitempty"`
}

// The states of an image.
const (
	PushThere   = "there"   // the registry had it already
	PushPlanned = "planned" // a dry run found that it is missing
	PushDone    = "pushed"
	PushFailed  = "failed"
)

// PushImage is an image with its name inside.
type PushImage struct {
	Name   string        `json:"name"`
	Inside string        `json:"inside"`
	Digest digest.Digest `json:"digest"`
	State  string        `json:"state"`
	// Replaces is the digest that the tag inside had before.
	Replaces digest.Digest `json:"replaces,omitempty"`
	// EvidenceOnly says that the image was there, and its evidence not.
	EvidenceOnly bool   `json:"evidenceOnly,omitempty"`
	Err          error  `json:"-"`
	Error        string `json:"error,omitempty"`
}

func (i *PushImage) fail(err error) {
	i.State, i.Err, i.Error = PushFailed, err, err.Error()
}

// Failed counts the images that could not be pushed.
func (r *PushResult) Failed() int {
	n := 0
	for _, i := range r.Images {
		if i.State == PushFailed {
			n++
		}
	}
	return n
}

// PushError says that not one image could be pushed, and why each.
type PushError struct{ Images []PushImage }

func (e *PushError) Error() string {
	var s strings.Builder
	for _, i := range e.Images {
		fmt.Fprintf(&s, "push %s → %s: %v\n", i.Name, i.Inside, i.Err)
	}
	return strings.TrimSuffix(s.String(), "\n")
}

// Unwrap returns all causes.
func (e *PushError) Unwrap() []error {
	errs := make([]error, len(e.Images))
	for i, f := range e.Images {
		errs[i] = f.Err
	}
	return errs
}

// TagError says that a tag inside could not be given.
type TagError struct {
	Inside string
	// Stands is what is under the tag; "" for nothing.
	Stands digest.Digest
	Want   digest.Digest
	Err    error // nil where the registry said that it went well
}

func (e *TagError) Error() string {
	stands := "nothing"
	if e.Stands != "" {
		stands = e.Stands.String()
	}
	if e.Err == nil {
		return fmt.Sprintf("the registry accepted %s, but under %s stands %s", e.Want, e.Inside, stands)
	}
	return fmt.Sprintf("%s stays %s: %v", e.Inside, stands, e.Err)
}

func (e *TagError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *TagError) Hint() string {
	if e.Err == nil {
		return "Something between here and the registry answers in its place, or changes what is pushed: ask who runs it."
	}
	if e.Stands != "" {
		return "The registry does not let a tag change that is there: give the image another tag, or have the old one deleted."
	}
	var h interface{ Hint() string }
	if errors.As(e.Err, &h) {
		return h.Hint()
	}
	return ""
}

// Push puts the images of a bundle into a registry, from where they lie.
func Push(ctx context.Context, w World, req PushRequest) (*PushResult, error) {
	m, err := target(req)
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(req.File)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	p := &pushing{world: w, req: req, bundle: b, mapping: m}
	if err := p.gather(ctx); err != nil {
		return nil, err
	}
	p.describe()
	if !req.DryRun {
		if err := p.apply(ctx); err != nil {
			return nil, err
		}
	}
	return p.settle()
}

func target(req PushRequest) (ref.Mapping, error) {
	if req.To == "" {
		return ref.Mapping{}, usage("say where the images go: --to registry.bank.internal/mirror")
	}
	m, err := ref.ParseTarget(req.To)
	if err != nil {
		return m, usage("%v", err)
	}
	m.Flatten = req.Flatten
	return m, nil
}

// pushing is one run of Push.
type pushing struct {
	world   World
	req     PushRequest
	bundle  *bundle.Bundle
	mapping ref.Mapping
	images  []*pushImage
	result  PushResult
}

// pushImage is an image on its way.
type pushImage struct {
	PushImage
	lock      lock.Image
	reference string // the tag inside, or the digest where there is none
	path      string // of the repository inside
	target    Target
	order     pushOrder
	// evidence is what of its referrers came into being after it was pulled.
	evidence []ocispec.Descriptor
}

// lookups is how many names are looked up at once: they are small, and it is
// the way to the registry and back that takes time.
const lookups = 16

// gather names the images inside and looks which are there.
func (p *pushing) gather(ctx context.Context) error {
	if err := p.nameAll(); err != nil {
		return err
	}
	p.world.Progress.Emit(progress.Phase{Name: "looking", Items: len(p.images), Unit: "images"})
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(p.jobs(), lookups))
	for _, i := range p.images {
		g.Go(func() error {
			i.look(ctx)
			i.lookForEvidence(ctx, p.bundle.Contents())
			p.world.Progress.Emit(progress.Advance{Items: 1})
			return ctx.Err()
		})
	}
	return g.Wait()
}

func (p *pushing) jobs() int {
	if p.req.Jobs > 0 {
		return p.req.Jobs
	}
	return 4
}

// nameAll is the pure part: what each image is called inside, and what has to
// go there in which order.
func (p *pushing) nameAll() error {
	var names []ref.Name
	for _, img := range p.bundle.Lock().Images {
		n, err := ref.Parse(img.Name)
		if err != nil {
			return err
		}
		names = append(names, n)
	}
	if err := p.mapping.Collision(names); err != nil {
		return err
	}
	for k, img := range p.bundle.Images() {
		i, err := p.nameOne(names[k], img)
		if err != nil {
			return err
		}
		p.images = append(p.images, i)
	}
	return nil
}

func (p *pushing) nameOne(n ref.Name, img lock.Image) (*pushImage, error) {
	inside, err := p.mapping.Map(n)
	if err != nil {
		return nil, err
	}
	i := &pushImage{
		PushImage: PushImage{Name: img.Name, Inside: inside.String(), Digest: img.Digest},
		lock:      img, reference: inside.Tag(), path: inside.Path(),
		order: orderOf(p.bundle.Contents(), img), evidence: evidenceOf(p.bundle, img),
	}
	if i.reference == "" {
		// Of some platforms only, the digest in the name is upstream's.
		i.reference, i.Inside = img.Digest.String(), inside.WithDigest(img.Digest)
	}
	i.target, err = p.world.Target(inside)
	return i, err
}

// look asks whether the image is there: once, or for its digest too where the
// registry cannot read what it has written down of the tag.
func (i *pushImage) look(ctx context.Context) {
	there, err := i.target.Lookup(ctx, i.reference)
	if cannotTell(err) {
		if _, answer := i.target.Lookup(ctx, i.Digest.String()); !cannotTell(answer) {
			err = content.ErrNotFound
		}
	}
	switch {
	case err == nil && there.Digest == i.Digest:
		i.State = PushThere
	case err == nil:
		i.State, i.Replaces = PushPlanned, there.Digest
	case errors.Is(err, content.ErrNotFound):
		i.State = PushPlanned
	default:
		i.fail(err)
	}
}

// cannotTell says whether a registry failed at saying what it holds: it has half
// a record of it, from when its disk was full, until it is sent again.
func cannotTell(err error) bool {
	var answered interface{ StatusCode() int }
	return errors.As(err, &answered) && answered.StatusCode() == 500
}

// lookForEvidence asks for the evidence of an image that is there. Where some
// is missing, that alone is pushed.
func (i *pushImage) lookForEvidence(ctx context.Context, c *bundle.Contents) {
	for _, d := range i.evidence {
		if i.State != PushThere {
			return
		}
		_, err := i.target.Lookup(ctx, d.Digest.String())
		switch {
		case err == nil:
		case errors.Is(err, content.ErrNotFound), cannotTell(err):
			i.State, i.EvidenceOnly = PushPlanned, true
			i.order = orderOfEvidence(c, i.lock, i.evidence)
		default:
			i.fail(err)
		}
	}
}

// describe says what there is to do.
func (p *pushing) describe() {
	r := &p.result
	r.File, r.Digest, r.To, r.DryRun = p.req.File, p.bundle.Digest(), p.mapping.String(), p.req.DryRun
	r.Gate = p.bundle.Seal().Gate
	seen := map[digest.Digest]bool{}
	for _, i := range p.images {
		if i.State != PushPlanned {
			continue
		}
		for _, d := range i.order.all() {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				r.Planned += d.Size
			}
		}
		if !i.EvidenceOnly {
			if len(r.ByHand) == 0 {
				r.ByHand = p.world.Given.trust()
			}
			r.ByHand = append(r.ByHand, p.world.Given.typed(i.byHand(p.req.File)...))
		}
	}
}

// byHand is what a person would type for the same end.
func (i *pushImage) byHand(file string) []string {
	cmd := []string{"skopeo", "copy"}
	if content.IsIndex(i.lock.MediaType) {
		cmd = append(cmd, "--all")
	}
	return append(cmd, "oci-archive:"+file+":"+i.Name, "docker://"+i.Inside)
}

func (p *pushing) settle() (*PushResult, error) {
	for _, i := range p.images {
		p.result.Images = append(p.result.Images, i.PushImage)
	}
	if n := p.result.Failed(); n > 0 && n == len(p.images) {
		return nil, &PushError{Images: p.result.Images}
	}
	return &p.result, nil
}
