package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/sbomtest"
)

const (
	mit = `The MIT License (MIT)

	Permission is hereby granted, free of charge, to any person obtaining a copy
	// of this software and associated documentation files (the "Software"), …`
	bsdText = `Redistribution and use in source and binary forms, with or without
modification, are permitted provided that …`
	apache = "                 Apache License\n           Version 2.0, January 2004\n"
	isc    = "Permission to use, copy, modify, and distribute this software for any\npurpose with or without fee is hereby granted, …"
	mpl    = `Mozilla Public License, version 2.0
1.12. "Secondary License" means either the GNU General Public License, Version 2.0, the GNU Lesser
General Public License, Version 2.1, the GNU Affero General Public License, Version 3.0, or any later
versions of those licenses.`
	xz = `Licensing of github.com/xi2/xz
==============================

    This Go package is a modified version of

        XZ Embedded  <http://tukaani.org/xz/embedded.html>

    The contents of the testdata directory are modified versions of
    the test files from

        XZ Utils  <http://tukaani.org/xz/>

    All the files in this package have been written by Michael Cross,
    Lasse Collin and/or Igor PavLov. All these files have been put
    into the public domain. You can do whatever you want with these
    files.

    This software is provided "as is", without any warranty.
`
	gpl  = "                    GNU GENERAL PUBLIC LICENSE\n                       Version 3, 29 June 2007\n"
	lgpl = "                   GNU LESSER GENERAL PUBLIC LICENSE\n                       Version 3, 29 June 2007\n"
)

func TestClassify(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want string
		err  error
	}{
		"MIT":                      {mit, "MIT", nil},
		"Apache":                   {apache, "Apache-2.0", nil},
		"ISC":                      {isc, "ISC", nil},
		"MPL, which names the GPL": {mpl, "MPL-2.0", nil},
		"BSD-2":                    {bsdText, "BSD-2-Clause", nil},
		"BSD-3":                    {bsdText + "\nNeither the name of the author nor …", "BSD-3-Clause", nil},
		"two in one file":          {apache + mit, "Apache-2.0 MIT", nil},
		"GPL":                      {gpl, "", errCopyleft},
		"LGPL":                     {lgpl, "", errCopyleft},
		"AGPL":                     {"GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3", "", errCopyleft},
		"GPL under MIT":            {mit + gpl, "", errCopyleft},
		"GPL beside the MPL":       {mpl + "\nor the GNU General Public License", "", errCopyleft},
		"four clauses":             {bsdText + " All advertising materials mentioning features …", "", errCopyleft},
		"somebody's own":           {"You may use this if you are nice.", "", errUnknown},
		"nothing":                  {"", "", errUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			ids, err := classify(tc.text)
			if strings.Join(ids, " ") != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("%v, %v; want %q, %v", ids, err, tc.want, tc.err)
			}
		})
	}
}

// tree writes modules, each in the folder of its path, and is what the go
// command would list of them.
func tree(t *testing.T, files map[string]string, packages ...string) *licences {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var lines strings.Builder
	for _, p := range packages {
		mod, _, _ := strings.Cut(p, "//")
		fmt.Fprintf(&lines, "%s|v1.0.0|%s|%s\n", mod, filepath.Join(root, mod), filepath.Join(root, strings.Replace(p, "//", "/", 1)))
	}
	return &licences{
		goroot: filepath.Join(root, "std"),
		list:   func(context.Context, target) ([]module, error) { return parseModules(lines.String()) },
	}
}

func program(deps ...string) *buildinfo.BuildInfo {
	info := &buildinfo.BuildInfo{GoVersion: "go1.26.8"}
	for _, d := range deps {
		info.Deps = append(info.Deps, &debug.Module{Path: d, Version: "v1.0.0", Sum: "h1:x="})
	}
	return info
}

