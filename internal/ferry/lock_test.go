package ferry_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/ferry"
	"ferry/internal/lock"
)

func TestLockGivesTheSameFile(t *testing.T) {
	for name, platforms := range map[string][]string{
		"all platforms": nil,
		"one":           {"linux/arm64"},
		"two":           {"linux/arm64", "linux/s390x"},
	} {
		t.Run(name, func(t *testing.T) {
			u, s := startUpstream(t), newSample()
			app := u.push(s.Store, "team/app", "1.0", s.index, s.sign(s.index), s.sign(s.arm64))
			more := u.push(s.Store, "team/more", "1.0", s.Index(s.arm64, s.s390x, s.amd64))
			one, two := target(t), target(t)
			packed(t, ferry.PackRequest{Places: []string{more, app}, To: one, Platforms: platforms, AsOf: moment})

			// The tag moves on, and something new speaks about the image.
			index, _ := s.newer()
			u.push(s.Store, "team/app", "1.0", index)
			u.push(s.Store, "team/app", "x", s.Artifact(&s.index, "application/later", s.Add("text/plain", []byte("later"))))

			later := world(t)
			later.Now = func() time.Time { return moment.Add(1000 * time.Hour) }
			packedIn(t, later, ferry.PackRequest{Lock: one + ferry.LockSuffix, To: two, AsOf: moment})
			sameFile(t, one, two)
			sameFile(t, one+ferry.LockSuffix, two+ferry.LockSuffix)
		})
	}
}

func lockOf(t *testing.T, file string) lock.Lock {
	t.Helper()
	f, err := os.Open(file + ferry.LockSuffix)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := lock.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLockNamesWhatUpstreamLost(t *testing.T) {
	u, s := startUpstream(t), newSample()
	sig := s.sign(s.index)
	name := u.push(s.Store, "team/app", "1.0", s.index, sig)
	locked := func(platforms ...string) string {
		to := target(t)
		packed(t, ferry.PackRequest{Places: []string{name}, To: to, Platforms: platforms})
		return to + ferry.LockSuffix
	}
	all, some := locked(), locked("linux/amd64")
	for _, c := range []struct {
		lock, lost string
		texts      []string
	}{
		{all, s.index.Digest.String(), []string{"upstream no longer has", "which the lock names"}},
		{some, s.index.Digest.String(), []string{"upstream no longer has", "which the lock names"}},
		{some, s.amd64.Digest.String(), nil},
		{all, sig.Digest.String(), nil},
		{all, s.own.Digest.String(), nil},
	} {
		u.lose("/manifests/"+c.lost, "/blobs/"+c.lost)
		to := target(t)
		_, err := pack(t, ferry.PackRequest{Lock: c.lock, To: to})
		says(t, err, append(c.texts, name, c.lost)...)
		if !errors.Is(err, content.ErrNotFound) {
			t.Errorf("%v is not a not-found", err)
		}
		if _, err := os.Stat(to); err == nil {
			t.Error("there is a bundle under the final name")
		}
	}
}

func TestLockTakesNoOtherImages(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	to := target(t)
	packed(t, ferry.PackRequest{Places: []string{name}, To: to})
	_, err := pack(t, ferry.PackRequest{Lock: to + ferry.LockSuffix, Places: []string{name}, To: target(t)})
	says(t, err, "leave "+name+" out")

	_, err = pack(t, ferry.PackRequest{Lock: to + ".nowhere", To: target(t)})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(to+".edited", []byte(`{"version":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = pack(t, ferry.PackRequest{Lock: to + ".edited", To: target(t)})
	says(t, err, "read "+to+".edited", "names no image")
}

// TestLockThatDoesNotFit: a lock whose platforms would make another index of
// upstream's than the digest it names.
func TestLockThatDoesNotFit(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	to := target(t)
	r := packed(t, ferry.PackRequest{Places: []string{name}, To: to, Platforms: []string{"linux/amd64"}})
	l := lockOf(t, to)
	l.Platforms = []string{"linux/arm64"}
	b, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to+".edited", b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = pack(t, ferry.PackRequest{Lock: to + ".edited", To: target(t)})
	says(t, err, "the lock says "+r.Images[0].Digest.String(), s.arm64.Digest.String())
}

// TestLockWithABase: the base has it all, and upstream is
// asked for manifests alone.
func TestLockWithABase(t *testing.T) {
	u, s := startUpstream(t), newSample()
	big := s.Index(s.Image(amd64, contenttest.Config{}, s.base, s.own))
	name := u.push(s.Store, "team/app", "1.0", big)
	one, two := target(t), target(t)
	packed(t, ferry.PackRequest{Places: []string{name}, To: one, AsOf: moment})
	u.ResetRequests()
	r := packed(t, ferry.PackRequest{Lock: one + ferry.LockSuffix, Base: one, To: two, AsOf: moment})
	if gets := u.blobGets(); gets[s.base.Digest]+gets[s.own.Digest] > 0 || r.Reused == 0 {
		t.Errorf("fetched %v, reused %d bytes", gets, r.Reused)
	}
	sameFile(t, one, two)
}

// TestTheSameMomentsInTheSamePlace: a bundle of the same images that stands
// there already is kept only if its moments are the ones asked for.
func TestTheSameMomentsInTheSamePlace(t *testing.T) {
	u, s := startUpstream(t), newSample()
	name := u.push(s.Store, "team/app", "1.0", s.index)
	want, to := target(t), target(t)
	asOf := moment.Add(time.Hour)
	packed(t, ferry.PackRequest{Places: []string{name}, To: want, AsOf: asOf})

	later := world(t)
	later.Now = func() time.Time { return moment.Add(1000 * time.Hour) }
	packedIn(t, later, ferry.PackRequest{Places: []string{name}, To: to})
	u.ResetRequests()
	for i, unchanged := range []bool{false, true} {
		r := packedIn(t, later, ferry.PackRequest{Lock: want + ferry.LockSuffix, To: to, AsOf: asOf})
		if r.Unchanged != unchanged {
			t.Errorf("time %d: unchanged %v", i+1, r.Unchanged)
		}
		sameFile(t, want, to)
	}
	if n := u.blobGets(); len(n) > 0 {
		t.Errorf("fetched %v, although the bundle had it all", n)
	}
	// With the lock alone, as-of is free.
	if r := packedIn(t, later, ferry.PackRequest{Lock: want + ferry.LockSuffix, To: to}); !r.Unchanged {
		t.Error("written again, although nothing else was asked for")
	}
	if r := packedIn(t, later, ferry.PackRequest{Places: []string{name}, To: to, AsOf: moment}); r.Unchanged {
		t.Error("another as-of was asked for, and not given")
	}
}
