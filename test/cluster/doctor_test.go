package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// ferry runs ferry on the machine, as somebody who works with the cluster.
func (m *Machine) ferry(t *testing.T, c *Cluster, args ...string) result {
	t.Helper()
	cmd := m.Command(t.Context(), append([]string{ferry(t)}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(cmd.Env, "KUBECONFIG="+c.Kubeconfig, "NO_COLOR=1", "HOME="+m.Home, "XDG_RUNTIME_DIR=")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// What texts cannot tell doctor finds out from where it runs: here a machine
// that reaches registries which the nodes do not.
func TestDoctorChecks(t *testing.T) {
	c := Up(t, FailureOptions(V2))
	m, err := c.Machine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{
		"dns-timeout", "auth-required", "auth-wrong-password", "cloud-credential", "secret-missing", "not-found-tag", "connect-timeout",
		"exec-format", "platform-mismatch",
	}
	all, err := c.ArrangeFailures(t.Context(), names...)
	if err != nil {
		t.Fatal(err)
	}
	serveHub(t, c, m)
	waitShown(t, c, all, 3*time.Minute)
	args := []string{"doctor", "-o", "json", "--ca-file", c.file("ca.crt")}
	for _, port := range []string{"5007", "5020", "5021", "5022", "5024", "5030", "5033"} {
		args = append(args, "--plain-http", "registry.test:"+port)
	}
	r := m.ferry(t, c, args...)
	var d diagnosis
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil || r.code != 3 {
		t.Fatalf("exit %d: %v\n%s\n%s", r.code, err, r.stderr, tail(r.stdout))
	}
	for _, f := range all {
		checkNamed(t, c, "with its checks", d, f)
		for _, one := range d.of(f.Name) {
			t.Logf("%s: %s (%s): %s\n\t%v", f.Name, one.Cause, one.Confidence, one.Because, one.Checks)
		}
	}
	// The labels are those of the texts; what doctor found out stands beside.
	for name, because := range map[string]string{
		"dns-timeout":         "This machine can pull the image and the node cannot",
		"cloud-credential":    "has expired",
		"auth-wrong-password": "does not accept the login in the pull secret wrong-5021",
		"auth-required":       "has no pull secret",
		"secret-missing":      "does not exist in namespace default",
	} {
		if found := d.of(name); len(found) == 0 || !strings.Contains(found[0].Because, because) {
			t.Errorf("%s: %+v; want %q", name, found, because)
		}
	}
	if found := d.of("exec-format"); len(found) == 0 || found[0].Cause != "platform-mismatch" {
		t.Errorf("exec-format: %+v", found)
	}
	text := m.ferry(t, c, append([]string{"doctor"}, args[3:]...)...)
	t.Logf("what a person sees:\n%s%s", text.stdout, text.stderr)
	if !strings.Contains(text.stdout, "this machine resolves registry-1.docker.io") {
		t.Error("doctor does not say that this machine can what the node cannot")
	}
}

// serveHub stands in for Docker Hub where only the machine finds it: it has
// nginx.
func serveHub(t *testing.T, c *Cluster, m *Machine) {
	t.Helper()
	a := &arranger{ctx: t.Context(), c: c}
	s := newStore()
	i, err := WebImage(t.Context(), "amd64", "nginx")
	if err != nil {
		t.Fatal(err)
	}
	s.putImage("library/nginx:latest", i)
	config := a.certificate(certificate{name: "registry-1.docker.io", hosts: []string{"registry-1.docker.io"}})
	if a.err != nil {
		t.Fatal(a.err)
	}
	if err := c.serveAt(m.Address+":443", config, s); err != nil {
		t.Fatal(err)
	}
	m.Resolver.Set("registry-1.docker.io", Answer{IP: m.Address})
	m.Resolver.Set("registry.test", Answer{IP: c.Gateway})
	m.Resolver.Set(ecrHost, Answer{IP: c.Gateway})
}
