package ferry_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/content"
	"ferry/internal/ferry"
)

func TestUsage(t *testing.T) {
	there := filepath.Join(t.TempDir(), "there.lock")
	if err := os.WriteFile(there, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		req  ferry.PackRequest
		says string
	}{
		"no target":             {ferry.PackRequest{Places: []string{"nginx:1"}}, "--to release.tar"},
		"no image":              {ferry.PackRequest{To: "x.tar"}, "say which images to pack"},
		"a name that is none":   {ferry.PackRequest{Places: []string{"Nginx"}, To: "x.tar"}, "lower case"},
		"a platform of a word":  {ferry.PackRequest{Places: []string{"nginx:1"}, To: "x.tar", Platforms: []string{"amd64"}}, "write OS/ARCH"},
		"lock and platform":     {ferry.PackRequest{Lock: there, To: "x.tar", Platforms: []string{"linux/amd64"}}, "leave --platform out"},
		"a path that is absent": {ferry.PackRequest{Places: []string{"./nowhere"}, To: "x.tar"}, "there is no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pack(t, c.req)
			says(t, err, c.says)
			if _, ok := errors.AsType[*ferry.UsageError](err); !ok {
				t.Errorf("%T is no usage error", err)
			}
		})
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	to := target(t)
	r, err := pack(t, ferry.PackRequest{Places: []string{name}, To: to, DryRun: true, Platforms: []string{"linux/arm64"}})
	if err != nil {
		t.Fatal(err)
	}
	if left := files(t, to); len(left) > 0 {
		t.Errorf("written: %v", left)
	}
	if n := u.blobGets()[s.base.Digest]; n != 0 {
		t.Error("a layer was fetched for a plan")
	}
	want := []string{"skopeo", "copy", "--src-tls-verify=false", "docker://" + name, "oci-archive:" + to + ":" + name}
	if !r.DryRun || r.Digest != "" || len(r.ByHand) != 1 || !slices.Equal(r.ByHand[0], want) {
		t.Errorf("%+v", r)
	}
	whole := packed(t, ferry.PackRequest{Places: []string{name}, To: to, Platforms: []string{"linux/arm64"}})
	if whole.Blobs != r.Blobs || whole.Images[0].Digest != r.Images[0].Digest {
		t.Errorf("the plan was %+v, and %+v was done", r, whole)
	}

	// A plan for what is there already says so, and leaves the lock alone.
	if err := os.Remove(to + ferry.LockSuffix); err != nil {
		t.Fatal(err)
	}
	r, err = pack(t, ferry.PackRequest{Places: []string{name}, To: to, DryRun: true, Platforms: []string{"linux/arm64"}})
	if err != nil || !r.Unchanged {
		t.Errorf("%+v, %v", r, err)
	}
	if left := files(t, to); len(left) != 1 {
		t.Errorf("a plan wrote: %v", left)
	}
}

