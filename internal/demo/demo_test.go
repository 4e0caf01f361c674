package demo_test

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProgramRuns(t *testing.T) {
	for arch, emulator := range map[string]string{"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"} {
		t.Run(arch, func(t *testing.T) {
			const message = "it works\n"
			b, err := demo.Program(arch, message)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(file, b, 0o755); err != nil {
				t.Fatal(err)
			}
			argv := []string{file}
			if runtime.GOOS != "linux" || runtime.GOARCH != arch {
				path, err := exec.LookPath(emulator)
				if err != nil {
					t.Skipf("a program for linux/%s does not run here, and %s is not installed", arch, emulator)
				}
				argv = []string{path, file}
			}
			out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
			if err != nil || string(out) != message {
				t.Errorf("it printed %q and ended with %v; want %q and exit code 0", out, err, message)
			}
		})
	}
}

// What no emulator is there to run is at least read: the file by debug/elf,
// the instructions by their encoding in the ARM manual.
func TestProgramForARM64(t *testing.T) {
	const message = "hello arm"
	b, err := demo.Program("arm64", message)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != elf.EM_AARCH64 || f.Type != elf.ET_EXEC || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		t.Errorf("header %+v", f.FileHeader)
	}
	if len(f.Progs) != 1 {
		t.Fatalf("%d segments, want 1", len(f.Progs))
	}
	p := f.Progs[0]
	if p.Type != elf.PT_LOAD || p.Flags != elf.PF_R|elf.PF_X || p.Filesz != uint64(len(b)) || p.Memsz != p.Filesz || p.Off != 0 {
		t.Errorf("segment %+v of a file of %d bytes", p.ProgHeader, len(b))
	}
	code := b[f.Entry-p.Vaddr:]
	// mov x0,#1; adr x1,.+28; mov x2,#9; mov x8,#64; svc 0; mov x0,#0; mov x8,#93; svc 0
	want := []byte{
		0x20, 0x00, 0x80, 0xd2, 0xe1, 0x00, 0x00, 0x10, 0x22, 0x01, 0x80, 0xd2, 0x08, 0x08, 0x80, 0xd2,
		0x01, 0x00, 0x00, 0xd4, 0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4,
	}
	if !bytes.Equal(code[:len(want)], want) {
		t.Errorf("instructions % x\nwant         % x", code[:len(want)], want)
	}
	if got := string(code[4+28:]); got != message {
		t.Errorf("x1 points to %q", got)
	}
}

func TestProgramRefuses(t *testing.T) {
	if _, err := demo.Program("riscv64", "x"); err == nil {
		t.Error("a program for an architecture that it does not know")
	}
	if _, err := demo.Program("amd64", strings.Repeat("x", 1<<16)); err == nil {
		t.Error("a message that does not fit")
	}
}

