package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// module is a module of which something is linked in.
type module struct {
	path, version string
	dir           string   // of its source
	packages      []string // folders of what is linked in, below dir
}

// inFields is one line for each package: its module as it is taken, where that
// lies, and where the package lies.
const inFields = `{{$dir := .Dir}}{{with .Module}}{{if not .Main}}{{with or .Replace .}}{{.Path}}|{{.Version}}|{{.Dir}}|{{$dir}}{{end}}{{end}}{{end}}`

// listModules asks the go command, which compiles nothing for that.
func listModules(ctx context.Context, t target) ([]module, error) {
	c := exec.CommandContext(ctx, "go", "list", "-deps", "-f", inFields, "./cmd/"+t.program)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	return parseModules(string(out))
}

func parseModules(lines string) ([]module, error) {
	at, all := map[string]int{}, []module(nil)
	for line := range strings.Lines(lines) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) == 1 && f[0] == "" {
			continue
		}
		if len(f) != 4 {
			return nil, fmt.Errorf("go list said %q", line)
		}
		below, err := filepath.Rel(f[2], f[3])
		if err != nil || strings.HasPrefix(below, "..") {
			return nil, fmt.Errorf("%s lies in %s, which is not in %s", f[0], f[3], f[2])
		}
		i, ok := at[f[0]]
		if !ok {
			i = len(all)
			at[f[0]], all = i, append(all, module{path: f[0], version: f[1], dir: f[2]})
		}
		all[i].packages = append(all[i].packages, below)
	}
	slices.SortFunc(all, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

// folders are those whose licences bind: the module's own, and each between it
// and a package that is linked in. Code taken over from elsewhere stands in
// folders with a licence of their own.
func (m module) folders() []string {
	all := []string{"."}
	for _, p := range m.packages {
		for ; p != "."; p = filepath.Dir(p) {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// sums are what the program itself says of its modules. What it was linked
// with and what was listed have to be the same.
func sums(info *buildinfo.BuildInfo, listed []module) (map[string]string, error) {
	sum, version := map[string]string{}, map[string]string{}
	for _, m := range listed {
		version[m.path] = m.version
	}
	for _, dep := range info.Deps {
		d := taken(dep)
		if v, ok := version[d.Path]; !ok || v != d.Version {
			return nil, fmt.Errorf("%s@%s is linked in, and go list says %q", d.Path, d.Version, v)
		}
		sum[d.Path] = d.Sum
	}
	return sum, nil
}

func taken(dep *debug.Module) *debug.Module {
	if dep.Replace != nil {
		return dep.Replace
	}
	return dep
}
