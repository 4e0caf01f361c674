package ferry_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/ferry"
)

// served packs and returns what a registry sees, by name.
func served(t *testing.T, req ferry.PackRequest) map[string]ferry.ServedRepository {
	t.Helper()
	req.To = target(t)
	packed(t, req)
	s, err := ferry.Serve(t.Context(), req.To)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	all := map[string]ferry.ServedRepository{}
	for _, r := range s.Repositories {
		all[r.Name] = r
	}
	return all
}

func TestServeSortsByRepository(t *testing.T) {
	up, s := startUpstream(t), newSample()
	signature := s.Artifact(&s.index, "application/x-sig")
	one := up.push(s.Store, "team/one", "1", s.index, signature)
	up.push(s.Store, "team/one", "2", s.amd64)
	two := up.push(s.Store, "team/two", "1", s.arm64)
	repos := served(t, ferry.PackRequest{Places: []string{one, strings.TrimSuffix(one, "1") + "2", two, strings.TrimSuffix(two, ":1") + "@" + s.arm64.Digest.String()}})
	if len(repos) != 2 {
		t.Fatalf("%d repositories", len(repos))
	}
	r := repos[up.Host()+"/team/one"]
	if r.Tags["1"] != s.index.Digest || r.Tags["2"] != s.amd64.Digest || len(r.Tags) != 2 {
		t.Errorf("tags %v", r.Tags)
	}
	for _, d := range []ocispec.Descriptor{s.index, s.amd64, s.arm64, s.s390x, signature} {
		if got := r.Manifests[d.Digest]; got.MediaType != d.MediaType || got.Size != d.Size {
			t.Errorf("manifest %s: %+v", d.Digest, got)
		}
	}
	if r.Blobs[s.base.Digest] != s.base.Size || r.Blobs[s.own.Digest] != s.own.Size {
		t.Errorf("blobs %v", r.Blobs)
	}
	refs := r.Referrers[s.index.Digest]
	if len(refs) != 1 || refs[0].Digest != signature.Digest || refs[0].ArtifactType != "application/x-sig" {
		t.Errorf("referrers %v", refs)
	}
	other := repos[up.Host()+"/team/two"]
	if _, ok := other.Manifests[s.amd64.Digest]; ok || other.Tags["1"] != s.arm64.Digest || len(other.Tags) != 1 || other.Blobs[s.own.Digest] != 0 {
		t.Errorf("another repository's content is in %+v", other)
	}
}

// TestServePartOfAnIndex: a child that was not taken is not there, and
// upstream's index stands under its digest alone.
func TestServePartOfAnIndex(t *testing.T) {
	up, s := startUpstream(t), newSample()
	name := up.push(s.Store, "team/one", "1", s.index)
	r := served(t, ferry.PackRequest{Places: []string{name}, Platforms: []string{"linux/amd64"}})[up.Host()+"/team/one"]
	for d, want := range map[digest.Digest]bool{s.amd64.Digest: true, s.index.Digest: true, s.arm64.Digest: false, s.s390x.Digest: false} {
		if _, ok := r.Manifests[d]; ok != want {
			t.Errorf("manifest %s is served: %v, want %v", d, ok, want)
		}
	}
	if r.Tags["1"] == s.index.Digest || len(r.Tags) != 1 {
		t.Errorf("tags %v lead to upstream's index", r.Tags)
	}
}

// TestServeCosignTag: what cosign keeps under a tag is found there, and not
// through the referrers API, whose subject it does not name.
func TestServeCosignTag(t *testing.T) {
	up, s := startUpstream(t), newSample()
	name := up.push(s.Store, "team/one", "1", s.amd64)
	tag := "sha256-" + s.amd64.Digest.Encoded() + ".sig"
	signature := s.Artifact(nil, "application/x-cosign")
	up.push(s.Store, "team/one", tag, signature)
	r := served(t, ferry.PackRequest{Places: []string{name}})[up.Host()+"/team/one"]
	if r.Tags[tag] != signature.Digest || len(r.Referrers) != 0 {
		t.Errorf("tags %v, referrers %v", r.Tags, r.Referrers)
	}
	if _, ok := r.Manifests[signature.Digest]; !ok {
		t.Error("the signature is not there")
	}
}
