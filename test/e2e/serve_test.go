//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// served is a ferry serve that runs.
type served struct {
	t    *testing.T
	host string
	log  string // the file that its stderr goes to
	end  func()
}

func (s *served) stderr() string { return readFile(s.t, s.log) }

// serve starts ferry serve on a free port. It has to end with exit code 0 when
// it is told to.
func (w *world) serve(file string) *served {
	w.t.Helper()
	s := &served{t: w.t, log: filepath.Join(w.t.TempDir(), "stderr")}
	log, err := os.Create(s.log)
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(ferryPath, "serve", file, "--listen", "127.0.0.1:0", "-o", "json", "-v")
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	var ended bool
	s.end = func() {
		if ended {
			return
		}
		ended = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			w.t.Errorf("ferry serve: %v\n%s", err, s.stderr())
		}
	}
	w.t.Cleanup(s.end)
	var answer struct{ Listen string }
	if err := json.NewDecoder(out).Decode(&answer); err != nil {
		w.t.Fatalf("ferry serve: %v", err)
	}
	s.host = answer.Listen
	return s
}

// podmanLines are the lines for podman's configuration, as they were printed.
func (s *served) podmanLines() string {
	s.t.Helper()
	var lines []string
	for range 100 {
		if strings.Contains(s.stderr(), "Ctrl-C ends it") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, rest, _ := strings.Cut(s.stderr(), "registries.conf.d/50-ferry.conf\n")
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "    ") {
			break
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	if len(lines) < 4 {
		s.t.Fatalf("no lines for podman in:\n%s", s.stderr())
	}
	return strings.Join(lines, "\n") + "\n"
}

// inside is the name under which img is asked for at host.
func (w *world) inside(host string, img image) string {
	return host + strings.TrimPrefix(img.name, w.host)
}

func TestServeToSkopeo(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.pack(w.multi.name, w.single.name))
	for _, img := range []image{w.multi, w.single} {
		from := "docker://" + w.inside(s.host, img)
		sameDigest(t, from, w.skopeo("inspect", "--raw", "--tls-verify=false", from), img.desc)
		all := t.TempDir()
		w.skopeo("copy", "--all", "--src-tls-verify=false", from, "dir:"+all)
		sameDigest(t, from+" with --all", readFile(t, filepath.Join(all, "manifest.json")), img.desc)
		byDigest := strings.TrimSuffix(from, from[strings.LastIndex(from, ":"):]) + "@" + img.desc.Digest.String()
		w.skopeo("copy", "--src-tls-verify=false", byDigest, "dir:"+t.TempDir())
	}
	// From registry to registry, as a site would fill its own.
	own := registry(t)
	to := "docker://" + w.inside(own, w.multi)
	w.skopeo("copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+w.inside(s.host, w.multi), to)
	sameDigest(t, to, w.skopeo("inspect", "--raw", "--tls-verify=false", to), w.multi.desc)
	if got := w.skopeo("list-tags", "--tls-verify=false", "docker://"+s.host+"/e2e/multi"); !strings.Contains(got, `"1.0"`) {
		t.Errorf("tags: %s", got)
	}
}

func TestServeToPodman(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.pack(w.multi.name, w.single.name))
	for _, img := range []image{w.multi, w.single} {
		name := w.inside(s.host, img)
		w.podman("pull", "-q", "--tls-verify=false", name)
		if got := w.podman("run", "--rm", name); got != greeting {
			t.Errorf("%s printed %q, want %q", name, got, greeting)
		}
	}
	if _, err := w.try("podman", "pull", "-q", "--tls-verify=false", s.host+"/e2e/multi:9"); err == nil {
		t.Error("a tag that is not in the bundle was pulled")
	}
}

// TestServeAsMirror pulls docker.io's name through the lines that ferry serve
// prints, with a podman that cannot reach docker.io.
func TestServeAsMirror(t *testing.T) {
	w := newWorld(t)
	const name = "docker.io/library/ferry-e2e:1"
	w.podman("pull", "-q", "--tls-verify=false", w.single.name)
	w.podman("tag", w.single.name, name)
	s := w.serve(w.pack("containers-storage:" + name))
	w.podman("rmi", "-a", "-f")

	conf := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(conf, []byte(s.podmanLines()), 0o644); err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, "CONTAINERS_REGISTRIES_CONF="+conf, "HTTPS_PROXY=http://127.0.0.1:1")
	w.podman("pull", "-q", name)
	if got := w.podman("run", "--rm", name); got != greeting {
		t.Errorf("%s printed %q, want %q", name, got, greeting)
	}
	s.end()
	if !strings.Contains(s.stderr(), "GET /v2/docker.io/library/ferry-e2e/manifests/1  200") {
		t.Errorf("it was not pulled from here:\n%s", s.stderr())
	}
}
