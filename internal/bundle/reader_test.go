package bundle_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"ferry/internal/bundle"
	"ferry/internal/content/contenttest"
)

// This file is a second implementation of docs/bundle-format.md in small. It
// uses that page, the standard library, and nothing of ferry's.

type readDescriptor struct {
	MediaType, Digest string
	ArtifactType      string
	Size              int64
	Annotations       map[string]string
}

type readManifest struct {
	ArtifactType string
	Subject      *readDescriptor
	Manifests    []readDescriptor
	Config       *readDescriptor
	Layers       []readDescriptor
}

type readSeal struct {
	Gate     string
	Evidence []struct{ Digest, Subject, ArtifactType string }
}

type readLock struct {
	Version int
	Images  []struct {
		Name, Digest, MediaType string
		Upstream                *readDescriptor
		Referrers               []readDescriptor
	}
}

// reader is a bundle as that page lets one read it.
type reader struct {
	files map[string][]byte
	lock  readLock
	seal  readSeal
	need  map[string]bool
}

func read(r io.Reader) (*reader, error) {
	b := &reader{files: map[string][]byte{}, need: map[string]bool{}}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if _, twice := b.files[h.Name]; twice || h.Typeflag != tar.TypeReg || h.Mode != 0o644 {
			return nil, fmt.Errorf("%s is not allowed", h.Name)
		}
		if b.files[h.Name], err = io.ReadAll(tr); err != nil {
			return nil, err
		}
	}
	var idx readManifest
	if err := json.Unmarshal(b.files["index.json"], &idx); err != nil {
		return nil, err
	}
	if err := b.document(idx, "application/vnd.ferry.lock.v1+json", &b.lock); err != nil {
		return nil, err
	}
	if err := b.document(idx, "application/vnd.ferry.seal.v1+json", &b.seal); err != nil {
		return nil, err
	}
	for _, img := range b.lock.Images {
		if err := b.down(readDescriptor{Digest: img.Digest}); err != nil {
			return nil, err
		}
		for _, r := range img.Referrers {
			if err := b.down(r); err != nil {
				return nil, err
			}
		}
	}
	for _, e := range b.seal.Evidence {
		if err := b.evidence(e.Digest, e.Subject, e.ArtifactType); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// document reads the one document of an artifact that index.json names.
func (b *reader) document(idx readManifest, kind string, into any) error {
	for _, d := range idx.Manifests {
		if d.ArtifactType != kind {
			continue
		}
		var m readManifest
		if err := json.Unmarshal(b.blob(d.Digest), &m); err != nil {
			return err
		}
		return json.Unmarshal(b.blob(m.Layers[0].Digest), into)
	}
	return errors.New("no " + kind)
}

// evidence is an artifact in the tail that speaks about an image.
func (b *reader) evidence(digest, subject, kind string) error {
	if err := b.down(readDescriptor{Digest: digest}); err != nil {
		return err
	}
	var m readManifest
	if err := json.Unmarshal(b.blob(digest), &m); err != nil {
		return err
	}
	if m.ArtifactType != kind || m.Subject == nil || m.Subject.Digest != subject || !b.need[subject] {
		return fmt.Errorf("%s is not the evidence that the seal names", digest)
	}
	return nil
}

// blob returns the bytes under a digest, nil if they are not what it says.
func (b *reader) blob(digest string) []byte {
	body := b.files["blobs/sha256/"+digest[len("sha256:"):]]
	sum := sha256.Sum256(body)
	if "sha256:"+hex.EncodeToString(sum[:]) != digest {
		return nil
	}
	return body
}

func (b *reader) down(d readDescriptor) error {
	body := b.blob(d.Digest)
	if body == nil {
		return fmt.Errorf("%s is missing or wrong", d.Digest)
	}
	b.need[d.Digest] = true
	var m readManifest
	if err := json.Unmarshal(body, &m); err != nil {
		return err
	}
	for _, child := range m.Manifests {
		if err := b.down(child); err != nil {
			return err
		}
	}
	for _, leaf := range append(m.Layers, *cmpOr(m.Config)) {
		if leaf.Digest == "" {
			continue
		}
		if body := b.blob(leaf.Digest); body == nil || int64(len(body)) != leaf.Size {
			return fmt.Errorf("%s is missing or wrong", leaf.Digest)
		}
		b.need[leaf.Digest] = true
	}
	return nil
}

func cmpOr(d *readDescriptor) *readDescriptor {
	if d == nil {
		return &readDescriptor{}
	}
	return d
}

func TestSecondImplementationReadsIt(t *testing.T) {
	s := contenttest.NewStore()
	l := sample(s)
	path := write(t, s, l)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := read(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	if len(b.lock.Images) != len(l.Images) || b.lock.Images[0].Name != l.Images[0].Name {
		t.Errorf("it reads other images: %+v", b.lock.Images)
	}
	for d := range s.All() {
		if !b.need[d.String()] {
			t.Errorf("it does not find %s", d)
		}
	}
	if _, _, err := bundle.Reseal(t.Context(), path, gated(evidenceOf(s, l.Images[0].Desc(), "the sbom")), s); err != nil {
		t.Fatal(err)
	}
	sealed, err := read(bytes.NewReader(mustRead(t, path)))
	if err != nil || sealed.seal.Gate != "passed" || len(sealed.seal.Evidence) != 1 {
		t.Errorf("sealed anew, it reads %+v: %v", sealed, err)
	}
	flip(t, path, int64(bytes.Index(whole, []byte("signed"))))
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := read(f); err == nil {
		t.Error("it does not see a damaged blob")
	}
}
