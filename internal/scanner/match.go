package scanner

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anchore/grype/grype"
	"github.com/anchore/grype/grype/db/v6"
	"github.com/anchore/grype/grype/distro"
	"github.com/anchore/grype/grype/match"
	"github.com/anchore/grype/grype/matcher"
	"github.com/anchore/grype/grype/matcher/dpkg"
	"github.com/anchore/grype/grype/matcher/rpm"
	"github.com/anchore/grype/grype/matcher/stock"
	"github.com/anchore/grype/grype/pkg"
	"github.com/anchore/grype/grype/version"
	"github.com/anchore/grype/grype/vulnerability"
	"github.com/anchore/syft/syft/artifact"
	syftpkg "github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/sbom"
	"github.com/opencontainers/go-digest"

	"ferry/internal/policy"
	"ferry/internal/scan"
)

// matching holds SBOMs against one database.
type matching struct {
	reader   v6.Reader
	watch    *watch
	provider vulnerability.Provider
	matchers []match.Matcher
}

// newMatching asks r; epss says whether there is EPSS in it.
func newMatching(r v6.Reader, epss bool) matching {
	w := &watch{}
	m := matching{reader: r, watch: w, provider: watchedProvider{v6.NewVulnerabilityProvider(watchedReader{r, w, epss}), w}}
	for _, one := range matcher.NewDefaultMatchers(asGrype()) {
		m.matchers = append(m.matchers, watchedMatcher{one, w})
	}
	return m
}

func (m matching) Close() error { return m.provider.Close() }

// asGrype are the settings of grype's own command, which differ from the zeros
// of its library.
func asGrype() matcher.Config {
	return matcher.Config{
		Stock: stock.MatcherConfig{UseCPEs: true},
		Dpkg:  dpkg.MatcherConfig{MissingEpochStrategy: version.MissingEpochStrategyZero},
		Rpm:   rpm.MatcherConfig{MissingEpochStrategy: version.MissingEpochStrategyAuto},
	}
}

// kernelHeaders are what grype's command leaves out: headers are no kernel.
func kernelHeaders() []match.IgnoreRule {
	ignore := func(name, upstream string, t syftpkg.Type) match.IgnoreRule {
		return match.IgnoreRule{
			Package:   match.IgnoreRulePackage{Name: name, UpstreamName: upstream, Type: string(t)},
			MatchType: match.ExactIndirectMatch,
		}
	}
	return []match.IgnoreRule{
		ignore("kernel-headers", "kernel", syftpkg.RpmPkg),
		ignore("linux(-.*)?-headers-.*", "linux.*", syftpkg.DebPkg),
		ignore("linux-libc-dev", "linux", syftpkg.DebPkg),
		ignore("linux-kbuild-.*", "linux.*", syftpkg.DebPkg),
	}
}

// one matches an SBOM, read in the way that grype itself reads one. places
// says which layer brought a package.
func (m matching) one(ctx context.Context, document []byte, places func(*sbom.SBOM, artifact.ID) digest.Digest) (scan.Result, error) {
	packages, about, s, err := pkg.ProvideFromReader(bytes.NewReader(document), pkg.ProviderConfig{
		SynthesisConfig: pkg.SynthesisConfig{Distro: pkg.DistroConfig{FixChannels: distro.DefaultFixChannels()}},
	})
	if err != nil {
		return scan.Result{}, fmt.Errorf("read its SBOM: %w", err)
	}
	found, uncompared, err := m.find(ctx, packages, about)
	if err != nil {
		return scan.Result{}, fmt.Errorf("match its packages: %w", err)
	}
	r := scan.Result{}
	if r.Distribution, err = m.distribution(s, about); err != nil {
		return scan.Result{}, err
	}
	r.Warnings = warnings(s, r.Distribution, packages, uncompared)
	at := map[pkg.ID]int{}
	for _, p := range packages {
		at[p.ID] = len(r.Packages)
		r.Packages = append(r.Packages, listed(p, places(s, artifact.ID(p.ID))))
	}
	for _, hit := range found.Sorted() {
		n, ok := at[hit.Package.ID]
		if !ok {
			return scan.Result{}, fmt.Errorf("%s was found in a package that is not listed: %s", hit.Vulnerability.ID, hit.Package.Name)
		}
		r.Findings = append(r.Findings, finding(hit, n))
	}
	r.Findings = merged(r.Findings)
	return r, nil
}

// find asks grype. It fails where grype would go on: what the database could
// not be asked is a failure, and no absence of vulnerabilities.
func (m matching) find(ctx context.Context, packages []pkg.Package, about pkg.Context) (*match.Matches, []string, error) {
	v := grype.VulnerabilityMatcher{VulnerabilityProvider: m.provider, Matchers: m.matchers, IgnoreRules: kernelHeaders()}
	m.watch.begin()
	found, _, err := v.FindMatchesContext(ctx, packages, about)
	uncompared, watched := m.watch.end()
	return found, uncompared, errors.Join(err, watched)
}

// listed is a package as a policy sees it.
func listed(p pkg.Package, layer digest.Digest) policy.Package {
	return policy.Package{
		Name: p.Name, Version: p.Version, Type: string(p.Type), PURL: p.PURL, Layer: layer, System: isSystem(p),
		Licences: slices.Compact(slices.Sorted(slices.Values(p.Licenses))),
	}
}

func isSystem(p pkg.Package) bool {
	return slices.Contains([]syftpkg.Type{syftpkg.DebPkg, syftpkg.RpmPkg, syftpkg.ApkPkg, syftpkg.AlpmPkg, syftpkg.PortagePkg}, p.Type)
}

