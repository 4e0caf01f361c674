// Package arch holds no code of the product: its test is the executable copy
// of the picture in ARCHITECTURE.md, and fails on an import that the
// table does not allow.
package arch

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "ferry"

// A file is a Go file of this module and what it imports.
type file struct {
	Path    string // slashes, from the module's root
	Imports []string
}

func (f file) isTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// owner is the row that the file belongs to: the folder under internal, or
// the whole folder for what lies elsewhere.
func (f file) owner() string {
	dir := path.Dir(f.Path)
	if inner, ok := strings.CutPrefix(dir, "internal/"); ok {
		row, _, _ := strings.Cut(inner, "/")
		return row
	}
	return dir
}

// A table says who may import what.
type table struct {
	// rows maps a package to the packages of ours that it may import.
	rows map[string][]string
	// doors maps a library to the only package that may import it; "" means
	// tests alone.
	doors map[string]string
	// tests are the packages of ours that every test may import besides its
	// row.
	tests []string
	// offline are packages that reach neither network nor processes.
	offline []string
}

func vocabulary() []string {
	return []string{"ref", "quote", "pattern", "progress", "content", "credential", "scratch", "near"}
}

func craft() []string {
	return []string{"workload", "lock", "transfer", "bundle", "archive", "diagnose", "policy", "evidence", "manifest", "mirror", "preflight", "scan"}
}

func design() table {
	parts := slices.Concat(vocabulary(), craft())
	all := slices.Concat(parts, []string{"command", "ferry", "report", "registry", "engine", "kube", "ssh", "node", "serve", "demo", "ui", "scanproc", "download"})
	return table{
		rows: map[string][]string{
			"ref":        {"pattern"},
			"pattern":    {},
			"quote":      {"pattern"},
			"progress":   {},
			"content":    {},
			"command":    {"quote"},
			"credential": {"ref"},
			"scratch":    {},
			"near":       {},

			"lock":      {"ref", "content"},
			"transfer":  {"content", "progress"},
			"bundle":    {"ref", "content", "lock", "scratch"},
			"archive":   {"ref", "content", "scratch"},
			"workload":  {},
			"diagnose":  {"ref", "quote", "pattern", "credential"},
			"policy":    {"ref", "near"},
			"evidence":  {"content", "policy"},
			"manifest":  {"ref"},
			"report":    {"ferry", "lock", "policy", "evidence", "quote"},
			"mirror":    {},
			"scan":      {"policy"},
			"preflight": {},

			"ferry": parts,

			"registry": {"ref", "content", "credential", "command"},
			"engine":   {"ref", "content", "command"},
			"kube":     {"ref", "diagnose", "credential", "workload"},
			"ssh":      {"command", "quote"},
			"node":     {"command", "quote", "ssh"},
			"serve":    {"ref", "content"},

			"scanner":  {"content", "bundle", "policy", "scan"},
			"scanproc": {"command", "scan"},
			"download": {},

			"demo": {"content", "content/contenttest"},
			// It imports nothing of ours, and only tests import it.
			"sbomtest": {},
			"ui":       {"ferry", "quote", "progress", "ref", "content", "lock", "transfer", "bundle", "policy", "diagnose", "workload", "mirror", "scan", "preflight"},
			"cli":      all,

			"cmd/ferry":         {"cli"},
			"cmd/ferry-scanner": {"scanner"},
			"scripts/release":   {},
			"scripts/summary":   {},
			"scripts/corpus":    {"diagnose"},
			"scripts/causes":    {"diagnose"},
			"test/e2e":          {},
			".":                 {},
		},
		doors: map[string]string{
			"oras.land/oras-go/v2/registry/remote":   "registry",
			"github.com/spf13/cobra":                 "cli",
			"github.com/cheggaaa/pb":                 "ui",
			"github.com/olareg/olareg":               "",
			"github.com/gofrs/flock":                 "scratch",
			"github.com/distribution/reference":      "ref",
			"github.com/cenkalti/backoff":            "transfer",
			"golang.org/x/crypto/bcrypt":             "serve",
			"golang.org/x/crypto/ssh":                "ssh",
			"github.com/google/cel-go":               "policy",
			"github.com/rogpeppe/go-internal":        "",
			"github.com/pelletier/go-toml":           "",
			"github.com/google/go-cmp":               "",
			"go.uber.org/goleak":                     "",
			"testing":                                "content",
			"k8s.io/client-go":                       "kube",
			"github.com/containerd/containerd/v2":    "engine",
			"google.golang.org/grpc":                 "engine",
			"k8s.io/cri-api":                         "engine",
			"github.com/anchore/grype":               "scanner",
			"github.com/anchore/syft":                "scanner",
			"github.com/anchore/stereoscope":         "scanner",
			"github.com/google/go-containerregistry": "scanner",
		},
		tests: []string{
			"demo", "registry", "transfer", "content", "content/contenttest", "content/contenttest/suite", "sbomtest",
		},
		offline: slices.Concat(vocabulary(), craft(), []string{"ferry", "ui"}),
	}
}

