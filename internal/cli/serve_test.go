//go:build unix

package cli_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/demo"
)

// serving is a ferry serve that runs.
type serving struct {
	t      *testing.T
	cmd    *exec.Cmd
	host   string
	stderr *output
	exit   chan error
}

// output is what a program that still runs has printed.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func startServe(t *testing.T, file string, args ...string) *serving {
	t.Helper()
	s := &serving{t: t, stderr: &output{}, exit: make(chan error, 1)}
	s.cmd = exec.CommandContext(t.Context(), "ferry", append([]string{"serve", file, "--listen", "127.0.0.1:0", "-o", "json"}, args...)...)
	s.cmd.Stderr = s.stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Listen string
		Images []struct{ Name string }
	}
	if err := json.NewDecoder(out).Decode(&answer); err != nil || len(answer.Images) == 0 {
		t.Fatalf("%+v, %v\n%s", answer, err, s.stderr)
	}
	s.host = answer.Listen
	go func() { s.exit <- s.cmd.Wait() }()
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	return s
}

// end sends a signal and wants exit code 0.
func (s *serving) end(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
	select {
	case err := <-s.exit:
		if err != nil {
			s.t.Errorf("%s: %v\n%s", sig, err, s.stderr)
		}
	case <-time.After(20 * time.Second):
		s.t.Fatalf("%s does not end it\n%s", sig, s.stderr)
	}
}

func packedForServe(t *testing.T, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "release.tar")
	out, err := exec.CommandContext(t.Context(), "ferry", append([]string{"pack", "--to", file}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// contentPart is the part of a bundle that follows from its lock's digests alone.
func contentPart(t *testing.T, file string) []byte {
	t.Helper()
	b, err := bundle.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	size := int64(1024) // oci-layout
	for _, d := range b.Contents().Blobs() {
		size += 512 + (d.Size+511)/512*512
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return raw[:size]
}

// tops are the digests of a bundle's images, sorted by name.
func tops(t *testing.T, file string) []digest.Digest {
	t.Helper()
	b, err := bundle.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var all []digest.Digest
	for _, img := range b.Lock().Images {
		all = append(all, img.Digest)
	}
	return all
}

// TestPackFromServe: what a bundle serves is what it was packed from.
func TestPackFromServe(t *testing.T) {
	up := startUpstream(t, demo.Options{})
	names := []string{"library/hello:1.0", "team/report:7", "team/web:2.1"}
	from := func(host string, more ...string) string {
		var args []string
		for _, n := range names {
			args = append(args, host+"/"+n)
		}
		return packedForServe(t, append(args, more...)...)
	}
	for _, platform := range []string{"", "linux/amd64"} {
		var more []string
		if platform != "" {
			more = []string{"--platform", platform}
		}
		first := from(up, more...)
		s := startServe(t, first, "-v")
		again := from(s.host)
		// Upstream's index of a part of its platforms has no tag: it and what
		// speaks about it stay behind.
		if a, b := contentPart(t, first), contentPart(t, again); platform == "" && !bytes.Equal(a, b) {
			t.Errorf("the content parts differ: %d bytes and %d", len(a), len(b))
		}
		if a, b := tops(t, first), tops(t, again); !slices.Equal(a, b) || len(a) != len(names) {
			t.Errorf("platform %q: served %v, packed %v", platform, a, b)
		}
		s.end(syscall.SIGTERM)
		for _, line := range []string{"GET /v2/library/hello/manifests/1.0  200", "/etc/containerd/certs.d/" + strings.Replace(up, ":", "_", 1) + "_/hosts.toml", "served "} {
			if !strings.Contains(s.stderr.String(), line) {
				t.Errorf("%q is not in\n%s", line, s.stderr)
			}
		}
	}
}

// TestServeDamaged: a bundle that lost a bit in a layer gives no such layer.
func TestServeDamaged(t *testing.T) {
	up := startUpstream(t, demo.Options{})
	file := packedForServe(t, up+"/team/web:2.1")
	b, err := bundle.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	layers := b.Contents().Layers
	b.Close()
	layer := layers[0]
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, []byte("blobs/sha256/"+layer.Digest.Encoded())) + 512 + int(layer.Size)/2
	raw[at] ^= 1
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServe(t, file)
	resp, err := http.Get("http://" + s.host + "/v2/team/web/blobs/" + layer.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("the damaged layer came whole: %d bytes", n)
	}
	s.end(syscall.SIGINT)
	if text := s.stderr.String(); !strings.Contains(text, "wrong digest") || !strings.Contains(text, "ferry verify") {
		t.Errorf("the damage is not told:\n%s", text)
	}
}

// TestServeFinishesDownloads: the first signal lets a download end, a second
// one does not.
func TestServeFinishesDownloads(t *testing.T) {
	up := startUpstream(t, demo.Options{})
	file := packedForServe(t, up+"/library/hello:1.0")
	b, err := bundle.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	layer := b.Contents().Layers[0]
	for _, l := range b.Contents().Layers {
		if l.Size > layer.Size {
			layer = l
		}
	}
	b.Close()
	for _, twice := range []bool{false, true} {
		s := startServe(t, file)
		// Small buffers on this side keep the server waiting.
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ReadBufferSize: 4 << 10}}
		resp, err := client.Get("http://" + s.host + "/v2/library/hello/blobs/" + layer.Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		for range 500 {
			if strings.Contains(s.stderr.String(), "ending: 1 answer is under way") {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if twice {
			s.end(syscall.SIGINT)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if twice {
			if err == nil || !strings.Contains(s.stderr.String(), "1 answer was cut") {
				t.Errorf("told twice: %d bytes, %v\n%s", n, err, s.stderr)
			}
			continue
		}
		if err != nil || n != layer.Size {
			t.Errorf("the download under way: %d of %d bytes, %v\n%s", n, layer.Size, err, s.stderr)
		}
		select {
		case err := <-s.exit:
			if err != nil {
				t.Errorf("%v\n%s", err, s.stderr)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it does not end")
		}
	}
}
