package cluster

import (
	"strings"
	"testing"
	"time"
)

// A pod on each node answers, and afterwards the machine is as it was.
func TestCluster(t *testing.T) {
	for _, r := range Runtimes() {
		t.Run(string(r), func(t *testing.T) {
			before := machine(t)
			var used *slot
			ok := t.Run("runs", func(t *testing.T) { used = runsPods(t, r) })
			if ok {
				before.same(t, used)
			}
		})
	}
}

func runsPods(t *testing.T, r Runtime) *slot {
	started := time.Now()
	c := Up(t, Options{Nodes: 2, Containerd: r})
	t.Logf("two nodes are up after %.1f s", time.Since(started).Seconds())
	image, err := WebImage(t.Context(), "amd64", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		if err := n.Import(t.Context(), image, "docker.io/library/web:1"); err != nil {
			t.Fatal(err)
		}
		kubectl(t, c, "run", n.Name, "--image=web:1", `--overrides={"spec":{"nodeName":"`+n.Name+`"}}`)
	}
	kubectl(t, c, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
	for _, n := range c.Nodes {
		ip := kubectl(t, c, "get", "pod", n.Name, "-o", "jsonpath={.status.podIP}")
		if got := get(t, "http://"+ip); !strings.Contains(got, "hello from "+n.Name) {
			t.Errorf("the pod on %s answers %q", n.Name, got)
		}
	}
	if out := kubectl(t, c, "get", "nodes", "-o", "wide"); strings.Count(out, string(r)[:len("containerd")]) != 2 {
		t.Error(out)
	}
	if left := leftOf(t, c.slot); len(left["processes"]) < 8 || len(left["cgroups"]) == 0 || len(left["links"]) != 3 {
		t.Errorf("the test would not see what is left behind: it sees %v", left)
	}
	return c.slot
}

func kubectl(t *testing.T, c *Cluster, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
