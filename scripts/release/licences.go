package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// component is a module that is linked in, and the terms it comes under.
type component struct {
	path, version, sum string
	licences           []string // SPDX identifiers
	files              []licenceFile
}

// expression is the component's licence as SPDX writes it. Several texts all
// bind, since nobody says which part each is for.
func (c component) expression() string { return strings.Join(c.licences, " AND ") }

func (c component) purl() string {
	if c.path == "std" {
		return "pkg:golang/std@" + c.version
	}
	return "pkg:golang/" + c.path + "@" + c.version
}

type licenceFile struct {
	name string
	text []byte
}

// licences finds the licences of what is linked in.
type licences struct {
	list   func(ctx context.Context, t target) ([]module, error)
	goroot string
}

// of returns the components of a program, Go's own library first. Without
// info, which only a built program has, they have no checksums.
func (l *licences) of(ctx context.Context, t target, info *buildinfo.BuildInfo) ([]component, error) {
	listed, err := l.list(ctx, t)
	if err != nil {
		return nil, err
	}
	version, sum := runtime.Version(), map[string]string{}
	if info != nil {
		version = info.GoVersion
		if sum, err = sums(info, listed); err != nil {
			return nil, err
		}
	}
	std := module{path: "std", version: strings.TrimPrefix(version, "go"), dir: l.goroot}
	var all []component
	var problems []error
	for _, m := range append([]module{std}, listed...) {
		c, err := m.component()
		c.sum = sum[m.path]
		all, problems = append(all, c), append(problems, err)
	}
	return all, errors.Join(problems...)
}

// component reads a module's licences.
func (m module) component() (component, error) {
	if m.dir == "" {
		return component{}, fmt.Errorf("licence of %s@%s: its source is not in the module cache", m.path, m.version)
	}
	files, err := m.licenceFiles()
	if err != nil {
		return component{}, fmt.Errorf("licence of %s@%s: %w", m.path, m.version, err)
	}
	c := component{path: m.path, version: m.version, files: files}
	if c.licences, err = classifyAll(m.path, files); err != nil {
		return component{}, fmt.Errorf("licence of %s@%s: %w", m.path, m.version, err)
	}
	return c, nil
}

// goSays is the line that the go command prints.
func goSays(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|unlicense)([.-].*)?$`)

// docsLicence is for a module's documentation, of which nothing is linked in.
const docsLicence = "LICENSE.docs"

// licenceFiles are the texts at a module's root and beside what is linked in,
// notices too: Apache-2.0 wants them handed on.
func (m module) licenceFiles() ([]licenceFile, error) {
	var files []licenceFile
	for _, folder := range m.folders() {
		entries, err := os.ReadDir(filepath.Join(m.dir, folder))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() || e.Name() == docsLicence || filepath.Ext(e.Name()) == ".go" || !licenceName.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(m.dir, folder, e.Name()))
			if err != nil {
				return nil, err
			}
			files = append(files, licenceFile{filepath.ToSlash(filepath.Join(folder, e.Name())), text})
		}
	}
	return files, nil
}

// classifyAll returns the licences of a module's files. Every file but a
// notice must be one that may be linked in, and the module's root must have one.
func classifyAll(module string, files []licenceFile) ([]string, error) {
	var all []string
	atRoot := false
	for _, f := range files {
		ids, err := classifyFile(module, f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		atRoot = atRoot || len(ids) > 0 && path.Dir(f.name) == "."
		all = append(all, ids...)
	}
	if !atRoot {
		return nil, errUnknown
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func classifyFile(module string, f licenceFile) ([]string, error) {
	if r, ok := wasReviewed(module, f); ok {
		if r.licence == "" {
			return nil, nil
		}
		return []string{r.licence}, nil
	}
	ids, err := classify(string(f.text))
	if strings.HasPrefix(strings.ToLower(path.Base(f.name)), "notice") && errors.Is(err, errUnknown) {
		return nil, nil
	}
	return ids, err
}

var (
	errUnknown  = errors.New("no licence that is known here")
	errCopyleft = errors.New("terms that ferry must not link in")
)

// marks are sentences that only one licence has, in the form of plain.
func marks() map[string]string {
	return map[string]string{
		"Apache-2.0": "apache license version 2.0 january 2004",
		"MIT":        "permission is hereby granted free of charge to any person obtaining a copy of this software and associated documentation files",
		"ISC":        "distribute this software for any purpose with or without fee is hereby granted",
		"MPL-2.0":    "mozilla public license version 2.0",
		"BSD":        "redistribution and use in source and binary forms with or without modification are permitted",
	}
}

func refused() []string {
	return []string{
		"gnu general public license", "gnu lesser general public license", "gnu library general public license",
		"gnu affero general public license", "server side public license", "business source license",
		"eclipse public license", "european union public licence", "common development and distribution license",
		"sharealike", "commons clause", "noncommercial",
		"all advertising materials mentioning features", // BSD with four clauses
	}
}

var (
	notWord = regexp.MustCompile(`[^a-z0-9.]+`)
	// The MPL names the GNU licences that it may be combined with.
	secondary = regexp.MustCompile(`secondary license means either .*? or any later versions of those licenses`)
)

// plain drops what differs between copies of one text: case, line breaks,
// comment signs and punctuation.
func plain(text string) string {
	return strings.TrimSpace(notWord.ReplaceAllString(strings.ToLower(text), " "))
}

// classify returns the SPDX identifiers of the licences whose text this is:
// several, where a file holds several. Copyleft is refused, file-level
// copyleft (MPL-2.0) is not.
func classify(text string) ([]string, error) {
	text = secondary.ReplaceAllString(plain(text), "")
	for _, name := range refused() {
		if strings.Contains(text, name) {
			return nil, fmt.Errorf("%w: it speaks of %q", errCopyleft, name)
		}
	}
	var ids []string
	for id, mark := range marks() {
		if strings.Contains(text, mark) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, errUnknown
	}
	if i := slices.Index(ids, "BSD"); i >= 0 {
		ids[i] = bsd(text)
	}
	slices.Sort(ids)
	return ids, nil
}

func bsd(text string) string {
	if strings.Contains(text, "neither the name") || strings.Contains(text, "may not be used to endorse") {
		return "BSD-3-Clause"
	}
	return "BSD-2-Clause"
}

// allLicences are those of all components, each once.
func allLicences(third []component) []string {
	var all []string
	for _, c := range third {
		all = append(all, c.licences...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// thirdPartyText is the file that carries all licence texts.
func thirdPartyText(third []component) []byte {
	var b bytes.Buffer
	b.WriteString("ferry is made with the software below, each part under its own terms. The source\n" +
		"of each is the Go module of that path and version, as its authors publish it.\n")
	for _, c := range third {
		fmt.Fprintf(&b, "\n%s\n%s %s (%s)\n", strings.Repeat("=", 78), c.path, c.version, c.expression())
		for _, f := range c.files {
			fmt.Fprintf(&b, "\n--- %s\n\n%s\n", f.name, bytes.TrimSpace(f.text))
		}
	}
	return b.Bytes()
}
