//go:build bench

package scanner_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anchore/grype/grype"
	"github.com/anchore/grype/grype/db/v6/distribution"
	"github.com/anchore/grype/grype/db/v6/installation"
	"github.com/anchore/grype/grype/distro"
	"github.com/anchore/grype/grype/matcher"
	"github.com/anchore/grype/grype/matcher/stock"
	"github.com/anchore/grype/grype/pkg"
	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/cataloging"
	"github.com/anchore/syft/syft/cataloging/pkgcataloging"
)

// What make bench holds ferry scan against, as a test of the package that may
// use grype: its library alone, on images one by one.
var (
	aloneImages = flag.String("alone.images", "", "folders with one image each, as OCI layouts, separated by commas")
	aloneDB     = flag.String("alone.db", "", "the folder of a database")
	archiveTo   = flag.String("archive.to", "", "where to write a small database")
)

// TestMakeArchive writes a database for the bench.
func TestMakeArchive(t *testing.T) {
	d := sample()
	for i := range 100 { // what test/bench has images of
		d.records = append(d.records, record{
			id: fmt.Sprintf("CVE-2025-%04d", i), provider: "debian", os: debian12(), ecosystem: "deb", name: fmt.Sprintf("bench-%d", i),
			affected: "< 2", form: "dpkg", fixed: "2", severity: []string{"low", "medium", "high"}[i%3],
		})
	}
	b, err := os.ReadFile(d.archive(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*archiveTo, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGrypeAlone does what grype's command does for each image: it catalogues
// it with syft, with the same settings as ferry, and matches it.
func TestGrypeAlone(t *testing.T) {
	provider, _, err := grype.LoadVulnerabilityDB(distribution.DefaultConfig(), installation.Config{DBRootDir: *aloneDB, ValidateChecksum: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer provider.Close()
	packages := pkgcataloging.DefaultConfig()
	packages.Golang = packages.Golang.WithCaptureSymbols(cataloging.SymbolScopeAll)
	config := pkg.ProviderConfig{
		SyftProviderConfig: pkg.SyftProviderConfig{SBOMOptions: syft.DefaultCreateSBOMConfig().WithPackagesConfig(packages).WithoutFiles(), Sources: []string{"oci-dir"}},
		SynthesisConfig:    pkg.SynthesisConfig{Distro: pkg.DistroConfig{FixChannels: distro.DefaultFixChannels()}},
	}
	for _, dir := range strings.Split(*aloneImages, ",") {
		all, about, _, err := pkg.Provide(filepath.Clean(dir), config)
		if err != nil {
			t.Fatal(err)
		}
		m := grype.VulnerabilityMatcher{VulnerabilityProvider: provider, Matchers: matcher.NewDefaultMatchers(matcher.Config{Stock: stock.MatcherConfig{UseCPEs: true}})}
		found, _, err := m.FindMatches(all, about)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d packages, %d matches", dir, len(all), len(found.Sorted()))
	}
}