func TestImages(t *testing.T) {
	store := contenttest.NewStore()
	images, err := demo.Images(store)
	if err != nil {
		t.Fatal(err)
	}
	again, err := demo.Images(contenttest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	var total int
	for _, b := range store.All() {
		total += len(b)
	}
	if total < 10<<20 || total > 20<<20 {
		t.Errorf("%d bytes; want 10 to 20 MiB", total)
	}
	uses := map[digest.Digest]int{}
	for i, img := range images {
		if img.Desc.Digest != again[i].Desc.Digest {
			t.Errorf("%s is %s and, made again, %s", img.Name(), img.Desc.Digest, again[i].Desc.Digest)
		}
		for _, child := range read(t, store, img.Desc).Manifests {
			for _, l := range read(t, store, child).Layers {
				uses[l.Digest]++
			}
			if got := content.FormatPlatform(child.Platform); got != "linux/amd64" && got != "linux/arm64" {
				t.Errorf("%s has platform %q", img.Name(), got)
			}
		}
	}
	shared := 0
	for _, n := range uses {
		if n == 2*len(images) {
			shared++
		}
	}
	if shared != 1 {
		t.Errorf("%d layers are shared by all images, want 1", shared)
	}
}

func read(t *testing.T, store *contenttest.Store, d ocispec.Descriptor) *content.Node {
	t.Helper()
	b, err := content.ReadAll(t.Context(), store, d, content.MaxManifest)
	if err != nil {
		t.Fatal(err)
	}
	n, err := content.Parse(d, b)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sample makes the images once for all tests that leave them as they are.
var sample = sync.OnceValues(func() (*contenttest.Store, []demo.Image) {
	store := contenttest.NewStore()
	images, err := demo.Images(store)
	if err != nil {
		panic(err)
	}
	return store, images
})

func start(t *testing.T, opts demo.Options) (*demo.Registry, *contenttest.Store, []demo.Image) {
	t.Helper()
	reg, err := demo.StartRegistry(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	store, images := sample()
	if err := reg.Seed(t.Context(), store, images...); err != nil {
		t.Fatal(err)
	}
	return reg, store, images
}

func TestRegistryServesWhatItWasSeeded(t *testing.T) {
	reg, store, images := start(t, demo.Options{})
	if n := len(reg.Requests()); n != 0 {
		t.Errorf("seeding counted as %d requests", n)
	}
	for _, img := range images {
		fetchGraph(t, reg, store, img.Repository, img.Tag, img.Desc)
		for _, r := range img.Referrers {
			fetchGraph(t, reg, store, img.Repository, r.Digest.String(), r)
		}
	}
	hello := images[0]
	_, b := get(t, reg, "/v2/"+hello.Repository+"/referrers/"+hello.Desc.Digest.String(), nil)
	var index ocispec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].Digest != hello.Referrers[0].Digest || index.Manifests[0].ArtifactType != demo.SignatureType {
		t.Errorf("referrers: %s", b)
	}
}

// fetchGraph reads desc and everything below it over HTTP.
func fetchGraph(t *testing.T, reg *demo.Registry, store *contenttest.Store, repository, tag string, desc ocispec.Descriptor) {
	t.Helper()
	manifest := content.IsIndex(desc.MediaType) || content.IsManifest(desc.MediaType)
	path := "/v2/" + repository + "/blobs/" + desc.Digest.String()
	if manifest {
		path = "/v2/" + repository + "/manifests/" + tag
	}
	resp, b := get(t, reg, path, nil)
	want, _ := store.Get(desc.Digest)
	if resp.StatusCode != http.StatusOK || !bytes.Equal(b, want) {
		t.Fatalf("GET %s: %s with %d bytes, want the %d in the store", path, resp.Status, len(b), len(want))
	}
	if !manifest {
		return
	}
	if got := resp.Header.Get("Content-Type"); got != desc.MediaType {
		t.Errorf("GET %s: media type %q, want %q", path, got, desc.MediaType)
	}
	for _, d := range read(t, store, desc).Children() {
		fetchGraph(t, reg, store, repository, d.Digest.String(), d)
	}
}

func get(t *testing.T, reg *demo.Registry, path string, change func(*http.Request)) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+reg.Host()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "*/*")
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

func TestRequestsAreCounted(t *testing.T) {
	reg, store, images := start(t, demo.Options{})
	img := images[0]
	layer := read(t, store, read(t, store, img.Desc).Manifests[0]).Layers[0]
	path := "/v2/" + img.Repository + "/blobs/" + layer.Digest.String()
	resp, b := get(t, reg, path, func(r *http.Request) { r.Header.Set("Range", "bytes=1000000-") })
	if resp.StatusCode != http.StatusPartialContent || int64(len(b)) != layer.Size-1_000_000 {
		t.Errorf("a part: %s with %d bytes of %d", resp.Status, len(b), layer.Size)
	}
	get(t, reg, "/v2/nobody/manifests/1", nil)
	got := reg.Requests()
	want := []demo.Request{
		{Method: "GET", Path: path, Range: "bytes=1000000-", Status: 206, Sent: layer.Size - 1_000_000},
		{Method: "GET", Path: "/v2/nobody/manifests/1", Status: 404, Sent: got[len(got)-1].Sent},
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("requests %+v\nwant     %+v", got, want)
	}
	reg.ResetRequests()
	if n := len(reg.Requests()); n != 0 {
		t.Errorf("%d requests after forgetting them", n)
	}
}

func TestWrapInjectsFaults(t *testing.T) {
	reg, _, images := start(t, demo.Options{Wrap: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				http.Error(w, "broken on purpose", http.StatusBadGateway)
				return
			}
			h.ServeHTTP(w, r)
		})
	}})
	img := images[1]
	if resp, _ := get(t, reg, "/v2/"+img.Repository+"/manifests/"+img.Tag, nil); resp.StatusCode != http.StatusOK {
		t.Errorf("manifest: %s", resp.Status)
	}
	if resp, _ := get(t, reg, "/v2/"+img.Repository+"/blobs/"+img.Desc.Digest.String(), nil); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("blob: %s, want the fault", resp.Status)
	}
}

