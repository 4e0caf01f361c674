package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	archives "ferry/internal/archive"
	"ferry/internal/content/contenttest"
)

// bigBundle is a bundle with one layer of 200 MB.
func bigBundle(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	store := contenttest.NewStore()
	layer := store.Add(ocispec.MediaTypeImageLayer, contenttest.Random(5, 200<<20))
	top := store.Index(store.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, contenttest.Config{}, layer))
	entry := archives.Entry{Name: "quay.io/team/big:1", Top: top}
	for d, b := range store.All() {
		entry.Blobs = append(entry.Blobs, ocispec.Descriptor{Digest: d, Size: int64(len(b))})
	}
	from, bundle := filepath.Join(dir, "from.tar"), filepath.Join(dir, "big.tar")
	if err := archives.Create(from, func(w io.Writer) error {
		return archives.WriteOCI(t.Context(), w, store, []archives.Entry{entry}, nil)
	}); err != nil {
		t.Fatal(err)
	}
	if code, out := ferry(t, "pack", "oci-archive:"+from, "--to", bundle); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	return bundle
}

// wrote is how many bytes a process has written.
func wrote(t *testing.T, pid int) (n int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	var read int64
	if _, err := fmt.Sscanf(string(b), "rchar: %d\nwchar: %d", &read, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// killedAfter runs ferry, and kills it as soon as it has written so much.
func killedAfter(t *testing.T, bytes int64, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "ferry", args...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); wrote(t, c.Process.Pid) < bytes; {
		if time.Now().After(end) {
			t.Fatalf("ferry %v writes nothing", args)
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if c.Wait() == nil {
		t.Fatal("it was quicker than the kill")
	}
}

// TestLoadIntoAnArchiveKilled kills load while it writes an archive: nothing of
// it is left, and what had the name before has it still.
func TestLoadIntoAnArchiveKilled(t *testing.T) {
	bundle, dir := bigBundle(t), t.TempDir()
	file := filepath.Join(dir, "out.tar")
	holds := func(want ...string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			t.Fatalf("the folder holds %q instead of %q", got, want)
		}
	}
	to := "docker-archive:" + file
	for k := range int64(4) {
		killedAfter(t, (1+k*40)<<20, "load", bundle, "--to", to, "-q")
		holds()
	}
	if code, out := ferry(t, "load", bundle, "--to", to); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	killedAfter(t, 50<<20, "load", bundle, "--to", "oci-archive:"+file, "-q")
	holds("out.tar")
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, whole) {
		t.Errorf("what had the name was changed by a load that was killed: %v", err)
	}
}
