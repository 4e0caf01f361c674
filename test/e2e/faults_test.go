//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// zeros is an endless layer of zeros.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// noise is an endless layer that does not compress, the same for the same seed.
type noise struct{ block cipher.Block }

func newNoise(t *testing.T, seed uint64) noise {
	t.Helper()
	key := make([]byte, 16)
	binary.BigEndian.PutUint64(key, seed)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	return noise{block}
}

func (n noise) ReadAt(p []byte, at int64) (int, error) {
	iv := make([]byte, aes.BlockSize)
	binary.BigEndian.PutUint64(iv[8:], uint64(at/aes.BlockSize))
	stream := cipher.NewCTR(n.block, iv)
	skip := make([]byte, at%aes.BlockSize)
	stream.XORKeyStream(skip, skip)
	clear(p)
	stream.XORKeyStream(p, p)
	return len(p), nil
}

// layer is a blob that is made while it is sent, so that the test holds none
// of its bytes.
type layer struct {
	bytes  io.ReaderAt
	size   int64
	digest digest.Digest // "" is found by hashing
}

func (l layer) reader() *io.SectionReader { return io.NewSectionReader(l.bytes, 0, l.size) }

func (l layer) hash(t *testing.T) digest.Digest {
	t.Helper()
	if l.digest != "" {
		return l.digest
	}
	d, err := digest.FromReader(l.reader())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// streamer is a registry of one image whose layers are made while they are sent.
type streamer struct {
	name    string // of the image, once serve was called
	layers  map[digest.Digest]layer
	small   map[string][]byte // manifest and config, by digest and tag
	total   int64             // bytes of all layers
	largest digest.Digest

	slow   atomic.Bool  // layers trickle
	sent   atomic.Int64 // bytes of layers
	ranges atomic.Int64 // requests for a part of a layer
}

func newStreamer(t *testing.T, layers ...layer) *streamer {
	t.Helper()
	s := &streamer{layers: map[digest.Digest]layer{}, small: map[string][]byte{}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	var ids []digest.Digest
	for _, l := range layers {
		d := l.hash(t)
		if l.size > s.layers[s.largest].size {
			s.largest = d
		}
		s.layers[d], ids, s.total = l, append(ids, d), s.total+l.size
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: l.size})
	}
	config := s.add(t, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: ids},
	})
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	s.small["1"] = s.add(t, m)
	return s
}

func (s *streamer) add(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	s.small[digest.FromBytes(b).String()] = b
	return b
}

// serve starts the registry on loopback.
func (s *streamer) serve(t *testing.T) *streamer {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.name = strings.TrimPrefix(srv.URL, "http://") + "/e2e/made:1"
	return s
}

func (s *streamer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/e2e/made/"), "/")
	if b, ok := s.small[id]; ok {
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
		return
	}
	l, ok := s.layers[digest.Digest(id)]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Header.Get("Range") != "" {
		s.ranges.Add(1)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(&counted{w, s}, r, "", time.Time{}, l.reader())
}

// counted counts what a layer sent, and slows it down where that is wanted.
type counted struct {
	http.ResponseWriter
	s *streamer
}

func (c *counted) Write(p []byte) (int, error) {
	if c.s.slow.Load() {
		time.Sleep(5 * time.Millisecond)
	}
	n, err := c.ResponseWriter.Write(p)
	c.s.sent.Add(int64(n))
	return n, err
}

// began waits until n bytes of layers are on their way.
func (s *streamer) began(t *testing.T, n int64) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); s.sent.Load() < n; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("only %d bytes were asked for", s.sent.Load())
		}
	}
}

// ended is a program that ran.
type ended struct {
	code   int
	stdout string
	stderr string
	rss    int64 // bytes at most in memory
	took   time.Duration
}

// running is a ferry that was started, without the logins of whoever runs the
// tests.
type running struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	since          time.Time
}

func startFerry(t *testing.T, args ...string) *running {
	t.Helper()
	return startFerryIn(t, nil, args...)
}

