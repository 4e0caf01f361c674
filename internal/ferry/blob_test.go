package ferry_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
	"ferry/internal/ferry"
)

// TestEachBlobIsFetchedOnce: three images of three repositories share a layer.
func TestEachBlobIsFetchedOnce(t *testing.T) {
	u, s := startUpstream(t), newSample()
	other := s.Index(s.amd64, s.arm64)
	single := s.Image(amd64, contenttest.Config{Cmd: []string{"/other"}}, s.base, s.layer(7, 100))
	to := target(t)
	r := packed(t, ferry.PackRequest{To: to, Places: []string{
		u.push(s.Store, "team/app", "1.0", s.index), u.push(s.Store, "team/other", "1.0", other), u.push(s.Store, "team/single", "1.0", single),
	}})
	gets := u.blobGets()
	once(t, gets)
	if gets[s.base.Digest] != 1 {
		t.Errorf("the shared layer was fetched %d times", gets[s.base.Digest])
	}
	if r.Reused != 0 || r.Fetched == 0 || len(r.Images) != 3 {
		t.Errorf("%+v", r)
	}
}

func TestAgainMovesNothing(t *testing.T) {
	u, s := startUpstream(t), newSample()
	req := ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index)}, To: target(t)}
	first := packed(t, req)
	before, err := os.Stat(req.To)
	if err != nil {
		t.Fatal(err)
	}
	u.ResetRequests()
	again := packed(t, req)
	if len(u.blobGets()) > 0 || !again.Unchanged || first.Unchanged || again.Digest != first.Digest || again.Size != first.Size {
		t.Errorf("%d blobs fetched: %+v", len(u.blobGets()), again)
	}
	after, err := os.Stat(req.To)
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("the file was written again: %v", err)
	}
}

// TestUnchangedBringsTheLockBack: the lock beside the bundle may be lost.
func TestUnchangedBringsTheLockBack(t *testing.T) {
	u, s := startUpstream(t), newSample()
	req := ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index)}, To: target(t)}
	packed(t, req)
	want, err := os.ReadFile(req.To + ferry.LockSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(req.To + ferry.LockSuffix); err != nil {
		t.Fatal(err)
	}
	packed(t, req)
	if got, err := os.ReadFile(req.To + ferry.LockSuffix); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v:\n%s", err, got)
	}
}

// newer is the sample's next release: the same base, another layer on top.
func (s sample) newer() (index, own ocispec.Descriptor) {
	own = s.layer(42, 2000)
	return s.Index(s.Image(amd64, contenttest.Config{Cmd: []string{"/app", "2"}}, s.base, own)), own
}

func TestBaseFetchesOnlyWhatIsNew(t *testing.T) {
	u, s := startUpstream(t), newSample()
	base := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index)}, To: base})
	index, own := s.newer()
	name := u.push(s.Store, "team/app", "2.0", index)
	u.ResetRequests()
	to := target(t)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: to, Base: base})
	gets := u.blobGets()
	once(t, gets)
	if gets[s.base.Digest] != 0 || gets[own.Digest] != 1 {
		t.Errorf("fetched %v; the base layer is %s", gets, s.base.Digest)
	}
	if r.Reused < s.base.Size {
		t.Errorf("%d bytes reused, the base layer alone has %d", r.Reused, s.base.Size)
	}
	holds(t, to, false, s.own)
}

func TestDamagedBaseFallsBackToTheRegistry(t *testing.T) {
	u, s := startUpstream(t), newSample()
	base := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index)}, To: base})
	flip(t, base, s.bytes(t, s.base))
	index, _ := s.newer()
	name := u.push(s.Store, "team/app", "2.0", index)
	u.ResetRequests()
	to := target(t)
	packed(t, ferry.PackRequest{Places: []string{name}, To: to, Base: base})
	if n := u.blobGets()[s.base.Digest]; n != 1 {
		t.Errorf("the layer that is damaged in the base was fetched %d times", n)
	}
	if !bytes.Equal(inside(t, to, s.base)[0], s.bytes(t, s.base)) {
		t.Error("the damage was copied")
	}
}