func TestLicencesOfAProgram(t *testing.T) {
	l := tree(t, map[string]string{
		"std/LICENSE": bsdText, "a.org/x/LICENSE.md": apache, "a.org/x/NOTICE": "made by A",
		"a.org/x/LICENSE.docs": "Attribution-ShareAlike 4.0 International", "a.org/x/license.go": "package x // noncommercial",
		"b.org/y/COPYING": mit, "b.org/y/taken/over/LICENSE": isc, "b.org/y/taken/over/code/x.go": "package x", "b.org/y/tool/COPYING": gpl,
	}, "a.org/x", "b.org/y//taken/over/code", "b.org/y")
	third, err := l.of(t.Context(), target{}, program("a.org/x", "b.org/y"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range third {
		got = append(got, c.purl()+" "+c.expression()+" "+c.sum)
	}
	want := []string{
		"pkg:golang/std@1.26.8 BSD-2-Clause ", "pkg:golang/a.org/x@v1.0.0 Apache-2.0 h1:x=", "pkg:golang/b.org/y@v1.0.0 ISC AND MIT h1:x=",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	text := string(thirdPartyText(third))
	for _, part := range []string{"made by A", "--- taken/over/LICENSE", "distribute this software for any"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in the file of all licences:\n%s", part, text)
		}
	}
	if strings.Contains(text, "package x") || strings.Contains(text, "GNU") {
		t.Errorf("what is not linked in is in the file of all licences:\n%s", text)
	}
	if _, err := l.of(t.Context(), target{}, program("a.org/x", "c.org/z")); err == nil || !strings.Contains(err.Error(), "c.org/z") {
		t.Errorf("%v, want an error about what is linked in and not listed", err)
	}
}

func TestLicencesThatStopARelease(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"copyleft":          {"bad.org/x/LICENSE": gpl},
		"copyleft beside":   {"bad.org/x/LICENSE": mit, "bad.org/x/COPYING.txt": lgpl},
		"copyleft below":    {"bad.org/x/LICENSE": mit, "bad.org/x/a/COPYING": gpl, "bad.org/x/a/b/x.go": "package b"},
		"copyleft, noticed": {"bad.org/x/LICENSE": mit, "bad.org/x/NOTICE": gpl},
		"unknown":           {"bad.org/x/LICENSE": "be nice"},
		"none":              {"bad.org/x/x.go": "package x"},
		"below alone":       {"bad.org/x/a/LICENSE": mit, "bad.org/x/a/b/x.go": "package b"},
		"a notice alone":    {"bad.org/x/NOTICE": "made by B"},
	} {
		t.Run(name, func(t *testing.T) {
			files["std/LICENSE"] = bsdText
			packages := []string{"bad.org/x"}
			if _, below := files["bad.org/x/a/b/x.go"]; below {
				packages = append(packages, "bad.org/x//a/b")
			}
			_, err := tree(t, files, packages...).of(t.Context(), target{}, nil)
			if err == nil || !strings.Contains(err.Error(), "bad.org/x@v1.0.0") {
				t.Errorf("%v, want an error that names the module", err)
			}
		})
	}
}

// TestReviewedTexts: a text that was read counts for its module and its name
// alone, and as it was read.
func TestReviewedTexts(t *testing.T) {
	const text = "https://commons.wikimedia.org/wiki/File:Memory_infra_logo.png\n"
	for name, tc := range map[string]struct {
		module string
		file   licenceFile
		ok     bool
	}{
		"as it was read":    {"modernc.org/memory", licenceFile{"LICENSE-LOGO", []byte(text)}, true},
		"of another module": {"modernc.org/other", licenceFile{"LICENSE-LOGO", []byte(text)}, false},
		"of another name":   {"modernc.org/memory", licenceFile{"LICENSE", []byte(text)}, false},
		"changed":           {"modernc.org/memory", licenceFile{"LICENSE-LOGO", []byte(text + "and more")}, false},
	} {
		if _, err := classifyFile(tc.module, tc.file); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for sum, r := range exceptions() {
		if len(sum) != 64 || r.module == "" || r.file == "" || r.why == "" {
			t.Errorf("%s: %+v says too little", sum, r)
		}
	}
}

func TestArchivesAreReproducible(t *testing.T) {
	files := []entry{{"ferry", 0o755, []byte("program")}, {"LICENSE", 0o644, []byte("text")}}
	date := time.Unix(1_700_000_000, 0).UTC()
	for name, write := range map[string]func(string, []entry, time.Time) ([]byte, error){"tar.gz": tarGz, "zip": zipped} {
		a, err1 := write("ferry_1", files, date)
		b, err2 := write("ferry_1", files, date)
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: written twice, it differs (%v, %v)", name, err1, err2)
		}
	}
	b, _ := zipped("ferry_1", files, date)
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil || len(z.File) != 2 || z.File[0].Name != "ferry_1/ferry" || z.File[0].Mode() != 0o755 {
		t.Errorf("zip: %v, %v", z, err)
	}
	b, _ = tarGz("ferry_1", files, date)
	gz, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(gz)
	h, err := r.Next()
	if err != nil || h.Name != "ferry_1/ferry" || h.Mode != 0o755 || !h.ModTime.Equal(date) || h.Uname != "" {
		t.Errorf("tar: %+v, %v", h, err)
	}
	if body, err := io.ReadAll(r); err != nil || string(body) != "program" {
		t.Errorf("tar: %q, %v", body, err)
	}
}

func TestSBOMs(t *testing.T) {
	third := []component{{path: "a.org/X_y", version: "v1.0.0", sum: "h1:x=", licences: []string{"Apache-2.0", "MIT"}}}
	sum := strings.Repeat("0123456789abcdef", 4)
	date := time.Unix(1_700_000_000, 0).UTC()
	for name, doc := range map[string]any{
		"spdx":      spdx("ferry", "ferry_1_linux_amd64", "v1", sum, date, third),
		"cyclonedx": cyclonedx("ferry", "v1", sum, date, "go1.26.8", third),
	} {
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"pkg:golang/a.org/X_y@v1.0.0", "Apache-2.0 AND MIT", "2023-11-14T22:13:20Z", sum} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s: %q is not in %s", name, want, b)
			}
		}
	}
	valid(t, third)
	if id := fmt.Sprint(spdx("ferry", "n", "v1", sum, date, third)["relationships"]); !strings.Contains(id, "SPDXRef-Package-a.org-X-y-v1.0.0") {
		t.Errorf("SPDX identifiers have letters, digits, dots and dashes only: %s", id)
	}
	third[0] = component{path: "github.com/xi2/xz", licences: []string{publicDomain}, files: []licenceFile{{"LICENSE", []byte(xz)}}}
	valid(t, third)
	if b, err := json.Marshal(spdx("ferry", "n", "v1", sum, date, third)); err != nil || !strings.Contains(string(b), `{"extractedText":"Licensing of github.com/xi2/xz`) {
		t.Errorf("SPDX wants the text of a licence that it has no name for: %s", b)
	}
}

