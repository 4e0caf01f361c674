//go:build bench

package cluster

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// TestFixSpeed compares ferry fix with the commands that a person would put
// into a script, on one cluster, one after the other: podman save, ctr images
// import, kubectl patch, kubectl rollout status. `make bench-fix` runs it: other
// work on the machine would make it say nothing.
func TestFixSpeed(t *testing.T) {
	l := newLaptop(t, 2, V2)
	l.kubectl("cordon", "node2")
	ferry(t) // built before the clock runs
	const rounds = 3
	var hand, mended time.Duration
	for i := range 2 * rounds {
		name := fmt.Sprintf("speed-%d", i)
		image := "docker.io/library/" + name + ":latest"
		bulkyImage(t, image)
		l.kubectl("create", "deployment", name, "--image="+name)
		l.until("ErrImagePull|ImagePullBackOff", "get", "pods", "-l", "app="+name)
		began := time.Now()
		if i%2 == 0 {
			l.byHand(name, image)
			hand += time.Since(began)
		} else {
			l.fix(0, "deploy/"+name, "--yes")
			mended += time.Since(began)
		}
		l.kubectl("delete", "deployment", name)
	}
	atMost(t, "ferry fix", "by hand", mended/rounds, hand/rounds, 1.3)

	// Two nodes against one.
	var one, two time.Duration
	for i := range rounds {
		for _, nodes := range []int{1, 2} {
			image := fmt.Sprintf("docker.io/library/nodes-%d-%d:latest", nodes, i)
			bulkyImage(t, image)
			file := filepath.Join(t.TempDir(), "x.tar")
			if r := runFerry(t, l.c.Kubeconfig, "pack", "containers-storage:"+image, "--to", file); r.code != 0 {
				t.Fatal(r.stderr)
			}
			args := []string{"load", file}
			for _, n := range l.c.Nodes[:nodes] {
				args = append(args, "--to", "containerd:"+n.Socket)
			}
			began := time.Now()
			if r := runFerry(t, l.c.Kubeconfig, args...); r.code != 0 {
				t.Fatal(r.stderr)
			}
			if took := time.Since(began); nodes == 1 {
				one += took
			} else {
				two += took
			}
		}
	}
	atMost(t, "load into two nodes", "into one", two/rounds, one/rounds, 1.4)
}

// atMost wants a to take no more than so many times b.
func atMost(t *testing.T, what, against string, a, b time.Duration, times float64) {
	t.Helper()
	ratio := a.Seconds() / b.Seconds()
	t.Logf("%s %v, %s %v: × %.2f", what, a.Round(time.Millisecond), against, b.Round(time.Millisecond), ratio)
	if ratio > times {
		t.Errorf("at most × %.1f was promised", times)
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

func (l *laptop) byHand(name, image string) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "image.tar")
	sh(l.t, `podman save -q -o "$1" "$2"`, file, image)
	if _, err := l.c.Nodes[0].Run(l.t.Context(), "ctr", "images", "import", file); err != nil {
		l.t.Fatal(err)
	}
	l.kubectl("patch", "deployment", name, "-p", fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":%q,"imagePullPolicy":"IfNotPresent"}]}}}}`, name))
	l.kubectl("rollout", "status", "deployment", name)
}
