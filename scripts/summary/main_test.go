package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func feed(lines ...string) (*summary, *bytes.Buffer) {
	var out bytes.Buffer
	s := newSummary(&out)
	if err := s.read(strings.NewReader(strings.Join(lines, "\n"))); err != nil {
		panic(err)
	}
	s.close()
	return s, &out
}

func TestCounts(t *testing.T) {
	s, out := feed(
		`{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestA"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"why\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestB"}`,
		`{"Action":"pass","Package":"p","Elapsed":1}`,
		`{"Action":"output","Package":"q","Test":"TestC","Output":"broken\n"}`,
		`{"Action":"fail","Package":"q","Test":"TestC"}`,
		`{"Action":"fail","Package":"q"}`,
	)
	for _, want := range []string{"why\n", "broken\n", "p TestB\n", "\n1 passed, 1 failed, 1 skipped\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	if strings.Contains(out.String(), "quiet") {
		t.Error("a test that passed is shown")
	}
	if err := s.verdict(false); err == nil {
		t.Error("a failed test passes")
	}
}

func TestVerdict(t *testing.T) {
	for name, tc := range map[string]struct {
		lines   []string
		noSkips bool
		want    string
	}{
		"passed":  {[]string{`{"Action":"pass","Package":"p","Test":"T"}`, `{"Action":"pass","Package":"p"}`}, true, ""},
		"nothing": {nil, false, "no test ran"},
		"no test files": {
			[]string{`{"Action":"skip","Package":"p"}`}, false, "no test ran",
		},
		"skipped": {
			[]string{`{"Action":"skip","Package":"p","Test":"T"}`, `{"Action":"pass","Package":"p"}`}, false, "",
		},
		"skipped where none may be": {
			[]string{`{"Action":"skip","Package":"p","Test":"T"}`, `{"Action":"pass","Package":"p"}`}, true, "1 tests were skipped",
		},
		"does not build": {
			[]string{`{"ImportPath":"p","Action":"build-output","Output":"syntax error\n"}`, `{"Action":"fail","Package":"p","FailedBuild":"p"}`},
			false, "1 tests failed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := feed(tc.lines...)
			err := s.verdict(tc.noSkips)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestPanicIsShown(t *testing.T) {
	_, out := feed(
		`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: here\n"}`,
		`{"Action":"fail","Package":"p"}`,
		`not from test2json`,
	)
	if !strings.Contains(out.String(), "panic: here") || !strings.Contains(out.String(), "not from test2json") {
		t.Errorf("lost:\n%s", out)
	}
}

func TestTotals(t *testing.T) {
	s, _ := feed(`{"Action":"pass","Package":"p","Test":"T"}`, `{"Action":"pass","Package":"p"}`)
	file := filepath.Join(t.TempDir(), "totals")
	for range 2 {
		if err := s.save(file); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "1 0 0\n1 0 0\n" {
		t.Errorf("%q, %v", b, err)
	}
}
