//go:build unix

package cli_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ferry/internal/demo"
)

// trickle takes bodies slowly, so that a push can be killed in the middle.
type trickle struct{ io.ReadCloser }

func (s trickle) Read(p []byte) (int, error) {
	time.Sleep(2 * time.Millisecond)
	return s.ReadCloser.Read(p[:min(len(p), 64<<10)])
}

// TestPushKilled kills push ten times at random moments, and then lets it
// finish. No tag ever names what is not whole.
func TestPushKilled(t *testing.T) {
	file, images := released(t)
	began := make(chan struct{}, 1)
	in := startInside(t, demo.Options{})
	in.fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/uploads/") {
			r.Body = trickle{r.Body}
			select {
			case began <- struct{}{}:
			default:
			}
		}
		next.ServeHTTP(w, r)
	})
	rnd := rand.New(rand.NewPCG(3, 3))
	kills := 0
	for range 10 {
		c := exec.CommandContext(t.Context(), "ferry", "push", file, "--to", in.Host(), "-q")
		c.Stdout, c.Stderr = io.Discard, io.Discard
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-began:
		case <-time.After(5 * time.Second):
		}
		time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
		if c.Process.Kill() == nil && c.Wait() != nil {
			kills++
		}
		for _, i := range images {
			if got := in.stands(i.Repository, i.Tag); got != "" && got != i.Desc.Digest {
				t.Fatalf("after a kill %s is %s", i.Name(), got)
			}
		}
		select {
		case <-began:
		default:
		}
	}
	if kills < 3 {
		t.Fatalf("only %d kills hit", kills)
	}
	if code, out := ferry(t, "push", file, "--to", in.Host()); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	in.holdsAll("", images)
	t.Logf("%d kills", kills)
}
