//go:build e2e

package e2e

import (
	"strings"
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
