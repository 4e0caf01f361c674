//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Debian's registry takes a push: the digests are upstream's for other
// programs too, podman runs what came, and a second push sends nothing.
func TestPushIntoDebiansRegistry(t *testing.T) {
	w := newWorld(t)
	file := w.pack(w.multi.name, w.single.name)
	inside := registry(t)
	out := w.ferry("push", file, "--to", inside+"/mirror")
	for _, img := range []image{w.multi, w.single} {
		name := inside + "/mirror" + strings.TrimPrefix(img.name, w.host)
		if !strings.Contains(out, name) {
			t.Errorf("push does not name %s:\n%s", name, out)
		}
		sameDigest(t, name, w.skopeo("inspect", "--raw", "--tls-verify=false", "docker://"+name), img.desc)
		w.podman("pull", "-q", "--tls-verify=false", name)
	}
	again := w.ferry("push", file, "--to", inside+"/mirror", "-o", "json", "-q")
	for _, want := range []string{`"sentBytes": 0`, `"state": "there"`} {
		if !strings.Contains(again, want) {
			t.Errorf("no %s in the answer of the second push:\n%s", want, again)
		}
	}
	if strings.Contains(again, `"state": "pushed"`) {
		t.Errorf("the second push pushed:\n%s", again)
	}
}

// TestPushIntoAFullDisk: the registry's disk is too small. Its own words are
// told, and no tag names what is not there; when there is room, the same command
// finishes.
func TestPushIntoAFullDisk(t *testing.T) {
	w := newWorld(t)
	file := w.pack(w.multi.name)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	inside := registryIn(t, dir)
	name := strings.TrimPrefix(w.multi.name, w.host)
	ferryEnds(t, "push", file, "--to", inside).wants(t, 1, inside+name, "500 Internal Server Error", "has a fault of its own")
	resp, err := http.Head("http://" + inside + "/v2" + strings.Replace(name, ":", "/manifests/", 1))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("a tag for what is not there: %s", resp.Status)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	ferryEnds(t, "push", file, "--to", inside).wants(t, 0)
	sameDigest(t, inside+name, w.skopeo("inspect", "--raw", "--tls-verify=false", "docker://"+inside+name), w.multi.desc)
}

// TestPushMendsHalfRecords: a registry whose disk was full may keep the record
// of a blob, or of a manifest, without its content. It then fails each question
// for it, and is mended by being sent it again.
func TestPushMendsHalfRecords(t *testing.T) {
	w := newWorld(t)
	file := w.pack(w.multi.name)
	dir := t.TempDir()
	inside := registryIn(t, dir)
	name := strings.TrimPrefix(w.multi.name, w.host)
	ferryEnds(t, "push", file, "--to", inside).wants(t, 0)
	repository := filepath.Join(dir, "data/docker/registry/v2/repositories", strings.Split(name, ":")[0])
	for _, records := range []string{"_layers/sha256/*/link", "_manifests/tags/*/current/link"} {
		found, err := filepath.Glob(filepath.Join(repository, records))
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s in %s: %v", records, repository, err)
		}
		for _, f := range found {
			if err := os.Truncate(f, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	ferryEnds(t, "push", file, "--to", inside).wants(t, 0, "500 Internal Server Error; trying again")
	sameDigest(t, inside+name, w.skopeo("inspect", "--raw", "--tls-verify=false", "docker://"+inside+name), w.multi.desc)
	ferryEnds(t, "push", file, "--to", inside).wants(t, 0)
}
