package registry_test

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"ferry/internal/content"
	"ferry/internal/content/contenttest/suite"
	"ferry/internal/registry"
)

// olaregAt starts a registry on loopback, in plain HTTP, and returns its
// host:port.
func olaregAt(t *testing.T, referrersAPI bool) string {
	t.Helper()
	var conf config.Config
	conf.Storage.StoreType = config.StoreMem
	conf.API.Referrer.Enabled = &referrersAPI
	reg := olareg.New(conf)
	s := httptest.NewServer(reg)
	t.Cleanup(func() {
		s.Close()
		check(t, reg.Close())
	})
	return strings.TrimPrefix(s.URL, "http://")
}

// push puts all of s into repository, children first, and tags its index.
func push(t *testing.T, repository string, s suite.Sample) *remote.Repository {
	t.Helper()
	r, err := remote.NewRepository(repository)
	check(t, err)
	r.PlainHTTP = true
	for _, manifests := range []bool{false, true} {
		for _, d := range s.Blobs {
			isManifest := content.IsManifest(d.MediaType) || content.IsIndex(d.MediaType)
			if isManifest != manifests || content.IsIndex(d.MediaType) {
				continue
			}
			b, _ := s.Store.Get(d.Digest)
			check(t, r.Push(t.Context(), d, bytes.NewReader(b)))
		}
	}
	b, _ := s.Store.Get(s.Index.Digest)
	check(t, r.PushReference(t.Context(), s.Index, bytes.NewReader(b), "1.0"))
	return r
}

func TestRealRegistry(t *testing.T) {
	host, s := olaregAt(t, true), suite.NewSample()
	push(t, host+"/team/app", s)
	// Plain HTTP on loopback is found out, not told.
	r := newWorld(t).repo(host + "/team/app")

	desc, err := r.Lookup(t.Context(), "1.0")
	check(t, err)
	if desc.Digest != s.Index.Digest || desc.Size != s.Index.Size || desc.MediaType != s.Index.MediaType {
		t.Errorf("looked up %+v, want %+v", desc, s.Index)
	}
	fetched, b, err := r.Fetch(t.Context(), "1.0")
	check(t, err)
	if want, _ := s.Store.Get(s.Index.Digest); fetched.Digest != desc.Digest || !bytes.Equal(b, want) {
		t.Errorf("fetched %+v with %d bytes, want %+v", fetched, len(b), desc)
	}
	if _, err := r.Lookup(t.Context(), desc.Digest.String()); err != nil {
		t.Errorf("resolve by digest: %v", err)
	}
	suite.Source(t, r, s)
}

func TestRealRegistryLacks(t *testing.T) {
	host, s := olaregAt(t, true), suite.NewSample()
	push(t, host+"/team/app", s)
	r := newWorld(t).repo(host + "/team/app")
	absent := describe(ocispec.MediaTypeImageLayer, "not there")

	_, _, err := r.Fetch(t.Context(), "2.0")
	var e *registry.Error
	if !errors.As(err, &e) || !errors.Is(err, content.ErrNotFound) {
		t.Fatalf("absent tag: %v", err)
	}
	if e.Code != "MANIFEST_UNKNOWN" || !strings.Contains(e.Hint(), "no tag 2.0") {
		t.Errorf("absent tag: code %q, hint %q", e.Code, e.Hint())
	}
	if _, err := r.Open(t.Context(), absent, 0); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("absent blob: %v", err)
	}
	if _, _, err := r.Fetch(t.Context(), absent.Digest.String()); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("absent manifest: %v", err)
	}
}

func TestReferrers(t *testing.T) {
	for name, api := range map[string]bool{"api": true, "fallback tag": false} {
		t.Run(name, func(t *testing.T) {
			host, s := olaregAt(t, api), suite.NewSample()
			up := push(t, host+"/team/app", s)
			// What cosign does: an artifact without a subject, found by its tag.
			sig := s.Store.Artifact(nil, "application/vnd.dev.cosign.simplesigning.v1+json")
			b, _ := s.Store.Get(sig.Digest)
			tag := "sha256-" + s.Index.Digest.Encoded() + ".sig"
			check(t, up.PushReference(t.Context(), sig, bytes.NewReader(b), tag))

			got, err := newWorld(t).repo(host+"/team/app").Referrers(t.Context(), s.Index)
			check(t, err)
			var seen []string
			for _, r := range got {
				seen = append(seen, r.Desc.Digest.String()+" "+r.Tag)
			}
			want := []string{s.Referrer.Digest.String() + " ", sig.Digest.String() + " " + tag}
			slices.Sort(want)
			if !slices.Equal(seen, want) {
				t.Errorf("referrers %q, want %q", seen, want)
			}
			none, err := newWorld(t).repo(host+"/team/app").Referrers(t.Context(), sig)
			if err != nil || len(none) != 0 {
				t.Errorf("referrers of what has none: %v, %v", none, err)
			}
		})
	}
}
