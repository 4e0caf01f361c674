package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sample is one run of a program, or of several one after another.
type sample struct {
	wall, cpu time.Duration
	rss       int64 // bytes, the largest of the programs
	written   int64 // bytes, as the kernel counts blocks for the program
}

// measure runs the programs in turn.
func measure(ctx context.Context, argvs [][]string) (sample, error) {
	var total sample
	for _, argv := range argvs {
		s, err := measureOne(ctx, argv)
		if err != nil {
			return sample{}, err
		}
		total.wall += s.wall
		total.cpu += s.cpu
		total.rss = max(total.rss, s.rss)
		total.written += s.written
	}
	return total, nil
}

func measureOne(ctx context.Context, argv []string) (sample, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	peak := make(chan int64, 1)
	done := make(chan struct{})
	go func() { peak <- watch(cmd.Process.Pid, done) }()
	err := cmd.Wait()
	s := sample{wall: time.Since(begin)}
	close(done)
	watched := <-peak
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, tail(out.String()))
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	s.written = usage.Oublock * 512
	s.rss = usage.Maxrss * 1024
	// A child starts as a copy of this program, and ru_maxrss remembers that:
	// below this program's own peak only what was watched says something.
	if s.rss <= ownPeak() {
		s.rss = watched
	}
	return s, nil
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

// watch returns the last VmHWM, the peak that the kernel keeps for a program,
// that was seen before the program ended.
func watch(pid int, done <-chan struct{}) int64 {
	var peak int64
	for {
		if n, err := peakOf(strconv.Itoa(pid)); err == nil {
			peak = n
		}
		select {
		case <-done:
			return peak
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func ownPeak() int64 {
	n, err := peakOf("self")
	if err != nil {
		return 0
	}
	return n
}

func peakOf(pid string) (int64, error) {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), "VmHWM:")
	if !ok {
		return 0, fmt.Errorf("/proc/%s/status has no VmHWM", pid)
	}
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return n * 1024, err
}

// series are the runs of one program.
type series struct {
	name    string
	samples []sample
	// fetched and sent are bytes, in a run of their own.
	fetched, sent int64
}

func (s series) wall() time.Duration {
	return time.Duration(s.median(func(x sample) float64 { return float64(x.wall) }))
}

func (s series) cpu() time.Duration {
	return time.Duration(s.median(func(x sample) float64 { return float64(x.cpu) }))
}

func (s series) written() int64 {
	return int64(s.median(func(x sample) float64 { return float64(x.written) }))
}

// rss is the largest of all runs.
func (s series) rss() int64 {
	var most int64
	for _, x := range s.samples {
		most = max(most, x.rss)
	}
	return most
}

func (s series) median(of func(sample) float64) float64 {
	var all []float64
	for _, x := range s.samples {
		all = append(all, of(x))
	}
	return median(all)
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	mid := len(all) / 2
	if len(all)%2 == 1 {
		return all[mid]
	}
	return (all[mid-1] + all[mid]) / 2
}

// ratios are the walls of s by those of other, run by run.
func (s series) ratios(other series) []float64 {
	var all []float64
	for i, x := range s.samples {
		all = append(all, float64(x.wall)/float64(other.samples[i].wall))
	}
	slices.Sort(all)
	return all
}
