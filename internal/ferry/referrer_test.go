package ferry_test

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/ferry"
	"ferry/internal/lock"
)

const signatureType = "application/vnd.example.signature"

func (s sample) sign(d ocispec.Descriptor) ocispec.Descriptor {
	return s.Artifact(&d, signatureType, s.Add("application/octet-stream", []byte("signed "+d.Digest.String())))
}

func referrer(d, subject ocispec.Descriptor, artifactType, tag string) lock.Referrer {
	return lock.Referrer{
		Digest: d.Digest, MediaType: d.MediaType, Size: d.Size,
		ArtifactType: artifactType, Subject: subject.Digest, Tag: tag,
	}
}

func wantReferrers(t *testing.T, img lock.Image, want ...lock.Referrer) {
	t.Helper()
	slices.SortFunc(want, func(a, b lock.Referrer) int { return cmp.Compare(a.Digest, b.Digest) })
	if diff := gocmp.Diff(want, img.Referrers); diff != "" {
		t.Errorf("referrers -want +packed:\n%s", diff)
	}
}

func TestReferrersOfReferrers(t *testing.T) {
	u, s := startUpstream(t), newSample()
	sig := s.sign(s.index)
	sbom := s.Artifact(&s.amd64, "application/spdx+json", s.Add("application/spdx+json", []byte(`{"spdx":1}`)))
	onSBOM := s.sign(sbom)
	name := u.push(s.Store, "team/app", "1.0", s.index, sig, sbom, onSBOM)
	to := target(t)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: to})
	wantReferrers(t, r.Images[0],
		referrer(sig, s.index, signatureType, ""),
		referrer(sbom, s.amd64, "application/spdx+json", ""),
		referrer(onSBOM, sbom, signatureType, ""))
	holds(t, to, true, sig, sbom, onSBOM, s.Add("application/spdx+json", []byte(`{"spdx":1}`)))
}

func TestReferrersOfThePlatformTaken(t *testing.T) {
	u, s := startUpstream(t), newSample()
	onIndex, onAMD, onARM := s.sign(s.index), s.sign(s.amd64), s.sign(s.arm64)
	name := u.push(s.Store, "team/app", "1.0", s.index, onIndex, onAMD, onARM)
	to := target(t)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: to, Platforms: []string{"linux/amd64"}})
	wantReferrers(t, r.Images[0], referrer(onIndex, s.index, signatureType, ""), referrer(onAMD, s.amd64, signatureType, ""))
	holds(t, to, true, onIndex, onAMD, s.index)
	holds(t, to, false, onARM, s.arm64)
}

// TestReferrersByTag: registries without the referrers API keep the list
// under a tag.
func TestReferrersByTag(t *testing.T) {
	u, s := startUpstream(t), newSample()
	about := s.sign(s.index)
	name := u.push(s.Store, "team/app", "1.0", s.index)
	u.push(s.Store, "team/app", "sha256-"+s.index.Digest.Encoded(), s.Index(about))
	u.fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
	to := target(t)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: to})
	wantReferrers(t, r.Images[0], referrer(about, s.index, signatureType, ""))
	holds(t, to, true, about)
}

func TestCosignsTags(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	of := "sha256-" + s.index.Digest.Encoded()
	var want []lock.Referrer
	to := target(t)
	for _, kind := range []string{".sig", ".att", ".sbom"} {
		d := s.Artifact(nil, "", s.Add("application/vnd.dev.cosign.simplesigning.v1+json", []byte(kind)))
		u.push(s.Store, "team/app", of+kind, d)
		want = append(want, referrer(d, s.index, ocispec.MediaTypeEmptyJSON, of+kind))
	}
	onSignature := s.Artifact(nil, "application/x", s.Add("text/plain", []byte("deep")))
	u.push(s.Store, "team/app", "sha256-"+want[0].Digest.Encoded()+".sig", onSignature)
	want = append(want, referrer(onSignature, ocispec.Descriptor{Digest: want[0].Digest}, "application/x", "sha256-"+want[0].Digest.Encoded()+".sig"))
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: to})
	wantReferrers(t, r.Images[0], want...)
	holds(t, to, true, onSignature)
}

func TestNoReferrersAsksForNone(t *testing.T) {
	u, s := startUpstream(t), newSample()
	sig := s.sign(s.index)
	name := u.push(s.Store, "team/app", "1.0", s.index, sig)
	asked := func() (n int) {
		for _, r := range u.Requests() {
			if strings.Contains(r.Path, "/referrers/") || strings.Contains(r.Path, "/manifests/sha256-") {
				n++
			}
		}
		return n
	}
	to := target(t)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: to, NoReferrers: true})
	if n := asked(); n != 0 || len(r.Images[0].Referrers) > 0 {
		t.Errorf("%d requests for referrers, %v packed", n, r.Images[0].Referrers)
	}
	holds(t, to, false, sig)
	packed(t, ferry.PackRequest{Places: []string{name}, To: target(t)})
	if asked() == 0 {
		t.Error("no request for referrers was seen at all: the test looks for the wrong thing")
	}
}

// TestReferrersThatCannotBeListed: a signature left behind in silence would
// be missed only behind the gap.
func TestReferrersThatCannotBeListed(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	u.fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			http.Error(w, `{"errors":[{"code":"DENIED"}]}`, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
	to := target(t)
	_, err := pack(t, ferry.PackRequest{Places: []string{name}, To: to})
	says(t, err, name, "403", "--no-referrers")
	packed(t, ferry.PackRequest{Places: []string{name}, To: to, NoReferrers: true})
}

// TestReferrerThatIsGone: what the list names has to be there.
func TestReferrerThatIsGone(t *testing.T) {
	u, s := startUpstream(t), newSample()
	sig := s.sign(s.index)
	name := u.push(s.Store, "team/app", "1.0", s.index, sig)
	u.lose("/manifests/" + sig.Digest.String())
	_, err := pack(t, ferry.PackRequest{Places: []string{name}, To: target(t)})
	says(t, err, name, sig.Digest.String())
}