func TestPasswordIsAskedFor(t *testing.T) {
	reg, _, images := start(t, demo.Options{Username: "ann", Password: "secret"})
	path := "/v2/" + images[0].Repository + "/manifests/" + images[0].Tag
	for _, c := range []struct {
		user, password string
		want           int
	}{{"", "", 401}, {"ann", "wrong", 401}, {"annsecret", "", 401}, {"ann", "secret", 200}} {
		resp, _ := get(t, reg, path, func(r *http.Request) {
			if c.user != "" {
				r.SetBasicAuth(c.user, c.password)
			}
		})
		if resp.StatusCode != c.want {
			t.Errorf("as %q: %s, want %d", c.user, resp.Status, c.want)
		}
		if c.want == 401 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("as %q: no challenge", c.user)
		}
	}
}

func TestPushSaysWhatIsMissing(t *testing.T) {
	reg, err := demo.StartRegistry(t.Context(), demo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	store := contenttest.NewStore()
	images, err := demo.Images(store)
	if err != nil {
		t.Fatal(err)
	}
	child := read(t, store, images[0].Desc).Manifests[0]
	layer := read(t, store, child).Layers[0]
	good, _ := store.Get(layer.Digest)
	store.Replace(layer.Digest, append([]byte("x"), good...))
	if err := reg.Push(t.Context(), "other/hello", "1", store, images[0].Desc); err == nil || !strings.Contains(err.Error(), "other/hello:1") {
		t.Errorf("wrong bytes: %v", err)
	}
	store.Delete(layer.Digest)
	if err := reg.Push(t.Context(), "third/hello", "1", store, images[0].Desc); err == nil || !strings.Contains(err.Error(), layer.Digest.String()) {
		t.Errorf("missing bytes: %v", err)
	}
}

func TestSparseIndex(t *testing.T) {
	store := contenttest.NewStore()
	p := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	gone := store.Image(p, contenttest.Config{}, store.Layer(contenttest.File{Name: "a"}))
	index := store.Index(gone)
	b, _ := store.Get(index.Digest)
	for sparse, want := range map[bool]int{false: http.StatusBadRequest, true: http.StatusCreated} {
		reg, err := demo.StartRegistry(t.Context(), demo.Options{SparseIndex: sparse})
		if err != nil {
			t.Fatal(err)
		}
		defer reg.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+reg.Host()+"/v2/x/manifests/1", bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", index.MediaType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("sparse %v: %s, want %d", sparse, resp.Status, want)
		}
	}
}

func TestCloseTwice(t *testing.T) {
	reg, err := demo.StartRegistry(t.Context(), demo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkImages(b *testing.B) {
	for b.Loop() {
		if _, err := demo.Images(contenttest.NewStore()); err != nil {
			b.Fatal(err)
		}
	}
}
