package ferry_test

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ferry/internal/ferry"
)

// TestRewriteWaitsForNoPipe: one that nobody writes into would never open, as a
// manifest or as a lock.
func TestRewriteWaitsForNoPipe(t *testing.T) {
	dir := manifests(t, map[string]string{"a.yaml": podOf + "nginx:1\n"})
	pipe := filepath.Join(t.TempDir(), "pipe.yaml")
	for _, file := range []string{pipe, filepath.Join(dir, "pipe.yaml")} {
		if err := syscall.Mkfifo(file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, req := range map[string]ferry.RewriteRequest{
		"manifest": {Paths: []string{dir}},
		"lock":     {Paths: []string{filepath.Join(dir, "a.yaml")}, Lock: pipe},
	} {
		req.Registry, req.DryRun = "registry.bank.internal", true
		ended := make(chan error, 1)
		go func() {
			_, err := ferry.Rewrite(t.Context(), req)
			ended <- err
		}()
		select {
		case err := <-ended:
			says(t, err, "it is no regular file")
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: it waits for the pipe", name)
		}
	}
}
