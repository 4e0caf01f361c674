package cli_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
	"ferry/internal/demo"
)

// inside is the private registry that a test pushes to. It counts the bytes
// of blobs that come in.
type inside struct {
	*demo.Registry
	t *testing.T
	// fault, where set, may answer in the registry's place.
	fault func(w http.ResponseWriter, r *http.Request, next http.Handler)
	mu    sync.Mutex
	took  int64
}

func startInside(t *testing.T, o demo.Options) *inside {
	t.Helper()
	in := &inside{t: t}
	o.Wrap = in.wrap
	r, err := demo.StartRegistry(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	in.Registry = r
	return in
}

type countingBody struct {
	io.ReadCloser
	in *inside
}

func (c countingBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.in.mu.Lock()
	c.in.took += int64(n)
	c.in.mu.Unlock()
	return n, err
}

func (in *inside) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/uploads/") {
			r.Body = countingBody{r.Body, in}
		}
		if in.fault != nil {
			in.fault(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (in *inside) bytesTaken() int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.took
}

// count says how many requests there were of each method.
func (in *inside) count() map[string]int {
	n := map[string]int{}
	for _, r := range in.Requests() {
		n[r.Method]++
	}
	return n
}

// stands is the digest under a tag or digest, "" for nothing.
func (in *inside) stands(repository, reference string) digest.Digest {
	in.t.Helper()
	req, err := http.NewRequestWithContext(in.t.Context(), http.MethodGet, "http://"+in.Host()+"/v2/"+repository+"/manifests/"+reference, nil)
	if err != nil {
		in.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		in.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return ""
	}
	return digest.FromBytes(b)
}

func (in *inside) hasBlob(repository string, d digest.Digest) bool {
	in.t.Helper()
	resp, err := http.Get("http://" + in.Host() + "/v2/" + repository + "/blobs/" + d.String())
	if err != nil {
		in.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// released packs the demo's images (or those named) into a bundle.
func released(t *testing.T, names ...string) (file string, images []demo.Image) {
	t.Helper()
	images, err := demo.Images(contenttest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	host := startUpstream(t, demo.Options{})
	file = filepath.Join(t.TempDir(), "release.tar")
	args := []string{"pack", "--to", file, "-q"}
	var taken []demo.Image
	for _, i := range images {
		if len(names) == 0 || strings.Contains(strings.Join(names, " "), i.Name()) {
			args = append(args, host+"/"+i.Name())
			taken = append(taken, i)
		}
	}
	if code, out := ferry(t, args...); code != 0 {
		t.Fatalf("pack: exit code %d\n%s", code, out)
	}
	return file, taken
}

type pushed struct {
	Images []struct {
		Name, Inside, State, Replaces, Error string
		Digest                               digest.Digest
	}
	PlannedBytes, SentBytes, MountedBytes, PresentBytes int64
}

// pushJSON pushes and reads the answer.
func pushJSON(t *testing.T, want int, args ...string) pushed {
	t.Helper()
	var p pushed
	code, out := ferry(t, append(append([]string{"push"}, args...), "-o", "json", "-q")...)
	if code != want {
		t.Fatalf("exit code %d, want %d\n%s", code, want, out)
	}
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&p); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return p
}

// TestPush: digests are upstream's, each unique byte is sent once though three
// repositories share layers, referrers are listed, and the second push is one
// HEAD a tag.
func TestPush(t *testing.T) {
	file, images := released(t)
	in := startInside(t, demo.Options{})
	p := pushJSON(t, 0, file, "--to", in.Host()+"/mirror")
	var unique int64
	blobs := map[digest.Digest]bool{}
	walkBlobs(t, file, func(d ocispec.Descriptor) {
		if !blobs[d.Digest] {
			blobs[d.Digest] = true
			unique += d.Size
		}
	})
	if took := in.bytesTaken(); took != unique || p.SentBytes != unique {
		t.Errorf("%d bytes of blobs came, ferry says %d, want %d: each once", took, p.SentBytes, unique)
	}
	if p.MountedBytes == 0 {
		t.Error("no blob was taken from another repository")
	}
	for _, i := range images {
		if got := in.stands("mirror/"+i.Repository, i.Tag); got != i.Desc.Digest {
			t.Errorf("mirror/%s is %s, want %s", i.Name(), got, i.Desc.Digest)
		}
		for _, r := range i.Referrers {
			if !strings.Contains(in.referrers("mirror/"+i.Repository, i.Desc.Digest), r.Digest.String()) {
				t.Errorf("the referrer %s of %s is not listed inside", r.Digest, i.Name())
			}
		}
	}
	in.ResetRequests()
	p = pushJSON(t, 0, file, "--to", in.Host()+"/mirror")
	if n := in.count(); len(in.Requests()) != len(images) || n["HEAD"] != len(images) {
		t.Errorf("the second push made these requests: %v; want one HEAD for each of %d tags", in.Requests(), len(images))
	}
	for _, i := range p.Images {
		if i.State != "there" {
			t.Errorf("%s is %s", i.Name, i.State)
		}
	}
	again := filepath.Join(t.TempDir(), "again.tar")
	args := []string{"pack", "--to", again}
	for _, i := range images {
		args = append(args, in.Host()+"/mirror/"+i.Name())
	}
	if code, out := ferry(t, args...); code != 0 {
		t.Errorf("what was pushed cannot be packed: %s", out)
	}
}

func (in *inside) referrers(repository string, subject digest.Digest) string {
	in.t.Helper()
	resp, err := http.Get("http://" + in.Host() + "/v2/" + repository + "/referrers/" + subject.String())
	if err != nil {
		in.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

var _ = fmt.Sprint
var _ = base64.StdEncoding
var _ = os.Getenv
var _ atomic.Int64
