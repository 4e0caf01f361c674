package ferry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
	"ferry/internal/ferry"
)

func TestAllPlatforms(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	to := target(t)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: to})
	img := r.Images[0]
	if img.Digest != s.index.Digest || img.Upstream != nil || img.Name != name {
		t.Errorf("%+v, want %s", img, s.index.Digest)
	}
	if want := []string{"linux/amd64", "linux/arm64", "linux/s390x"}; !slices.Equal(img.Platforms, want) {
		t.Errorf("platforms %v, want %v", img.Platforms, want)
	}
	if !bytes.Equal(inside(t, to, s.index)[0], s.bytes(t, s.index)) {
		t.Error("the index is not upstream's, byte for byte")
	}
	holds(t, to, true, s.amd64, s.arm64, s.s390x, s.attestation, s.base, s.own)
}

func TestOnePlatform(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	to := target(t)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: to, Platforms: []string{"linux/amd64"}})
	img := r.Images[0]
	if img.Digest != s.amd64.Digest || img.MediaType != ocispec.MediaTypeImageManifest {
		t.Errorf("%s stands under the name, want the manifest %s", img.Digest, s.amd64.Digest)
	}
	if img.Upstream == nil || img.Upstream.Digest != s.index.Digest {
		t.Fatalf("upstream %+v, want %s", img.Upstream, s.index.Digest)
	}
	if !slices.Equal(img.Platforms, []string{"linux/amd64"}) {
		t.Errorf("platforms %v", img.Platforms)
	}
	// Upstream's index travels as evidence; what it names stays upstream.
	holds(t, to, true, s.amd64, s.base, s.own, s.index)
	holds(t, to, false, s.arm64, s.s390x, s.attestation)
}

func TestTheSamePlatformTwiceIsOne(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: target(t), Platforms: []string{"linux/amd64", "linux/x86_64", "linux/amd64"}})
	if r.Images[0].Digest != s.amd64.Digest {
		t.Errorf("%s stands under the name, want the manifest %s", r.Images[0].Digest, s.amd64.Digest)
	}
}

func TestSomePlatforms(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	to := target(t)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: to, Platforms: []string{"linux/arm64", "linux/amd64"}})
	img := r.Images[0]
	if img.Upstream == nil || img.Upstream.Digest != s.index.Digest {
		t.Fatalf("upstream %+v, want %s", img.Upstream, s.index.Digest)
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(img.Platforms, want) {
		t.Errorf("platforms %v, want %v: an attestation is none", img.Platforms, want)
	}
	raw := inside(t, to, img.Desc(), s.index)
	if !bytes.Equal(raw[1], s.bytes(t, s.index)) {
		t.Error("upstream's index did not come along as it is")
	}
	var derived ocispec.Index
	if err := json.Unmarshal(raw[0], &derived); err != nil {
		t.Fatal(err)
	}
	// The descriptors stay as upstream wrote them, in upstream's order.
	want := ocispec.Index{
		MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{s.amd64, s.arm64, s.attestation},
		Annotations: map[string]string{"dev.ferry.derived-from": s.index.Digest.String()},
	}
	want.SchemaVersion = 2
	if diff := cmp.Diff(want, derived); diff != "" {
		t.Errorf("-want +derived:\n%s", diff)
	}
	holds(t, to, true, s.attestation, s.amd64, s.arm64)
	holds(t, to, false, s.s390x)

	// The order of the flags says nothing, and so changes nothing.
	again := packed(t, ferry.PackRequest{Places: []string{name}, To: target(t), Platforms: []string{"linux/amd64", "linux/arm64/v8"}})
	if again.Digest != r.Digest || again.Images[0].Digest != img.Digest {
		t.Errorf("derived again: %s, first %s", again.Images[0].Digest, img.Digest)
	}
}