func TestEveryFailingImageIsNamed(t *testing.T) {
	u, s := startUpstream(t), newSample()
	good := u.push(s.Store, "team/app", "1.0", s.index)
	gone, nobody := u.Host()+"/team/app:9.9", u.Host()+"/nobody/there:1"
	to := target(t)
	_, err := pack(t, ferry.PackRequest{Places: []string{gone, good, nobody}, To: to})
	says(t, err, "pack "+gone+": ", "pack "+nobody+": ")
	e, ok := errors.AsType[*ferry.PackError](err)
	if !ok || len(e.Images) != 2 || e.File != to || !errors.Is(err, content.ErrNotFound) || strings.Contains(err.Error(), good) {
		t.Errorf("%#v", err)
	}
	if left := files(t, to); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestKeepGoing(t *testing.T) {
	u, s := startUpstream(t), newSample()
	good := u.push(s.Store, "team/app", "1.0", s.arm64)
	broken := u.push(s.Store, "team/broken", "1.0", s.amd64)
	gone := u.Host() + "/team/app:9.9"
	u.lose("/team/broken/blobs/"+s.own.Digest.String(), "/manifests/9.9")
	to := target(t)
	r := packed(t, ferry.PackRequest{Places: []string{gone, broken, good}, To: to, KeepGoing: true})
	if len(r.Images) != 1 || r.Images[0].Name != good {
		t.Errorf("packed %+v, want %s alone", r.Images, good)
	}
	var failed []string
	for _, f := range r.Failed {
		failed = append(failed, f.Image)
		if f.Err == nil || f.Text != f.Err.Error() {
			t.Errorf("%+v", f)
		}
	}
	if !slices.Equal(failed, []string{gone, broken}) {
		t.Errorf("failed %v", failed)
	}
	// The layer that only the lost image needs is not in the file.
	holds(t, to, false, s.own, s.amd64)
	holds(t, to, true, s.base)
	if left := files(t, to); len(left) != 2 {
		t.Errorf("beside the bundle and its lock: %v", left)
	}
}

func TestKeepGoingWithNothingLeft(t *testing.T) {
	u := startUpstream(t)
	to := target(t)
	_, err := pack(t, ferry.PackRequest{Places: []string{u.Host() + "/a:1", u.Host() + "/b:1"}, To: to, KeepGoing: true})
	if e, ok := errors.AsType[*ferry.PackError](err); !ok || len(e.Images) != 2 {
		t.Errorf("%v", err)
	}
	if left := files(t, to); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNames(t *testing.T) {
	u, s := startUpstream(t), newSample()
	repo := u.Host() + "/team/app"
	u.push(s.Store, "team/app", "1.0", s.index)
	u.push(s.Store, "team/app", "latest", s.amd64)
	at := "@" + s.index.Digest.String()
	for name, c := range map[string]struct {
		places, want []string
		warnings     int
	}{
		"twice":               {[]string{repo + ":1.0", "docker://" + repo + ":1.0"}, []string{repo + ":1.0"}, 0},
		"digest":              {[]string{repo + at}, []string{repo + at}, 0},
		"tag and digest":      {[]string{repo + ":1.0" + at}, []string{repo + ":1.0" + at}, 0},
		"a tag that moved":    {[]string{repo + ":0.9" + at}, []string{repo + ":0.9" + at}, 0},
		"two names for one":   {[]string{repo + at, repo + ":1.0"}, []string{repo + ":1.0", repo + at}, 0},
		"latest":              {[]string{repo + ":latest"}, []string{repo + ":latest"}, 1},
		"no tag":              {[]string{repo}, []string{repo + ":latest"}, 1},
		"latest and a digest": {[]string{repo + ":latest" + at}, []string{repo + ":latest" + at}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := packed(t, ferry.PackRequest{Places: c.places, To: target(t)})
			var got []string
			for _, img := range r.Images {
				got = append(got, img.Name)
			}
			if !slices.Equal(got, c.want) || len(r.Warnings) != c.warnings {
				t.Errorf("packed %v, want %v; warnings %q", got, c.want, r.Warnings)
			}
		})
	}
	r := packed(t, ferry.PackRequest{Places: []string{repo, repo + ":latest"}, To: target(t)})
	if len(r.Warnings) != 2 || !strings.Contains(r.Warnings[0], "has no tag") || !strings.Contains(r.Warnings[1], "another image tomorrow") {
		t.Errorf("warnings %q", r.Warnings)
	}
}

func TestDigestThatIsNotThere(t *testing.T) {
	u, s := startUpstream(t), newSample()
	u.push(s.Store, "team/app", "1.0", s.index)
	d := digest.FromString("nothing")
	// The tag is there, but the digest is what was asked for.
	_, err := pack(t, ferry.PackRequest{Places: []string{u.Host() + "/team/app:1.0@" + d.String()}, To: target(t)})
	says(t, err, d.String(), "404")
}

// TestAFileInTheWay: a slip of the keyboard must not cost anyone a file.
func TestAFileInTheWay(t *testing.T) {
	u, s := startUpstream(t), newSample()
	to := target(t)
	if err := os.WriteFile(to, []byte("dear reader"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := pack(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index)}, To: to})
	says(t, err, to, "is not replaced")
	if b, err := os.ReadFile(to); err != nil || string(b) != "dear reader" {
		t.Errorf("%q, %v", b, err)
	}
	if u.blobGets()[s.base.Digest] != 0 {
		t.Error("layers were pulled although there is nowhere to put them")
	}
}

func TestVerify(t *testing.T) {
	u, s := startUpstream(t), newSample()
	to := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index)}, To: to})
	_, err := ferry.Verify(t.Context(), world(t), ferry.VerifyRequest{File: to, Digest: "1234"})
	if _, ok := errors.AsType[*ferry.UsageError](err); !ok {
		t.Errorf("%v", err)
	}
	r, err := ferry.Verify(t.Context(), world(t), ferry.VerifyRequest{File: to})
	if err != nil || r.Expected || r.Signed || r.Gate != "not gated" || !r.AsOf.Equal(moment) || !r.ResolvedAt.Equal(moment) {
		t.Errorf("%+v, %v", r, err)
	}
	flip(t, to, s.bytes(t, s.own))
	_, err = ferry.Verify(t.Context(), world(t), ferry.VerifyRequest{File: to})
	says(t, err, "is damaged", s.own.Digest.Encoded())
}
