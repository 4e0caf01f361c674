//go:build unix

package cli_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/bundle"
	"ferry/internal/content/contenttest"
	"ferry/internal/demo"
	"ferry/internal/lock"
)

// attest seals a bundle anew with one artifact about its first image.
func attest(t *testing.T, file, text string) lock.Referrer {
	t.Helper()
	b, err := bundle.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	subject := b.Lock().Images[0].Desc()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	s := contenttest.NewStore()
	d := s.Artifact(&subject, "application/spdx+json", s.Add("application/spdx+json", []byte(text)))
	r := lock.Referrer{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, ArtifactType: "application/spdx+json", Subject: subject.Digest}
	seal := bundle.Seal{
		AsOf: time.Now(), Gate: bundle.Passed, Policy: digest.FromString("policy"),
		Database: &bundle.Database{Built: time.Now(), Checksum: digest.FromString("db")}, Evidence: []lock.Referrer{r},
	}
	if _, _, err := bundle.Reseal(t.Context(), file, seal, s); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEvidenceIsPushed: with its image; by itself, where the image is there
// already; and not twice.
func TestEvidenceIsPushed(t *testing.T) {
	file, images := released(t)
	in := startInside(t, demo.Options{})
	to := []string{file, "--to", in.Host()}
	first := attest(t, file, "the first SBOM")
	repository := ""
	for _, i := range images {
		if i.Desc.Digest == first.Subject {
			repository = i.Repository
		}
	}
	listed := func(r lock.Referrer) bool {
		return strings.Contains(in.referrers(repository, r.Subject), r.Digest.String())
	}
	pushJSON(t, 0, to...)
	if !listed(first) {
		t.Fatal("the evidence is not listed beside its image")
	}
	second := attest(t, file, "the second SBOM")
	if p := pushJSON(t, 0, append(to, "--dry-run")...); p.PlannedBytes == 0 || p.PlannedBytes > 10_000 {
		t.Errorf("the plan is to send %d bytes for one artifact", p.PlannedBytes)
	}
	p := pushJSON(t, 0, to...)
	if !listed(first) || !listed(second) {
		t.Errorf("listed: the first %v, the second %v", listed(first), listed(second))
	}
	if want := int64(len("the second SBOM")); p.SentBytes != want {
		t.Errorf("%d bytes of blobs were sent, want the %d of the evidence", p.SentBytes, want)
	}
	in.ResetRequests()
	pushJSON(t, 0, to...)
	if n := in.count(); len(in.Requests()) != len(images)+1 || n["HEAD"] != len(images)+1 {
		t.Errorf("with all of it there, these requests were made: %v", in.Requests())
	}
}

func TestEvidenceIsServedAndShown(t *testing.T) {
	file, images := released(t)
	r := attest(t, file, "the SBOM")
	s := startServe(t, file)
	repository := ""
	for _, i := range images {
		if i.Desc.Digest == r.Subject {
			repository = i.Repository
		}
	}
	resp, err := http.Get("http://" + s.host + "/v2/" + repository + "/referrers/" + r.Subject.String() + "?artifactType=application/spdx%2Bjson")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if !strings.Contains(string(b), r.Digest.String()) {
		t.Errorf("%s is not among the referrers: %s", r.Digest, b)
	}
	if code, out := ferry(t, "inspect", file); code != 0 || !strings.Contains(out, r.Digest.String()+"  application/spdx+json") {
		t.Errorf("inspect does not show it:\n%s", out)
	}
}
