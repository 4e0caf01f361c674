package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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
	fault  atomic.Pointer[answerer]
	healed atomic.Bool

	mu   sync.Mutex
	took int64
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

func (in *inside) fail(f answerer) { in.fault.Store(&f) }

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
		if f := in.fault.Load(); f != nil && !in.healed.Load() {
			(*f)(w, r, next)
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

// packedOnce keeps what was packed, by the names asked for: packing takes
// longer than most tests.
var packedOnce = struct {
	sync.Mutex
	files map[string][]byte
}{files: map[string][]byte{}}

// released is a bundle with the demo's images, or those named.
func released(t *testing.T, names ...string) (file string, images []demo.Image) {
	t.Helper()
	all, err := demo.Images(contenttest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if len(names) == 0 || slices.Contains(names, i.Name()) {
			images = append(images, i)
		}
	}
	packedOnce.Lock()
	defer packedOnce.Unlock()
	file = filepath.Join(t.TempDir(), "release.tar")
	key := strings.Join(names, " ")
	if b, ok := packedOnce.files[key]; ok {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return file, images
	}
	host := startUpstream(t, demo.Options{})
	args := []string{"pack", "--to", file, "-q"}
	for _, i := range images {
		args = append(args, host+"/"+i.Name())
	}
	if code, out := ferry(t, args...); code != 0 {
		t.Fatalf("pack: exit code %d\n%s", code, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	packedOnce.files[key] = b
	return file, images
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

// TestPushFlattens: one level below the prefix, and the same digests.
func TestPushFlattens(t *testing.T) {
	file, images := released(t)
	in := startInside(t, demo.Options{})
	if code, out := ferry(t, "push", file, "--to", in.Host()+"/mirror", "--flatten"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	for _, i := range images {
		flat := "mirror/" + strings.ReplaceAll(i.Repository, "/", "-")
		if got := in.stands(flat, i.Tag); got != i.Desc.Digest {
			t.Errorf("%s:%s is %q, want %s", flat, i.Tag, got, i.Desc.Digest)
		}
	}
}

// TestPushOfOnePlatform: what the lock says stands under the tag; upstream's
// index is not pushed, what speaks about it is.
func TestPushOfOnePlatform(t *testing.T) {
	host := startUpstream(t, demo.Options{})
	file := filepath.Join(t.TempDir(), "release.tar")
	if code, out := ferry(t, "pack", host+"/library/hello:1.0", "--platform", "linux/amd64", "--to", file); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	in := startInside(t, demo.Options{})
	p := pushJSON(t, 0, file, "--to", in.Host())
	if got := in.stands("library/hello", "1.0"); got == "" || got != p.Images[0].Digest {
		t.Errorf("the tag is %q, want %s", got, p.Images[0].Digest)
	}
	images, err := demo.Images(contenttest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	hello := images[0]
	if in.stands("library/hello", hello.Desc.Digest.String()) != "" {
		t.Error("upstream's index was pushed without its children")
	}
	if !strings.Contains(in.referrers("library/hello", hello.Desc.Digest), hello.Referrers[0].Digest.String()) {
		t.Error("what speaks about upstream's index is not listed")
	}
}

// TestPushDigestOnly: a name without a tag is looked up and put by digest.
func TestPushDigestOnly(t *testing.T) {
	host := startUpstream(t, demo.Options{})
	images, err := demo.Images(contenttest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	d := images[1].Desc.Digest
	file := filepath.Join(t.TempDir(), "release.tar")
	if code, out := ferry(t, "pack", host+"/team/web@"+d.String(), "--to", file); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	in := startInside(t, demo.Options{})
	pushJSON(t, 0, file, "--to", in.Host())
	if in.stands("team/web", d.String()) != d {
		t.Error("the image is not there by its digest")
	}
	in.ResetRequests()
	pushJSON(t, 0, file, "--to", in.Host())
	if n := in.count(); n["HEAD"] != 1 || len(in.Requests()) != 1 {
		t.Errorf("the second push asked %v, want one HEAD", in.Requests())
	}
}

// TestPushDryRun sends nothing, and says what would move.
func TestPushDryRun(t *testing.T) {
	file, images := released(t)
	in := startInside(t, demo.Options{})
	p := pushJSON(t, 0, file, "--to", in.Host()+"/mirror", "--dry-run")
	if n := in.count(); n["HEAD"] != len(images) || len(in.Requests()) != len(images) {
		t.Errorf("a dry run asked %v", in.Requests())
	}
	if p.PlannedBytes == 0 || p.Images[0].State != "planned" {
		t.Errorf("got %+v", p)
	}
	pushJSON(t, 0, file, "--to", in.Host()+"/mirror")
	if p = pushJSON(t, 0, file, "--to", in.Host()+"/mirror", "--dry-run"); p.PlannedBytes != 0 || p.Images[0].State != "there" {
		t.Errorf("after the push: %+v", p)
	}
}

// TestPushCollision: nothing is sent where two images would meet.
func TestPushCollision(t *testing.T) {
	one, two := startUpstream(t, demo.Options{}), startUpstream(t, demo.Options{})
	file := filepath.Join(t.TempDir(), "release.tar")
	if code, out := ferry(t, "pack", one+"/team/web:2.1", two+"/team/web:2.1", "--to", file); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	in := startInside(t, demo.Options{})
	code, out := ferry(t, "push", file, "--to", in.Host())
	if code != 1 || !strings.Contains(out, min(one, two)+"/team/web:2.1 and "+max(one, two)+"/team/web:2.1 would both be in "+in.Host()+"/team/web\n") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if len(in.Requests()) != 0 {
		t.Errorf("it asked %v", in.Requests())
	}
}

// TestPushReplaces: a tag that moved upstream moves inside too, and ferry says
// what stood there.
func TestPushReplaces(t *testing.T) {
	file, images := released(t, "team/web:2.1")
	in := startInside(t, demo.Options{})
	s := contenttest.NewStore()
	old := s.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, contenttest.Config{}, s.Layer(contenttest.File{Name: "old"}))
	if err := in.Push(t.Context(), "team/web", "2.1", s, old); err != nil {
		t.Fatal(err)
	}
	p := pushJSON(t, 0, file, "--to", in.Host())
	if p.Images[0].Replaces != old.Digest.String() || in.stands("team/web", "2.1") != images[0].Desc.Digest {
		t.Errorf("got %+v", p.Images[0])
	}
}

// TestPushOutputIsDocumented holds docs/output.md against what push prints.
func TestPushOutputIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/output.md")
	if err != nil {
		t.Fatal(err)
	}
	file, _ := released(t)
	in := startInside(t, demo.Options{})
	s := contenttest.NewStore()
	old := s.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, contenttest.Config{}, s.Layer(contenttest.File{Name: "old"}))
	if err := in.Push(t.Context(), "team/web", "2.1", s, old); err != nil {
		t.Fatal(err)
	}
	in.fail(first(always, http.MethodPost, "/team/report/", says(http.StatusForbidden, "DENIED")))
	seen := map[string]bool{}
	for _, more := range [][]string{{"--dry-run"}, nil} {
		_, out := ferry(t, append([]string{"push", file, "--to", in.Host(), "-o", "json", "-q"}, more...)...)
		var v any
		if err := json.NewDecoder(strings.NewReader(out)).Decode(&v); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for key := range keys(v) {
			seen[key] = true
			if !strings.Contains(string(doc), "`"+key+"`") {
				t.Errorf("push prints the field %q, which docs/output.md does not explain", key)
			}
		}
	}
	for _, key := range []string{"replaces", "error", "byHand", "dryRun"} {
		if !seen[key] {
			t.Errorf("the field %q was not printed", key)
		}
	}
}

// TestPushCosignTags: what cosign keeps under tags is under them inside, and
// is found by whoever packs from there.
func TestPushCosignTags(t *testing.T) {
	s := contenttest.NewStore()
	img := s.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, contenttest.Config{}, s.Layer(contenttest.File{Name: "a"}))
	sig := s.Image(ocispec.Platform{}, contenttest.Config{}, s.Add("application/vnd.dev.cosign.simplesigning.v1+json", []byte(`{"critical":{}}`)))
	tag := "sha256-" + img.Digest.Encoded() + ".sig"
	up, in := startInside(t, demo.Options{}), startInside(t, demo.Options{})
	for reference, d := range map[string]ocispec.Descriptor{"1": img, tag: sig} {
		if err := up.Push(t.Context(), "team/app", reference, s, d); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "release.tar")
	if code, out := ferry(t, "pack", up.Host()+"/team/app:1", "--to", file); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	pushJSON(t, 0, file, "--to", in.Host()+"/mirror", "--flatten")
	if got := in.stands("mirror/team-app", tag); got != sig.Digest {
		t.Errorf("%s is %q inside, want %s", tag, got, sig.Digest)
	}
}

// TestPushTwoTagsOfOneRepository: what they share goes there once.
func TestPushTwoTagsOfOneRepository(t *testing.T) {
	s := contenttest.NewStore()
	shared := s.Layer(contenttest.File{Name: "shared", Body: contenttest.Random(1, 2<<20)})
	up, in := startInside(t, demo.Options{}), startInside(t, demo.Options{})
	args := []string{"pack", "--to", filepath.Join(t.TempDir(), "release.tar")}
	for _, tag := range []string{"1", "2", "3"} {
		d := s.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, contenttest.Config{Cmd: []string{tag}}, shared)
		if err := up.Push(t.Context(), "team/app", tag, s, d); err != nil {
			t.Fatal(err)
		}
		args = append(args, up.Host()+"/team/app:"+tag)
	}
	if code, out := ferry(t, args...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	pushJSON(t, 0, args[2], "--to", in.Host())
	heads, patches := 0, 0
	for _, r := range in.Requests() {
		if strings.HasSuffix(r.Path, "/blobs/"+shared.Digest.String()) && r.Method == http.MethodHead {
			heads++
		}
		if r.Method == http.MethodPatch {
			patches++
		}
	}
	if heads != 1 || patches != 1 {
		t.Errorf("the shared layer was looked for %d times and sent %d times", heads, patches)
	}
}
