package scanproc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"ferry/internal/command"
	"ferry/internal/scan"
	"ferry/internal/scanproc"
)

// scripted is a scanner that says what a function writes.
type scripted func(r scan.Request, out io.Writer) error

func (s scripted) Run(_ context.Context, c command.Command) error {
	var r scan.Request
	if err := json.NewDecoder(c.Stdin).Decode(&r); err != nil {
		return err
	}
	return s(r, c.Stdout)
}

func say(out io.Writer, all ...scan.Message) error {
	for _, m := range all {
		if err := json.NewEncoder(out).Encode(m); err != nil {
			return err
		}
	}
	return nil
}

func begun(at int) scan.Message { return scan.Message{Begun: &at} }

func result(at int, failed string) scan.Message {
	return scan.Message{Result: &scan.Result{At: at, Failed: failed}}
}

var done = scan.Message{Answer: &scan.Answer{Tool: scan.Tool{Name: "grype"}}}

func ask(s scripted) (scan.Answer, error) {
	p := scanproc.Program{Path: "ferry-scanner", Version: "v1 c", Run: s}
	return p.Ask(context.Background(), scan.Request{Op: scan.OpScan, Images: []scan.Image{{Name: "a"}, {Name: "b"}, {Name: "c"}}}, nil)
}

// TestOneThatBreaksTheScanner has failed, and the others have their results.
func TestOneThatBreaksTheScanner(t *testing.T) {
	runs := 0
	a, err := ask(func(r scan.Request, out io.Writer) error {
		runs++
		for at, img := range r.Images {
			if err := say(out, begun(at)); err != nil {
				return err
			}
			if img.Name == "b" {
				return errors.New("signal: killed")
			}
			if err := say(out, result(at, "")); err != nil {
				return err
			}
		}
		return say(out, done)
	})
	if err != nil || len(a.Results) != 3 || runs > 4 {
		t.Fatalf("%+v, %v, after %d runs", a, err, runs)
	}
	for i, want := range []string{"", "the scanner broke down: signal: killed", ""} {
		if a.Results[i].Failed != want || a.Results[i].At != i {
			t.Errorf("image %d: %+v, want %q", i, a.Results[i], want)
		}
	}
}

// TestScannersThatAreNotBelieved: no answer is better than half of one.
func TestScannersThatAreNotBelieved(t *testing.T) {
	for name, tc := range map[string]struct {
		says func(r scan.Request, out io.Writer) error
		want string
	}{
		"says nothing":     {func(scan.Request, io.Writer) error { return nil }, "ended without an answer"},
		"forgets an image": {func(_ scan.Request, out io.Writer) error { return say(out, result(0, ""), result(2, ""), done) }, "no answer about b"},
		"forgets the answer": {func(_ scan.Request, out io.Writer) error {
			return say(out, result(0, ""), result(1, ""), result(2, ""))
		}, "ended without an answer"},
		"knows of another image":    {func(_ scan.Request, out io.Writer) error { return say(out, result(0, ""), result(7, ""), done) }, "nobody understands"},
		"speaks of none":            {func(_ scan.Request, out io.Writer) error { return say(out, result(-1, ""), done) }, "nobody understands"},
		"writes no JSON":            {func(_ scan.Request, out io.Writer) error { _, err := io.WriteString(out, "panic: oops\n"); return err }, "is not JSON"},
		"writes a line without end": {func(_ scan.Request, out io.Writer) error { return endless(out) }, "has a line of more than"},
		"breaks before any image":   {func(scan.Request, io.Writer) error { return errors.New("exit status 2") }, "the scanner broke down: exit status 2"},
		"says why it cannot": {func(_ scan.Request, out io.Writer) error {
			return say(out, result(0, ""), result(1, ""), result(2, ""), scan.Message{Answer: &scan.Answer{Error: "the vulnerability database was exchanged while it was used"}})
		}, "was exchanged"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := ask(tc.says)
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(a.Results) > 0 {
				t.Errorf("%+v, %v; want %q", a, err, tc.want)
			}
		})
	}
}

func endless(out io.Writer) error {
	block := []byte(strings.Repeat("x", 16<<20))
	for range scan.MaxLine/len(block) + 1 {
		if _, err := out.Write(block); err != nil {
			return err
		}
	}
	return nil
}

// TestAskedAsThisFerry: the scanner learns which ferry asks.
func TestAskedAsThisFerry(t *testing.T) {
	_, err := ask(func(r scan.Request, _ io.Writer) error {
		return fmt.Errorf("asked by %s with protocol %d", r.Version, r.Protocol)
	})
	if err == nil || !strings.Contains(err.Error(), "asked by v1 c with protocol 1") {
		t.Error(err)
	}
}
