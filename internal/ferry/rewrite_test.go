package ferry_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/ferry"
	"ferry/internal/lock"
	"ferry/internal/manifest"
)

const podOf = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: "

// manifests writes files and returns the folder that they lie in.
func manifests(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func rewriteIn(t *testing.T, req ferry.RewriteRequest) (*ferry.RewriteResult, error) {
	t.Helper()
	if req.Registry == "" {
		req.Registry = "registry.bank.internal/mirror"
	}
	return ferry.Rewrite(t.Context(), req)
}

func text(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// lockFile writes a lock of names and digests.
func lockFile(t *testing.T, images ...lock.Image) string {
	t.Helper()
	for i := range images {
		images[i].MediaType, images[i].Size = "application/vnd.oci.image.index.v1+json", 1
		images[i].Source = lock.Source{Type: lock.Registry}
	}
	b, err := lock.Lock{Version: lock.Version, ResolvedAt: moment, Images: images}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(manifests(t, map[string]string{"x.lock": string(b)}), "x.lock")
}

var (
	digestA = digest.FromString("a")
	digestB = digest.FromString("b")
	digestC = digest.FromString("c")
)

// TestRewriteNames: what an image is called inside is what push calls it
// there, at the digest that it has in the bundle.
func TestRewriteNames(t *testing.T) {
	locked := lockFile(
		t,
		lock.Image{Name: "docker.io/library/nginx:1.27", Digest: digestA},
		lock.Image{Name: "quay.io/x/some@" + digestB.String(), Digest: digestC, Upstream: &lock.Descriptor{Digest: digestB, MediaType: "application/vnd.oci.image.index.v1+json", Size: 1}},
		lock.Image{Name: "quay.io/x/both:1@" + digestA.String(), Digest: digestA},
	)
	const r = "registry.bank.internal/mirror/"
	for _, c := range []struct{ name, want, state string }{
		{"nginx:1.27", r + "library/nginx:1.27@" + digestA.String(), ferry.Renamed},
		{"docker.io/nginx:1.27@" + digestA.String(), r + "library/nginx:1.27@" + digestA.String(), ferry.Renamed},
		{"nginx@" + digestA.String(), r + "library/nginx@" + digestA.String(), ferry.Renamed},
		{"nginx@" + digestB.String(), r + "library/nginx@" + digestB.String(), ferry.Unlocked},
		{"nginx:1.28", r + "library/nginx:1.28", ferry.Unlocked},
		{"nginx", r + "library/nginx:latest", ferry.Unlocked},
		// Of some platforms only: inside is another index.
		{"quay.io/x/some@" + digestB.String(), r + "x/some@" + digestC.String(), ferry.Renamed},
		{"quay.io/x/some:7@" + digestB.String(), r + "x/some:7@" + digestC.String(), ferry.Renamed},
		{"quay.io/x/both:1@" + digestA.String(), r + "x/both:1@" + digestA.String(), ferry.Renamed},
		// What is inside stays, and follows its tag into a later bundle.
		{r + "library/nginx:1.27", r + "library/nginx:1.27@" + digestA.String(), ferry.Renamed},
		{r + "library/nginx:1.27@" + digestB.String(), r + "library/nginx:1.27@" + digestA.String(), ferry.Renamed},
		{r + "library/nginx:1.27@" + digestA.String(), r + "library/nginx:1.27@" + digestA.String(), ferry.Inside},
		{r + "other:1", r + "other:1", ferry.Inside},
		{"registry.bank.internal/elsewhere:1", r + "elsewhere:1", ferry.Unlocked},
		{"Nginx", "", ferry.Left},
		{"${IMAGE}", "", ferry.Left},
	} {
		dir := manifests(t, map[string]string{"x.yaml": podOf + `"` + c.name + "\"\n"})
		got, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, Lock: locked, InPlace: true})
		if err != nil {
			t.Fatal(err)
		}
		if i := got.Images[0]; i.Inside != c.want || i.State != c.state {
			t.Errorf("%s: %s, %s; want %s, %s", c.name, i.Inside, i.State, c.want, c.state)
		}
		if bad := c.state == ferry.Unlocked || c.state == ferry.Left; bad != (got.Incomplete() == 1) {
			t.Errorf("%s: %d are not as they should be", c.name, got.Incomplete())
		}
		before := text(t, dir, "x.yaml")
		if again, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, Lock: locked, InPlace: true}); err != nil || text(t, dir, "x.yaml") != before {
			t.Errorf("%s: a second time gives %+v, %v", c.name, again, err)
		}
	}
}

