package scan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"ferry/internal/policy"
)

// Subject is an image on one platform, with what was found in it.
type Subject struct {
	Name string `json:"name"`
	// ReferrerOf is the image that it hangs on; "" where it hangs on none.
	ReferrerOf   string              `json:"referrerOf,omitempty"`
	Digest       digest.Digest       `json:"digest"`
	Platform     string              `json:"platform,omitempty"`
	Distribution policy.Distribution `json:"distribution,omitzero"`
	// Layers are those of the image, from the base up.
	Layers   []digest.Digest  `json:"layers,omitempty"`
	Packages []policy.Package `json:"packages,omitempty"`
	Findings []policy.Finding `json:"findings,omitempty"`
	Warnings []string         `json:"warnings,omitempty"`
	// Workloads are those that it runs in, where a cluster was looked at.
	Workloads []string `json:"workloads,omitempty"`
	// Failed says why it could not be scanned.
	Failed string `json:"failed,omitempty"`
}

// Layer is the place of a layer in the image, from 1 on; 0 where it is not
// one of its layers.
func (s Subject) Layer(d digest.Digest) int { return slices.Index(s.Layers, d) + 1 }

// Fixed says whether a finding can be mended by an update.
func Fixed(f policy.Finding) bool { return len(f.FixedIn) > 0 }

// Count is how many findings there are of each kind.
type Count struct {
	All       int                     `json:"all"`
	Exploited int                     `json:"knownExploited"`
	Fixable   int                     `json:"fixable"`
	Severity  map[policy.Severity]int `json:"severity,omitempty"`
}

// CountOf counts.
func CountOf(findings []policy.Finding) Count {
	c := Count{Severity: map[policy.Severity]int{}}
	for _, f := range findings {
		c.All++
		c.Severity[cmp.Or(f.Severity, policy.Unknown)]++
		if f.KnownExploited {
			c.Exploited++
		}
		if Fixed(f) {
			c.Fixable++
		}
	}
	return c
}

// Update is something that a person can do, and what it mends.
type Update struct {
	// Base is set for a new base image: the layer that all of Images begin
	// with. Otherwise a package is updated.
	Base      digest.Digest   `json:"base,omitempty"`
	Package   string          `json:"package,omitempty"`
	Type      string          `json:"type,omitempty"`
	Version   string          `json:"version,omitempty"`
	To        []string        `json:"to,omitempty"`
	Images    []string        `json:"images"`
	Mends     int             `json:"mends"`
	Exploited int             `json:"knownExploited"`
	Worst     policy.Severity `json:"worst"`
}

// Updates says what to do: a base image that several packages come from is
// one thing to do, a package in another layer is one. What mends most stands
// first, and what is being exploited before all else.
func Updates(subjects []Subject) []Update {
	at, all := map[string]int{}, []Update(nil)
	for _, s := range subjects {
		for _, f := range s.Findings {
			if !Fixed(f) || f.Package < 0 || f.Package >= len(s.Packages) {
				continue
			}
			u := updateFor(s, s.Packages[f.Package])
			key := strings.Join([]string{string(u.Base), u.Type, u.Package, u.Version}, "\x00")
			i, ok := at[key]
			if !ok {
				i = len(all)
				at[key], all = i, append(all, u)
			}
			all[i].count(s, f)
		}
	}
	slices.SortStableFunc(all, func(a, b Update) int {
		return cmp.Or(cmp.Compare(b.Exploited, a.Exploited), cmp.Compare(b.Mends, a.Mends),
			cmp.Compare(b.Worst.Rank(), a.Worst.Rank()), strings.Compare(a.Package, b.Package))
	})
	return all
}

func updateFor(s Subject, p policy.Package) Update {
	if p.System && len(s.Layers) > 1 && s.Layer(p.Layer) == 1 {
		return Update{Base: p.Layer}
	}
	return Update{Package: p.Name, Type: p.Type, Version: p.Version}
}

func (u *Update) count(s Subject, f policy.Finding) {
	u.Mends++
	if f.KnownExploited {
		u.Exploited++
	}
	if u.Worst == "" || f.Severity.Rank() > u.Worst.Rank() {
		u.Worst = cmp.Or(f.Severity, policy.Unknown)
	}
	if !slices.Contains(u.Images, s.Name) {
		u.Images = append(u.Images, s.Name)
	}
	if u.Base == "" {
		for _, to := range f.FixedIn {
			if !slices.Contains(u.To, to) {
				u.To = append(u.To, to)
			}
		}
	}
}

// Text says what to do.
func (u Update) Text() string {
	where := fmt.Sprintf("in %d images", len(u.Images))
	if len(u.Images) == 1 {
		where = "in " + u.Images[0]
	}
	if u.Base != "" {
		return "take a newer base image (layer 1) " + where
	}
	text := fmt.Sprintf("update %s %s", u.Package, u.Version)
	return text + u.target() + " " + where
}

// target says which version mends all of it. Each finding names its own, and
// which of them is the highest is not known here.
func (u Update) target() string {
	switch n := len(u.To); {
	case n == 0:
		return ""
	case n == 1:
		return " to " + u.To[0]
	case n <= 3:
		return " to the highest of " + strings.Join(u.To, ", ")
	default:
		return fmt.Sprintf(" to the highest of %d versions with fixes", n)
	}
}
