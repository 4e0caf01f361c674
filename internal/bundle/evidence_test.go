package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/bundle"
	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/lock"
)

// evidenceOf adds an artifact about subject to the store.
func evidenceOf(s *contenttest.Store, subject ocispec.Descriptor, text string) lock.Referrer {
	const kind = "application/vnd.example.sbom"
	d := s.Artifact(&subject, kind, s.Add(kind, []byte(text)))
	return lock.Referrer{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, ArtifactType: kind, Subject: subject.Digest}
}

// gated is the seal of a bundle that passed a gate.
func gated(evidence ...lock.Referrer) bundle.Seal {
	slices.SortFunc(evidence, func(a, b lock.Referrer) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return bundle.Seal{
		AsOf: moment, Gate: bundle.Passed, Policy: digest.FromString("policy"),
		Database: &bundle.Database{Built: moment.Add(-time.Hour), Checksum: digest.FromString("db")}, Evidence: evidence,
	}
}

// sampleGated is the sample's bundle, sealed anew with evidence about every
// image in it.
func sampleGated(t *testing.T, s *contenttest.Store) (path string, seal bundle.Seal) {
	t.Helper()
	l := sample(s)
	path = write(t, s, l)
	var all []lock.Referrer
	for i, img := range l.Images {
		all = append(all, evidenceOf(s, img.Desc(), "sbom of "+img.Name), evidenceOf(s, img.Desc(), strings.Repeat("report ", 100*(i+1))))
	}
	seal = gated(all...)
	if _, _, err := bundle.Reseal(t.Context(), path, seal, s); err != nil {
		t.Fatal(err)
	}
	return path, seal
}

func TestResealChangesTheTailAlone(t *testing.T) {
	s := contenttest.NewStore()
	before, err := os.ReadFile(write(t, s, sample(s)))
	if err != nil {
		t.Fatal(err)
	}
	path, seal := sampleGated(t, s)
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for same < len(before) && before[same] == after[same] {
		same++
	}
	var content int64
	for _, r := range regions(t, before) {
		if strings.HasPrefix(r.name, "manifest.json") {
			break
		}
		content = r.end
	}
	// Behind the last layer the lock, the seal and their wrappers begin.
	if b := openBundle(t, path); int64(same) < content-8<<10 || len(b.Contents().Blobs()) == 0 {
		t.Errorf("only the first %d of %d bytes of the content are the same", same, content)
	}
	b, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Seal().Gate != bundle.Passed || len(b.Seal().Evidence) != 4 {
		t.Errorf("the seal says %+v", b.Seal())
	}
	for _, img := range b.Images() {
		own := 2
		if strings.Contains(img.Name, "one") {
			own = 3 // a signature came with it
		}
		if len(img.Referrers) != own {
			t.Errorf("%s has %d referrers, want %d", img.Name, len(img.Referrers), own)
		}
	}
	for _, e := range seal.Evidence {
		raw, err := readBlob(t, b, b.Contents().Node(e.Digest).Layers[0])
		if err != nil || !strings.Contains(string(raw), "sbom") && !strings.Contains(string(raw), "report") {
			t.Errorf("%s: %v", e.Digest, err)
		}
	}
	leftovers(t, path)
}

func readBlob(t *testing.T, src content.Source, d ocispec.Descriptor) ([]byte, error) {
	t.Helper()
	return content.ReadAll(t.Context(), src, d, 1<<20)
}

func openBundle(t *testing.T, path string) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func leftovers(t *testing.T, path string) {
	t.Helper()
	all, _ := filepath.Glob(path + "*")
	if len(all) != 1 {
		t.Errorf("left behind: %v", all)
	}
}

// A bundle that is sealed before it gets its name is the same file as one that
// was sealed afterwards.
func TestSealedOnTheWayOrAfterwards(t *testing.T) {
	s := contenttest.NewStore()
	path, seal := sampleGated(t, s)
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if onTheWay := bundleOf(t, s, sample(contenttest.NewStore()), seal); !bytes.Equal(onTheWay, after) {
		t.Error("the two files differ")
	}
}

// A staged bundle is whole, says that it was not gated, and can be looked into.
func TestStagedIsAWholeBundleThatWasNotGated(t *testing.T) {
	s := contenttest.NewStore()
	l := sample(s)
	c := expand(t, s, l)
	path := filepath.Join(t.TempDir(), "b.tar")
	w := create(t, path, c)
	if err := w.Stage(); err == nil {
		t.Error("it was staged without its blobs")
	}
	for _, d := range c.Blobs() {
		put(t, w, s, d)
	}
	if err := w.Stage(); err != nil {
		t.Fatal(err)
	}
	staged, err := bundle.Verify(t.Context(), w.Staged(), bundle.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if staged.Seal().Gate != bundle.NotGated {
		t.Errorf("it says %q", staged.Seal().Gate)
	}
	_ = staged.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("it has its name already")
	}
	// A large tail, then a small one: nothing of the former stays.
	if err := w.Seal(t.Context(), gated(evidenceOf(s, l.Images[0].Desc(), strings.Repeat("x", 100_000))), s); err != nil {
		t.Fatal(err)
	}
	if err := w.Stage(); err != nil {
		t.Fatal(err)
	}
	if err := w.Seal(t.Context(), gated(evidenceOf(s, l.Images[0].Desc(), "y")), s); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	verifyOK(t, path)
	leftovers(t, path)
}

func put(t *testing.T, w *bundle.Writer, s *contenttest.Store, d ocispec.Descriptor) {
	t.Helper()
	i, err := w.Ingest(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := s.Get(d.Digest)
	if _, err := i.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(i.Commit(), i.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestEveryBitFlipInEvidenceIsFound(t *testing.T) {
	path, _ := sampleGated(t, contenttest.NewStore())
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, r := range regions(t, whole) {
		for range 4 {
			at := r.start + rnd.Int64N(r.end-r.start)
			whole[at] ^= 1 << rnd.IntN(8)
			refused(t, whole, r.name)
			copy(whole[at:], mustRead(t, path)[at:at+1])
		}
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSealsThatCannotBe(t *testing.T) {
	s := contenttest.NewStore()
	l := sample(s)
	path := write(t, s, l)
	before := mustRead(t, path)
	one := evidenceOf(s, l.Images[0].Desc(), "sbom")
	stranger := s.Image(amd64, contenttest.Config{}, s.Add(ocispec.MediaTypeImageLayer, []byte("elsewhere")))
	lost := evidenceOf(s, l.Images[0].Desc(), "lost")
	blob := digest.FromString("lost")
	s.Delete(blob)
	changed := evidenceOf(s, l.Images[0].Desc(), "right")
	s.Replace(digest.FromString("right"), []byte("wrong"))
	for name, tc := range map[string]struct {
		spoil func(*bundle.Seal)
		want  string
	}{
		"about an image that is not here": {func(b *bundle.Seal) { *b = gated(evidenceOf(s, stranger, "sbom")) }, "which the bundle does not hold"},
		"about another image than said":   {func(b *bundle.Seal) { b.Evidence[0].Subject = l.Images[1].Digest }, "it does not speak about"},
		"another kind than said":          {func(b *bundle.Seal) { b.Evidence[0].ArtifactType = "application/spdx+json" }, "as the seal says"},
		"an index":                        {func(b *bundle.Seal) { b.Evidence[0].MediaType = ocispec.MediaTypeImageIndex }, "which is no manifest's"},
		"a manifest that is not there":    {func(b *bundle.Seal) { b.Evidence[0].Digest = digest.FromString("x") }, "not found"},
		"a blob that is not there":        {func(b *bundle.Seal) { *b = gated(lost) }, "not found"},
		"a blob with other bytes":         {func(b *bundle.Seal) { *b = gated(changed) }, "wrong digest"},
		"twice the same":                  {func(b *bundle.Seal) { b.Evidence = append(b.Evidence, b.Evidence[0]) }, "twice"},
		"passed without evidence":         {func(b *bundle.Seal) { b.Evidence = nil }, "there is no evidence of it"},
		"passed without a policy":         {func(b *bundle.Seal) { b.Policy = "" }, "not which policy"},
		"passed without a database":       {func(b *bundle.Seal) { b.Database = nil }, "not which policy and database"},
		"refused":                         {func(b *bundle.Seal) { b.Gate = "refused" }, `said "refused"`},
		"a policy of no digest":           {func(b *bundle.Seal) { b.Policy = "sha256:x" }, "the seal's policy"},
	} {
		t.Run(name, func(t *testing.T) {
			seal := gated(one)
			tc.spoil(&seal)
			_, _, err := bundle.Reseal(t.Context(), path, seal, s)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q in it", err, tc.want)
			}
			if !bytes.Equal(before, mustRead(t, path)) {
				t.Error("the bundle was changed")
			}
			leftovers(t, path)
		})
	}
}

// resealForever is what the test below kills.
func resealForever(path string) {
	s := contenttest.NewStore()
	l := sample(s)
	for i := 0; ; i++ {
		text := strings.Repeat("old", 50_000)
		if i%2 == 1 {
			text = strings.Repeat("the new one", 30_000)
		}
		if _, _, err := bundle.Reseal(context.Background(), path, gated(evidenceOf(s, l.Images[0].Desc(), text)), s); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Stdout.WriteString(".")
	}
}

func TestMain(m *testing.M) {
	if path := os.Getenv("FERRY_TEST_RESEAL"); path != "" {
		resealForever(path)
	}
	os.Exit(m.Run())
}

// TestKilledWhileTheTailIsReplaced kills a process that gives a bundle other
// tails, at random moments: what stands under the name is always whole, and
// one of the two.
func TestKilledWhileTheTailIsReplaced(t *testing.T) {
	s := contenttest.NewStore()
	path := write(t, s, sample(s))
	rnd := rand.New(rand.NewPCG(5, 6))
	tails := map[digest.Digest]int{}
	for range 40 {
		c := exec.CommandContext(t.Context(), os.Args[0])
		c.Env = append(os.Environ(), "FERRY_TEST_RESEAL="+path)
		var said bytes.Buffer
		c.Stderr = &said
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		// A slow machine takes its time to start it: the moment counts from
		// the first tail on.
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatalf("it replaced nothing: %v %s", err, said.String())
		}
		time.Sleep(time.Duration(rnd.IntN(25_000)) * time.Microsecond)
		if err := c.Process.Kill(); err != nil {
			t.Fatalf("it ended by itself: %v %s", err, said.String())
		}
		_ = c.Wait()
		if said.Len() > 0 {
			t.Fatal(said.String())
		}
		b, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		tails[b.Digest()]++
		_ = b.Close()
	}
	if len(tails) < 2 || len(tails) > 3 {
		t.Errorf("%d different tails were seen; the first, the old and the new one can be: %v", len(tails), tails)
	}
	// What the kills left behind is no hindrance, and goes.
	if _, _, err := bundle.Reseal(t.Context(), path, gated(evidenceOf(s, sample(s).Images[0].Desc(), "last")), s); err != nil {
		t.Fatal(err)
	}
	leftovers(t, path)
}

func TestResealWaitsForNobody(t *testing.T) {
	s := contenttest.NewStore()
	path, seal := sampleGated(t, s)
	create(t, path, expand(t, s, sample(s)))
	var busy *bundle.BusyError
	if _, _, err := bundle.Reseal(t.Context(), path, seal, s); !errors.As(err, &busy) {
		t.Errorf("while it is packed anew: %v", err)
	}
}
