package cluster

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	update = flag.Bool("update", false, "write what the API server held of each failure to internal/diagnose/testdata/nodes")
	only   = flag.String("only", "", "the failures to show, not all")
	tell   = flag.Bool("tell", false, "say of each failure what the node said and what doctor makes of it, also where it is right")
)

// Every failure is shown by a pod on a real node, with both containerds.
func TestFailures(t *testing.T) {
	for _, r := range Runtimes() {
		t.Run(string(r), func(t *testing.T) { showFailures(t, r) })
	}
}

func showFailures(t *testing.T, r Runtime) {
	c := Up(t, FailureOptions(r))
	started := time.Now()
	all, err := c.ArrangeFailures(t.Context(), strings.Fields(*only)...)
	if err != nil {
		t.Fatal(err)
	}
	waitShown(t, c, all, 5*time.Minute)
	took := time.Since(started)
	t.Logf("%d failures are shown after %.0f s", len(all), took.Seconds())
	if took > 6*time.Minute {
		t.Errorf("it took %s until all failures were shown", took)
	}
	record(t, c, all)
	doctorNames(t, c, all)
	if *only != "" {
		return
	}
	last, err := c.StopRuntime(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waitShown(t, c, []Failure{last}, time.Minute)
	record(t, c, []Failure{last})
	doctorNames(t, c, []Failure{last})
}

func waitShown(t *testing.T, c *Cluster, all []Failure, most time.Duration) {
	t.Helper()
	missing, err := c.WaitShown(t.Context(), all, most)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range missing {
		t.Errorf("%s is not shown:\n%s", f.Name, kubectl(t, c, "describe", "pod", f.Name))
	}
	if len(missing) > 0 {
		t.Log(c.Nodes[0].Log("containerd"))
	}
}

// record looks at what the API server holds, and writes it if that is wanted.
func record(t *testing.T, c *Cluster, all []Failure) {
	t.Helper()
	held := heldBy(t, c)
	for _, f := range all {
		list := held.of(f)
		if *tell {
			t.Logf("%s: %s", f.Name, list.messages())
		}
		if len(list.Items) < 2 {
			t.Errorf("%s: the API server held %d objects of it", f.Name, len(list.Items))
		}
		if *update {
			keep(t, c, f, list)
		}
	}
	if *update {
		keepLabels(t, c, all)
	}
}

// A list is what kubectl get -o json prints.
type list struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Items      []any  `json:"items"`
}

// heldBy is what the API server holds of pods, their owners and their events.
func heldBy(t *testing.T, c *Cluster) list {
	t.Helper()
	var all list
	if err := json.Unmarshal([]byte(kubectl(t, c, "get", "pods,replicasets,events", "-o", "json")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

var numbers = regexp.MustCompile(`[0-9]+`)

// of leaves what belongs to one failure: the pod, or the replica set without
// one, and the events.
func (l list) of(f Failure) list {
	mine := func(name any) bool {
		s, _ := name.(string)
		return s == f.Name || f.event == eventFailedCreate && strings.HasPrefix(s, f.Name+"-")
	}
	// Of events that only repeat, three are enough.
	seen := map[any]int{}
	l.Items = slices.DeleteFunc(slices.Clone(l.Items), func(item any) bool {
		o := item.(object)
		if about, ok := o["involvedObject"].(object); ok {
			if !mine(about["name"]) {
				return true
			}
			text := numbers.ReplaceAllString(fmt.Sprint(o["message"]), "N")
			text = text[:min(60, len(text))]
			seen[text]++
			return seen[text] > 3
		}
		return !mine(o["metadata"].(object)["name"])
	})
	return l
}

// messages are the texts of the events that tell of a failure.
func (l list) messages() string {
	var all []string
	for _, item := range l.Items {
		if o := item.(object); o["type"] == "Warning" {
			all = append(all, fmt.Sprint(o["reason"], " ", o["message"]))
		}
	}
	return strings.Join(all, "\n\t")
}

// keep writes a failure's case, as it would look with paths as they usually
// are.
func keep(t *testing.T, c *Cluster, f Failure, l list) {
	t.Helper()
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	dir := keptIn(c)
	for _, n := range c.Nodes {
		b = bytes.ReplaceAll(b, []byte(n.Socket), []byte("/run/containerd/containerd.sock"))
		b = bytes.ReplaceAll(b, []byte(n.Dir), []byte("/var/lib"))
	}
	b = bytes.ReplaceAll(b, []byte(c.address(0)[:len(c.address(0))-1]), []byte("10.250.0."))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, f.Name+".json"), append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// keptIn is the folder for what one version of containerd says.
func keptIn(c *Cluster) string {
	return filepath.Join("../../internal/diagnose/testdata/nodes", "containerd-"+strings.Split(c.Nodes[0].Version, "~")[0])
}

// keepLabels writes what causes are right, and which versions said so.
func keepLabels(t *testing.T, c *Cluster, all []Failure) {
	t.Helper()
	file := filepath.Join(keptIn(c), "labels.json")
	labels := struct {
		Versions map[string]string   `json:"versions"`
		Causes   map[string][]string `json:"causes"`
	}{map[string]string{}, map[string][]string{}}
	if b, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(b, &labels); err != nil {
			t.Fatal(err)
		}
	}
	labels.Versions["containerd"] = c.Nodes[0].Version
	labels.Versions["kubernetes"] = strings.TrimSpace(kubectl(t, c, "get", "nodes", "-o", "jsonpath={.items[0].status.nodeInfo.kubeletVersion}"))
	for _, f := range all {
		labels.Causes[f.Name] = f.On(c.options.Containerd)
	}
	b, err := json.MarshalIndent(labels, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
