//go:build linux || darwin

package serve_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
)

// TestProvenWithItsTimePutBack: who changes a file and puts its time back is
// noticed.
func TestProvenWithItsTimePutBack(t *testing.T) {
	r, s, layer := onceServed(t)
	at := s.written(t)
	time.Sleep(20 * time.Millisecond) // times of files are that coarse
	s.flip(t, layer)
	s.touch(t, at)
	if got := r.get("GET", blobPath(layer)); got.err == nil {
		t.Error("a blob that was changed arrived whole")
	}
	all := r.accesses(2)
	if _, ok := errors.AsType[*content.DigestError](all[1].Err); !ok {
		t.Errorf("the fault is not told: %+v", all[1])
	}
}

// TestProvenWithItsTimePutBackMeanwhile: so it is in an answer that was begun.
func TestProvenWithItsTimePutBackMeanwhile(t *testing.T) {
	s, _ := onDisk(t)
	layer := s.add(t, contenttest.Random(97, 40<<20))
	r := served(t, s, layer)
	at := s.written(t)
	resp, err := r.client.Get("http://" + r.host + blobPath(layer))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	time.Sleep(20 * time.Millisecond)
	s.flip(t, layer)
	s.touch(t, at)
	if got, err := io.Copy(io.Discard, resp.Body); err == nil || got >= layer.Size {
		t.Errorf("all %d bytes came", got)
	}
	all := r.accesses(2)
	if all[1].Err == nil || !strings.Contains(all[1].Err.Error(), layer.Digest.String()) {
		t.Errorf("the fault is not told: %+v", all[1])
	}
}