// startFerryIn is startFerry with more in the environment.
func startFerryIn(t *testing.T, env []string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	home := t.TempDir()
	r := &running{cmd: exec.CommandContext(ctx, ferryPath, args...), since: time.Now()}
	r.cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_RUNTIME_DIR="+home, "REGISTRY_AUTH_FILE=", "DOCKER_CONFIG=")
	r.cmd.Env = append(r.cmd.Env, env...)
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	forgetPeak(t)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// forgetPeak makes this process small: Linux counts what the parent had in
// memory when the child was started as the child's.
func forgetPeak(t *testing.T) {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

func (r *running) wait(t *testing.T) ended {
	t.Helper()
	var exit *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	usage, ok := r.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatal("no resource usage")
	}
	return ended{
		code: r.cmd.ProcessState.ExitCode(), stdout: r.stdout.String(), stderr: r.stderr.String(),
		rss: usage.Maxrss << 10, took: time.Since(r.since),
	}
}

func ferryEnds(t *testing.T, args ...string) ended {
	t.Helper()
	return startFerry(t, args...).wait(t)
}

// wants fails unless the program ended with code and said all of says, each a
// regular expression.
func (e ended) wants(t *testing.T, code int, says ...string) {
	t.Helper()
	if e.code != code {
		t.Fatalf("exit code %d, want %d\n%s%s", e.code, code, e.stdout, e.stderr)
	}
	for _, s := range says {
		if !regexp.MustCompile(s).MatchString(e.stderr) {
			t.Errorf("%q is not said:\n%s", s, e.stderr)
		}
	}
}

// packed is the answer of pack as -o json prints it.
type packed struct {
	Size, FetchedBytes, ReusedBytes int64
	Images                          []struct{ Name string }
	Failed                          []struct{ Image, Error string }
}

func (e ended) answer(t *testing.T) packed {
	t.Helper()
	var p packed
	if err := json.Unmarshal([]byte(e.stdout), &p); err != nil {
		t.Fatalf("%v\n%s", err, e.stdout)
	}
	return p
}

func verified(t *testing.T, file string) {
	t.Helper()
	ferryEnds(t, "verify", file, "-q").wants(t, 0)
}

// leaves fails unless exactly names are in dir.
func leaves(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Name() != "lost+found" {
			got = append(got, e.Name())
		}
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("the folder holds %q, want %q", got, names)
	}
}

// as is a program of the system that has to succeed.
func as(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s (these tests run as root on Linux): %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// mounted mounts with mount's args in a new folder, until the test ends.
func mounted(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	as(t, append(append([]string{"mount"}, args...), dir)...)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v\n%s", dir, err, out)
		}
	})
	return dir
}

// TestFaultDiskTooSmall: said before the first byte of a layer is asked for.
func TestFaultDiskTooSmall(t *testing.T) {
	dir := mounted(t, "-t", "tmpfs", "-o", "size=4m", "tmpfs")
	file := filepath.Join(dir, "release.tar")
	s := newStreamer(t, layer{bytes: newNoise(t, 1), size: 15 * mib}).serve(t)
	pack := []string{"pack", s.name, "--to", file, "-o", "json"}
	ferryEnds(t, pack...).wants(t, 1, `\b1574\d{4} bytes\b|\b15\.7 MB\b`, regexp.QuoteMeta(file), "no space left", "Free some space")
	if n := s.sent.Load(); n != 0 {
		t.Errorf("%d bytes of layers were sent for a bundle that does not fit", n)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("there is a bundle under the final name")
	}
	as(t, "mount", "-o", "remount,size=32m", dir)
	ferryEnds(t, pack...).wants(t, 0)
	verified(t, file)
	leaves(t, dir, "release.tar", "release.tar.lock")
}

// TestFaultDiskFillsUp: ext2 cannot reserve, so the disk is full only when it
// is. What came stays, and the same command goes on from there.
func TestFaultDiskFillsUp(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 24*mib); err != nil {
		t.Fatal(err)
	}
	as(t, "mkfs.ext2", "-q", "-F", "-m", "0", image)
	dir := mounted(t, "-t", "ext2", "-o", "loop", image)
	ballast, file := filepath.Join(dir, "ballast"), filepath.Join(dir, "release.tar")
	if err := os.WriteFile(ballast, make([]byte, 12*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStreamer(t, layer{bytes: newNoise(t, 2), size: 15 * mib}).serve(t)
	pack := []string{"pack", s.name, "--to", file, "-o", "json"}
	ferryEnds(t, pack...).wants(t, 1, s.largest.String()+": destination", regexp.QuoteMeta(file), "no space left", "Free some space.*is kept")
	leaves(t, dir, "ballast", "release.tar.partial", "release.tar.partial.journal")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r := ferryEnds(t, pack...)
	r.wants(t, 0)
	if p := r.answer(t); p.ReusedBytes < 4*mib {
		t.Errorf("only %d bytes were used again", p.ReusedBytes)
	}
	verified(t, file)
	leaves(t, dir, "release.tar", "release.tar.lock")
}

func TestFaultReadOnlyFolder(t *testing.T) {
	dir := mounted(t, "-t", "tmpfs", "-o", "size=32m", "tmpfs")
	as(t, "mount", "-o", "remount,ro", dir)
	file := filepath.Join(dir, "release.tar")
	s := newStreamer(t, layer{bytes: newNoise(t, 3), size: mib}).serve(t)
	ferryEnds(t, "pack", s.name, "--to", file).wants(t, 1, regexp.QuoteMeta(file), "read-only file system", "has to be writable")
	if n := s.sent.Load(); n != 0 {
		t.Errorf("%d bytes of layers were sent for a folder that cannot be written", n)
	}
	leaves(t, dir)
}

// TestFaultFileTooLarge: what a limit, or a file system such as FAT32, does to
// a large file.
func TestFaultFileTooLarge(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "release.tar")
	s := newStreamer(t, layer{bytes: newNoise(t, 4), size: 3 * mib}).serve(t)
	out, err := exec.CommandContext(t.Context(), "prlimit", "--fsize=1048576", ferryPath, "pack", s.name, "--to", file).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v, want exit code 1\n%s", err, out)
	}
	if !strings.Contains(string(out), "file too large") || !strings.Contains(string(out), file) || len(out) > 1000 {
		t.Errorf("not said what is wrong:\n%s", out)
	}
	if n := s.sent.Load(); n != 0 {
		t.Errorf("%d bytes of layers were sent for a file that cannot be so large", n)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("there is a bundle under the final name")
	}
}

