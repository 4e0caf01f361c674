package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"ferry/internal/content/contenttest"
	"ferry/internal/demo"
)

// TestMain builds ferry and puts it first in PATH: the tests here run it as
// people do. It is built without the race detector, which would make each of
// some hundred starts a slow one; the packages' own tests run with it.
func TestMain(m *testing.M) {
	if program := filepath.Base(os.Args[0]); program == "docker" || program == "podman" {
		os.Exit(runStandIn(program, os.Args[1:]))
	}
	dir, err := os.MkdirTemp("", "ferry-cli-")
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string) error {
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version=v0.0.0-test -X main.commit=0000000", "-o", dir+string(filepath.Separator), "ferry/cmd/ferry")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build ferry: %w\n%s", err, out)
	}
	return os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

// TestScripts runs testdata/*.txtar: every command as it is typed, with what
// it prints. They have these commands of their own:
//
//	upstream         starts a registry with the demo's images: $UPSTREAM
//	upstream denied  starts one that wants a password: user, secret
//	upstream broken  starts one that has lost the layers of team/web
//	inside           starts an empty registry with a password: $INSIDE
//	flip FILE OFFSET changes one bit
//	cut FILE SIZE    shortens the file
//	exits N CMD…     runs a command and wants this exit code
//	envsubst FILE    puts $UPSTREAM and $INSIDE into the file
//	archive FILE     writes what docker save would: example/hello:1.0
//	archive FILE unnamed | gzip
//	                 the same without a name, or compressed as a whole
//	engine PROGRAM KIND [NAME]
//	                 puts an empty stand-in for docker or podman first in PATH
//	cluster FILE     starts a stand-in for an API server with these objects
//	archive DIR oci  writes an OCI layout: quay.io/example/hello:1.0
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir+"/run")
			env.Setenv("NO_COLOR", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"upstream": upstream,
			"inside":   startPrivate,
			"flip":     flip,
			"cut":      cut,
			"exits":    exits,
			"envsubst": envsubst,
			"archive":  archive,
			"cluster":  standInCluster,
			"engine":   engineCommand,
		},
	})
}

func upstream(ts *testscript.TestScript, _ bool, args []string) {
	store := contenttest.NewStore()
	images, err := demo.Images(store)
	ts.Check(err)
	var opts demo.Options
	switch strings.Join(args, " ") {
	case "":
	case "denied":
		opts.Username, opts.Password = "user", "secret"
	case "broken":
		opts.Wrap = loseLayers
	default:
		ts.Fatalf("upstream %v: no such kind", args)
	}
	r, err := demo.StartRegistry(context.Background(), opts)
	ts.Check(err)
	ts.Defer(func() { _ = r.Close() })
	ts.Check(r.Seed(context.Background(), store, images...))
	ts.Setenv("UPSTREAM", r.Host())
}

// startPrivate starts the registry behind the gap: user, secret.
func startPrivate(ts *testscript.TestScript, _ bool, _ []string) {
	r, err := demo.StartRegistry(context.Background(), demo.Options{Username: "user", Password: "secret"})
	ts.Check(err)
	ts.Defer(func() { _ = r.Close() })
	ts.Setenv("INSIDE", r.Host())
}

// loseLayers answers 404 for the blobs of team/web.
func loseLayers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/team/web/blobs/") {
			http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}`, http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func flip(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("flip FILE OFFSET")
	}
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	b[at] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

func cut(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("cut FILE SIZE")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(fmt.Sprint(err), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s: exit code %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

func envsubst(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		path := ts.MkAbs(name)
		b, err := os.ReadFile(path)
		ts.Check(err)
		out := strings.NewReplacer("$UPSTREAM", ts.Getenv("UPSTREAM"), "$INSIDE", ts.Getenv("INSIDE")).Replace(string(b))
		ts.Check(os.WriteFile(path, []byte(out), 0o600))
	}
}
