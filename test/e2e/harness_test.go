//go:build e2e

// Package e2e drives the built ferry against Debian's podman, skopeo and
// registry. A tool that is missing is a failure, never a skip.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/demo"
)

// ferryPath is the program under test, built once by TestMain.
var ferryPath string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	for _, tool := range []string{"podman", "skopeo", "docker-registry", "runc", "containerd", "ctr", "dockerd", "docker"} {
		if _, err := exec.LookPath(tool); err != nil {
			return 0, fmt.Errorf("%w (scripts/e2e-install installs it on Debian)", err)
		}
	}
	dir, err := os.MkdirTemp("", "ferry-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	ferryPath = filepath.Join(dir, "ferry")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", ferryPath, "ferry/cmd/ferry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build ferry: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// world is a registry with sample images in it, and engines of its own.
type world struct {
	t             *testing.T
	dir           string
	host          string // of the registry
	store         *contenttest.Store
	multi, single image
	env           []string
}

// image is a sample image in the registry.
type image struct {
	name string // whole: HOST/REPOSITORY:TAG
	desc ocispec.Descriptor
	body []byte // the manifest or index
}

const greeting = "the image runs\n"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), host: registry(t), store: contenttest.NewStore()}
	w.env = podmanEnv(t)
	base := w.store.Layer(contenttest.File{Name: "srv/base.bin", Body: contenttest.Random(1, 1<<20)})
	w.multi = w.push("e2e/multi", "1.0", w.store.Index(w.program("amd64", base), w.program("arm64", base)))
	// Its own layer makes it another image than the same platform's above: an
	// engine would show both under one ID.
	own := w.store.Layer(contenttest.File{Name: "srv/own.bin", Body: contenttest.Random(2, 1<<10)})
	w.single = w.push("e2e/single", "2.0", w.program(runtime.GOARCH, base, own))
	return w
}

// program adds an image that prints greeting.
func (w *world) program(arch string, layers ...ocispec.Descriptor) ocispec.Descriptor {
	w.t.Helper()
	exe, err := demo.Program(arch, greeting)
	if err != nil {
		w.t.Fatal(err)
	}
	own := w.store.Layer(contenttest.File{Name: "hello", Mode: 0o755, Body: exe})
	p := ocispec.Platform{OS: "linux", Architecture: arch}
	return w.store.Image(p, contenttest.Config{Entrypoint: []string{"/hello"}}, append(layers, own)...)
}

// push puts all of desc into the registry, with plain HTTP requests: what is
// compared later must not have passed a tool that could have changed it.
func (w *world) push(repo, tag string, desc ocispec.Descriptor) image {
	w.t.Helper()
	body, ok := w.store.Get(desc.Digest)
	if !ok {
		w.t.Fatalf("%s is not in the store", desc.Digest)
	}
	base := "http://" + w.host + "/v2/" + repo
	if !content.IsIndex(desc.MediaType) && !content.IsManifest(desc.MediaType) {
		location := request(w.t, http.MethodPost, base+"/blobs/uploads/", "", nil)
		u, err := url.Parse(location)
		if err != nil {
			w.t.Fatal(err)
		}
		q := u.Query()
		q.Set("digest", desc.Digest.String())
		u.RawQuery = q.Encode()
		request(w.t, http.MethodPut, u.String(), "application/octet-stream", body)
		return image{}
	}
	node, err := content.Parse(desc, body)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, child := range node.Children() {
		w.push(repo, "", child)
	}
	if tag == "" {
		tag = desc.Digest.String()
	}
	request(w.t, http.MethodPut, base+"/manifests/"+tag, desc.MediaType, body)
	return image{name: w.host + "/" + repo + ":" + tag, desc: desc, body: body}
}

// request sends body and returns the Location of the answer.
func request(t *testing.T, method, address, mediaType string, body []byte) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		t.Fatalf("%s %s: %s: %s", method, address, resp.Status, b)
	}
	return resp.Header.Get("Location")
}

// pack packs args into a bundle and returns its path.
func (w *world) pack(args ...string) string {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "release.tar")
	w.ferry(append([]string{"pack", "--to", file, "--plain-http", w.host}, args...)...)
	return file
}

func (w *world) ferry(args ...string) string {
	w.t.Helper()
	return w.run(append([]string{ferryPath}, args...)...)
}

// skopeo runs skopeo without a policy and without TLS.
func (w *world) skopeo(args ...string) string {
	w.t.Helper()
	return w.run(append([]string{"skopeo", "--insecure-policy"}, args...)...)
}

func (w *world) podman(args ...string) string {
	w.t.Helper()
	return w.run(append([]string{"podman"}, args...)...)
}

// run runs a program that has to succeed and returns what it printed.
func (w *world) run(argv ...string) string {
	w.t.Helper()
	out, err := w.try(argv...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// try runs a program and returns its stdout, and an error with its stderr.
func (w *world) try(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), w.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(argv, " "), err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// podmanEnv gives podman, skopeo and ferry's own calls of them a storage that
// nobody else uses. The settings let containers run without a network, without
// systemd, and under limits that a machine in a container may set.
func podmanEnv(t *testing.T) []string {
	t.Helper()
	return podmanEnvIn(t, t.TempDir())
}

// podmanEnvIn is one whose storage is in dir.
func podmanEnvIn(t *testing.T, dir string) []string {
	t.Helper()
	storage := fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "run"))
	containers := `[containers]
cgroupns = "host"
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
`
	policy := `{"default":[{"type":"insecureAcceptAnything"}]}`
	for name, text := range map[string]string{
		"storage.conf": storage, "containers.conf": containers, "config/containers/policy.json": policy,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return []string{
		"CONTAINERS_STORAGE_CONF=" + filepath.Join(dir, "storage.conf"),
		"CONTAINERS_CONF=" + filepath.Join(dir, "containers.conf"),
		"XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
		"TMPDIR=" + t.TempDir(),
	}
}

// registry starts Debian's registry, empty, and returns its address.
func registry(t *testing.T) string {
	t.Helper()
	return registryIn(t, t.TempDir())
}

// registryIn is one whose files are in dir.
func registryIn(t *testing.T, dir string) string {
	t.Helper()
	addr := freeAddr(t)
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %q}\n"+
		"  delete: {enabled: false}\nhttp: {addr: %q}\n", filepath.Join(dir, "data"), addr)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("docker-registry", "serve", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	if err := answers(t.Context(), "http://"+addr+"/v2/", ended); err != nil {
		t.Fatalf("registry: %v\n%s", err, &log)
	}
	return addr
}

// answers waits until address does, or its server has ended.
func answers(ctx context.Context, address string, ended chan error) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case end := <-ended:
			ended <- end
			return fmt.Errorf("it ended: %w", errors.Join(end, err))
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freeAddr is a loopback address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// sameDigest fails unless got, what a program printed, has desc's digest.
func sameDigest(t *testing.T, what, got string, desc ocispec.Descriptor) {
	t.Helper()
	if d := digest.FromString(got); d != desc.Digest {
		t.Errorf("%s has digest %s, upstream's is %s:\n%s", what, d, desc.Digest, got)
	}
}