// TestFaultInterrupted: Ctrl-C and a service manager's stop both leave what
// the same command goes on from.
func TestFaultInterrupted(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "release.tar")
			s := newStreamer(t, layer{bytes: newNoise(t, 5), size: 32 * mib}).serve(t)
			s.slow.Store(true)
			pack := []string{"pack", s.name, "--to", file, "-o", "json"}
			r := startFerry(t, pack...)
			s.began(t, 12*mib)
			if err := r.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			since := time.Now()
			r.wait(t).wants(t, 130, "the same command goes on from there")
			if d := time.Since(since); d > 2*time.Second {
				t.Errorf("it took %s to stop", d)
			}
			leaves(t, dir, "release.tar.partial", "release.tar.partial.journal")
			s.slow.Store(false)
			again := ferryEnds(t, pack...)
			again.wants(t, 0)
			// What is in the sockets when the signal comes is lost.
			if p := again.answer(t); p.ReusedBytes < 4*mib || p.FetchedBytes > s.total-4*mib || s.ranges.Load() == 0 {
				t.Errorf("it began anew: %d bytes used again, %d fetched, %d requests for a part", p.ReusedBytes, p.FetchedBytes, s.ranges.Load())
			}
			verified(t, file)
			leaves(t, dir, "release.tar", "release.tar.lock")
		})
	}
}

// TestFaultInterruptedWithOthers: nothing stays behind of an interrupted run
// whose images are no longer wanted, even if the next one is interrupted too.
func TestFaultInterruptedWithOthers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "release.tar")
	shared := layer{bytes: newNoise(t, 8), size: 4 * mib}
	first := newStreamer(t, shared, layer{bytes: newNoise(t, 9), size: 3 * mib}).serve(t)
	second := newStreamer(t, shared, layer{bytes: newNoise(t, 10), size: 16 * mib}).serve(t)
	for i, s := range []*streamer{first, second} {
		s.slow.Store(true)
		r := startFerry(t, "pack", s.name, "--to", file, "--jobs", "1")
		// The first has its larger layer by then, the second is in its own.
		s.began(t, []int64{6 * mib, 4 * mib}[i])
		if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		r.wait(t).wants(t, 130)
		s.slow.Store(false)
	}
	ferryEnds(t, "pack", second.name, "--to", file).wants(t, 0)
	verified(t, file)
	leaves(t, dir, "release.tar", "release.tar.lock")
}

func TestFaultTwoWriters(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "release.tar")
	s := newStreamer(t, layer{bytes: newNoise(t, 6), size: 16 * mib}).serve(t)
	s.slow.Store(true)
	first := startFerry(t, "pack", s.name, "--to", file)
	s.began(t, mib)
	ferryEnds(t, "pack", s.name, "--to", file).wants(t, 1, "another ferry is writing "+regexp.QuoteMeta(file), "--to")
	s.slow.Store(false)
	first.wait(t).wants(t, 0)
	verified(t, file)
	leaves(t, dir, "release.tar", "release.tar.lock")
}

