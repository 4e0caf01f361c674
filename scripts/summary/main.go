// Command summary runs `go test -json` with its arguments and says what ran:
// a line per package, the output of what failed or was skipped, and at last
// how many tests passed, failed and were skipped. It is for people and for
// continuous integration alike, and no test runner of its own.
//
//	go run ./scripts/summary [-no-skips] [go test arguments]
//
// With -no-skips, or CI=true in the environment, a skipped test is a failure:
// there a tool that a test needs has to be there. A run without any test fails.
// The counts are appended to the file that TEST_TOTALS names, if it does.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
)

func main() {
	args := os.Args[1:]
	noSkips := os.Getenv("CI") == "true"
	if len(args) > 0 && args[0] == "-no-skips" {
		noSkips, args = true, args[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, args, noSkips)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string, noSkips bool) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s := newSummary(out)
	readErr := s.read(stdout)
	testErr := cmd.Wait()
	s.close()
	if err := s.save(os.Getenv("TEST_TOTALS")); err != nil {
		return err
	}
	if testErr != nil {
		testErr = fmt.Errorf("go test: %w", testErr)
	}
	return errors.Join(readErr, testErr, s.verdict(noSkips))
}

// event is a line of go test -json (go doc test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

type counts struct{ passed, failed, skipped int }

type summary struct {
	out     io.Writer
	total   counts
	pkgs    map[string]*counts
	output  map[string][]string // by package and test, until it ends
	skipped []string
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, pkgs: map[string]*counts{}, output: map[string][]string{}}
}

func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.line(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what go test says: %w", err)
		}
	}
}

func (s *summary) line(line string) {
	var e event
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil {
		fmt.Fprint(s.out, line)
		return
	}
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "output":
		key := e.Package + " " + e.Test
		s.output[key] = append(s.output[key], e.Output)
	case "pass", "fail", "skip":
		s.end(e)
	}
}

func (s *summary) end(e event) {
	c := s.pkgs[e.Package]
	if c == nil {
		c = &counts{}
		s.pkgs[e.Package] = c
	}
	key := e.Package + " " + e.Test
	if e.Test == "" {
		s.endPackage(e, c)
	} else {
		s.endTest(e, c)
	}
	delete(s.output, key)
}

func (s *summary) endTest(e event, c *counts) {
	switch e.Action {
	case "pass":
		c.passed++
		return
	case "fail":
		c.failed++
	case "skip":
		c.skipped++
		s.skipped = append(s.skipped, e.Package+" "+e.Test)
	}
	s.print(e)
}

func (s *summary) endPackage(e event, c *counts) {
	if e.Action == "fail" {
		// A build that failed, a panic or a time-out belongs to no test.
		if c.failed == 0 {
			c.failed = 1
		}
		s.flush(e.Package)
	}
	if *c == (counts{}) {
		return
	}
	word := "ok  "
	if c.failed > 0 {
		word = "FAIL"
	}
	fmt.Fprintf(s.out, "%s %-34s %4d passed %3d failed %3d skipped %7.2f s\n",
		word, e.Package, c.passed, c.failed, c.skipped, e.Elapsed)
	s.total.passed += c.passed
	s.total.failed += c.failed
	s.total.skipped += c.skipped
	*c = counts{}
}

func (s *summary) print(e event) {
	for _, o := range s.output[e.Package+" "+e.Test] {
		fmt.Fprint(s.out, o)
	}
}

// flush prints what is left of a package that failed: the tests that never
// ended, and what it said outside of them.
func (s *summary) flush(pkg string) {
	var keys []string
	for key := range s.output {
		if strings.HasPrefix(key, pkg+" ") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		for _, o := range s.output[key] {
			fmt.Fprint(s.out, o)
		}
		delete(s.output, key)
	}
}

func (s *summary) close() {
	if len(s.skipped) > 0 {
		fmt.Fprintln(s.out, "skipped:")
	}
	for _, name := range s.skipped {
		fmt.Fprintln(s.out, "  "+name)
	}
	fmt.Fprintln(s.out, s.total)
}

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

func (s *summary) save(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, s.total.passed, s.total.failed, s.total.skipped)
	return errors.Join(err, f.Close())
}

func (s *summary) verdict(noSkips bool) error {
	switch {
	case s.total == counts{}:
		return errors.New("no test ran")
	case s.total.failed > 0:
		return fmt.Errorf("%d tests failed", s.total.failed)
	case noSkips && s.total.skipped > 0:
		return fmt.Errorf("%d tests were skipped, and here none may be", s.total.skipped)
	}
	return nil
}
