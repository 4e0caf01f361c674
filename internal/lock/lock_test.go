package lock_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/lock"
)

var (
	top      = digest.FromString("top")
	upstream = digest.FromString("upstream")
	sig      = digest.FromString("signature")
)

// sample uses every field.
func sample() lock.Lock {
	return lock.Lock{
		Version: lock.Version, ResolvedAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		Platforms: []string{"linux/amd64", "linux/arm/v7"},
		Images: []lock.Image{
			{
				Name: "docker.io/library/nginx:1.27", Digest: top, MediaType: ocispec.MediaTypeImageIndex, Size: 100,
				Platforms: []string{"linux/amd64"},
				Upstream:  &lock.Descriptor{Digest: upstream, MediaType: ocispec.MediaTypeImageIndex, Size: 200},
				Source:    lock.Source{Type: lock.Registry},
				Referrers: []lock.Referrer{{
					Digest: sig, MediaType: ocispec.MediaTypeImageManifest, Size: 300,
					ArtifactType: "application/<sig>&co", Subject: upstream, Tag: "sha256-" + upstream.Encoded() + ".sig",
				}},
			},
			{
				Name: "localhost/app@" + top.String(), Digest: top, MediaType: ocispec.MediaTypeImageManifest, Size: 100,
				Source: lock.Source{Type: lock.Local, Kind: "containers-storage", Exported: top, Claimed: upstream},
			},
		},
	}
}

func encode(t *testing.T, l lock.Lock) []byte {
	t.Helper()
	b, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	b := encode(t, sample())
	l, err := lock.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), l); diff != "" {
		t.Errorf("-put in +came out:\n%s", diff)
	}
	if again := encode(t, l); !bytes.Equal(again, b) {
		t.Errorf("written again:\n%s\nis not\n%s", again, b)
	}
	if !bytes.Contains(b, []byte("application/<sig>&co")) {
		t.Error("the characters < > & are escaped, as nobody else writes them")
	}
}

func TestTheMomentHasOneForm(t *testing.T) {
	l := sample()
	l.ResolvedAt = l.ResolvedAt.Add(999 * time.Millisecond).In(time.FixedZone("x", 3600))
	if a, b := encode(t, sample()), encode(t, l); !bytes.Equal(a, b) {
		t.Errorf("the same second in another zone:\n%s\nis not\n%s", b, a)
	}
}

func TestDescriptors(t *testing.T) {
	img := sample().Images[0]
	for want, d := range map[digest.Digest]ocispec.Descriptor{
		top: img.Desc(), upstream: img.Upstream.Desc(), sig: img.Referrers[0].Desc(),
	} {
		if d.Digest != want || d.Size == 0 || d.MediaType == "" {
			t.Errorf("%+v, want %s", d, want)
		}
	}
	if at := img.Referrers[0].Desc().ArtifactType; at != "application/<sig>&co" {
		t.Errorf("artifact type %q", at)
	}
}

// TestRefusesInBothDirections: what must not be in a lock is neither written
// nor read.
func TestRefusesInBothDirections(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*lock.Lock)
		says   string
	}{
		"no image":                {func(l *lock.Lock) { l.Images = nil }, "names no image"},
		"a name twice":            {func(l *lock.Lock) { l.Images[1] = l.Images[0] }, "twice"},
		"a short name":            {func(l *lock.Lock) { l.Images[0].Name = "nginx:1.27" }, `that would be "docker.io/library/nginx:1.27"`},
		"a name without a tag":    {func(l *lock.Lock) { l.Images[0].Name = "docker.io/library/nginx" }, "is not a full name"},
		"index.docker.io":         {func(l *lock.Lock) { l.Images[0].Name = "index.docker.io/library/nginx:1.27" }, "is not a full name"},
		"no name":                 {func(l *lock.Lock) { l.Images[0].Name = "" }, "image name"},
		"a hostile name":          {func(l *lock.Lock) { l.Images[0].Name = "docker.io/library/nginx:1.27\x1b[31m" }, "image name"},
		"another digest":          {func(l *lock.Lock) { l.Images[1].Digest = upstream }, "has digest " + upstream.String()},
		"a source of no kind":     {func(l *lock.Lock) { l.Images[0].Source.Type = "friend" }, `comes from "friend"`},
		"no source":               {func(l *lock.Lock) { l.Images[0].Source.Type = "" }, "neither"},
		"a weak digest":           {func(l *lock.Lock) { l.Images[0].Digest = "md5:5d41402abc4b2a76b9719d911017c592" }, "digest"},
		"a digest that is a path": {func(l *lock.Lock) { l.Images[0].Digest = "sha256:../../../etc/passwd" }, "digest"},
		"size 0":                  {func(l *lock.Lock) { l.Images[0].Size = 0 }, "0 bytes"},
		"a negative size":         {func(l *lock.Lock) { l.Images[0].Size = -1 }, "-1 bytes"},
		"a size beyond the limit": {func(l *lock.Lock) { l.Images[0].Size = content.MaxManifest + 1 }, "at most 4194304"},
		"upstream too large":      {func(l *lock.Lock) { l.Images[0].Upstream.Size = 1 << 60 }, "at most"},
		"upstream without digest": {func(l *lock.Lock) { l.Images[0].Upstream.Digest = "" }, "digest"},
		"a referrer too large":    {func(l *lock.Lock) { l.Images[0].Referrers[0].Size = 1 << 60 }, "at most"},
		"a referrer of nothing":   {func(l *lock.Lock) { l.Images[0].Referrers[0].Subject = "" }, "digest"},
		"a tag of its own":        {func(l *lock.Lock) { l.Images[0].Referrers[0].Tag = "../../x" }, "not one of cosign's"},
		"a claim with an escape":  {func(l *lock.Lock) { l.Images[1].Source.Claimed = "sha256:\x1b[31m" }, "digest"},
		"a weak export":           {func(l *lock.Lock) { l.Images[1].Source.Exported = "md5:5d41402abc4b2a76b9719d911017c592" }, "digest"},
		"a platform of one word":  {func(l *lock.Lock) { l.Platforms = []string{"amd64"} }, "write OS/ARCH"},
	} {
		t.Run(name, func(t *testing.T) {
			l := sample()
			c.change(&l)
			if _, err := l.Encode(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("written: %v, want %q", err, c.says)
			}
			if _, err := lock.Decode(bytes.NewReader(raw(t, l))); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("read: %v, want %q", err, c.says)
			}
		})
	}
}

