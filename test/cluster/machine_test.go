package cluster

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A snapshot is what of this machine a careless cluster would change for all.
type snapshot map[string][]string

func machine(t *testing.T) snapshot {
	t.Helper()
	s := snapshot{}
	for _, f := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
		"kernel/keys/root_maxbytes", "net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/ipv4/conf/all/rp_filter",
		"net/bridge/bridge-nf-call-iptables", "net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding",
	} {
		s["sysctl "+f] = lines(readFile(t, filepath.Join("/proc/sys", f)))
	}
	for _, d := range []string{"/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/run/containerd", "/run/runc/k8s.io"} {
		s["folder "+d] = children(t, d)
	}
	s["cgroup mounts"] = containing(lines(readFile(t, "/proc/self/mountinfo")), "/sys/fs/cgroup")
	rules, err := exec.Command("iptables-save").Output()
	if err != nil {
		t.Fatal(err)
	}
	s["iptables"] = containing(lines(string(rules)), "KUBE", "10.25")
	return s
}

// same fails if the machine is not as it was, or if anything of the slot is
// left.
func (before snapshot) same(t *testing.T, s *slot) {
	t.Helper()
	after := machine(t)
	for what := range before {
		if !slices.Equal(before[what], after[what]) {
			t.Errorf("%s: before %q, after %q", what, before[what], after[what])
		}
	}
	for what, found := range leftOf(t, s) {
		if len(found) > 0 {
			t.Errorf("left behind: %s: %q", what, found)
		}
	}
}

// leftOf is what there is of a slot on this machine.
func leftOf(t *testing.T, s *slot) map[string][]string {
	t.Helper()
	left := map[string][]string{"folder": children(t, s.dir)}
	pids, err := s.processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		left["processes"] = append(left["processes"], commandLine(pid))
	}
	if left["links"], err = s.links(); err != nil {
		t.Fatal(err)
	}
	if left["cgroups"], err = filepath.Glob("/sys/fs/cgroup/*/" + s.cgroupPrefix() + "*"); err != nil {
		t.Fatal(err)
	}
	left["mounts"] = containing(lines(readFile(t, "/proc/self/mountinfo")), s.dir+"/", s.cgroupPrefix())
	return left
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

func children(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }

func containing(all []string, parts ...string) []string {
	return slices.DeleteFunc(all, func(line string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(line, part) })
	})
}

func commandLine(pid int) string {
	b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return strings.ReplaceAll(string(b), "\x00", " ")
}
