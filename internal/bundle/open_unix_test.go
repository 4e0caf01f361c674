//go:build unix

package bundle_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferry/internal/bundle"
)

// TestOpenWhatIsNoBundle: it is said what there is instead, and at once: a pipe
// that nobody writes to would be waited for without end.
func TestOpenWhatIsNoBundle(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := z.Write(make([]byte, 4096))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		make func(path string) error
		says string
	}{
		"pipe":   {func(p string) error { return syscall.Mkfifo(p, 0o600) }, "a pipe or a device"},
		"folder": {func(p string) error { return os.Mkdir(p, 0o700) }, "it is a folder"},
		"empty":  {func(p string) error { return os.WriteFile(p, nil, 0o600) }, "the file is empty"},
		"gzip":   {func(p string) error { return os.WriteFile(p, zipped.Bytes(), 0o600) }, "compressed with gzip: unpack it first (gzip -d)"},
		"zstd":   {func(p string) error { return os.WriteFile(p, []byte("\x28\xb5\x2f\xfdxx"), 0o600) }, "compressed with zstd: unpack it first (zstd -d)"},
		"text":   {func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("hello ", 200)), 0o600) }, "not a tar file"},
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := c.make(path); err != nil {
			t.Fatal(err)
		}
		opened := make(chan error, 1)
		go func() {
			b, err := bundle.Open(path)
			if err == nil {
				err = b.Close()
			}
			opened <- err
		}()
		select {
		case err := <-opened:
			var not *bundle.NotBundleError
			if !errors.As(err, &not) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", name, err, c.says)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: it is waited for", name)
		}
	}
}
