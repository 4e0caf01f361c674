//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
)

// distribution is distribution's own registry of today, in this process, with
// what it was asked.
type distribution struct {
	host string

	mu    sync.Mutex
	asked []string
}

func (d *distribution) requests() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.asked...)
}

func (d *distribution) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = nil
}

func startDistribution(t *testing.T) *distribution {
	t.Helper()
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": nil, "maintenance": configuration.Parameters{
		"uploadpurging": map[any]any{"enabled": false},
	}}}
	config.Catalog.MaxEntries = 100
	config.Log.Level = "error"
	config.HTTP.Secret = "of this test"
	app := handlers.NewApp(t.Context(), config)
	d := &distribution{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.asked = append(d.asked, r.Method+" "+r.URL.Path)
		d.mu.Unlock()
		app.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	d.host = strings.TrimPrefix(s.URL, "http://")
	return d
}

// TestPushIntoDistribution3: digests arrive as they left, each blob is
// uploaded once though two repositories have it, and what is there costs one
// HEAD a tag and nothing else.
func TestPushIntoDistribution3(t *testing.T) {
	w, d := newWorld(t), startDistribution(t)
	file := w.pack(w.multi.name, w.single.name)
	w.ferry("push", file, "--to", d.host+"/bank")
	inside := func(img image) string { return d.host + "/bank" + strings.TrimPrefix(img.name, w.host) }
	for _, img := range []image{w.multi, w.single} {
		from := "docker://" + inside(img)
		sameDigest(t, from, w.skopeo("inspect", "--raw", "--tls-verify=false", from), img.desc)
	}
	uploads := 0
	for _, r := range d.requests() {
		if strings.HasPrefix(r, "PUT ") && strings.Contains(r, "/blobs/uploads/") {
			uploads++
		}
	}
	// A layer that both share, a config for each of three images, a layer of
	// each program, and the one that single has alone.
	if want := 7; uploads != want {
		t.Errorf("%d blobs were uploaded, want %d, each once:\n%s", uploads, want, strings.Join(d.requests(), "\n"))
	}
	d.forget()
	w.ferry("push", file, "--to", d.host+"/bank")
	want := map[string]bool{"HEAD /v2/bank/e2e/multi/manifests/1.0": true, "HEAD /v2/bank/e2e/single/manifests/2.0": true}
	for _, r := range d.requests() {
		if r != "GET /v2/" && !want[r] {
			t.Errorf("the second push also asked %s", r)
		}
	}
	if n := len(d.requests()); n > 3 {
		t.Errorf("the second push asked %d times", n)
	}
}
