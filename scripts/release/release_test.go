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

func modules(t *testing.T, files map[string]string) *licences {
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
	return &licences{
		goroot: filepath.Join(root, "std"),
		dir: func(_ context.Context, path, _ string) (string, error) {
			return filepath.Join(root, path), nil
		},
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
	l := modules(t, map[string]string{
		"std/LICENSE": bsdText, "a.org/x/LICENSE.md": apache, "a.org/x/NOTICE": "made by A",
		"a.org/x/LICENSE.docs": "Attribution-ShareAlike 4.0 International", "a.org/x/main.go": "package x", "b.org/y/COPYING": mit,
	})
	third, err := l.of(t.Context(), program("a.org/x", "b.org/y"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range third {
		got = append(got, c.purl()+" "+c.expression())
	}
	want := []string{
		"pkg:golang/std@1.26.8 BSD-2-Clause", "pkg:golang/a.org/x@v1.0.0 Apache-2.0", "pkg:golang/b.org/y@v1.0.0 MIT",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if text := string(thirdPartyText(third)); !strings.Contains(text, "made by A") || strings.Contains(text, "package x") {
		t.Errorf("the file of all licences:\n%s", text)
	}
}

func TestLicencesThatStopARelease(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"copyleft":          {"bad.org/x/LICENSE": gpl},
		"copyleft beside":   {"bad.org/x/LICENSE": mit, "bad.org/x/COPYING.txt": lgpl},
		"copyleft, noticed": {"bad.org/x/LICENSE": mit, "bad.org/x/NOTICE": gpl},
		"unknown":           {"bad.org/x/LICENSE": "be nice"},
		"none":              {"bad.org/x/x.go": "package x"},
		"a notice alone":    {"bad.org/x/NOTICE": "made by B"},
	} {
		t.Run(name, func(t *testing.T) {
			files["std/LICENSE"] = bsdText
			_, err := modules(t, files).of(t.Context(), program("bad.org/x"))
			if err == nil || !strings.Contains(err.Error(), "bad.org/x@v1.0.0") {
				t.Errorf("%v, want an error that names the module", err)
			}
		})
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
	if id := fmt.Sprint(spdx("ferry", "n", "v1", sum, date, third)["relationships"]); !strings.Contains(id, "SPDXRef-Package-a.org-X-y-v1.0.0") {
		t.Errorf("SPDX identifiers have letters, digits, dots and dashes only: %s", id)
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
