package ferry_test

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ferry/internal/ferry"
)

// TestRewriteWaitsForNoPipe: one that nobody writes into would never open.
func TestRewriteWaitsForNoPipe(t *testing.T) {
	dir := manifests(t, map[string]string{"a.yaml": podOf + "nginx:1\n"})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := ferry.Rewrite(t.Context(), ferry.RewriteRequest{Paths: []string{dir}, Registry: "registry.bank.internal", DryRun: true})
		ended <- err
	}()
	select {
	case err := <-ended:
		says(t, err, "it is no regular file")
	case <-time.After(5 * time.Second):
		t.Fatal("it waits for the pipe")
	}
}
