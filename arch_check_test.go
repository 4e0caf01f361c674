package arch

import (
	"strings"
	"testing"
	"testing/fstest"
)

// A checker that accepts everything would look just like a clean tree.
func TestCheckerRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		path, imp string
		want      string // part of the only problem; "" for none
	}{
		"up the table":                  {"internal/lock/lock.go", "ferry/internal/content", ""},
		"down the table":                {"internal/ref/ref.go", "ferry/internal/lock", "row of ref allows [pattern]"},
		"a verb runs a program":         {"internal/ferry/pack.go", "ferry/internal/command", "row of ferry"},
		"a verb knows an adapter":       {"internal/ferry/pack.go", "ferry/internal/registry", "row of ferry"},
		"the edge knows all":            {"internal/cli/wire.go", "ferry/internal/command", ""},
		"a package without a row":       {"internal/utils/utils.go", "fmt", "package utils has no row"},
		"an import without a row":       {"internal/bundle/b.go", "ferry/internal/utils", "row of bundle"},
		"two levels deep":               {"internal/bundle/tail/t.go", "fmt", "one level below internal"},
		"its own helper package":        {"internal/content/contenttest/s.go", "ferry/internal/content", ""},
		"a test image in the product":   {"internal/bundle/b.go", "ferry/internal/content/contenttest", "only tests"},
		"a test image in a test":        {"internal/transfer/t_test.go", "ferry/internal/content/contenttest", ""},
		"a test is held to its row":     {"internal/ref/ref_test.go", "ferry/internal/bundle", "row of ref"},
		"a test may have a registry":    {"internal/ferry/pack_test.go", "ferry/internal/registry", ""},
		"the demo makes images":         {"internal/demo/demo.go", "ferry/internal/content/contenttest", ""},
		"a door":                        {"internal/registry/r.go", "oras.land/oras-go/v2/registry/remote/auth", ""},
		"a second door":                 {"internal/engine/e.go", "oras.land/oras-go/v2/registry/remote/auth", "one door is registry"},
		"a second door, in a test":      {"internal/ui/u_test.go", "github.com/spf13/cobra", "one door is cli"},
		"a major version of a door":     {"internal/cli/c.go", "github.com/cheggaaa/pb/v3", "one door is ui"},
		"not the library by its name":   {"internal/cli/c.go", "github.com/spf13/cobrax", ""},
		"testscript in a test":          {"internal/cli/cli_test.go", "github.com/rogpeppe/go-internal/testscript", ""},
		"testscript in the product":     {"internal/cli/cli.go", "github.com/rogpeppe/go-internal/testscript", "tests only"},
		"testing in the product":        {"internal/bundle/b.go", "testing", "one door is content"},
		"testing in the suite":          {"internal/content/contenttest/suite/s.go", "testing", ""},
		"the network in a craft":        {"internal/bundle/b.go", "net/http", "neither network nor processes"},
		"a process in a craft":          {"internal/archive/a.go", "os/exec", "neither network nor processes"},
		"a process in a craft's test":   {"internal/archive/a_test.go", "os/exec", ""},
		"a process where it is at home": {"internal/command/c.go", "os/exec", ""},
		"main knows the edge":           {"cmd/ferry/main.go", "ferry/internal/cli", ""},
		"main knows a verb":             {"cmd/ferry/main.go", "ferry/internal/ferry", "row of cmd/ferry"},
		"main imports main":             {"internal/cli/c.go", "ferry/cmd/ferry", "nothing outside internal"},
	} {
		t.Run(name, func(t *testing.T) {
			got := design().check([]file{{Path: tc.path, Imports: []string{tc.imp}}})
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("refused: %v", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("got %q, want one problem with %q", got, tc.want)
			}
		})
	}
}

func TestWalk(t *testing.T) {
	src := &fstest.MapFile{Data: []byte("package p\nimport (\n\tx \"fmt\"\n)\nfunc ignored() {")}
	files, err := goFiles(fstest.MapFS{
		"go.mod": {}, "a.go": src, "internal/ref/r.go": src, "internal/ref/notes.txt": src,
		"tools/go.mod": {}, "tools/t.go": src, "internal/ref/testdata/t.go": src, ".ci/c.go": src,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || files[0].Path != "a.go" || files[1].Path != "internal/ref/r.go" {
		t.Fatalf("found %v, want a.go and internal/ref/r.go", files)
	}
	if imports := files[1].Imports; len(imports) != 1 || imports[0] != "fmt" {
		t.Errorf("imports %v, want fmt", imports)
	}
	if _, err := goFiles(fstest.MapFS{"a.go": {Data: []byte("not go")}}); err == nil {
		t.Error("a file that does not parse was passed over")
	}
}