// TestRefusesAnyOtherForm: a lock that says the same in other bytes could
// hide something in them.
func TestRefusesAnyOtherForm(t *testing.T) {
	good := string(encode(t, sample()))
	for name, text := range map[string]string{
		"a field more":         strings.Replace(good, `"version": 1,`, `"version": 1,`+"\n  \"note\": \"x\",", 1),
		"a field twice":        strings.Replace(good, `"version": 1,`, `"version": 1,`+"\n  \"version\": 1,", 1),
		"capital letters":      strings.Replace(good, `"version"`, `"Version"`, 1),
		"other spaces":         strings.Replace(good, "  ", "\t", 1),
		"without the last one": strings.TrimSuffix(good, "\n"),
		"something behind":     good + "\n",
		"another zone":         strings.Replace(good, "12:00:00Z", "13:00:00+01:00", 1),
		"parts of a second":    strings.Replace(good, "12:00:00Z", "12:00:00.5Z", 1),
		"escaped characters":   strings.Replace(good, "<sig>", `\u003csig\u003e`, 1),
		"an empty list":        strings.Replace(good, `"source": {`, "\"referrers\": [],\n      \"source\": {", 1),
	} {
		if text == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		_, err := lock.Decode(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), "not in the form that ferry writes") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := string(encode(t, sample()))
	for text, says := range map[string]string{
		strings.Replace(good, `"version": 1`, `"version": 2`, 1): "version 2; this ferry knows version 1",
		`{}`:        "version 0",
		`dear`:      "not JSON",
		``:          "not JSON",
		good + good: "not JSON",
	} {
		if _, err := lock.Decode(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.20q…: %v, want %q", text, err, says)
		}
	}
	if _, err := lock.Decode(io.MultiReader(strings.NewReader(good), broken{})); !errors.Is(err, errBroken) {
		t.Errorf("a disk that fails: %v", err)
	}
}

func TestDecodeReadsAtMostTheLimit(t *testing.T) {
	r := &spaces{}
	_, err := lock.Decode(r)
	if _, ok := errors.AsType[*content.TooLargeError](err); !ok {
		t.Errorf("%v", err)
	}
	if r.read > lock.MaxSize+1<<20 {
		t.Errorf("%d bytes were read", r.read)
	}
}

// raw writes l as Encode would if it did not look at it.
func raw(t *testing.T, l lock.Lock) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(l); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

// spaces never ends.
type spaces struct{ read int64 }

func (s *spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	s.read += int64(len(p))
	return len(p), nil
}

// FuzzDecode: what is read is what would be written, to the byte.
func FuzzDecode(f *testing.F) {
	good, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	small := sample()
	small.Images, small.Platforms = small.Images[1:], nil
	if good, err = small.Encode(); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("localhost/app"), []byte("app"), 1))
	f.Add([]byte(`{"version":1,"images":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := lock.Decode(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := l.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%v: read\n%s\nwritten\n%s", err, b, again)
		}
	})
}
