package scanner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
	"ferry/internal/demo"
)

// programs is the folder with ferry and ferry-scanner, as they are installed.
var programs string

// testVersion is stamped into both.
const testVersion = "v0.0.0-test 0000000"

// TestMain builds both programs: images are packed, databases imported and
// faults seeded as people would, through the front door.
func TestMain(m *testing.M) {
	// Programs that were built before save two minutes on a busy machine.
	if programs = os.Getenv("FERRY_TEST_PROGRAMS"); programs != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "ferry-scanner-")
	if err == nil {
		programs = dir
		err = buildPrograms(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func buildPrograms(dir string) error {
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=v0.0.0-test -X main.commit=0000000",
		"-o", dir+string(filepath.Separator), "ferry/cmd/ferry", "ferry/cmd/ferry-scanner")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build ferry and ferry-scanner: %w\n%s", err, out)
	}
	return nil
}

// place is a machine's worth of ferry: a cache of its own, and a folder.
type place struct {
	t   *testing.T
	dir string
	// bin is the folder of ferry's programs.
	bin string
	env []string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir := t.TempDir()
	p := &place{t: t, dir: dir, bin: programs}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PATH=") && !strings.HasPrefix(e, "HOME=") && !strings.HasPrefix(e, "XDG_") {
			p.env = append(p.env, e)
		}
	}
	p.env = append(p.env, "HOME="+dir, "XDG_CACHE_HOME="+filepath.Join(dir, "cache"), "PATH="+os.Getenv("PATH"), "NO_COLOR=1")
	return p
}

// said is what a command said, and how it ended.
type said struct {
	out, err string
	code     int
}

func (p *place) ferry(args ...string) said {
	p.t.Helper()
	c := exec.CommandContext(p.t.Context(), filepath.Join(p.bin, "ferry"), args...)
	c.Dir, c.Env = p.dir, p.env
	var out, errw bytes.Buffer
	c.Stdout, c.Stderr = &out, &errw
	s := said{}
	if err := c.Run(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			p.t.Fatal(err)
		}
		s.code = exit.ExitCode()
	}
	s.out, s.err = out.String(), errw.String()
	return s
}

// wants runs a command and wants an exit code, and each text in what it said.
func (p *place) wants(code int, args []string, texts ...string) said {
	p.t.Helper()
	s := p.ferry(args...)
	if s.code != code {
		p.t.Errorf("ferry %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), s.code, code, s.out, s.err)
	}
	for _, text := range texts {
		if !strings.Contains(s.out+s.err, text) {
			p.t.Errorf("ferry %s: want %q in\n%s%s", strings.Join(args, " "), text, s.out, s.err)
		}
	}
	return s
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// imported imports a database of records.
func (p *place) imported(d db) *place {
	p.t.Helper()
	p.wants(0, []string{"db", "import", d.archive(p.t)})
	return p
}

// pack packs images into a bundle, from a registry that is gone afterwards.
// names are their names in the bundle, more are arguments besides.
func (p *place) pack(to string, store *contenttest.Store, images map[string]ocispec.Descriptor, more ...string) (names []string) {
	p.t.Helper()
	r, err := demo.StartRegistry(context.Background(), demo.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Close()
	args := append([]string{"pack", "--to", to}, more...)
	for name, desc := range images {
		repository, tag, _ := strings.Cut(name, ":")
		if err := r.Seed(context.Background(), store, demo.Image{Repository: repository, Tag: tag, Desc: desc}); err != nil {
			p.t.Fatal(err)
		}
		names = append(names, r.Host()+"/"+name)
	}
	p.wants(0, append(args, names...))
	return names
}
