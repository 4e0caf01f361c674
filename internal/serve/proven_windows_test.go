package serve_test

import (
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestProvenWithItsTimePutBack: Windows tells nothing else of a file than its
// size and its times, so such a change is the client's to see, and clients do.
func TestProvenWithItsTimePutBack(t *testing.T) {
	r, s, layer := onceServed(t)
	at := s.written(t)
	s.flip(t, layer)
	s.touch(t, at)
	if got := r.get("GET", blobPath(layer)); got.err != nil || int64(len(got.body)) != layer.Size || digest.FromString(got.body) == layer.Digest {
		t.Errorf("%d bytes, %v", len(got.body), got.err)
	}
}