// TestRewriteOfWhatIsNoLock says what one is.
func TestRewriteOfWhatIsNoLock(t *testing.T) {
	dir := manifests(t, map[string]string{
		"x.yaml": podOf + "nginx:1\n", "empty": "", "cut": `{"version": 1, "images`, "null": "null", "later": `{"version": 2}`, "tar": "oci-layout\x00",
	})
	for _, name := range []string{"empty", "cut", "null", "later", "tar", "."} {
		_, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{filepath.Join(dir, "x.yaml")}, Lock: filepath.Join(dir, name)})
		if e, ok := errors.AsType[*ferry.LockError](err); !ok || !strings.Contains(e.Hint(), "release.tar.lock") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRewriteOfNothing: a place that is empty has no name inside.
func TestRewriteOfNothing(t *testing.T) {
	for _, nothing := range []string{"null", "~", "", `""`} {
		dir := manifests(t, map[string]string{"x.yaml": podOf + nothing + "\n"})
		r, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}})
		if err != nil || len(r.Left) != 1 || r.Left[0].Inside != "" || r.Left[0].Text != "" || r.Incomplete() != 1 {
			t.Errorf("%q: %+v, %v", nothing, r, err)
		}
	}
}

// TestRewriteAgreesWithPush compares with the names that push plans.
func TestRewriteAgreesWithPush(t *testing.T) {
	u, s := startUpstream(t), newSample()
	tagged := u.push(s.Store, "team/deep/app", "1.0", s.index)
	byDigest := strings.TrimSuffix(tagged, ":1.0") + "@" + s.index.Digest.String()
	for _, flatten := range []bool{false, true} {
		for _, platforms := range [][]string{nil, {"linux/arm64", "linux/amd64"}} {
			file := target(t)
			packed(t, ferry.PackRequest{Places: []string{tagged, byDigest}, To: file, Platforms: platforms, AsOf: moment})
			pushed, err := ferry.Push(t.Context(), world(t), ferry.PushRequest{File: file, To: u.Host() + "/mirror", Flatten: flatten, DryRun: true})
			if err != nil {
				t.Fatal(err)
			}
			dir := manifests(t, map[string]string{"x.yaml": podOf + tagged + "\n  - image: " + byDigest + "\n"})
			got, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, Registry: u.Host() + "/mirror", Flatten: flatten, Bundle: file})
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range pushed.Images {
				want := p.Inside
				if !strings.Contains(want, "@") {
					want += "@" + p.Digest.String()
				}
				if got.Images[i].Name != p.Name || got.Images[i].Inside != want {
					t.Errorf("push %s: %s, rewrite %s: %s", p.Name, want, got.Images[i].Name, got.Images[i].Inside)
				}
			}
		}
	}
}

func TestRewriteRefusesCollisions(t *testing.T) {
	dir := manifests(t, map[string]string{"x.yaml": podOf + "quay.io/team/app:1\n  - image: ghcr.io/team/app:1\n"})
	if _, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}}); err == nil || !strings.Contains(err.Error(), "would both be in") {
		t.Errorf("got %v", err)
	}
}

