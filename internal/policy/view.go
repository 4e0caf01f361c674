package policy

import (
	"time"

	"ferry/internal/ref"
)

func viewImage(img *Image, name ref.Name, asOf time.Time) *imageView {
	v := &imageView{
		Name: img.Name, Registry: name.Registry(), Repository: name.Repository(), Tag: name.Tag(),
		Digest: img.Digest.String(), Platform: img.Platform, User: img.User,
		Created: img.Created, Dated: img.Created.Unix() > 0, Labels: img.Labels,
		Distribution: img.Distribution.ID, Version: img.Distribution.Version,
	}
	if v.Dated {
		v.Age = asOf.Sub(img.Created)
	}
	v.Packages = make([]packageView, len(img.Packages))
	for i := range img.Packages {
		v.Packages[i] = viewPackage(&img.Packages[i])
	}
	return v
}

func viewPackage(p *Package) packageView {
	return packageView{Name: p.Name, Version: p.Version, Type: p.Type, PURL: p.PURL, Licences: p.Licences, Layer: p.Layer.String()}
}

func viewFinding(f *Finding, asOf time.Time) *findingView {
	s := f.Severity
	if s.Rank() == 0 {
		s = Unknown
	}
	v := &findingView{
		ID: f.ID, Aliases: f.Aliases, Severity: string(s), CVSS: f.CVSS, EPSS: f.EPSS, Percentile: f.Percentile,
		KnownExploited: f.KnownExploited, Fixed: len(f.FixedIn) > 0, FixedIn: f.FixedIn, FixState: f.FixState,
		Published: f.Published, Dated: !f.Published.IsZero(),
	}
	if v.Dated {
		v.Age = asOf.Sub(f.Published)
	}
	return v
}
