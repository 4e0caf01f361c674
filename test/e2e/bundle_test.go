//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/content"
)

func TestBundleOpensInSkopeo(t *testing.T) {
	w := newWorld(t)
	file := w.pack(w.multi.name, w.single.name)
	for _, img := range []image{w.multi, w.single} {
		from := "oci-archive:" + file + ":" + img.name
		sameDigest(t, img.name, w.skopeo("inspect", "--raw", from), img.desc)

		one := t.TempDir()
		w.skopeo("copy", from, "dir:"+one)
		copied := readFile(t, filepath.Join(one, "manifest.json"))
		if w.platform(img) != digest.FromString(copied) {
			t.Errorf("%s: skopeo copied another manifest than upstream's for this platform", img.name)
		}

		all := t.TempDir()
		w.skopeo("copy", "--all", from, "dir:"+all)
		sameDigest(t, img.name+" with --all", readFile(t, filepath.Join(all, "manifest.json")), img.desc)
	}
}

// A registry behind the gap takes the bundle from skopeo, all platforms, on
// the same digests.
func TestBundleReachesARegistryBySkopeo(t *testing.T) {
	w := newWorld(t)
	file := w.pack(w.multi.name, w.single.name)
	inside := registry(t)
	for _, img := range []image{w.multi, w.single} {
		to := "docker://" + inside + strings.TrimPrefix(img.name, w.host)
		w.skopeo("copy", "--all", "--dest-tls-verify=false", "oci-archive:"+file+":"+img.name, to)
		sameDigest(t, to, w.skopeo("inspect", "--raw", "--tls-verify=false", to), img.desc)
	}
}

func TestBundleOpensInPodmanPull(t *testing.T) {
	w := newWorld(t)
	file := w.pack(w.multi.name, w.single.name)
	for _, img := range []image{w.multi, w.single} {
		w.podman("pull", "-q", "oci-archive:"+file+":"+img.name)
		got := strings.TrimSpace(w.podman("image", "inspect", "--format", "{{.Digest}}", img.name))
		if got != w.platform(img).String() && got != img.desc.Digest.String() {
			t.Errorf("%s has digest %s in podman, upstream %s (this platform %s)", img.name, got, img.desc.Digest, w.platform(img))
		}
	}
}

func TestBundleOpensInPodmanLoad(t *testing.T) {
	w := newWorld(t)
	file := w.pack(w.multi.name, w.single.name, "--platform", "linux/"+runtime.GOARCH)
	w.podman("load", "-q", "-i", file)
	for _, img := range []image{w.multi, w.single} {
		w.podman("image", "exists", img.name)
		if got := w.podman("run", "--rm", "--network", "none", img.name); got != greeting {
			t.Errorf("%s printed %q, want %q", img.name, got, greeting)
		}
	}
}

// podman load takes one platform out of a bundle that has them all.
func TestBundleOfAllPlatformsOpensInPodmanLoad(t *testing.T) {
	w := newWorld(t)
	w.podman("load", "-q", "-i", w.pack(w.multi.name, w.single.name))
	for _, img := range []image{w.multi, w.single} {
		w.podman("image", "exists", img.name)
	}
}

func TestBundleOpensAsALayout(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	w.run("tar", "-xf", w.pack(w.multi.name, w.single.name), "-C", dir)
	for _, img := range []image{w.multi, w.single} {
		sameDigest(t, img.name, w.skopeo("inspect", "--raw", "oci:"+dir+":"+img.name), img.desc)
	}
	for d, b := range w.store.All() {
		if got := readFile(t, filepath.Join(dir, "blobs", string(d.Algorithm()), d.Encoded())); got != string(b) {
			t.Errorf("blob %s differs from upstream's", d)
		}
	}
}

// What podman save wrote is packed, and the bundle opens again.
func TestPackWhatPodmanSaved(t *testing.T) {
	w := newWorld(t)
	for name, save := range map[string][]string{
		"docker-archive": {"--format", "docker-archive"},
		"oci-archive":    {"--format", "oci-archive"},
		"several":        {"-m", "--format", "docker-archive"},
	} {
		t.Run(name, func(t *testing.T) {
			w.podman("pull", "-q", "--tls-verify=false", w.single.name)
			w.podman("tag", w.single.name, "localhost/other:3")
			saved := filepath.Join(t.TempDir(), "saved.tar")
			names := []string{w.single.name}
			if name == "several" {
				names = append(names, "localhost/other:3")
			}
			w.podman(append(append([]string{"save", "-q", "-o", saved}, save...), names...)...)
			w.opens(t, w.pack(saved), names)
		})
	}
}

// An image that podman holds is packed without a registry.
func TestPackFromContainersStorage(t *testing.T) {
	w := newWorld(t)
	w.podman("pull", "-q", "--tls-verify=false", w.single.name)
	w.podman("tag", w.single.name, "localhost/mine:1")
	w.opens(t, w.pack("containers-storage:localhost/mine:1"), []string{"localhost/mine:1"})
}

// A bundle that lost a bit is refused by ferry verify, with exit code 4.
func TestDamageIsFound(t *testing.T) {
	w := newWorld(t)
	file := w.pack(w.single.name)
	b := []byte(readFile(t, file))
	b[len(b)/2] ^= 1
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := w.try(ferryPath, "verify", file)
	if err == nil || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("one flipped bit in the middle: %v, want exit status 4", err)
	}
}

// opens fails unless ferry finds the bundle sound and skopeo and podman find
// each name in it.
func (w *world) opens(t *testing.T, file string, names []string) {
	t.Helper()
	w.ferry("verify", file)
	for _, name := range names {
		w.skopeo("inspect", "--raw", "oci-archive:"+file+":"+name)
	}
	w.podman("rmi", "-a", "-f")
	w.podman("load", "-q", "-i", file)
	for _, name := range names {
		if got := w.podman("run", "--rm", name); got != greeting {
			t.Errorf("%s from the bundle printed %q, want %q", name, got, greeting)
		}
	}
}

// platform is the digest of img's manifest for this machine.
func (w *world) platform(img image) digest.Digest {
	w.t.Helper()
	if !content.IsIndex(img.desc.MediaType) {
		return img.desc.Digest
	}
	node, err := content.Parse(img.desc, img.body)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, child := range node.Manifests {
		if child.Platform.Architecture == runtime.GOARCH {
			return child.Digest
		}
	}
	w.t.Fatalf("%s has no image for %s", img.name, runtime.GOARCH)
	return ""
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