// TestRewriteInPlace: modes and links stay, and what is not changed is not
// touched.
func TestRewriteInPlace(t *testing.T) {
	dir := manifests(t, map[string]string{
		"real/a.yaml": podOf + "nginx:1\n", "b.yaml": "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\n",
		".git/x.yaml": podOf + "nginx:1\n", "notes.txt": "image: nginx:1\n",
	})
	if err := os.Symlink("real/a.yaml", filepath.Join(dir, "link.yaml")); err != nil {
		t.Skip(err)
	}
	old, _ := os.Stat(filepath.Join(dir, "b.yaml"))
	r, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, InPlace: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, dir, "real/a.yaml"); !strings.Contains(got, "image: registry.bank.internal/mirror/library/nginx:1\n    imagePullPolicy: IfNotPresent\n") {
		t.Errorf("got %s", got)
	}
	info, err := os.Lstat(filepath.Join(dir, "link.yaml"))
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
	if info, _ := os.Stat(filepath.Join(dir, "real/a.yaml")); info.Mode().Perm() != 0o640 {
		t.Errorf("its mode is %v", info.Mode())
	}
	if now, _ := os.Stat(filepath.Join(dir, "b.yaml")); !os.SameFile(old, now) {
		t.Error("a file without images was written anew")
	}
	if strings.Contains(text(t, dir, ".git/x.yaml")+text(t, dir, "notes.txt"), "registry.bank") {
		t.Error("files were changed that are no manifests")
	}
	if len(r.Files) != 3 {
		t.Errorf("%+v", r.Files)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*", ".ferry-*"))
	if len(left) > 0 {
		t.Errorf("%v was left behind", left)
	}
}

func TestRewriteLeavesLinksThatLeadOut(t *testing.T) {
	out := manifests(t, map[string]string{"a.yaml": podOf + "nginx:1\n"})
	dir := manifests(t, map[string]string{"b.yaml": podOf + "nginx:1\n"})
	if err := os.Symlink(filepath.Join(out, "a.yaml"), filepath.Join(dir, "a.yaml")); err != nil {
		t.Skip(err)
	}
	_, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, InPlace: true})
	if err == nil || !strings.Contains(err.Error(), "leads out of its folder") {
		t.Errorf("got %v", err)
	}
	if strings.Contains(text(t, out, "a.yaml")+text(t, dir, "b.yaml"), "registry.bank") {
		t.Error("something was changed")
	}
	// Named itself, it is meant.
	if _, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{filepath.Join(dir, "a.yaml")}, InPlace: true}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(text(t, out, "a.yaml"), "registry.bank") {
		t.Error("what was named was not changed")
	}
}

// TestRewriteFollowsALinkWithin: a link may say its target in full, and the
// folder be named in short.
func TestRewriteFollowsALinkWithin(t *testing.T) {
	dir := manifests(t, map[string]string{"in/a.yaml": podOf + "nginx:1\n"})
	if err := os.Symlink(filepath.Join(dir, "in", "a.yaml"), filepath.Join(dir, "in", "b.yaml")); err != nil {
		t.Skip(err)
	}
	t.Chdir(dir)
	if _, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{"in"}, InPlace: true}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(text(t, dir, "in", "a.yaml"), "registry.bank") {
		t.Error("it was not changed")
	}
}

// TestRewriteTellsOfADeadLink, and reads the others.
func TestRewriteTellsOfADeadLink(t *testing.T) {
	dir := manifests(t, map[string]string{"a.yaml": podOf + "nginx:1\n"})
	for _, name := range []string{"dead.yaml", "dead.txt"} {
		if err := os.Symlink("nothing", filepath.Join(dir, name)); err != nil {
			t.Skip(err)
		}
	}
	r, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, DryRun: true})
	if err != nil || len(r.Images) != 1 || len(r.Left) != 1 || r.Left[0].Why != "is a link to nothing" || r.Incomplete() != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestRewriteAllOrNothing: where one file cannot be written, none is.
func TestRewriteAllOrNothing(t *testing.T) {
	dir := manifests(t, map[string]string{"a.yaml": podOf + "nginx:1\n", "sub/b.yaml": podOf + "nginx:1\n"})
	to := manifests(t, map[string]string{"sub": "a file"})
	_, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, To: to})
	var e *ferry.WriteError
	if !errors.As(err, &e) || !strings.Contains(e.Hint(), "Nothing was changed") {
		t.Fatalf("got %v", err)
	}
	if entries, _ := os.ReadDir(to); len(entries) != 1 {
		t.Errorf("there is %v", entries)
	}
}

