// Command bench compares ferry with crane and skopeo on one machine: the same
// images, the same registry on loopback, runs taken in turns. It measures wall
// time, processor time, memory, and bytes written and fetched, and writes them
// beside the goals. It does not test: what is wrong is the tests' matter.
//
//	go run . [-quick] [-only PART] [-runs N] [-corpus DIR] [-date YYYY-MM-DD] [-to FILE]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

type options struct {
	quick  bool
	only   string
	runs   int
	corpus string
	date   string
	to     string
	ferry  string
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "a corpus of a twentieth, printed and not written: to try the bench itself")
	flag.IntVar(&o.runs, "runs", 5, "runs of each program, 5 at least for figures to be kept")
	flag.StringVar(&o.only, "only", "", "one part of bundles, pushes, serves, loads, scans, fixes: its tables are printed, nothing is written")
	flag.StringVar(&o.corpus, "corpus", "", "where the corpus is kept (default: ferry-bench in the user's cache folder)")
	flag.StringVar(&o.date, "date", "", "the day to write down (default: the commit's)")
	flag.StringVar(&o.to, "to", "../../docs/benchmarks.md", "the page to write")
	flag.StringVar(&o.ferry, "ferry", "../../bin/ferry", "the program to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := corpusDir(o)
	if err != nil {
		return err
	}
	if err := enoughSpace(dir, o.quick); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "run-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	tools, err := buildTools(ctx, o, work)
	if err != nil {
		return err
	}
	reg, err := startRegistry(ctx, "docker-registry", filepath.Join(dir, "registry"), work)
	if err != nil {
		return err
	}
	defer reg.stop()
	c, err := openCorpus(ctx, dir, reg.addr, o.quick)
	if err != nil {
		return err
	}
	b := &bench{opts: o, tools: tools, reg: reg, corpus: c, work: work}
	r, err := b.all(ctx)
	if err != nil {
		return err
	}
	page := r.markdown(o, tools)
	fmt.Print(page)
	if o.quick || o.only != "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(o.to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(o.to, []byte(page), 0o644)
}

func corpusDir(o options) (string, error) {
	dir := o.corpus
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cache, "ferry-bench")
	}
	name := "full"
	if o.quick {
		name = "quick"
	}
	dir, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// enoughSpace asks for room for the corpus, a bundle, a base, and a folder and
// a tar of each of the others.
func enoughSpace(dir string, quick bool) error {
	need := uint64(12e9)
	if quick {
		need = 1e9
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return err
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < need {
		return fmt.Errorf("%.1f GB are free for the corpus and what is made of it, %.1f GB are needed", float64(free)/1e9, float64(need)/1e9)
	}
	return nil
}

// tools are the programs that are compared.
type tools struct{ ferry, crane, skopeo, skopeoVersion, registry string }

func buildTools(ctx context.Context, o options, work string) (tools, error) {
	ferry, err := filepath.Abs(o.ferry)
	if err != nil {
		return tools{}, err
	}
	if _, err := os.Stat(ferry); err != nil {
		return tools{}, fmt.Errorf("%w (make build)", err)
	}
	t := tools{ferry: ferry, crane: filepath.Join(work, "crane"), registry: filepath.Join(work, "registry")}
	if err := buildRegistry(ctx, t.registry); err != nil {
		return tools{}, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", t.crane, "github.com/google/go-containerregistry/cmd/crane")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return tools{}, fmt.Errorf("build crane: %w\n%s", err, out)
	}
	if t.skopeo, err = exec.LookPath("skopeo"); err != nil {
		return tools{}, fmt.Errorf("%w (scripts/e2e-install installs it on Debian)", err)
	}
	out, err := exec.CommandContext(ctx, t.skopeo, "--version").Output()
	t.skopeoVersion = string(out)
	return t, err
}
