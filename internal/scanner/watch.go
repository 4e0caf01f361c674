package scanner

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/anchore/go-logger"
	"github.com/anchore/grype/grype"
	"github.com/anchore/grype/grype/db/v6"
	"github.com/anchore/grype/grype/match"
	"github.com/anchore/grype/grype/pkg"
	"github.com/anchore/grype/grype/version"
	"github.com/anchore/grype/grype/vulnerability"
	"gorm.io/gorm"
)

// watch keeps what goes wrong while a database is asked. grype writes most of
// that to a log and goes on, so that a database that cannot be read looks like
// one that knows of no vulnerability.
//
// One match at a time: grype has one log for all.
type watch struct {
	one sync.Mutex // held from begin to end

	mu   sync.Mutex
	errs []error
	// of is the package that is matched, and uncompared are those whose
	// versions could not be compared.
	of         string
	uncompared map[string]bool
}

func (w *watch) begin() {
	w.one.Lock()
	w.errs, w.of, w.uncompared = nil, "", map[string]bool{}
	grype.SetLogger(&watchedLog{watch: w})
}

func (w *watch) end() (uncompared []string, err error) {
	defer w.one.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.uncompared)), errors.Join(w.errs...)
}

// matching says which package is matched from now on.
func (w *watch) matching(p pkg.Package) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of = strings.TrimSpace(p.Name + " " + p.Version)
}

// maxErrors are enough to tell what is wrong.
const maxErrors = 3

func (w *watch) keep(err error) {
	if err == nil || errors.Is(err, v6.ErrOSNotPresent) || errors.Is(err, v6.ErrDBCapabilityNotSupported) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if aboutVersions(err) {
		w.uncompared[w.of] = true
		return
	}
	if len(w.errs) < maxErrors {
		w.errs = append(w.errs, err)
	}
}

// aboutVersions says that a version is written in a way that cannot be
// compared: that is so of one package, and the database is not to blame.
func aboutVersions(err error) bool {
	var unsupported *version.UnsupportedComparisonError
	var nonFatal *version.NonFatalConstraintError
	return errors.Is(err, version.ErrUnsupportedVersion) || errors.Is(err, version.ErrNoVersionProvided) ||
		errors.As(err, &unsupported) || errors.As(err, &nonFatal)
}

// watchedReader is the database, below grype.
type watchedReader struct {
	v6.Reader
	watch *watch
	// epss says that the database holds EPSS: grype fails over each where there
	// is none.
	epss bool
}

// GetDB is what grype asks its own reader for, below the interface.
func (r watchedReader) GetDB() *gorm.DB {
	low, ok := r.Reader.(interface{ GetDB() *gorm.DB })
	if !ok {
		panic("grype's reader has no database") // which fails the image that is matched
	}
	return low.GetDB()
}

func watched[T any](w *watch, got T, err error) (T, error) {
	w.keep(err)
	return got, err
}

func (r watchedReader) GetAffectedPackages(s *v6.PackageSpecifier, o *v6.GetPackageOptions) ([]v6.AffectedPackageHandle, error) {
	got, err := r.Reader.GetAffectedPackages(s, o)
	return watched(r.watch, got, err)
}

func (r watchedReader) GetUnaffectedPackages(s *v6.PackageSpecifier, o *v6.GetPackageOptions) ([]v6.UnaffectedPackageHandle, error) {
	got, err := r.Reader.GetUnaffectedPackages(s, o)
	return watched(r.watch, got, err)
}

func (r watchedReader) GetKnownExploitedVulnerabilities(cve string) ([]v6.KnownExploitedVulnerabilityHandle, error) {
	got, err := r.Reader.GetKnownExploitedVulnerabilities(cve)
	return watched(r.watch, got, err)
}

func (r watchedReader) GetEpss(cve string) ([]v6.EpssHandle, error) {
	got, err := r.Reader.GetEpss(cve)
	if r.epss {
		r.watch.keep(err)
	}
	return got, err
}

// watchedProvider is grype's view of the database.
type watchedProvider struct {
	vulnerability.Provider
	watch *watch
}

func (p watchedProvider) FindVulnerabilities(criteria ...vulnerability.Criteria) ([]vulnerability.Vulnerability, error) {
	got, err := p.Provider.FindVulnerabilities(criteria...)
	return watched(p.watch, got, err)
}

// watchedMatcher is a matcher whose errors grype would only log.
type watchedMatcher struct {
	match.Matcher
	watch *watch
}

func (m watchedMatcher) Match(p vulnerability.Provider, of pkg.Package) ([]match.Match, []match.IgnoreFilter, error) {
	m.watch.matching(of)
	found, ignored, err := m.Matcher.Match(p, of)
	m.watch.keep(err)
	return found, ignored, err
}

// watchedLog takes errors out of what grype writes to its log.
type watchedLog struct {
	silent
	watch *watch
}

// WithFields is how grype logs an error that it goes on after. Those of the
// database were kept before; what is left is about versions.
func (l *watchedLog) WithFields(fields ...any) logger.MessageLogger {
	for i := 0; i+1 < len(fields); i += 2 {
		if err, ok := fields[i+1].(error); ok && fields[i] == "error" && err != nil {
			return &loggedError{watch: l.watch}
		}
	}
	return silent{}
}

func (l *watchedLog) Nested(...any) logger.Logger { return l }

// loggedError keeps the one message that tells of a comparison that failed.
type loggedError struct {
	silent
	watch *watch
}

// Debug keeps which package it was about.
func (l *loggedError) Debug(args ...any) {
	if len(args) == 1 && args[0] == "match constraint error" {
		l.watch.mu.Lock()
		l.watch.uncompared[l.watch.of] = true
		l.watch.mu.Unlock()
	}
}

// silent is a log that nobody reads.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Error(...any)          {}
func (silent) Warnf(string, ...any)  {}
func (silent) Warn(...any)           {}
func (silent) Infof(string, ...any)  {}
func (silent) Info(...any)           {}
func (silent) Debugf(string, ...any) {}
func (silent) Debug(...any)          {}
func (silent) Tracef(string, ...any) {}
func (silent) Trace(...any)          {}