func TestImports(t *testing.T) {
	files, err := goFiles(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files were found: the walk misses the source", len(files))
	}
	for _, problem := range design().check(files) {
		t.Error(problem)
	}
}

// check returns one line for every import that the table does not allow.
func (tb table) check(files []file) []string {
	var problems []string
	for _, f := range files {
		may, ok := tb.rows[f.owner()]
		if !ok {
			problems = append(problems, fmt.Sprintf("%s: package %s has no row in arch_test.go", f.Path, f.owner()))
			continue
		}
		if deep := strings.Count(path.Dir(f.Path), "/"); strings.HasPrefix(f.Path, "internal/") && deep > 1 && f.owner() != "content" {
			problems = append(problems, fmt.Sprintf("%s: packages lie one level below internal", f.Path))
		}
		for _, imp := range f.Imports {
			if why := tb.refuse(f, may, imp); why != "" {
				problems = append(problems, fmt.Sprintf("%s imports %s: %s", f.Path, imp, why))
			}
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}

func (tb table) refuse(f file, may []string, imp string) string {
	if ours, ok := strings.CutPrefix(imp, module+"/internal/"); ok {
		return tb.refuseOurs(f, may, ours)
	}
	if strings.HasPrefix(imp, module+"/") {
		return "nothing outside internal is imported"
	}
	for lib, door := range tb.doors {
		if !within(imp, lib) || f.owner() == door || f.isTest() && (door == "" || lib == "testing") {
			continue
		}
		if door == "" {
			return "it is for tests only"
		}
		return "its one door is " + door
	}
	if !f.isTest() && slices.Contains(tb.offline, f.owner()) && (imp == "os/exec" || imp == "net" || imp == "net/http") {
		return "this package reaches neither network nor processes"
	}
	return ""
}

func (tb table) refuseOurs(f file, may []string, ours string) string {
	owner, deeper, _ := strings.Cut(ours, "/")
	if owner == f.owner() || slices.Contains(may, ours) || f.isTest() && slices.Contains(tb.tests, ours) {
		return ""
	}
	if deeper != "" {
		return "only tests may import it"
	}
	return fmt.Sprintf("the row of %s allows %v", f.owner(), may)
}

// within says whether imp is the library or a package of it.
func within(imp, lib string) bool { return imp == lib || strings.HasPrefix(imp, lib+"/") }

// goFiles returns the Go files of the module, without modules inside it.
func goFiles(root fs.FS) ([]file, error) {
	var files []file
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return enter(root, name)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		f, err := parse(name, src)
		files = append(files, f)
		return err
	})
	return files, err
}

// enter says whether the go command would look into a folder.
func enter(root fs.FS, name string) error {
	base := path.Base(name)
	if name == "." {
		return nil
	}
	if base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_' {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(name, "go.mod")); !errors.Is(err, fs.ErrNotExist) {
		return fs.SkipDir
	}
	return nil
}

func parse(name string, src []byte) (file, error) {
	ast, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return file{}, err
	}
	f := file{Path: filepath.ToSlash(name)}
	for _, spec := range ast.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, err
		}
		f.Imports = append(f.Imports, imp)
	}
	return f, nil
}