func TestAllPlatformsByNameIsUpstreamsIndex(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: target(t), Platforms: []string{"linux/s390x", "linux/amd64", "linux/arm64"}})
	if r.Images[0].Digest != s.index.Digest || r.Images[0].Upstream != nil {
		t.Errorf("%+v, want upstream's own %s", r.Images[0], s.index.Digest)
	}
}

// TestPlainBeforeSpecial: who asks for linux/amd64 has any amd64, and must not
// get the image that only newer processors run.
func TestPlainBeforeSpecial(t *testing.T) {
	u, s := startUpstream(t), newSample()
	v3 := s.Image(ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}, contenttest.Config{}, s.layer(9, 10))
	both := u.push(s.Store, "team/app", "1.0", s.Index(v3, s.amd64))
	r := packed(t, ferry.PackRequest{Places: []string{both}, To: target(t), Platforms: []string{"linux/amd64"}})
	if r.Images[0].Digest != s.amd64.Digest {
		t.Errorf("platforms %v", r.Images[0].Platforms)
	}
	r = packed(t, ferry.PackRequest{Places: []string{both}, To: target(t), Platforms: []string{"linux/amd64/v3"}})
	if r.Images[0].Digest != v3.Digest {
		t.Errorf("platforms %v", r.Images[0].Platforms)
	}
}

// TestIndexWithoutPlatforms: where an index says nothing, the configs do.
func TestIndexWithoutPlatforms(t *testing.T) {
	u, s := startUpstream(t), newSample()
	a, b := s.amd64, s.arm64
	a.Platform, b.Platform = nil, nil
	name := u.push(s.Store, "team/app", "1.0", s.Index(a, b))
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: target(t), Platforms: []string{"linux/arm64"}})
	if r.Images[0].Digest != s.arm64.Digest {
		t.Errorf("%+v, want %s", r.Images[0], s.arm64.Digest)
	}
}

func TestWrongPlatform(t *testing.T) {
	u, s := startUpstream(t), newSample()
	index := u.push(s.Store, "team/app", "1.0", s.index)
	single := u.push(s.Store, "team/single", "1.0", s.arm64)
	for name, want := range map[string]string{
		index:  "no image for linux/riscv64: it has linux/amd64, linux/arm64, linux/s390x",
		single: "no image for linux/riscv64: it has linux/arm64",
	} {
		to := target(t)
		_, err := pack(t, ferry.PackRequest{Places: []string{name}, To: to, Platforms: []string{"linux/riscv64"}})
		says(t, err, name, want)
		if e, ok := errors.AsType[*ferry.PlatformError](err); !ok || len(e.Want) != 1 || len(e.Have) == 0 {
			t.Errorf("%#v", err)
		}
		if left := files(t, to); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	_, err := pack(t, ferry.PackRequest{Places: []string{index}, To: target(t), Platforms: []string{"linux/arm64", "linux/386", "linux/arm"}})
	says(t, err, "no image for linux/386, linux/arm/v7: it has")
}

func TestOnePlatformImageServesWhoAsksForIt(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/single", "1.0", s.arm64)
	for _, platforms := range [][]string{nil, {"linux/arm64"}, {"linux/amd64", "linux/arm64"}} {
		r := packed(t, ferry.PackRequest{Places: []string{name}, To: target(t), Platforms: platforms})
		if img := r.Images[0]; img.Digest != s.arm64.Digest || img.Upstream != nil || !slices.Equal(img.Platforms, []string{"linux/arm64"}) {
			t.Errorf("%v: %+v", platforms, img)
		}
	}
}

func TestArtifactHasNoPlatform(t *testing.T) {
	u, s := startUpstream(t), newSample()
	chart := s.Artifact(nil, "application/vnd.cncf.helm.config.v1+json", s.Add("application/octet-stream", []byte("chart")))
	name := u.push(s.Store, "charts/app", "1.0", chart)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: target(t), Platforms: []string{"linux/amd64"}})
	if img := r.Images[0]; img.Digest != chart.Digest || len(img.Platforms) != 0 {
		t.Errorf("%+v", img)
	}
}