// TestFaultMemory: memory does not grow with what is carried.
func TestFaultMemory(t *testing.T) {
	var layers []layer
	for seed := range uint64(4) {
		layers = append(layers, layer{bytes: newNoise(t, 10+seed), size: 125 * mib})
	}
	s := newStreamer(t, layers...).serve(t)
	file := filepath.Join(t.TempDir(), "release.tar")
	base := ferryEnds(t, "version")
	base.wants(t, 0)
	for _, args := range [][]string{{"pack", s.name, "--to", file}, {"verify", file}} {
		r := ferryEnds(t, args...)
		r.wants(t, 0)
		t.Logf("%s: %d MiB above the %d MiB of ferry version, %s", args[0], (r.rss-base.rss)/mib, base.rss/mib, r.took.Round(10*time.Millisecond))
		if r.rss-base.rss > 64*mib {
			t.Errorf("%s of %d MiB took %d MiB of memory, ferry version %d", args[0], s.total/mib, r.rss/mib, base.rss/mib)
		}
	}
}

// hashOfZeros is the digest of 8 GiB + 1 MiB of zeros. It only saves time: pack
// and verify refuse the layer if it is another.
const hashOfZeros = "sha256:18d5b3642bd16ddac617b9147a6528a702ed551597d612fc435bd470f022c7f0"

// TestFaultLayerOver8GiB: a size beyond what a USTAR header can say.
func TestFaultLayerOver8GiB(t *testing.T) {
	dir := t.TempDir()
	// The bundle, and what skopeo unpacks to read it.
	enoughSpace(t, dir, 17*gib)
	file := filepath.Join(dir, "release.tar")
	s := newStreamer(t, layer{bytes: zeros{}, size: 8*gib + mib, digest: hashOfZeros}).serve(t)
	for _, args := range [][]string{{"pack", s.name, "--to", file}, {"verify", file}} {
		r := ferryEnds(t, args...)
		r.wants(t, 0)
		t.Logf("%s: %d MiB of memory, %s", args[0], r.rss/mib, r.took.Round(10*time.Millisecond))
		if r.rss > 100*mib {
			t.Errorf("%s took %d MiB of memory", args[0], r.rss/mib)
		}
	}
	name := "blobs/sha256/" + s.largest.Encoded()
	paxHeader(t, file, name, s.layers[s.largest].size)
	if list := as(t, "tar", "tvf", file); !regexp.MustCompile(fmt.Sprintf(`\s%d\s.*\s%s\n`, s.layers[s.largest].size, name)).MatchString(list) {
		t.Errorf("tar lists\n%s", list)
	}
	w := &world{t: t, dir: dir, env: podmanEnv(t)}
	since := time.Now()
	raw := w.skopeo("inspect", "--raw", "oci-archive:"+file+":"+s.name)
	t.Logf("skopeo: %s", time.Since(since).Round(10*time.Millisecond))
	if raw != string(s.small["1"]) {
		t.Errorf("skopeo shows\n%s", raw)
	}
}

func enoughSpace(t *testing.T, dir string, need uint64) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < need {
		t.Fatalf("%s has %d MiB left, this test needs %d: set TMPDIR to a larger disk", dir, free/mib, need/mib)
	}
}

// paxHeader fails unless the entry's size is said by a PAX header.
func paxHeader(t *testing.T, file, name string, size int64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s is not found: %v", name, err)
		}
		if h.Name == name {
			if h.Format != tar.FormatPAX || h.Size != size {
				t.Errorf("%s has %d bytes in a header of %s", name, h.Size, h.Format)
			}
			return
		}
	}
}

// debian starts Debian's registry over root, with more lines of configuration.
func debian(t *testing.T, root, more string) (addr string) {
	t.Helper()
	addr = freeAddr(t)
	config := filepath.Join(t.TempDir(), "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}, cache: {blobdescriptor: ''}}\n"+
		"http: {addr: %q}\n%s", root, addr, more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command("docker-registry", "serve", config)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-end })
	if err := answers(t.Context(), "http://"+addr+"/v2/", end); err != nil {
		t.Fatalf("registry: %v\n%s", err, &said)
	}
	return addr
}

// stocked is a registry with two images, over root.
func stocked(t *testing.T, root string) (*world, digest.Digest) {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), host: debian(t, root, ""), store: contenttest.NewStore()}
	p := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	own := w.store.Layer(contenttest.File{Name: "a", Body: contenttest.Random(20, mib)})
	w.single = w.push("e2e/lost", "1", w.store.Image(p, contenttest.Config{}, own))
	w.multi = w.push("e2e/whole", "1", w.store.Image(p, contenttest.Config{}, w.store.Layer(contenttest.File{Name: "b"})))
	return w, own.Digest
}

