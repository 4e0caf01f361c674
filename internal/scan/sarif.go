package scan

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"ferry/internal/policy"
)

// SARIF is a SARIF 2.1.0 log, as code hosts and IDEs read it.
type SARIF struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool        sarifTool         `json:"tool"`
	Invocations []sarifInvocation `json:"invocations"`
	Results     []sarifResult     `json:"results"`
}

type sarifInvocation struct {
	// Done is false where an image could not be read.
	Done  bool          `json:"executionSuccessful"`
	Notes []sarifNotice `json:"toolExecutionNotifications,omitempty"`
}

type sarifNotice struct {
	Level   string    `json:"level"`
	Message sarifText `json:"message"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version,omitempty"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID         string         `json:"id"`
	Short      sarifText      `json:"shortDescription"`
	Properties map[string]any `json:"properties,omitempty"`
}

type sarifResult struct {
	RuleID    string            `json:"ruleId"`
	RuleIndex int               `json:"ruleIndex"`
	Level     string            `json:"level"`
	Message   sarifText         `json:"message"`
	Locations []sarifLocation   `json:"locations"`
	Prints    map[string]string `json:"partialFingerprints"`
}

type sarifLocation struct {
	Physical sarifPhysical  `json:"physicalLocation"`
	Logical  []sarifLogical `json:"logicalLocations"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifLogical struct {
	Name string `json:"fullyQualifiedName"`
	Kind string `json:"kind"`
}

// MakeSARIF writes findings as SARIF. file is what was scanned.
func MakeSARIF(subjects []Subject, file, version string) SARIF {
	run := sarifRun{
		Tool:    sarifTool{sarifDriver{Name: "ferry", Version: version, Rules: []sarifRule{}}},
		Results: []sarifResult{}, Invocations: []sarifInvocation{{Done: true}},
	}
	rules := map[string]int{}
	for _, s := range subjects {
		if s.Failed != "" {
			run.Invocations[0].Done = false
			run.Invocations[0].Notes = append(run.Invocations[0].Notes, sarifNotice{"error", sarifText{s.Name + " could not be scanned: " + s.Failed}})
		}
		for _, w := range s.Warnings {
			run.Invocations[0].Notes = append(run.Invocations[0].Notes, sarifNotice{"warning", sarifText{s.Name + ": " + w}})
		}
		for _, f := range s.Findings {
			i, ok := rules[f.ID]
			if !ok {
				i = len(run.Tool.Driver.Rules)
				rules[f.ID] = i
				run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(f))
			}
			run.Results = append(run.Results, sarifResultOf(s, f, i, file))
		}
	}
	return SARIF{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

func sarifRuleOf(f policy.Finding) sarifRule {
	r := sarifRule{ID: f.ID, Short: sarifText{f.ID + " (" + string(f.Severity) + ")"}, Properties: map[string]any{"tags": []string{"security", "vulnerability"}}}
	if f.CVSS > 0 {
		r.Properties["security-severity"] = fmt.Sprintf("%.1f", f.CVSS)
	}
	return r
}

func sarifResultOf(s Subject, f policy.Finding, rule int, file string) sarifResult {
	p := s.Packages[f.Package]
	text := fmt.Sprintf("%s %s in %s %s", p.Name, p.Version, s.Name, s.Platform)
	if f.KnownExploited {
		text += ", known to be exploited"
	}
	if Fixed(f) {
		text += "; fixed in " + strings.Join(f.FixedIn, " or ")
	} else {
		text += "; no fix is known"
	}
	return sarifResult{
		RuleID: f.ID, RuleIndex: rule, Level: sarifLevel(f.Severity), Message: sarifText{text},
		Locations: []sarifLocation{{
			Physical: sarifPhysical{sarifArtifact{reference(file)}},
			Logical:  []sarifLogical{{Name: s.Name + "@" + string(s.Digest) + ":/" + p.Name, Kind: "module"}},
		}},
		Prints: map[string]string{"ferry/v1": strings.Join([]string{s.Name, s.Platform, p.Type, p.Name, p.Version, f.ID}, "|")},
	}
}

// reference is a file's name as a reference (RFC 3986), which SARIF wants.
func reference(file string) string {
	return (&url.URL{Path: filepath.ToSlash(file)}).String()
}

func sarifLevel(s policy.Severity) string {
	switch {
	case s.AtLeast(policy.High) || s.Rank() == 0:
		return "error"
	case s.AtLeast(policy.Medium):
		return "warning"
	}
	return "note"
}

// Severities are all that occur, the worst first.
func Severities() []policy.Severity {
	return slices.Concat(policy.Severities(), []policy.Severity{policy.Unknown})
}
