// Package scanproc runs ferry-scanner, the program that looks into images, and
// speaks with it. Whatever becomes of that program, every image that was asked
// about has an answer: what was found, or that it could not be read.
//
// It is not for deciding anything about what was found.
package scanproc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"ferry/internal/command"
	"ferry/internal/scan"
)

// Name is what the program is called.
const Name = "ferry-scanner"

// MissingError says that the program is not installed.
type MissingError struct{ Beside string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is missing: it lies neither in %s, beside ferry, nor in PATH", Name, e.Beside)
}

// Hint says what to do.
func (*MissingError) Hint() string {
	return "Install it from the same release as ferry, beside it: without it nothing can be scanned."
}

// Program is an installed scanner.
type Program struct {
	Path string
	// Version is ferry's own, with its commit: only a scanner of the same is
	// listened to.
	Version string
	Run     command.Runner
}

// Find finds the program beside ferry's own, or else in PATH.
func Find(executable string) (string, error) {
	name := Name
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	folders := []string{filepath.Dir(executable)}
	if real, err := filepath.EvalSymlinks(executable); err == nil {
		folders = append(folders, filepath.Dir(real))
	}
	for _, dir := range folders {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", &MissingError{Beside: folders[0]}
}

// Ask asks for one thing, and returns the answer with its results. done is
// called for each image or SBOM that has one. The one that breaks the scanner
// is found by asking for it alone: it has failed, and the others have not.
func (p Program) Ask(ctx context.Context, r scan.Request, done func(at int)) (scan.Answer, error) {
	r.Protocol, r.Version = scan.Protocol, p.Version
	a := asking{program: p, request: r, done: done, results: map[int]scan.Result{}}
	n := max(len(r.Images), len(r.SBOMs))
	var all []int
	for i := range n {
		all = append(all, i)
	}
	answer, err := a.all(ctx, all)
	if err != nil {
		return scan.Answer{}, err
	}
	for i := range n {
		res, ok := a.results[i]
		if !ok {
			return scan.Answer{}, fmt.Errorf("the scanner gave no answer about %s", a.label(i))
		}
		res.At = i
		answer.Results = append(answer.Results, res)
	}
	return answer, nil
}

// asking is one question, asked in as many runs as it takes.
type asking struct {
	program Program
	request scan.Request
	done    func(at int)
	results map[int]scan.Result
}

func (a *asking) label(i int) string {
	if i < len(a.request.Images) {
		return a.request.Images[i].Name
	}
	return filepath.Base(a.request.SBOMs[i])
}

func (a *asking) take(i int, r scan.Result) {
	if _, had := a.results[i]; !had && a.done != nil {
		a.done(i)
	}
	a.results[i] = r
}

// all asks about the given images, and again without those that broke it.
func (a *asking) all(ctx context.Context, pending []int) (scan.Answer, error) {
	for {
		answer, begun, err := a.run(ctx, pending)
		broke, ok := errors.AsType[*brokenError](err)
		if !ok || len(begun) == 0 {
			return answer, err
		}
		if answer, err = a.suspects(ctx, begun, len(pending) == 1, broke); err != nil {
			return answer, err
		}
		pending = slices.DeleteFunc(pending, func(i int) bool { _, has := a.results[i]; return has })
		if len(pending) == 0 {
			return answer, nil
		}
	}
}

// suspects asks once more about each image that the scanner was looking into
// when it broke, alone.
func (a *asking) suspects(ctx context.Context, begun []int, alone bool, broke *brokenError) (scan.Answer, error) {
	var last scan.Answer
	for _, i := range begun {
		err := error(broke)
		if !alone {
			var answer scan.Answer
			if answer, _, err = a.run(ctx, []int{i}); err == nil {
				last = answer
				continue
			}
		}
		again, ok := errors.AsType[*brokenError](err)
		if !ok {
			return last, err
		}
		a.take(i, scan.Result{Failed: again.Error()})
	}
	return last, nil
}

// brokenError says that the scanner ended before it had answered.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return "the scanner broke down: " + e.err.Error() }

func (e *brokenError) Unwrap() error { return e.err }

// run runs the program once. begun are those that it was looking into when it
// broke.
func (a *asking) run(ctx context.Context, pending []int) (scan.Answer, []int, error) {
	r := a.request
	r.Images, r.SBOMs = pick(r.Images, pending), pick(r.SBOMs, pending)
	in, err := json.Marshal(r)
	if err != nil {
		return scan.Answer{}, nil, err
	}
	open := map[int]bool{}
	var answer *scan.Answer
	out := &lines{take: func(m scan.Message) error {
		switch {
		case m.Answer != nil:
			answer = m.Answer
		case m.Begun != nil:
			open[*m.Begun] = true
		case m.Result != nil && m.Result.At >= 0 && m.Result.At < len(pending):
			delete(open, m.Result.At)
			a.take(pending[m.Result.At], *m.Result)
		default:
			return errors.New("the scanner says what nobody understands")
		}
		return nil
	}}
	err = a.program.Run.Run(ctx, command.Command{
		Argv: []string{a.program.Path}, Stdin: bytes.NewReader(in), Stdout: out, Env: environment(r),
	})
	if ctx.Err() != nil {
		return scan.Answer{}, nil, ctx.Err()
	}
	if err != nil {
		if answer != nil && answer.Error != "" {
			err = &scan.AnswerError{Text: answer.Error, Cause: answer.Cause}
		}
		return scan.Answer{}, known(open, pending), &brokenError{err}
	}
	if answer == nil {
		return scan.Answer{}, nil, errors.New("the scanner ended without an answer")
	}
	if answer.Error != "" {
		return *answer, nil, &scan.AnswerError{Text: answer.Error, Cause: answer.Cause}
	}
	return *answer, nil, nil
}

func pick[T any](all []T, which []int) []T {
	if all == nil {
		return nil
	}
	var some []T
	for _, i := range which {
		some = append(some, all[i])
	}
	return some
}

// known are the images, by their places in the whole request.
func known(open map[int]bool, pending []int) []int {
	var all []int
	for at := range open {
		if at >= 0 && at < len(pending) {
			all = append(all, pending[at])
		}
	}
	slices.Sort(all)
	return all
}

// environment bounds the program and keeps its files together.
func environment(r scan.Request) []string {
	memory := r.Limits.Or().Memory
	env := []string{"GOMEMLIMIT=" + strconv.FormatInt(memory/4*3, 10), "GOTRACEBACK=none"}
	if r.Dir != "" {
		for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
			env = append(env, name+"="+r.Dir)
		}
	}
	return env
}

// lines reads messages, one a line, as they come.
type lines struct {
	rest []byte
	take func(scan.Message) error
}

func (l *lines) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, ends := bytes.Cut(rest, []byte("\n"))
		if len(l.rest)+len(line) > scan.MaxLine {
			return 0, fmt.Errorf("the scanner's answer has a line of more than %d bytes", scan.MaxLine)
		}
		l.rest, rest = append(l.rest, line...), after
		if !ends {
			break
		}
		var m scan.Message
		if err := json.Unmarshal(l.rest, &m); err != nil {
			return 0, fmt.Errorf("the scanner's answer is not JSON: %w", err)
		}
		if err := l.take(m); err != nil {
			return 0, err
		}
		l.rest = l.rest[:0]
	}
	return len(p), nil
}
