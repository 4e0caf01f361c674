package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// report is all that was measured.
type report struct {
	corpus  *corpus
	results []result
	bundle  int64 // size of the bundle
	idle    int64 // peak of ferry when it does nothing
	page    int64 // size of the report about many images
	pulls   []throughput
}

// goal is a promise and what came of it.
type goal struct {
	what    string
	limit   float64
	got     float64
	format  string
	atLeast bool
}

func (g goal) verdict() string {
	if g.atLeast && g.got >= g.limit || !g.atLeast && g.got <= g.limit {
		return "reached"
	}
	return "**short**"
}

func (r *report) of(workload string) result {
	for _, res := range r.results {
		if res.name == workload {
			return res
		}
	}
	panic("no workload " + workload)
}

// ratio is the median over the runs of ferry's wall by that of contender i.
func (r *report) ratio(workload string, i int) float64 {
	res := r.of(workload)
	return median(res.series[0].ratios(res.series[i]))
}

// faster is how many times as fast as contender i ferry is.
func (r *report) faster(workload string, i int) float64 { return 1 / r.ratio(workload, i) }

// goals are what ferry is held to.
func (r *report) goals() []goal {
	const ratio, megabytes = "%.2f ×", "%.1f MB"
	unique, fresh := float64(r.corpus.Unique), float64(r.corpus.New)
	w1, w3, verify := r.of("W1").series[0], r.of("W3").series[0], r.of("verify").series[0]
	over := func(s series) float64 { return float64(s.rss()-r.idle) / 1e6 }
	atLeast := func(what string, limit, got float64, format ...string) goal {
		return goal{what, limit, got, append(format, ratio)[0], true}
	}
	atMost := func(what string, limit, got float64, format string) goal {
		return goal{what, limit, got, format, false}
	}
	return []goal{
		atLeast("W1: as fast as crane, times", 2.2, r.faster("W1", 1)),
		atLeast("W1: as fast as skopeo, times", 3.5, r.faster("W1", 2)),
		atMost("W1: bytes written, by the unique bytes", 1.02, float64(w1.written())/unique, ratio),
		atMost("W1: bytes fetched, by the unique bytes", 1.02, float64(w1.fetched)/unique, ratio),
		atMost("W1: size of the bundle, by the unique bytes", 1.02, float64(r.bundle)/unique, ratio),
		atMost("W1: memory above idle", 64, over(w1), megabytes),
		atLeast("W3: as fast as crane from the last tar, times", 8, r.faster("W3", 2)),
		atLeast("W3: as fast as crane whose folder was kept, times", 8, r.faster("W3", 1)),
		atMost("W3: bytes fetched beyond the new ones", 1, (float64(w3.fetched)-fresh)/1e6, megabytes),
		atLeast("verify: as fast as sha256sum, times", 3, r.faster("verify", 1)),
		atMost("verify: memory above idle", 64, over(verify), megabytes),
		atMost("start: time, by crane's", 3, r.ratio("start", 1), ratio),
		atMost("W2: wall, by crane's", 1.05, r.ratio("W2", 1), ratio),
		atMost("W2, distribution 3: wall, by crane's", 1.05, r.ratio("W2, distribution 3", 1), ratio),
		atMost("W2: wall, by crane's beside a hash of what is sent", 1.05, r.ratio("W2", 2), ratio),
		atMost("W2, distribution 3: wall, by crane's beside a hash of what is sent", 1.05, r.ratio("W2, distribution 3", 2), ratio),
		atMost("W2: bytes sent, by the unique bytes", 1.02, float64(r.of("W2").series[0].sent)/unique, ratio),
		atMost("W2: bytes written here", 1, float64(r.of("W2").series[0].written())/1e6, megabytes),
		atMost("W2: memory above idle", 64, over(r.of("W2").series[0]), megabytes),
		atMost("serve: skopeo's wall, by that from a registry", 1, r.ratio("serve", 1), ratio),
		atLeast("serve: to two clients, GB/s", 1, r.rate(), "%.2f GB/s"),
		atMost("serve: memory above idle", 64, float64(r.servePeak()-r.idle)/1e6, megabytes),
		atLeast("W5: as fast as ctr images import without unpacking, times", 1.5, r.faster("W5", 1)),
		atMost("W5, unpacked: wall, by that of ctr images import", 1, r.ratio("W5, unpacked", 1), ratio),
		atLeast("W5, again: as fast as ctr images import again, times", 50, r.faster("W5, again", 1)),
		atLeast("W5, podman: as fast as podman load of an oci-archive, times", 1.2, r.faster("W5, podman", 1)),
		atMost("W5, podman: wall, by that of podman pull of an oci folder", 1.05, r.ratio("W5, podman", 3), ratio),
		atLeast("W6: as fast as grype's library one by one, times", 1.5, r.faster("W6", 1)),
		atLeast("W6: its processor time by ferry's", 1, float64(r.of("W6").series[1].cpu())/float64(r.of("W6").series[0].cpu())),
		atMost("W6, one: wall, by that of grype's library", 1, r.ratio("W6, one", 1), ratio),
		atMost("fix: wall, by that of the commands by hand", 1.3, r.ratio("fix", 1), ratio),
		atMost("fix, again: wall, by that of the commands by hand", 1, r.ratio("fix, again", 1), ratio),
		atMost("nodes: wall of a load into two, by that into one", 1.4, r.ratio("nodes", 1), ratio),
		atMost("report: wall", 3, r.of("report").series[0].wall().Seconds(), "%.2f s"),
		atMost("report: size of the page", 5, float64(r.page)/1e6, megabytes),
	}
}

