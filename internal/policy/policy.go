// Package policy says what may cross: it reads ferry.policy.yaml, exceptions
// and OpenVEX documents, and holds scan reports against them. Evaluate is a
// pure function: the same policy, documents, reports and moment give the same
// verdict anywhere.
//
// It is not for finding vulnerabilities (the scanner does) nor for acting on a
// verdict (the verbs do). It reads no files and knows no clock.
package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// FileName is what a policy is called where nobody says otherwise.
const FileName = "ferry.policy.yaml"

// MediaType is the media type of a policy inside a bundle.
const MediaType = "application/vnd.ferry.policy.v1+yaml"

// Limits of what a policy may hold.
const (
	MaxSize       = 1 << 20 // bytes of the file
	maxRules      = 64
	maxExceptions = 10_000
	maxExpression = 2_000 // characters
)

// Policy is a ferry.policy.yaml that was read.
type Policy struct {
	Version         int             `yaml:"version"`
	Vulnerabilities Vulnerabilities `yaml:"vulnerabilities"`
	Packages        Packages        `yaml:"packages"`
	Images          Images          `yaml:"images"`
	Database        Database        `yaml:"database"`
	Rules           []Rule          `yaml:"rules"`
	Exceptions      []Exception     `yaml:"exceptions"`
	VEX             []VEXSource     `yaml:"vex"`

	// Digest is that of the file's bytes.
	Digest digest.Digest `yaml:"-"`
}

// Vulnerabilities are limits of severity. Known exploited ones are refused
// whatever these say.
type Vulnerabilities struct {
	Refuse Limits `yaml:"refuse"`
	// UnknownSeverity is how a vulnerability counts that nobody has rated;
	// none given means high.
	UnknownSeverity Severity `yaml:"unknownSeverity"`
}

// Limits are the severities from which on a vulnerability is refused; "" for
// no limit.
type Limits struct {
	WithFix    Severity `yaml:"withFix"`
	WithoutFix Severity `yaml:"withoutFix"`
}

// Packages are rules about what is installed.
type Packages struct {
	Forbidden []Forbidden `yaml:"forbidden"`
}

// Forbidden is a package that no image may hold. Name, Type and Version are
// patterns, in which * stands for anything; Type and Version may be left out.
type Forbidden struct {
	Name    string `yaml:"name"`
	Type    string `yaml:"type"`
	Version string `yaml:"version"`
	Reason  string `yaml:"reason"`
}

// Images are rules about images as such.
type Images struct {
	// Registries are the only places that images may come from: a host, or a
	// host with the beginning of a path. None given allows all.
	Registries []string `yaml:"registries"`
	LatestTag  Choice   `yaml:"latestTag"`
	RootUser   Choice   `yaml:"rootUser"`
	// UnknownDistribution is about images whose system packages belong to no
	// distribution that the database knows; EmptyCatalogue about images in
	// which no package was found. Both are refused unless allowed.
	UnknownDistribution Choice `yaml:"unknownDistribution"`
	EmptyCatalogue      Choice `yaml:"emptyCatalogue"`
	// MaxAge is how old an image may be, by the date in its config; 0 for any.
	MaxAge     Age    `yaml:"maxAge"`
	Signatures Demand `yaml:"signatures"`
	Provenance Demand `yaml:"provenance"`
}

// Database is what the vulnerability database has to be like.
type Database struct {
	// MaxAge is how old it may be; 0 means what the verb takes for granted.
	MaxAge Age `yaml:"maxAge"`
}

// Choice is allow or refuse; "" for what stands in the documentation.
type Choice string

// The choices.
const (
	Allow  Choice = "allow"
	Refuse Choice = "refuse"
)

// Demand is required, or "" for not asked for.
type Demand string

// Required asks for something that has to be there and to be proven.
const Required Demand = "required"

// Age is a length of time as people write it in a policy: 7d, 12h.
type Age time.Duration

// String writes a as it stands in a policy.
func (a Age) String() string {
	d := time.Duration(a)
	if d == 0 {
		return "0d"
	}
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

// Exception accepts a vulnerability, or what a rule says of an image, for a
// while and in somebody's name.
type Exception struct {
	// Vulnerability is an id or an alias of one. Where it stands, Rule does not.
	Vulnerability string `yaml:"vulnerability" json:"vulnerability,omitempty"`
	// Rule is a rule's name, as verdicts show it.
	Rule string `yaml:"rule" json:"rule,omitempty"`
	// Image and Package say where it holds; patterns, in which * stands for
	// anything. An image without a tag means all tags of the repository.
	Image   string `yaml:"image" json:"image,omitempty"`
	Package string `yaml:"package" json:"package,omitempty"`
	// KnownExploited says that the owner knows that the vulnerability is
	// being exploited. Without it such a one is not accepted.
	KnownExploited bool `yaml:"knownExploited" json:"knownExploited,omitempty"`

	Owner  string `yaml:"owner" json:"owner"`
	Reason string `yaml:"reason" json:"reason"`
	Ticket string `yaml:"ticket" json:"ticket"`
	// Expires is the first moment at which it no longer holds.
	Expires Until `yaml:"expires" json:"expires"`
}

// Until is a day or a moment up to which something holds. A day counts in
// full, in UTC.
type Until struct {
	// Text is how it was written.
	Text string
	// End is the first moment at which it is over.
	End time.Time
}

// String returns u as it was written.
func (u Until) String() string { return u.Text }

// Over says whether u has passed at a moment; never for the zero value.
func (u Until) Over(at time.Time) bool { return !u.End.IsZero() && !at.Before(u.End) }

// MarshalText writes u as it was written.
func (u Until) MarshalText() ([]byte, error) { return []byte(u.Text), nil }

// UnmarshalText reads a day (2026-12-31) or a moment (RFC 3339).
func (u *Until) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "" {
		*u = Until{}
		return nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		*u = Until{Text: s, End: day.AddDate(0, 0, 1)}
		return nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("%q is no date: write 2026-12-31", s)
	}
	*u = Until{Text: s, End: at.UTC()}
	return nil
}

// VEXSource names an OpenVEX document beside the policy.
type VEXSource struct {
	File string `yaml:"file"`
	// Author, if given, is who has to have written it.
	Author string `yaml:"author"`
	// Expires, if given, is how long its statements count.
	Expires Until `yaml:"expires"`
}

// Rule is a rule of the policy's own, in CEL.
type Rule struct {
	Name string `yaml:"name"`
	// Each says what it is asked of.
	Each Subject `yaml:"each"`
	// Refuse is the expression; what it is true of is refused.
	Refuse string `yaml:"refuse"`
	// Because is the sentence that people get to see.
	Because string `yaml:"because"`

	program program
	// asksEPSS says that the expression asks how likely exploits are.
	asksEPSS bool
}

// Subject is what a rule is about.
type Subject string

// The subjects.
const (
	EachImage   Subject = "image"
	EachPackage Subject = "package"
	EachFinding Subject = "finding"
)
