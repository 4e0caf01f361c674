//go:build bench

package cluster

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// contest is a job and how long each way to do it took, in turns.
type contest struct {
	Name string `json:"name"`
	What string `json:"what"`
	Ways []way  `json:"ways"`
}

// way is one way to do a job; the first is ferry's.
type way struct {
	Name    string    `json:"name"`
	Seconds []float64 `json:"seconds"`

	prepare func(run string)
	do      func(run string)
}

// TestFixSpeed measures ferry fix beside the commands that a person would put
// into a script, and a load into two nodes beside one into one. It judges
// nothing: `make bench` runs it, on a machine with nothing else to do, says how
// many runs by FERRY_BENCH_RUNS, and reads what it writes to FERRY_BENCH_TO.
func TestFixSpeed(t *testing.T) {
	l := newLaptop(t, 2, V2)
	l.kubectl("cordon", "node2")
	ferry(t) // built before the clock runs
	runs, err := strconv.Atoi(cmp.Or(os.Getenv("FERRY_BENCH_RUNS"), "5"))
	if err != nil {
		t.Fatal(err)
	}
	contests := []*contest{l.fixContest(), l.sharedContest(), l.nodesContest()}
	for _, c := range contests {
		c.run(t, runs)
	}
	b, err := json.MarshalIndent(contests, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if to := os.Getenv("FERRY_BENCH_TO"); to != "" {
		write(t, to, string(b))
	}
	t.Logf("%s", b)
}

// run warms up once, then takes turns.
func (c *contest) run(t *testing.T, runs int) {
	t.Helper()
	for n := range runs + 1 {
		for i := range c.Ways {
			w := &c.Ways[i]
			run := fmt.Sprintf("%d-%d", i, n)
			w.prepare(run)
			syscall.Sync() // what preparing left to be written is no part of the job
			began := time.Now()
			w.do(run)
			took := time.Since(began)
			t.Logf("%s: %s, run %d of %d (0 warms up): %v", c.Name, w.Name, n, runs, took.Round(time.Millisecond))
			if n > 0 {
				w.Seconds = append(w.Seconds, took.Seconds())
			}
		}
	}
}

// fixContest begins with an image in podman and a pod that waits for it, and
// ends when the pod runs.
func (l *laptop) fixContest() *contest {
	prepare := func(run string) {
		bulkyImage(l.t, "docker.io/library/fix-"+run+":latest")
		l.waiting("fix-" + run)
	}
	return &contest{
		Name: "fix", What: "from ferry fix --yes to Running, with an image of 110 MB in podman, and the four commands in a script", Ways: []way{
			{Name: "ferry fix", prepare: prepare, do: func(run string) { l.mend("fix-" + run) }},
			{Name: "podman save, ctr images import, kubectl patch, kubectl rollout status", prepare: prepare, do: func(run string) { l.byHand("fix-" + run) }},
		},
	}
}

// sharedContest is fixContest with an image of which the node lacks one small
// layer.
func (l *laptop) sharedContest() *contest {
	base := "docker.io/library/fix-0-0:latest" // in podman, and on the node
	prepare := func(run string) {
		sh(l.t, `
d=$3; echo "$1" > "$d/page"
printf 'FROM %s\nCOPY page /page\n' "$2" > "$d/Containerfile"
podman build -q --network none -t "$1" "$d" >/dev/null`, "docker.io/library/shared-"+run+":latest", base, l.t.TempDir())
		l.waiting("shared-" + run)
	}
	return &contest{
		Name: "fix, again", What: "the same with an image that shares all but one small layer with what the node has", Ways: []way{
			{Name: "ferry fix", prepare: prepare, do: func(run string) { l.mend("shared-" + run) }},
			{Name: "podman save, ctr images import, kubectl patch, kubectl rollout status", prepare: prepare, do: func(run string) { l.byHand("shared-" + run) }},
		},
	}
}

// nodesContest loads a bundle into both nodes of one machine, and into one.
func (l *laptop) nodesContest() *contest {
	dir := l.t.TempDir()
	file := func(run string) string { return filepath.Join(dir, run+".tar") }
	prepare := func(run string) {
		image := "docker.io/library/nodes-" + run + ":latest"
		bulkyImage(l.t, image)
		l.ferry("pack", "containers-storage:"+image, "--to", file(run))
	}
	load := func(nodes []*Node) func(string) {
		return func(run string) {
			args := []string{"load", file(run)}
			for _, n := range nodes {
				args = append(args, "--to", "containerd:"+n.Socket)
			}
			l.ferry(args...)
		}
	}
	return &contest{
		Name: "nodes", What: "a bundle of 110 MB into two nodes, which share this machine's cores and disk, and into one", Ways: []way{
			{Name: "ferry load into two nodes", prepare: prepare, do: load(l.c.Nodes)},
			{Name: "ferry load into one", prepare: prepare, do: load(l.c.Nodes[:1])},
		},
	}
}

// waiting creates a deployment whose pod cannot have its image.
func (l *laptop) waiting(name string) {
	l.t.Helper()
	l.kubectl("create", "deployment", name, "--image="+name)
	l.until("ErrImagePull|ImagePullBackOff", "get", "pods", "-l", "app="+name)
}

func (l *laptop) mend(name string) {
	l.t.Helper()
	l.fix(0, "deploy/"+name, "--yes")
}

func (l *laptop) byHand(name string) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "image.tar")
	sh(l.t, `podman save -q -o "$1" "$2"`, file, "docker.io/library/"+name+":latest")
	if _, err := l.c.Nodes[0].Run(l.t.Context(), "ctr", "images", "import", file); err != nil {
		l.t.Fatal(err)
	}
	l.kubectl("patch", "deployment", name, "-p", fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":%q,"imagePullPolicy":"IfNotPresent"}]}}}}`, name))
	l.kubectl("rollout", "status", "deployment", name)
}

func (l *laptop) ferry(args ...string) {
	l.t.Helper()
	if r := runFerry(l.t, l.c.Kubeconfig, args...); r.code != 0 {
		l.t.Fatalf("ferry %v: %s", args, r.stderr)
	}
}

// bulkyImage is nginx with 100 MB beside it that compress badly.
func bulkyImage(t *testing.T, name string) {
	t.Helper()
	nginxImage(t, name, "speed")
	sh(t, `
d=$2; head -c 100000000 /dev/urandom > "$d/bulk"
printf 'FROM %s\nCOPY bulk /bulk\n' "$1" > "$d/Containerfile"
podman build -q --network none -t "$1" "$d" >/dev/null; rm "$d/bulk"`, name, t.TempDir())
}