// flip changes one bit in the middle of body, where it lies in file.
func flip(t *testing.T, file string, body []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, body)
	if at < 0 {
		t.Fatal("the bytes are not in the file")
	}
	b[at+len(body)/2] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBaseThatIsNone(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	to := target(t)
	_, err := pack(t, ferry.PackRequest{Places: []string{name}, To: to, Base: to + ".nowhere"})
	says(t, err, "open the base", "nowhere")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestTargetIsItsOwnBase: the bundle that is replaced gives what it has, and
// stays whole until the new one is complete.
func TestTargetIsItsOwnBase(t *testing.T) {
	u, s := startUpstream(t), newSample()
	to := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index)}, To: to})
	old, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	index, own := s.newer()
	name := u.push(s.Store, "team/app", "2.0", index)
	u.ResetRequests()

	// A release that cannot be had leaves the old one.
	u.lose("/blobs/" + own.Digest.String())
	_, err = pack(t, ferry.PackRequest{Places: []string{name}, To: to})
	says(t, err, own.Digest.String())
	if now, err := os.ReadFile(to); err != nil || !bytes.Equal(now, old) {
		t.Errorf("a pack that failed changed the bundle: %v", err)
	}

	var looked atomic.Int64
	u.fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			looked.Add(1)
			if now, err := os.ReadFile(to); err != nil || !bytes.Equal(now, old) {
				t.Errorf("the old bundle was touched before the new one was complete: %v", err)
			}
		}
		next.ServeHTTP(w, r)
	})
	packed(t, ferry.PackRequest{Places: []string{name}, To: to})
	if looked.Load() == 0 {
		t.Error("nothing was fetched: the test saw nothing")
	}
	if n := u.blobGets()[s.base.Digest]; n != 0 {
		t.Errorf("the base layer was fetched %d times, although the old bundle has it", n)
	}
	holds(t, to, true, own)
	holds(t, to, false, s.own)
}

// TestInterruptedGoesOn: the context ends while the second blob is on its way.
func TestInterruptedGoesOn(t *testing.T) {
	u, s := startUpstream(t), newSample()
	req := ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index)}, To: target(t), Jobs: 1}
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int64
	u.fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/") && n.Add(1) == 2 {
			cancel()
			<-r.Context().Done()
			return
		}
		next.ServeHTTP(w, r)
	})
	if _, err := ferry.Pack(ctx, world(t), req); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want that it was cancelled", err)
	}
	if _, err := os.Stat(req.To); err == nil {
		t.Fatal("there is a bundle under the final name")
	}
	if left, _ := filepath.Glob(req.To + ".partial*"); len(left) != 2 {
		t.Fatalf("left for the next run: %v", left)
	}
	u.heal()
	u.ResetRequests()
	r := packed(t, req)
	// The largest blob goes first, so it was complete.
	if n := u.blobGets()[s.base.Digest]; n != 0 || r.Reused < s.base.Size {
		t.Errorf("the blob that was complete was fetched %d times more, %d bytes reused", n, r.Reused)
	}
	if left, _ := filepath.Glob(req.To + ".partial*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestInterruptedWhileResolving: nothing was begun, so nothing is left.
func TestInterruptedWhileResolving(t *testing.T) {
	u, s := startUpstream(t), newSample()
	req := ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index)}, To: target(t)}
	ctx, cancel := context.WithCancel(t.Context())
	u.fail(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := ferry.Pack(ctx, world(t), req); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
	if left := files(t, req.To); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestInterruptedForOtherContents: what one run completed serves the next,
// even if that one packs something else.
func TestInterruptedForOtherContents(t *testing.T) {
	u, s := startUpstream(t), newSample()
	to := target(t)
	u.lose("/blobs/" + s.own.Digest.String())
	_, err := pack(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index)}, To: to, Jobs: 1})
	says(t, err, s.own.Digest.String())
	u.heal()
	index, _ := s.newer()
	name := u.push(s.Store, "team/app", "2.0", index)
	u.ResetRequests()
	packed(t, ferry.PackRequest{Places: []string{name}, To: to})
	if n := u.blobGets()[s.base.Digest]; n != 0 {
		t.Errorf("the base layer was fetched %d times more", n)
	}
}

func TestSizesAreToldAsTheyAre(t *testing.T) {
	u, s := startUpstream(t), newSample()
	to := target(t)
	packed(t, ferry.PackRequest{Places: []string{u.push(s.Store, "team/app", "1.0", s.index), u.push(s.Store, "team/two", "1.0", s.amd64)}, To: to})
	r, err := ferry.Inspect(to)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for d := range blobs(t, to) {
		b, _ := s.Get(d)
		total += int64(len(b))
	}
	sum := int64(0)
	for _, img := range r.Images {
		sum += img.Bytes
	}
	app, two := r.Images[0], r.Images[1]
	if app.Bytes != total || two.Own != 0 || app.Own != total-two.Bytes || r.Shared != sum-total || r.Blobs != len(blobs(t, to)) {
		t.Errorf("%+v; all blobs together have %d bytes", r, total)
	}
	if app.Layers != 5 || two.Layers != 2 {
		t.Errorf("%d and %d layers, want 5 (with the attestation's) and 2", app.Layers, two.Layers)
	}
	info, err := os.Stat(to)
	if err != nil || r.Size != info.Size() || r.Gate != "not gated" || r.Digest == digest.Digest("") || !r.ResolvedAt.Equal(moment) {
		t.Errorf("%v: %+v", err, r)
	}
}