// rate is the median of what ferry serve gave out, in GB/s.
func (r *report) rate() float64 {
	var all []float64
	for _, t := range r.pulls {
		all = append(all, float64(t.bytes)/t.took.Seconds()/1e9)
	}
	return median(all)
}

// servePeak is the most memory that ferry serve took.
func (r *report) servePeak() int64 {
	var most int64
	for _, t := range r.pulls {
		most = max(most, t.rss)
	}
	return most
}

func (r *report) markdown(o options, t tools) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench`; not edited by hand. %s\n\n", when(o))
	if o.quick {
		b.WriteString("**A quick try on a twentieth of the corpus: these figures prove nothing.**\n\n")
	}
	fmt.Fprintf(&b, "Machine: %s. Registry: Debian's docker-registry on loopback, page cache warm. Others: crane 0.22.1 built with the "+
		"same Go, %s. Corpus: %d images, %d unique layers, %.0f MB unique (%.0f MB if nothing were shared), seeded pseudo-random "+
		"files in tars, gzip in stored form.\n\n",
		machine(), strings.TrimSpace(t.skopeoVersion), len(r.corpus.Images), r.corpus.Layers, mega(r.corpus.Unique), mega(r.corpus.Unshared))
	b.WriteString("One warm-up, then runs in turns (A B A B …), each begun with nothing left to be written to disk. Wall, CPU and written are medians; memory is the largest of all runs. " +
		"Written is what the kernel counts for the program (`ru_oublock`); fetched is what left the registry, sent what went to it, counted by a relay in a run of its own. " +
		"Ratios are ferry's wall by the other's, run by run: median (lowest–highest).\n\n## Goals\n\n")
	if o.only != "" {
		b.WriteString("One part alone was run: goals need all.\n")
	} else {
		r.writeGoals(&b)
	}
	for _, res := range r.results {
		res.table(&b)
	}
	fmt.Fprintf(&b, "\nferry's memory when it does nothing (`ferry version`): %.1f MB.\n", mega(r.idle))
	return b.String()
}

// tell writes the tables from the given one on: whoever waits for half an hour
// sees what there is so far.
func (r *report) tell(w io.Writer, from int) {
	var b strings.Builder
	for _, res := range r.results[from:] {
		res.table(&b)
	}
	_, _ = io.WriteString(w, b.String())
}

func (r *report) writeGoals(b *strings.Builder) {
	b.WriteString("| | goal | measured | |\n|---|---|---|---|\n")
	for _, g := range r.goals() {
		fmt.Fprintf(b, "| %s | "+g.format+" | "+g.format+" | %s |\n", g.what, g.limit, g.got, g.verdict())
	}
}

func (res result) table(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s: %s\n\n%d runs each.\n\n", res.name, res.what, res.runs)
	if res.wallOnly {
		res.wallTable(b)
		return
	}
	b.WriteString("| | wall s | CPU s | memory MB | written MB | fetched MB | sent MB | ferry's wall by it |\n|---|---|---|---|---|---|---|---|\n")
	for i, s := range res.series {
		fetched, sent, ratio := "–", "–", "–"
		if res.network {
			fetched, sent = fmt.Sprintf("%.1f", mega(s.fetched)), fmt.Sprintf("%.1f", mega(s.sent))
		}
		if i > 0 {
			ratio = res.against(s)
		}
		fmt.Fprintf(b, "| %s | %.3f | %.3f | %.1f | %.1f | %s | %s | %s |\n",
			s.name, s.wall().Seconds(), s.cpu().Seconds(), mega(s.rss()), mega(s.written()), fetched, sent, ratio)
	}
}

func (res result) wallTable(b *strings.Builder) {
	b.WriteString("| | wall s | the first one's wall by it |\n|---|---|---|\n")
	for i, s := range res.series {
		ratio := "–"
		if i > 0 {
			ratio = res.against(s)
		}
		fmt.Fprintf(b, "| %s | %.3f | %s |\n", s.name, s.wall().Seconds(), ratio)
	}
}

// against is ferry's wall by that of another, over the runs.
func (res result) against(other series) string {
	all := res.series[0].ratios(other)
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(all), all[0], all[len(all)-1])
}

func mega(n int64) float64 { return float64(n) / 1e6 }

// when is the day and the commit.
func when(o options) string {
	commit, err := exec.Command("git", "log", "-1", "--format=%h %cs").Output()
	if err != nil {
		commit = []byte("unknown unknown")
	}
	hash, day, _ := strings.Cut(strings.TrimSpace(string(commit)), " ")
	if o.date != "" {
		day = o.date
	}
	return fmt.Sprintf("Of %s, commit %s.", day, hash)
}

// machine says what decides speed, and not whose it is.
func machine() string {
	var parts []string
	parts = append(parts, fmt.Sprintf("%d cores, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH))
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		sha := "without SHA instructions"
		if flags := string(b); strings.Contains(flags, " sha_ni") || strings.Contains(flags, " sha2") {
			sha = "with SHA instructions"
		}
		parts = append(parts, sha)
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		parts = append(parts, "kernel "+strings.TrimSpace(string(b)))
	}
	return strings.Join(append(parts, runtime.Version()), ", ")
}
