package evidence

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/policy"
)

// About is what a bundle's evidence says about one image on one platform.
type About struct {
	Report Report
	// SBOMs are the documents that the report names, by media type.
	SBOMs map[string]ocispec.Descriptor
	// Policy is the text that it was judged by, VEX the OpenVEX documents that
	// the policy names, in its order.
	Policy []byte
	VEX    [][]byte
}

// Wanted is an image on one platform that there has to be evidence about.
type Wanted struct {
	Image    string
	Digest   digest.Digest
	Platform string
}

// MissingError says that there is no evidence about an image, or none that
// can be used.
type MissingError struct {
	Image, Platform string
	Err             error
}

func (e *MissingError) Error() string {
	s := e.Image
	if e.Platform != "" {
		s += " (" + e.Platform + ")"
	}
	return s + ": " + e.Err.Error()
}

func (e *MissingError) Unwrap() error { return e.Err }

// ErrNone says that nothing speaks about an image.
var ErrNone = errors.New("there is no scan report about it in the bundle")

// Read reads what artifacts say about the images that are wanted. nodes are
// the artifacts' manifests, src has their bytes, checked by whoever opened it.
// Every image has an answer: evidence, or why there is none.
func Read(ctx context.Context, src content.Source, nodes []*content.Node, wanted []Wanted) ([]About, []error) {
	r := reading{ctx: ctx, src: src, sboms: map[digest.Digest]map[digest.Digest]ocispec.Descriptor{}, reports: map[digest.Digest][]*content.Node{}}
	for _, n := range nodes {
		r.sort(n)
	}
	abouts, errs := make([]About, len(wanted)), make([]error, len(wanted))
	for i, w := range wanted {
		var err error
		if abouts[i], err = r.about(w); err != nil {
			errs[i] = &MissingError{Image: w.Image, Platform: w.Platform, Err: err}
		}
	}
	return abouts, errs
}

type reading struct {
	ctx context.Context
	src content.Source
	// sboms and reports are by their subject.
	sboms   map[digest.Digest]map[digest.Digest]ocispec.Descriptor
	reports map[digest.Digest][]*content.Node
}

func (r *reading) sort(n *content.Node) {
	switch {
	case n.Subject == nil:
	case n.ArtifactType == ReportMediaType:
		r.reports[n.Subject.Digest] = append(r.reports[n.Subject.Digest], n)
	default:
		of := r.sboms[n.Subject.Digest]
		if of == nil {
			of = map[digest.Digest]ocispec.Descriptor{}
			r.sboms[n.Subject.Digest] = of
		}
		for _, l := range n.Layers {
			of[l.Digest] = l
		}
	}
}

// about finds the report of an image by its name; several names may stand for
// one manifest.
func (r *reading) about(w Wanted) (About, error) {
	found := false
	var about About
	for _, n := range r.reports[w.Digest] {
		a, err := r.read(n)
		if err != nil {
			return About{}, err
		}
		if a.Report.Digest != w.Digest {
			return About{}, fmt.Errorf("its scan report is about another image, %s", a.Report.Digest)
		}
		if a.Report.Image != w.Image {
			continue
		}
		if found {
			return About{}, fmt.Errorf("there are several scan reports about it")
		}
		found, about = true, a
	}
	if !found {
		return About{}, ErrNone
	}
	if about.Report.Platform != w.Platform {
		return About{}, fmt.Errorf("its scan report is about another platform, %s", about.Report.Platform)
	}
	return about, r.findSBOMs(&about)
}

func (r *reading) read(n *content.Node) (About, error) {
	var a About
	seen := map[string]bool{}
	for _, l := range n.Layers {
		if seen[l.MediaType] && l.MediaType != policy.VEXMediaType {
			return a, fmt.Errorf("its scan report is there twice, or what belongs to it: %s", l.MediaType)
		}
		seen[l.MediaType] = true
		switch l.MediaType {
		case ReportMediaType:
			b, err := content.ReadAll(r.ctx, r.src, l, MaxReport)
			if err != nil {
				return a, err
			}
			if a.Report, err = DecodeReport(b); err != nil {
				return a, err
			}
		case policy.MediaType:
			b, err := content.ReadAll(r.ctx, r.src, l, policy.MaxSize)
			if err != nil {
				return a, err
			}
			a.Policy = b
		case policy.VEXMediaType:
			b, err := content.ReadAll(r.ctx, r.src, l, policy.MaxVEX)
			if err != nil {
				return a, err
			}
			a.VEX = append(a.VEX, b)
		}
	}
	if a.Report.Version == 0 {
		return a, fmt.Errorf("its scan report is empty")
	}
	if digest.FromBytes(a.Policy) != a.Report.Policy {
		return a, fmt.Errorf("its scan report does not carry the policy that it names")
	}
	return a, nil
}

// findSBOMs wants the documents that the report names, about the same image.
func (r *reading) findSBOMs(a *About) error {
	a.SBOMs = map[string]ocispec.Descriptor{}
	for mediaType, d := range a.Report.SBOMs {
		desc, ok := r.sboms[a.Report.Digest][d]
		if !ok || desc.MediaType != mediaType {
			return fmt.Errorf("its scan report names an SBOM that is not in the bundle: %s", d)
		}
		a.SBOMs[mediaType] = desc
	}
	if len(a.SBOMs) == 0 {
		return fmt.Errorf("there is no SBOM of it in the bundle")
	}
	return nil
}
