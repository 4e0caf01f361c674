// Package scan is what ferry and its scanner say to each other, and what is
// made of findings for people: which update mends most, SARIF, a database's
// age. Pure.
//
// The scanner is a program of its own, ferry-scanner: package scanner is in it,
// and package scanproc runs it. docs/adr/0060-scanner-program.md says why.
package scan

import (
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/policy"
)

// Protocol is the version of the messages below. Both programs are built
// together: one of another version or commit is refused.
const Protocol = 1

// The things that the scanner can do.
const (
	OpScan   = "scan"   // list what is in images of a bundle, and match it
	OpMatch  = "match"  // match SBOMs that were made before
	OpStatus = "status" // check a database
	OpImport = "import" // make a database of an archive
)

// Limits of what one image may cost, where the request names none. Each ends
// the scan of that image, and never the others'.
const (
	MaxUnpacked = 16 << 30         // bytes of one layer, unpacked
	MaxFiles    = 1_000_000        // entries of one image
	MaxSBOM     = 128 << 20        // bytes of an SBOM
	MaxMemory   = 4 << 30          // bytes of memory of the scanner
	MaxTime     = 10 * time.Minute // for one image
)

// MaxLine is the longest line of an answer, in bytes.
const MaxLine = 256 << 20

// Request is what the scanner is asked: one JSON document on its stdin.
type Request struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
	Op       string `json:"op"`
	// Database is the folder of an imported database; for OpImport, the new
	// one that is to be filled.
	Database string `json:"database,omitempty"`
	// Archive is what to import.
	Archive string `json:"archive,omitempty"`
	// Bundle is the file, Images what of it.
	Bundle string  `json:"bundle,omitempty"`
	Images []Image `json:"images,omitempty"`
	// SBOMs are files to match.
	SBOMs []string `json:"sboms,omitempty"`
	// Dir takes the documents that are made, and what is needed only for a
	// while.
	Dir string `json:"dir,omitempty"`
	// Jobs is how many images are looked into at once; 0 is as many as
	// processors and memory allow.
	Jobs   int    `json:"jobs,omitempty"`
	Limits Limits `json:"limits,omitzero"`
}

// Limits override the ones above; zeros leave them.
type Limits struct {
	Unpacked int64         `json:"unpacked,omitempty"`
	Files    int           `json:"files,omitempty"`
	SBOM     int64         `json:"sbom,omitempty"`
	Memory   int64         `json:"memory,omitempty"`
	Time     time.Duration `json:"time,omitempty"`
}

// Or fills the zeros of l.
func (l Limits) Or() Limits {
	if l.Unpacked <= 0 {
		l.Unpacked = MaxUnpacked
	}
	if l.Files <= 0 {
		l.Files = MaxFiles
	}
	if l.SBOM <= 0 {
		l.SBOM = MaxSBOM
	}
	if l.Memory <= 0 {
		l.Memory = MaxMemory
	}
	if l.Time <= 0 {
		l.Time = MaxTime
	}
	return l
}

// Image is one image on one platform.
type Image struct {
	Name string `json:"name"`
	// Digest is of the platform's manifest.
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"`
}

// Message is a line on the scanner's stdout: one of these. An Answer is the
// last.
type Message struct {
	// Begun says that the image or SBOM of this place in the request is being
	// looked into: what breaks the scanner is one of those.
	Begun  *int    `json:"begun,omitempty"`
	Result *Result `json:"result,omitempty"`
	Answer *Answer `json:"answer,omitempty"`
}

// Answer is what came of a request, besides the results.
type Answer struct {
	// Error says that nothing came of it.
	Error string `json:"error,omitempty"`
	// Cause is one of those below, where it is known.
	Cause    string   `json:"cause,omitempty"`
	Tool     Tool     `json:"tool"`
	Database Database `json:"database,omitzero"`
	// Results are put in here by who reads the lines, in the request's order.
	Results []Result `json:"-"`
}

// Tool says what scanned.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Database is a vulnerability database, checked. Its checksum is that of the
// archive that it came in: the same wherever it is imported.
type Database struct {
	Built    time.Time     `json:"built"`
	Checksum digest.Digest `json:"checksum"`
	Schema   string        `json:"schema"`
	// EPSS says that it holds how likely vulnerabilities are to be exploited.
	EPSS bool `json:"epss,omitempty"`
}

// What an Answer's error comes from, where ferry has something to say to it.
const (
	CauseDamaged = "damaged" // the database is not what it was when it came
	CauseFull    = "full"    // no space is left
)

// AnswerError is the error of an Answer.
type AnswerError struct {
	Text  string
	Cause string
}

func (e *AnswerError) Error() string { return e.Text }

// Is knows a full disk by its usual error, which does not cross between
// processes.
func (e *AnswerError) Is(target error) bool {
	return e.Cause == CauseFull && target == syscall.ENOSPC //nolint:errorlint // it is the one that was asked for
}

// Info is d as a policy sees it.
func (d Database) Info() policy.DatabaseInfo {
	return policy.DatabaseInfo{Built: d.Built, Checksum: d.Checksum, Schema: d.Schema, EPSS: d.EPSS}
}

// Result is what was found in one image on one platform, or in one SBOM.
type Result struct {
	// At is its place in the request.
	At int `json:"at"`
	// Failed says why it could not be read. It is never taken for clean.
	Failed       string              `json:"failed,omitempty"`
	Distribution policy.Distribution `json:"distribution,omitzero"`
	Packages     []policy.Package    `json:"packages,omitempty"`
	Findings     []policy.Finding    `json:"findings,omitempty"`
	SBOMs        []Document          `json:"sboms,omitempty"`
	// Warnings are what makes the result worth less: an unknown distribution,
	// no packages at all.
	Warnings []string `json:"warnings,omitempty"`
}

// Document is a file that the scanner wrote.
type Document struct {
	MediaType string `json:"mediaType"`
	Path      string `json:"path"`
}

// Media types of SBOMs.
const (
	SPDX      = "application/spdx+json"
	CycloneDX = "application/vnd.cyclonedx+json"
	Syft      = "application/vnd.syft+json"
)