// TestFaultBlobLost: the registry lost a layer behind a manifest that it still
// serves.
func TestFaultBlobLost(t *testing.T) {
	root := t.TempDir()
	w, lost := stocked(t, root)
	file := func() string { return filepath.Join(t.TempDir(), "release.tar") }
	ferryEnds(t, "pack", w.single.name, w.multi.name, "--to", file()).wants(t, 0)
	data := filepath.Join(root, "docker/registry/v2/blobs/sha256", lost.Encoded()[:2], lost.Encoded(), "data")
	if err := os.Remove(data); err != nil {
		t.Fatal(err)
	}
	to := file()
	ferryEnds(t, "pack", w.single.name, w.multi.name, "--to", to).
		wants(t, 1, regexp.QuoteMeta(w.single.name)+".*"+lost.String()+": source "+regexp.QuoteMeta(w.host), "have it pushed again", "--keep-going")
	if _, err := os.Stat(to); err == nil {
		t.Error("there is a bundle under the final name")
	}
	r := ferryEnds(t, "pack", w.single.name, w.multi.name, "--to", to, "--keep-going", "-o", "json")
	r.wants(t, 5, "1 of 2 images")
	p := r.answer(t)
	if len(p.Images) != 1 || p.Images[0].Name != w.multi.name || len(p.Failed) != 1 || p.Failed[0].Image != w.single.name ||
		!strings.Contains(p.Failed[0].Error, lost.String()) {
		t.Errorf("packed %v, failed %v", p.Images, p.Failed)
	}
	verified(t, to)
	leaves(t, filepath.Dir(to), "release.tar", "release.tar.lock")
}

func TestFaultUnknownAuthority(t *testing.T) {
	s := newStreamer(t, layer{bytes: newNoise(t, 7), size: mib})
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // a refused certificate is no news
	srv.StartTLS()
	t.Cleanup(srv.Close)
	name := strings.TrimPrefix(srv.URL, "https://") + "/e2e/made:1"
	dir := t.TempDir()
	ca, file := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(dir, "release.tar")
	body := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, body, 0o600); err != nil {
		t.Fatal(err)
	}
	ferryEnds(t, "pack", name, "--to", file).wants(t, 1, "unknown authority", "--ca-file FILE")
	leaves(t, dir)
	ferryEnds(t, "pack", name, "--to", file, "--ca-file", ca).wants(t, 0)
	verified(t, file)
}

// The bcrypt hash of password, as the registry wants it in its htpasswd file.
const (
	password     = "over-the-water"
	passwordHash = "$2a$05$HdXrhWeH1rDn1bxmh1ijR.5Zv/6VkJrYDleoD8kYr8HBjkiNyyElu"
)

// TestFaultLogin: what podman login writes opens the registry for ferry.
func TestFaultLogin(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	open, _ := stocked(t, root)
	htpasswd, auth, wrong := filepath.Join(dir, "htpasswd"), filepath.Join(dir, "auth.json"), filepath.Join(dir, "wrong.json")
	if err := os.WriteFile(htpasswd, []byte("ferry:"+passwordHash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := debian(t, root, fmt.Sprintf("auth: {htpasswd: {realm: e2e, path: %q}}\n", htpasswd))
	name := host + strings.TrimPrefix(open.single.name, open.host)
	out := t.TempDir()
	file := filepath.Join(out, "release.tar")
	ferryEnds(t, "pack", name, "--to", file).wants(t, 1, "401", "podman login "+regexp.QuoteMeta(host))
	text := fmt.Sprintf(`{"auths":{%q:{"auth":"ZmVycnk6d3Jvbmctd29yZA=="}}}`, host) // ferry:wrong-word
	if err := os.WriteFile(wrong, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := ferryEnds(t, "pack", name, "--to", file, "--authfile", wrong)
	r.wants(t, 1, "401", "did not accept the login from "+regexp.QuoteMeta(wrong))
	if strings.Contains(r.stderr, "wrong-word") || strings.Contains(r.stderr, "ZmVycnk6d3Jvbmctd29yZA") {
		t.Errorf("the password is shown:\n%s", r.stderr)
	}
	leaves(t, out)
	w := &world{t: t, dir: dir, env: podmanEnv(t)}
	w.podman("login", "--authfile", auth, "--tls-verify=false", "-u", "ferry", "-p", password, host)
	ferryEnds(t, "pack", name, "--to", file, "--authfile", auth).wants(t, 0)
	verified(t, file)
	if b := readFile(t, file+".lock"); strings.Contains(b, password) || !strings.Contains(b, open.single.desc.Digest.String()) {
		t.Errorf("the lock is\n%s", b)
	}
}
