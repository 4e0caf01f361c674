package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A hierarchy is one mounted tree of cgroups: several under version 1, one
// under version 2, and on machines that mix them both.
type hierarchy struct {
	path string
	v2   bool
	// controllers is what its mount options name; v1 only.
	controllers []string
}

// hierarchies reads which cgroups this machine has mounted.
func hierarchies() ([]hierarchy, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []hierarchy
	for line := range strings.Lines(string(info)) {
		// mountinfo(5): six fields and more, a dash, type, source, options.
		before, after, _ := strings.Cut(line, " - ")
		mount, kind := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(kind) < 3 || !strings.HasPrefix(mount[4], "/sys/fs/cgroup") {
			continue
		}
		if kind[0] == "cgroup" || kind[0] == "cgroup2" {
			found = append(found, hierarchy{path: mount[4], v2: kind[0] == "cgroup2", controllers: strings.Split(kind[2], ",")})
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no cgroups are mounted below /sys/fs/cgroup")
	}
	return found, nil
}

// unified says that version 2 alone rules.
func unified(hs []hierarchy) bool { return len(hs) == 1 && hs[0].v2 }

func (s *slot) cgroupPrefix() string { return fmt.Sprintf("ferry-test-%d-", s.number) }

// makeCgroups makes a cgroup of this name in every hierarchy.
func makeCgroups(hs []hierarchy, name string) error {
	for _, h := range hs {
		dir := filepath.Join(h.path, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		// A cpuset of version 1 starts empty; nothing can join it before it is filled.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			whole, err := os.ReadFile(filepath.Join(h.path, file))
			if h.v2 || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), whole, 0)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// removeCgroups removes every cgroup whose name has the prefix, from the leaves
// up. Killed processes take a moment to leave.
func removeCgroups(prefix string) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		tops, err := filepath.Glob(filepath.Join(h.path, prefix+"*"))
		if err != nil {
			return err
		}
		for _, top := range tops {
			if err := removeCgroup(top); err != nil {
				return err
			}
		}
	}
	return nil
}

func removeCgroup(top string) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := removeFoldersIn(top)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func removeFoldersIn(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeFoldersIn(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