// finding is a match as a policy sees it.
func finding(m match.Match, at int) policy.Finding {
	v := m.Vulnerability
	f := policy.Finding{ID: v.ID, Package: at, FixState: fixState(v.Fix.State), Severity: policy.Unknown, Published: published(v)}
	for _, related := range v.RelatedVulnerabilities {
		if related.ID != v.ID {
			f.Aliases = append(f.Aliases, related.ID)
		}
	}
	f.Aliases = set(f.Aliases)
	if f.FixState == "fixed" {
		f.FixedIn = set(v.Fix.Versions)
	}
	meta := v.Metadata
	if meta == nil {
		return f
	}
	f.Severity = severity(meta.Severity)
	for _, c := range meta.Cvss {
		f.CVSS = max(f.CVSS, c.Metrics.BaseScore)
	}
	for _, e := range meta.EPSS {
		if e.EPSS > f.EPSS {
			f.EPSS, f.Percentile = e.EPSS, e.Percentile
		}
	}
	f.KnownExploited = len(meta.KnownExploited) > 0
	return f
}

// published is when a vulnerability became known; zero where the database does
// not say. grype tells it nowhere but in its own record.
func published(v vulnerability.Vulnerability) time.Time {
	h, ok := v.Internal.(*v6.VulnerabilityHandle)
	if !ok || h.PublishedDate == nil {
		return time.Time{}
	}
	return h.PublishedDate.UTC().Truncate(time.Second)
}

func set(all []string) []string {
	if len(all) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(all)))
}

func fixState(s vulnerability.FixState) string {
	if s == "" {
		return string(vulnerability.FixStateUnknown)
	}
	return string(s)
}

func severity(s string) policy.Severity {
	if got, err := policy.ParseSeverity(strings.ToLower(s)); err == nil {
		return got
	}
	return policy.Unknown
}

// merged makes one of what several records say of one vulnerability in one
// package: the worse of each.
func merged(all []policy.Finding) []policy.Finding {
	type key struct {
		id string
		at int
	}
	by := map[key]policy.Finding{}
	for _, f := range all {
		k := key{f.ID, f.Package}
		if had, ok := by[k]; ok {
			f = worse(had, f)
		}
		by[k] = f
	}
	return slices.SortedFunc(maps.Values(by), func(a, b policy.Finding) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), strings.Compare(a.ID, b.ID))
	})
}

func worse(a, b policy.Finding) policy.Finding {
	a.Aliases = set(slices.Concat(a.Aliases, b.Aliases))
	a.FixedIn = set(slices.Concat(a.FixedIn, b.FixedIn))
	if b.Severity.AtLeast(a.Severity) {
		a.Severity = b.Severity
	}
	if a.Published.IsZero() || !b.Published.IsZero() && b.Published.Before(a.Published) {
		a.Published = b.Published
	}
	a.CVSS, a.KnownExploited = max(a.CVSS, b.CVSS), a.KnownExploited || b.KnownExploited
	if b.EPSS > a.EPSS {
		a.EPSS, a.Percentile = b.EPSS, b.Percentile
	}
	if a.FixState != "fixed" {
		a.FixState = b.FixState
	}
	return a
}

// distribution is what the image says it is, and whether the database has
// anything about it.
func (m matching) distribution(s *sbom.SBOM, about pkg.Context) (policy.Distribution, error) {
	release := s.Artifacts.LinuxDistribution
	if release == nil {
		return policy.Distribution{}, nil
	}
	d := policy.Distribution{ID: release.ID, Version: cmp.Or(release.VersionID, release.VersionCodename)}
	if about.Distro == nil {
		return d, nil
	}
	known, err := m.reader.GetOperatingSystems(v6.OSSpecifier{
		Name: about.Distro.Name(), MajorVersion: about.Distro.MajorVersion(), MinorVersion: about.Distro.MinorVersion(),
		RemainingVersion: about.Distro.RemainingVersion(), LabelVersion: about.Distro.LabelVersion(),
	})
	if err != nil && !errors.Is(err, v6.ErrMissingOSIdentification) && !errors.Is(err, v6.ErrOSNotPresent) {
		return d, fmt.Errorf("ask the database about %s: %w", d.ID, err)
	}
	d.Known = len(known) > 0
	return d, nil
}

// shownUncompared are enough packages to look at.
const shownUncompared = 5

// warnings are what makes an empty list of findings say little.
func warnings(s *sbom.SBOM, d policy.Distribution, packages []pkg.Package, uncompared []string) []string {
	var all []string
	release := s.Artifacts.LinuxDistribution
	switch system := slices.ContainsFunc(packages, isSystem); {
	case len(packages) == 0:
		all = append(all, "no package was found in it, so nothing could be matched")
	case release == nil && system:
		all = append(all, "it does not say which distribution it is: its system packages were not matched")
	case release != nil && !d.Known && system:
		all = append(all, fmt.Sprintf("the database knows nothing about its distribution, %s: its system packages were not matched", strings.TrimSpace(d.ID+" "+d.Version)))
	case release != nil && !d.Known:
		all = append(all, fmt.Sprintf("the database knows nothing about its distribution, %s, and none of its system packages was found", strings.TrimSpace(d.ID+" "+d.Version)))
	}
	if n := len(uncompared); n > 0 {
		names := strings.Join(uncompared[:min(n, shownUncompared)], ", ")
		if n > shownUncompared {
			names += fmt.Sprintf(" and %d more", n-shownUncompared)
		}
		all = append(all, "a version could not be compared, so what it may be vulnerable to is not all listed: "+names)
	}
	return all
}
