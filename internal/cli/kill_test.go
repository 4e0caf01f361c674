//go:build unix

package cli_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferry/internal/demo"
)

// throttle makes a registry slow enough to be killed in the middle, and
// counts what its blobs sent.
type throttle struct {
	sent    atomic.Int64
	resumed atomic.Int64
	began   chan struct{}
}

func (th *throttle) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			next.ServeHTTP(w, r)
			return
		}
		select {
		case th.began <- struct{}{}:
		default:
		}
		if r.Header.Get("Range") != "" {
			th.resumed.Add(1)
		}
		next.ServeHTTP(&slowWriter{ResponseWriter: w, t: th}, r)
	})
}

type slowWriter struct {
	http.ResponseWriter
	t *throttle
}

func (s *slowWriter) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		n, err := s.ResponseWriter.Write(p[:min(len(p), 64<<10)])
		s.t.sent.Add(int64(n))
		total += n
		if err != nil {
			return total, err
		}
		if f, ok := s.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		time.Sleep(3 * time.Millisecond)
		p = p[n:]
	}
	return total, nil
}

// TestKilledFiftyTimes kills pack at random moments, as a power button does,
// and then lets it finish. The bundle is whole, and little came twice.
func TestKilledFiftyTimes(t *testing.T) {
	th := &throttle{began: make(chan struct{}, 1)}
	host := startUpstream(t, demo.Options{Wrap: th.wrap})
	file := filepath.Join(t.TempDir(), "release.tar")
	pack := func() *exec.Cmd {
		c := exec.CommandContext(t.Context(), "ferry", "pack", host+"/library/hello:1.0", host+"/team/web:2.1", "--jobs", "1", "--to", file)
		c.Stdout, c.Stderr = io.Discard, io.Discard
		return c
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	kills := 0
	for range 50 {
		c := pack()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-th.began:
		case <-time.After(5 * time.Second):
		}
		time.Sleep(time.Duration(rnd.IntN(60)) * time.Millisecond)
		if c.Process.Kill() == nil && c.Wait() != nil {
			kills++
		}
		if _, err := os.Stat(file); err == nil {
			break // it was quicker than the kill
		}
	}
	if kills < 10 {
		t.Fatalf("only %d kills hit", kills)
	}
	if _, err := os.Stat(file); err != nil {
		if out, err := exec.CommandContext(t.Context(), "ferry", "pack", host+"/library/hello:1.0", host+"/team/web:2.1", "--to", file).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "ferry", "verify", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	// A kill costs what one stream brought since the journal's last note,
	// and what was on its way.
	again := th.sent.Load() - info.Size()
	t.Logf("%d kills, %d bytes came again for a bundle of %d", kills, max(again, 0), info.Size())
	if limit := int64(kills) * (256<<10 + 512<<10); again > limit {
		t.Errorf("%d bytes came again after %d kills; at most %d may", again, kills, limit)
	}
	if th.resumed.Load() == 0 {
		t.Error("no blob was gone on with: Range was never asked for")
	}
	leftovers, _ := filepath.Glob(file + ".partial*")
	if len(leftovers) > 0 {
		t.Errorf("left behind: %v", leftovers)
	}
}