func TestRewriteTellsOfAllFilesAtOnce(t *testing.T) {
	dir := manifests(t, map[string]string{"a.yaml": "a: 1\na: 2\n", "b.yaml": "x: [\n", "c.yaml": podOf + "nginx:1\n"})
	_, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, InPlace: true})
	var e *ferry.FilesError
	if !errors.As(err, &e) || len(e.Errs) != 2 {
		t.Fatalf("got %v", err)
	}
	if strings.Contains(text(t, dir, "c.yaml"), "registry.bank") {
		t.Error("a file was changed though another cannot be read")
	}
}

func TestRewriteTo(t *testing.T) {
	dir := manifests(t, map[string]string{"a.yaml": podOf + "nginx:1\n", "sub/values.yaml": "replicas: 3\n"})
	to := filepath.Join(t.TempDir(), "new", "inside")
	if _, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, To: to, DryRun: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a dry run wrote: %v", err)
	}
	for range 2 {
		if _, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, To: to}); err != nil {
			t.Fatal(err)
		}
		if text(t, to, "sub/values.yaml") != "replicas: 3\n" || !strings.Contains(text(t, to, "a.yaml"), "registry.bank.internal") {
			t.Error("not all was written")
		}
	}
	if err := os.WriteFile(filepath.Join(to, "old.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, To: to}); err == nil || !strings.Contains(err.Error(), "old.yaml is none of these manifests") {
		t.Errorf("got %v", err)
	}
	other := manifests(t, map[string]string{"a.yaml": podOf + "nginx:2\n"})
	if _, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir, other}, To: filepath.Join(t.TempDir(), "x")}); err == nil || !strings.Contains(err.Error(), "would both become") {
		t.Errorf("got %v", err)
	}
}

func TestRewriteOfWhatComesIn(t *testing.T) {
	r, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{"-"}, Stdin: strings.NewReader("\ufeff" + podOf + "nginx:1")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "\ufeff" + podOf + "registry.bank.internal/mirror/library/nginx:1\n    imagePullPolicy: IfNotPresent"; r.Stream() != want {
		t.Errorf("got %q", r.Stream())
	}
	_, err = rewriteIn(t, ferry.RewriteRequest{Paths: []string{"-"}, Stdin: strings.NewReader(strings.Repeat("#", 100<<20))})
	var e *manifest.Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "at most 33554432 are read") {
		t.Errorf("100 MB: %v", err)
	}
}

// TestRewriteStreamsSeveral: files become documents of one stream, of which
// what no cluster takes is left out.
func TestRewriteStreamsSeveral(t *testing.T) {
	dir := manifests(t, map[string]string{
		"a.yaml": "\ufeff" + podOf + "nginx:1", "b.json": `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"j"}}`,
		"c.yaml": "---\n" + podOf + "nginx:2\n", "values.yaml": "a: 1\n", "kustomization.yaml": "kind: Kustomization\n",
	})
	r, err := rewriteIn(t, ferry.RewriteRequest{Paths: []string{dir}, PullPolicy: ferry.KeepPolicy})
	if err != nil {
		t.Fatal(err)
	}
	in := podOf + "registry.bank.internal/mirror/library/nginx:"
	if want := "---\n" + in + "1\n---\n" + `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"j"}}` + "\n---\n" + in + "2\n"; r.Stream() != want {
		t.Errorf("got %s", r.Stream())
	}
	if r.Incomplete() != 1 || !slices.ContainsFunc(r.Left, func(l ferry.RewriteLeft) bool { return strings.Contains(l.Why, "kubectl kustomize") }) {
		t.Errorf("%+v", r.Left)
	}
}

func TestRewriteInterrupted(t *testing.T) {
	dir := manifests(t, map[string]string{"z.yaml": podOf + "nginx:1\n"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ferry.Rewrite(ctx, ferry.RewriteRequest{Paths: []string{dir}, Registry: "r.example", InPlace: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if strings.Contains(text(t, dir, "z.yaml"), "r.example") {
		t.Error("it was changed")
	}
}
