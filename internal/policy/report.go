package policy

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Image is what a scan found out about one image on one platform: all that a
// policy judges.
type Image struct {
	// Name is the full name under which the image is packed.
	Name string
	// Digest is that of the platform's manifest.
	Digest   digest.Digest
	Platform string
	// User is what the config says the process runs as; "" means root.
	User string
	// Created is the date in the config; zero where it has none.
	Created time.Time
	Labels  map[string]string
	// Distribution is what the image says it is; zero where it says nothing.
	Distribution Distribution
	Packages     []Package
	Findings     []Finding
	// Failed says why the image could not be scanned. Such an image is
	// always refused.
	Failed string
	// Warnings are what makes the findings worth less. They refuse nothing.
	Warnings []string
}

// Distribution is a Linux distribution.
type Distribution struct {
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
	// Known says that the database knows about it.
	Known bool `json:"known,omitempty"`
}

// Package is a piece of software in an image.
type Package struct {
	Name     string   `json:"name"`
	Version  string   `json:"version,omitempty"`
	Type     string   `json:"type,omitempty"`
	PURL     string   `json:"purl,omitempty"`
	Licences []string `json:"licences,omitempty"`
	// Layer is the digest of the layer that brought it.
	Layer digest.Digest `json:"layer,omitempty"`
	// System says that a distribution's package manager installed it.
	System bool `json:"system,omitempty"`
}

// Finding is a vulnerability in a package.
type Finding struct {
	ID      string   `json:"id"`
	Aliases []string `json:"aliases,omitempty"`
	// Package is the place of the package in the image's list.
	Package  int      `json:"package"`
	Severity Severity `json:"severity,omitempty"`
	CVSS     float64  `json:"cvss,omitempty"`
	// EPSS is the likelihood that it is exploited within 30 days, and
	// Percentile how many others are less likely; both from 0 to 1.
	EPSS           float64 `json:"epss,omitempty"`
	Percentile     float64 `json:"epssPercentile,omitempty"`
	KnownExploited bool    `json:"knownExploited,omitempty"`
	// FixedIn are the versions that mend it; none where there is no fix.
	FixedIn []string `json:"fixedIn,omitempty"`
	// FixState is fixed, not-fixed, wont-fix or unknown.
	FixState string `json:"fixState,omitempty"`
	// Published is when it became known, where the database says so.
	Published time.Time `json:"published,omitzero"`
}

// Scan is what Evaluate holds a policy against.
type Scan struct {
	Images   []Image
	Database DatabaseInfo
}

// DatabaseInfo says which vulnerability database a scan used.
type DatabaseInfo struct {
	Built    time.Time     `json:"built"`
	Checksum digest.Digest `json:"checksum"`
	Schema   string        `json:"schema,omitempty"`
	// EPSS says that it holds how likely vulnerabilities are to be exploited.
	EPSS bool `json:"epss,omitempty"`
}
