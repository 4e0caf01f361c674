package ferry

import (
	"context"
	"io"

	"ferry/internal/manifest"
	"ferry/internal/ref"
)

// RewriteRequest says which manifests are made fit for inside.
type RewriteRequest struct {
	// Paths are files and folders; - is Stdin.
	Paths []string
	Stdin io.Reader
	// Registry is REGISTRY[/PREFIX], as for push.
	Registry string
	Flatten  bool
	// Bundle or Lock, if one is given, tells the digests that images are
	// pinned to.
	Bundle string
	Lock   string
	// PullPolicy is set on all containers; "" means IfNotPresent, KeepPolicy
	// leaves policies alone.
	PullPolicy string
	// ImagePaths lead to images in objects that are not Kubernetes' own.
	ImagePaths []string
	// To is a folder to write to, InPlace changes the files themselves; else
	// nothing is written, and the caller prints the manifests.
	To      string
	InPlace bool
	// DryRun writes nothing.
	DryRun bool
}

// KeepPolicy leaves pull policies as they are.
const KeepPolicy = "keep"

// RewriteResult says what became of the manifests.
type RewriteResult struct {
	Registry string `json:"registry"`
	// Lock is where digests came from.
	Lock    string         `json:"lock,omitempty"`
	Files   []RewriteFile  `json:"files"`
	Objects int            `json:"objects"`
	Images  []RewriteImage `json:"images"`
	// Left is what was not understood.
	Left   []RewriteLeft `json:"left,omitempty"`
	DryRun bool          `json:"dryRun,omitempty"`
	// ToFiles says that the manifests go to files, those that changed, and not
	// to whoever asked.
	ToFiles bool `json:"-"`
}

// RewriteFile is a file of manifests.
type RewriteFile struct {
	File string `json:"file"`
	// Written is where the new text stands.
	Written string `json:"written,omitempty"`
	Changed bool   `json:"changed"`
	// Manifest says that it holds objects.
	Manifest bool   `json:"manifest"`
	Diff     string `json:"diff,omitempty"`
	// Text is the new text, where it is not written to a file.
	Text string `json:"text,omitempty"`

	rel string // its path below the folder that was named
}

// RewriteImage is a place where an image is named.
type RewriteImage struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Object string `json:"object"`
	Path   string `json:"path"`
	In     string `json:"in"`
	Name   string `json:"name"`
	// Inside is the name after it.
	Inside string `json:"inside,omitempty"`
	State  string `json:"state"`
	// Policy is the pull policy after it, Before what it was; PolicySet says
	// that it changes.
	Policy    string `json:"pullPolicy,omitempty"`
	Before    string `json:"pullPolicyBefore,omitempty"`
	PolicySet bool   `json:"pullPolicySet,omitempty"`
	Why       string `json:"why,omitempty"`
}

// What becomes of an image's name.
const (
	Renamed  = "renamed"  // to its name inside, and pinned where there is a lock
	Unlocked = "unlocked" // renamed, but the lock does not have it
	Inside   = "inside"   // it was as it should be
	Left     = "left"     // it was not understood
)

// RewriteLeft is something that was left as it is.
type RewriteLeft struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Object string `json:"object,omitempty"`
	Path   string `json:"path,omitempty"`
	Text   string `json:"text,omitempty"`
	Why    string `json:"why"`
	// Inside is what the text would be called there.
	Inside string `json:"inside,omitempty"`
	// ImagePath is the --image-path that would reach it.
	ImagePath string `json:"imagePath,omitempty"`
	// Missing says that an image belongs there, so that the answer is not
	// complete.
	Missing bool `json:"missing,omitempty"`
}

// Incomplete counts the images that are not as they should be.
func (r *RewriteResult) Incomplete() int {
	n := 0
	for _, i := range r.Images {
		if i.State == Unlocked {
			n++
		}
	}
	for _, l := range r.Left {
		if l.Missing {
			n++
		}
	}
	return n
}

// Rewrite makes manifests fit for inside: names as push gives them, digests
// from a lock, pull policies. All other bytes stay.
func Rewrite(ctx context.Context, req RewriteRequest) (*RewriteResult, error) {
	r, err := newRewriting(req)
	if err != nil {
		return nil, err
	}
	if err := r.read(ctx); err != nil {
		return nil, err
	}
	if err := r.decide(); err != nil {
		return nil, err
	}
	if err := r.write(ctx); err != nil {
		return nil, err
	}
	return &r.result, nil
}

