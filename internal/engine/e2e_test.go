//go:build e2e

package engine_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/command"
	"ferry/internal/content"
	"ferry/internal/engine"
)

// imported makes an image of one file in podman's own storage.
func imported(t *testing.T, name, text string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	run := command.Local{}
	if err := run.Run(t.Context(), command.Command{Argv: []string{"podman", "import", "--quiet", "-", name}, Stdin: &b}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("podman", "rmi", name).CombinedOutput(); err != nil {
			t.Errorf("remove %s: %v: %s", name, err, out)
		}
	})
}

func TestPodman(t *testing.T) {
	const a, b = "localhost/ferry-e2e-a:1", "localhost/ferry-e2e-b:1"
	imported(t, a, "one")
	imported(t, b, "two")
	e := engine.Engine{Program: "podman"}
	var archive bytes.Buffer
	if err := e.Save(t.Context(), []string{a, b}, &archive); err != nil {
		t.Fatal(err)
	}
	configs := configsByName(t, &archive)
	for _, name := range []string{a, b} {
		info, err := e.Inspect(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if configs[name] != info.ID || info.Claimed != "" || !slices.Contains(info.RepoTags, name) {
			t.Errorf("%s: inspected as %+v, saved as %s", name, info, configs[name])
		}
	}
	if configs[a] == configs[b] {
		t.Error("both names hold the same image")
	}
	const gone = "localhost/ferry-e2e-gone:1"
	if err := e.Save(t.Context(), []string{gone}, io.Discard); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("save: got %v", err)
	}
	if _, err := e.Inspect(t.Context(), gone); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("inspect: got %v", err)
	}
}

// configsByName reads which config stands under which name, by its own bytes.
func configsByName(t *testing.T, r io.Reader) map[string]digest.Digest {
	t.Helper()
	digests := map[string]digest.Digest{}
	var manifest []struct {
		Config   string
		RepoTags []string
	}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(io.LimitReader(tr, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "manifest.json" {
			err = json.Unmarshal(body, &manifest)
		} else if strings.HasSuffix(h.Name, ".json") {
			digests[path.Clean(h.Name)] = digest.FromBytes(body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	named := map[string]digest.Digest{}
	for _, m := range manifest {
		for _, tag := range m.RepoTags {
			named[tag] = digests[m.Config]
		}
	}
	return named
}