// valid holds the SBOMs of a program with these components against the schemas.
func valid(t *testing.T, third []component) {
	t.Helper()
	schemas, err := sbomtest.Load("1.5")
	if err != nil {
		t.Fatal(err)
	}
	sum, date := strings.Repeat("0123456789abcdef", 4), time.Unix(1_700_000_000, 0).UTC()
	for _, c := range []struct {
		doc   object
		check func([]byte) error
		must  string
	}{
		{spdx("ferry", "ferry_1_linux_amd64", "v1", sum, date, third), schemas.SPDX, "creationInfo"},
		{cyclonedx("ferry", "v1", sum, date, "go1.26.8", third), schemas.CycloneDX, "bomFormat"},
	} {
		b, err := json.Marshal(c.doc)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.check(b); err != nil {
			t.Error(err)
		}
		delete(c.doc, c.must)
		if b, err = json.Marshal(c.doc); err != nil || c.check(b) == nil {
			t.Errorf("without its %s it is valid too: %v", c.must, err)
		}
	}
}

// TestSBOMsOfTheShippedPrograms has what is really linked in, as make licences.
func TestSBOMsOfTheShippedPrograms(t *testing.T) {
	t.Chdir("../..")
	goroot, err := goSays(t.Context(), "env", "GOROOT")
	if err != nil {
		t.Fatal(err)
	}
	l := licences{listModules, goroot}
	for program, least := range map[string]int{ferry: 50, scanner: 200} {
		third, err := l.of(t.Context(), target{program, "linux", "amd64"}, nil)
		if err != nil || len(third) < least {
			t.Fatalf("%s: %d components, %v", program, len(third), err)
		}
		valid(t, third)
	}
}

func TestSourceDate(t *testing.T) {
	if d, err := sourceDate("1700000000"); err != nil || d.Year() != 2023 {
		t.Errorf("%v, %v", d, err)
	}
	if _, err := sourceDate(""); err == nil {
		t.Error("no date was taken for one")
	}
}

func TestChecksums(t *testing.T) {
	r := release{to: t.TempDir()}
	if err := os.WriteFile(filepath.Join(r.to, "a"), []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.checksums(); err != nil {
		t.Fatal(err)
	}
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n"
	if b, err := os.ReadFile(filepath.Join(r.to, "SHA256SUMS")); err != nil || string(b) != want {
		t.Errorf("%q, %v", b, err)
	}
}