// rewriting is one run of Rewrite.
type rewriting struct {
	req    RewriteRequest
	inner  *insider
	opts   manifest.Options
	files  []*manifestFile
	result RewriteResult
}

func newRewriting(req RewriteRequest) (*rewriting, error) {
	switch {
	case len(req.Paths) == 0:
		return nil, usage("say which manifests: -f FILE, -f FOLDER, or -f - for what comes in")
	case req.Registry == "":
		return nil, usage("say where the images are inside: --registry registry.bank.internal/mirror")
	case req.To != "" && req.InPlace:
		return nil, usage("--to writes to a folder and --in-place to the files themselves: choose one")
	}
	r := &rewriting{req: req}
	for _, s := range req.ImagePaths {
		p, err := manifest.ParsePath(s)
		if err != nil {
			return nil, usage("--image-path %v", err)
		}
		r.opts.Paths = append(r.opts.Paths, p)
	}
	inner, err := newInsider(req)
	if err != nil {
		return nil, err
	}
	r.inner = inner
	r.result = RewriteResult{Registry: inner.mapping.String(), Lock: inner.from, DryRun: req.DryRun, ToFiles: req.InPlace || req.To != "", Images: []RewriteImage{}}
	return r, nil
}

// decide finds out what every file becomes. It is pure.
func (r *rewriting) decide() error {
	if err := r.collision(); err != nil {
		return err
	}
	var failed FilesError
	for _, f := range r.files {
		if err := r.decideFile(f); err != nil {
			failed.Errs = append(failed.Errs, err)
		}
	}
	if len(failed.Errs) > 0 {
		return &failed
	}
	return nil
}

// collision refuses two repositories that get one name inside, as push does.
func (r *rewriting) collision() error {
	var names []ref.Name
	for _, f := range r.files {
		if f.parsed == nil {
			continue
		}
		for _, img := range f.parsed.Images {
			if n, err := ref.Parse(img.Name); err == nil && !r.inner.has(n) {
				names = append(names, n)
			}
		}
	}
	return r.inner.mapping.Collision(names)
}

func (r *rewriting) decideFile(f *manifestFile) error {
	if f.parsed == nil {
		return nil
	}
	r.result.Objects += len(f.parsed.Objects)
	first := len(r.result.Images)
	out, err := f.parsed.Rewrite(func(img manifest.Image) manifest.Change {
		c, did := r.inner.change(img)
		did.File = f.name
		r.result.Images = append(r.result.Images, did)
		return c
	})
	if err != nil {
		return err
	}
	f.text, f.edits = out.Text, out.Edits
	for _, l := range out.Left {
		r.leave(f, l)
		r.undone(r.result.Images[first:], l)
	}
	for _, img := range r.result.Images[first:] {
		if img.State == Left && img.Why != "" {
			r.result.Left = append(r.result.Left, RewriteLeft{
				File: f.name, Line: img.Line, Object: img.Object, Path: img.Path, Text: img.Name, Why: img.Why, Missing: true,
			})
		}
	}
	for _, l := range f.parsed.Elsewhere {
		r.leave(f, l)
	}
	return nil
}

// undone takes back what was said of an image that could not be changed.
func (r *rewriting) undone(images []RewriteImage, l manifest.Finding) {
	for i := range images {
		if images[i].Line == l.Line && images[i].Path == l.Path {
			images[i].State, images[i].Inside, images[i].Policy = Left, "", images[i].Before
			images[i].PolicySet = false
		}
	}
}

// leave tells of something that was left alone.
func (r *rewriting) leave(f *manifestFile, l manifest.Finding) {
	left := RewriteLeft{
		File: f.name, Line: l.Line, Path: l.Path, Text: l.Text, Why: l.Why, Missing: l.Image,
	}
	if l.Object.Kind != "" {
		left.Object = l.Object.String()
	}
	if n, err := ref.Parse(l.Text); err == nil {
		if r.inner.has(n) {
			return
		}
		left.Inside, _ = r.inner.name(n)
		left.ImagePath = imagePath(l)
	}
	r.result.Left = append(r.result.Left, left)
}
