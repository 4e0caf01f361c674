package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	archives "ferry/internal/archive"
	"ferry/internal/content"
	"ferry/internal/ref"
)

// standInEngine is a stand-in for engines that are not to be had where the tests
// run. It keeps what it is given in a folder, and answers in the form that the
// real one does, by its documentation and its source:
//
//	docker 29       keeps images in containerd: docker load takes an OCI layout
//	                with the digests in it, an image's ID is the digest of what
//	                stands under the name; from a docker-archive it makes a
//	                manifest of its own
//	docker classic  keeps configs and layers: an ID is the config's digest
//	podman remote   is a client of a service on another machine, which does not
//	                reach this one's loopback
//
// It proves that ferry takes the way that fits each, and compares what that one
// can tell. It does not prove that the real ones behave so; of those that can
// be had here, podman and docker 20.10, test/e2e does.
type standInEngine struct {
	store string // the folder
	kind  string
}

// kept is an image as the stand-in keeps it.
type kept struct {
	ID           digest.Digest
	Architecture string
}

// engineCommand is the script command engine.
func engineCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("engine PROGRAM KIND [NAME]")
	}
	store := ts.MkAbs("engine-" + strings.Join(args, "-"))
	ts.Check(os.MkdirAll(store, 0o755))
	self, err := os.Executable()
	ts.Check(err)
	ts.Check(os.Symlink(self, filepath.Join(store, args[0])))
	ts.Setenv("STANDIN_STORE", store)
	ts.Setenv("STANDIN_KIND", args[1])
	ts.Setenv("PATH", store+string(filepath.ListSeparator)+ts.Getenv("PATH"))
}

// runStandIn is the program docker or podman.
func runStandIn(program string, args []string) int {
	s := standInEngine{store: os.Getenv("STANDIN_STORE"), kind: program + " " + os.Getenv("STANDIN_KIND")}
	err := s.run(args)
	if errors.Is(err, errNo) {
		return 1
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 125
	}
	return 0
}

// errNo is an answer by exit code.
var errNo = errors.New("no")

func (s standInEngine) run(args []string) error {
	line := strings.Join(args, " ")
	if err := s.log(line); err != nil {
		return err
	}
	switch {
	case line == "version":
		return nil
	case args[0] == "info":
		return s.info(args[len(args)-1])
	case line == "load --quiet":
		return s.load(os.Stdin)
	case strings.HasPrefix(line, "image inspect "):
		return s.inspect(args[2])
	case strings.HasPrefix(line, "image ls "):
		return nil // of what is not there, nothing is printed
	case strings.HasPrefix(line, "image exists "):
		if _, err := os.Stat(s.file(args[2])); err != nil {
			return errNo
		}
		return nil
	case args[0] == "pull":
		return fmt.Errorf("pinging container registry: dial tcp 127.0.0.1: connect: connection refused")
	}
	return fmt.Errorf("the stand-in knows no %q", line)
}

// log remembers how it was called.
func (s standInEngine) log(line string) error {
	f, err := os.OpenFile(filepath.Join(s.store, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintln(f, line)
	return err
}

func (s standInEngine) info(format string) error {
	answers := map[string]map[string]string{
		"docker 29":      {"{{json .DriverStatus}}": `[["driver-type","io.containerd.snapshotter.v1"]]`},
		"docker classic": {"{{json .DriverStatus}}": `[["Backing Filesystem","extfs"],["Supports d_type","true"]]`},
		"podman remote":  {"{{.Version.Version}}": "5.8.0", "{{.Host.ServiceIsRemote}}": "true"},
	}
	answer, ok := answers[s.kind][format]
	if !ok {
		return fmt.Errorf("template: info: %s", format)
	}
	fmt.Println(answer)
	return nil
}

// load takes an archive in and checks every blob of it, as the real ones do.
func (s standInEngine) load(r io.Reader) error {
	f, err := os.CreateTemp(s.store, "archive-")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	a, err := archives.Open(f.Name(), ref.Archive)
	if err != nil {
		return err
	}
	defer a.Close()
	for _, img := range a.Images() {
		if img.Name == "" || strings.Contains(img.Name, "@") {
			continue
		}
		k, err := s.take(a, img)
		if err != nil {
			return err
		}
		if err := s.keep(img.Name, k); err != nil {
			return err
		}
	}
	return nil
}

func (s standInEngine) take(a *archives.Archive, img archives.Image) (kept, error) {
	ctx := context.Background()
	desc := img.Desc
	for {
		b, err := content.ReadAll(ctx, a, desc, content.MaxManifest)
		if err != nil {
			return kept{}, err
		}
		n, err := content.Parse(desc, b)
		if err != nil {
			return kept{}, err
		}
		if n.Config == nil {
			i := slices.IndexFunc(n.Manifests, func(d ocispec.Descriptor) bool { return d.Platform != nil && d.Platform.Architecture == runtime.GOARCH })
			if i < 0 {
				return kept{}, fmt.Errorf("no image for linux/%s", runtime.GOARCH)
			}
			desc = n.Manifests[i]
			continue
		}
		for _, d := range n.Children() {
			if _, err := content.ReadAll(ctx, a, d, 1<<30); err != nil {
				return kept{}, err
			}
		}
		k := kept{ID: n.Config.Digest, Architecture: runtime.GOARCH}
		if s.kind == "docker 29" {
			k.ID = img.Desc.Digest
		}
		return k, nil
	}
}

func (s standInEngine) keep(name string, k kept) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return os.WriteFile(s.file(name), b, 0o600)
}

func (s standInEngine) file(name string) string {
	return filepath.Join(s.store, "image-"+digest.FromString(name).Encoded())
}

func (s standInEngine) inspect(name string) error {
	b, err := os.ReadFile(s.file(name))
	if err != nil {
		return fmt.Errorf("No such image: %s", name) //nolint:staticcheck // docker's words
	}
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return err
	}
	type image struct {
		ID               string `json:"Id"`
		Os, Architecture string
	}
	i := image{ID: k.ID.String(), Os: "linux", Architecture: k.Architecture}
	return json.NewEncoder(os.Stdout).Encode([]image{i})
}
