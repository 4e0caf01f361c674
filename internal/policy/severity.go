package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Severity is how bad a vulnerability is, by whoever rated it.
type Severity string

// The severities, from nothing to worst. Unknown stands for not rated.
const (
	Unknown    Severity = "unknown"
	Negligible Severity = "negligible"
	Low        Severity = "low"
	Medium     Severity = "medium"
	High       Severity = "high"
	Critical   Severity = "critical"
)

func ranks() []Severity { return []Severity{Unknown, Negligible, Low, Medium, High, Critical} }

// Severities are those that a limit can be set at, the worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low, Negligible} }

func severityNames() []string {
	var names []string
	for _, s := range Severities() {
		names = append(names, string(s))
	}
	return names
}

// ParseSeverity reads a severity that a limit can be set at.
func ParseSeverity(s string) (Severity, error) {
	if got := Severity(s); slices.Contains(Severities(), got) {
		return got, nil
	}
	return "", fmt.Errorf("%q is no severity: write %s", s, strings.Join(severityNames(), ", "))
}

// Rank orders severities: unknown is 0, critical is 5. What is no severity
// counts as unknown.
func (s Severity) Rank() int { return max(slices.Index(ranks(), s), 0) }

// AtLeast says whether s is as bad as limit or worse.
func (s Severity) AtLeast(limit Severity) bool { return s.Rank() >= limit.Rank() }

// unknownAs is how what nobody rated counts.
func (p *Policy) unknownAs() Severity {
	if p.Vulnerabilities.UnknownSeverity != "" {
		return p.Vulnerabilities.UnknownSeverity
	}
	return High
}

// counts is the severity that limits are held against.
func (p *Policy) counts(s Severity) Severity {
	if s.Rank() == 0 {
		return p.unknownAs()
	}
	return s
}
