package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// built is ferry, built once for all tests.
var built struct {
	once sync.Once
	path string
	err  error
}

// ferry builds the program under test.
func ferry(t *testing.T) string {
	t.Helper()
	// A program that was built before saves a minute on a busy machine.
	if path := os.Getenv("FERRY_TEST_PROGRAM"); path != "" {
		return path
	}
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "ferry-test-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "ferry")
		build := exec.Command("go", "build", "-C", "../..", "-trimpath", "-buildvcs=false", "-o", built.path, "./cmd/ferry")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = errors.New(string(out))
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		_ = os.RemoveAll(filepath.Dir(built.path))
	}
	os.Exit(code)
}

// A result is what a run of ferry printed, and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

// runFerry runs ferry with a kubeconfig.
func runFerry(t *testing.T, kubeconfig string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), ferry(t), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "NO_COLOR=1")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// A diagnosis is what doctor -o json prints, as far as tests look at it.
type diagnosis struct {
	Findings []finding
	Unseen   []struct{ What, Why, Lacks string }
}

type finding struct {
	Cause, Confidence, Title, Because string
	Workloads                         []struct{ Kind, Name string }
	Checks                            []struct{ Name, Result, Text string }
}

// diagnose runs doctor.
func diagnose(t *testing.T, kubeconfig string, args ...string) diagnosis {
	t.Helper()
	r := runFerry(t, kubeconfig, append([]string{"doctor", "-o", "json"}, args...)...)
	var d diagnosis
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil || r.code != 3 {
		t.Fatalf("doctor %v: exit %d: %v\n%s\n%s", args, r.code, err, r.stderr, tail(r.stdout))
	}
	return d
}

// of are the findings that name a workload.
func (d diagnosis) of(name string) []finding {
	return slices.DeleteFunc(slices.Clone(d.Findings), func(f finding) bool {
		return !slices.ContainsFunc(f.Workloads, func(w struct{ Kind, Name string }) bool { return w.Name == name })
	})
}

// doctorNames checks that doctor names every failure, with all permissions, the
// least and less than them.
func doctorNames(t *testing.T, c *Cluster, all []Failure) {
	t.Helper()
	doctor, noSecrets := doctorUsers(t, c)
	for _, run := range []struct {
		name, kubeconfig string
		args             []string
	}{
		{"as administrator", c.Kubeconfig, []string{"--no-probe"}},
		{"with the least permissions", doctor, []string{"--no-probe"}},
		{"without the permission to read secrets", noSecrets, []string{"--no-probe"}},
	} {
		d := diagnose(t, run.kubeconfig, run.args...)
		for _, f := range all {
			checkNamed(t, c, run.name, d, f)
		}
	}
}

func checkNamed(t *testing.T, c *Cluster, run string, d diagnosis, f Failure) {
	t.Helper()
	r := c.options.Containerd
	found := d.of(f.Name)
	if len(found) == 0 {
		t.Errorf("doctor %s does not see %s", run, f.Name)
		return
	}
	var causes []string
	for _, one := range found {
		causes = append(causes, one.Cause+" ("+one.Confidence+")")
		if one.Confidence == "certain" && !slices.Contains(f.On(r), one.Cause) {
			t.Errorf("doctor %s is certain that %s is %s: %q %q; the node said:\n\t%s", run, f.Name, one.Cause, one.Title, one.Because, heldBy(t, c).of(f).messages())
		}
	}
	if !slices.ContainsFunc(found, func(one finding) bool { return slices.Contains(f.On(r), one.Cause) }) {
		t.Errorf("doctor %s says of %s %v; right is %v; the node said:\n\t%s", run, f.Name, causes, f.On(r), heldBy(t, c).of(f).messages())
	}
	if *tell {
		t.Logf("%s, %s: %v", f.Name, run, causes)
	}
}

// doctorUsers makes two users who may no more than docs/rbac/doctor.yaml says;
// the second one may not read secrets.
func doctorUsers(t *testing.T, c *Cluster) (all, noSecrets string) {
	t.Helper()
	kubectl(t, c, "apply", "-f", "../../docs/rbac/doctor.yaml")
	kubectl(t, c, "apply", "-f", "testdata/doctor-without-secrets.yaml")
	for file, group := range map[string]string{"doctor": "ferry-doctors", "doctor-no-secrets": "ferry-doctors-without-secrets"} {
		if _, err := c.writeUser(file, certificate{name: file, groups: []string{group}}); err != nil {
			t.Fatal(err)
		}
	}
	return c.file("doctor.kubeconfig"), c.file("doctor-no-secrets.kubeconfig")
}
