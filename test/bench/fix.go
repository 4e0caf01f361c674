package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// fixes are what is measured on a real cluster, by its own module: Kubernetes
// is no part of this program.
func (b *bench) fixes(ctx context.Context, r *report, _, _ string) error {
	to := filepath.Join(b.work, "fixes.json")
	test := exec.CommandContext(ctx, "go", "test", "-tags", "bench", "-count=1", "-timeout", "30m", "-v", "-run", "TestFixSpeed$", ".")
	test.Dir, test.Env = filepath.Join("..", "cluster"), append(os.Environ(), "FERRY_BENCH_TO="+to, fmt.Sprintf("FERRY_BENCH_RUNS=%d", b.opts.runs))
	test.Stdout, test.Stderr = os.Stderr, os.Stderr
	if err := test.Run(); err != nil {
		return fmt.Errorf("measure ferry fix on a cluster: %w", err)
	}
	text, err := os.ReadFile(to)
	if err != nil {
		return err
	}
	var contests []contest
	if err := json.Unmarshal(text, &contests); err != nil {
		return fmt.Errorf("read what was measured on the cluster: %w", err)
	}
	for _, c := range contests {
		r.results = append(r.results, c.result())
	}
	return nil
}

// contest is what TestFixSpeed writes.
type contest struct {
	Name, What string
	Ways       []struct {
		Name    string
		Seconds []float64
	}
}

func (c contest) result() result {
	res := result{workload: workload{name: c.Name, what: c.What}, wallOnly: true}
	for _, w := range c.Ways {
		s := series{name: w.Name}
		for _, sec := range w.Seconds {
			s.samples = append(s.samples, sample{wall: time.Duration(sec * float64(time.Second))})
		}
		res.series, res.runs = append(res.series, s), len(w.Seconds)
	}
	return res
}
