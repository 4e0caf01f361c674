// Package conformance runs the distribution specification's own tests against
// ferry serve. It is a module of its own: nothing of them is in the product.
package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const repository = "library/hello"

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	ferry, suite := filepath.Join(dir, "ferry"), filepath.Join(dir, "conformance")
	run(t, exec.CommandContext(t.Context(), "go", "build", "-C", "../..", "-buildvcs=false", "-o", ferry, "./cmd/ferry"))
	run(t, exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", suite,
		"github.com/opencontainers/distribution-spec/conformance"))
	run(t, exec.CommandContext(t.Context(), ferry, "demo", "--keep", dir))
	host := serve(t, ferry, filepath.Join(dir, "release.tar"))
	c := read(t, "http://"+host+"/v2/"+repository+"/")

	results := filepath.Join(dir, "results")
	cmd := exec.CommandContext(t.Context(), suite)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"OCI_REGISTRY="+host, "OCI_TLS=disabled", "OCI_VERSION=1.1", "OCI_REPO1="+repository,
		"OCI_API_PUSH=false", "OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false",
		"OCI_RO_DATA_TAGS="+strings.Join(c.tags, " "), "OCI_RO_DATA_MANIFESTS="+strings.Join(c.manifests, " "),
		"OCI_RO_DATA_BLOBS="+strings.Join(c.blobs, " "), "OCI_RO_DATA_REFERRERS="+strings.Join(c.subjects, " "),
		// Without the filter the suite panics while it writes what it found.
		"OCI_FILTER_TEST=OCI Conformance Test/read-only", "OCI_RESULTS_DIR="+results,
	)
	out := run(t, cmd)
	ran, failed := count(t, filepath.Join(results, "junit.xml"))
	t.Logf("%d tests ran, %d failed\n%s", ran, failed, out)
	if ran == 0 || failed != 0 {
		t.Errorf("%d tests ran, %d failed", ran, failed)
	}
}

func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// serve starts ferry serve on a free port, and ends it as a person would: it
// has to exit with 0.
func serve(t *testing.T, ferry, file string) string {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), ferry, "serve", file, "--listen", "127.0.0.1:0", "-o", "json", "-q")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("ferry serve: %v\n%s", err, &stderr)
		}
	})
	var answer struct{ Listen string }
	if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&answer); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	return answer.Listen
}

// contents are what the suite is told to ask for.
type contents struct{ tags, manifests, blobs, subjects []string }

// read walks from the tags to all that they name.
func read(t *testing.T, base string) contents {
	t.Helper()
	var list struct{ Tags []string }
	get(t, base+"tags/list", &list)
	c := contents{tags: list.Tags}
	for _, tag := range list.Tags {
		c.subjects = append(c.subjects, c.walk(t, base, tag))
	}
	return c
}

type node struct {
	Config            *struct{ Digest string }
	Layers, Manifests []struct{ Digest string }
}

// walk returns the digest of what reference names.
func (c *contents) walk(t *testing.T, base, reference string) string {
	t.Helper()
	var n node
	digest := get(t, base+"manifests/"+reference, &n)
	c.manifests = append(c.manifests, digest)
	for _, m := range n.Manifests {
		c.walk(t, base, m.Digest)
	}
	if n.Config != nil {
		c.blobs = append(c.blobs, n.Config.Digest)
	}
	for _, l := range n.Layers {
		if !slices.Contains(c.blobs, l.Digest) {
			c.blobs = append(c.blobs, l.Digest)
		}
	}
	return digest
}

func get(t *testing.T, url string, v any) (digest string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v\n%s", url, resp.Status, err, b)
	}
	// The suite can look at this header only in what it pushed itself.
	digest = resp.Header.Get("Docker-Content-Digest")
	if digest == "" && strings.Contains(url, "/manifests/") {
		t.Errorf("%s: no Docker-Content-Digest", url)
	}
	return digest
}

// count reads how many tests a JUnit report tells of, without those that were
// left out.
func count(t *testing.T, file string) (ran, failed int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Suites []struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Errors   int `xml:"errors,attr"`
			Skipped  int `xml:"skipped,attr"`
			Disabled int `xml:"disabled,attr"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &report); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", file, err))
	}
	for _, s := range report.Suites {
		ran += s.Tests - s.Skipped - s.Disabled
		failed += s.Failures + s.Errors
	}
	return ran, failed
}
