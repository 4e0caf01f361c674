package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/ref"
	"ferry/internal/registry"
	"ferry/internal/serve"
)

// TestDamageNeverArrivesWhole flips a bit of the layer at several places.
func TestDamageNeverArrivesWhole(t *testing.T) {
	for _, at := range []int64{0, 64 << 10, 200_000, -1} {
		for _, header := range []string{"", "bytes=0-", "bytes=0-9,10-", "bytes=0-99999,100000-"} {
			t.Run(fmt.Sprintf("%d %s", at, header), func(t *testing.T) {
				r, s := startSample(t)
				whole, _ := s.Get(s.layer.Digest)
				wrong := bytes.Clone(whole)
				wrong[(at+s.layer.Size)%s.layer.Size] ^= 1
				s.Replace(s.layer.Digest, wrong)
				headers := []string{}
				if header != "" {
					headers = []string{"Range", header}
				}
				got := r.get("GET", "/v2/library/nginx/blobs/"+s.layer.Digest.String(), headers...)
				if got.err == nil {
					t.Error("the answer looks complete")
				}
				if bytes.Contains([]byte(got.body), wrong[len(wrong)-1000:]) {
					t.Error("the last bytes came")
				}
				access := r.accesses(1)
				if _, ok := errors.AsType[*content.DigestError](access[len(access)-1].Err); !ok {
					t.Errorf("the fault is not told: %+v", access)
				}
			})
		}
	}
}

// TestDamageThatIsSaid: what is small is checked before the answer begins.
func TestDamageThatIsSaid(t *testing.T) {
	for name, break_ := range map[string]func(s *sample) string{
		"a manifest": func(s *sample) string {
			b, _ := s.Get(s.index.Digest)
			s.Replace(s.index.Digest, bytes.ToUpper(b))
			return "manifests/1.27"
		},
		"a manifest that is cut": func(s *sample) string {
			s.Replace(s.index.Digest, []byte("{}"))
			return "manifests/1.27"
		},
		"a manifest that is gone": func(s *sample) string {
			s.Delete(s.index.Digest)
			return "manifests/" + s.index.Digest.String()
		},
		"a config": func(s *sample) string {
			for d := range s.repos[0].Blobs {
				if b, _ := s.Get(d); d != s.layer.Digest && len(b) > 10 {
					s.Replace(d, bytes.ToUpper(b))
					return "blobs/" + d.String()
				}
			}
			panic("no config")
		},
		"a layer that is cut": func(s *sample) string {
			b, _ := s.Get(s.layer.Digest)
			s.Replace(s.layer.Digest, b[:len(b)-1])
			return "blobs/" + s.layer.Digest.String()
		},
		"a layer with more": func(s *sample) string {
			b, _ := s.Get(s.layer.Digest)
			s.Replace(s.layer.Digest, append(bytes.Clone(b), 0))
			return "blobs/" + s.layer.Digest.String()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := startSample(t)
			path := break_(s)
			got := r.get("GET", "/v2/library/nginx/"+path)
			if got.StatusCode != 500 || got.code(t) != "UNKNOWN" {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
			if a := r.accesses(1)[0]; a.Err == nil || a.Status != 500 {
				t.Errorf("%+v", a)
			}
		})
	}
}

// brittle fails to read behind half of a blob, as a disk or a stick that was
// pulled out does.
type brittle struct{ memory }

var errDisk = errors.New("input/output error")

func (b brittle) Section(d digest.Digest) (*io.SectionReader, error) {
	s, err := b.memory.Section(d)
	if err != nil || s.Size() < 100_000 {
		return s, err
	}
	return io.NewSectionReader(half{s}, 0, s.Size()), nil
}

type half struct{ *io.SectionReader }

func (h half) ReadAt(p []byte, off int64) (int, error) {
	if off > h.Size()/2 {
		return 0, errDisk
	}
	return h.SectionReader.ReadAt(p, off)
}

func TestDiskFails(t *testing.T) {
	s := newSample()
	r := start(t, serve.Options{Repositories: s.repos, Blobs: brittle{s.memory}})
	if got := r.get("GET", "/v2/library/nginx/blobs/"+s.layer.Digest.String()); got.err == nil {
		t.Errorf("half a blob looks whole: %d bytes", len(got.body))
	}
	if a := r.accesses(1)[0]; !errors.Is(a.Err, errDisk) {
		t.Errorf("%+v", a)
	}
}

// TestThroughTheClient pulls with the client that pack uses.
func TestThroughTheClient(t *testing.T) {
	r, s := startSample(t)
	client, err := registry.New(registry.Options{Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	for _, path := range []string{"library/nginx", "docker.io/library/nginx"} {
		name, err := ref.Parse(r.host + "/" + path + ":1.27")
		if err != nil {
			t.Fatal(err)
		}
		repo, err := client.Repository(name)
		if err != nil {
			t.Fatal(err)
		}
		desc, _, err := repo.Fetch(t.Context(), "1.27")
		if err != nil || desc.Digest != s.index.Digest {
			t.Fatalf("%s: %v %v", path, desc, err)
		}
		if b, err := content.ReadAll(t.Context(), repo, s.layer, 1<<20); err != nil || int64(len(b)) != s.layer.Size {
			t.Errorf("%s: layer: %d bytes, %v", path, len(b), err)
		}
		all, err := repo.Referrers(t.Context(), desc)
		if err != nil || len(all) != 1 || all[0].Desc.Digest != s.signature.Digest || all[0].Tag != "" {
			t.Errorf("%s: referrers %v, %v", path, all, err)
		}
		if _, _, err := repo.Fetch(t.Context(), "none"); !errors.Is(err, content.ErrNotFound) {
			t.Errorf("%s: a tag that is not there: %v", path, err)
		}
	}
}

// bigLayer is a server of one layer that no socket's buffers hold.
func bigLayer(t *testing.T, o serve.Options) (*running, ocispec.Descriptor) {
	s := newSample()
	layer := s.Add("application/octet-stream", contenttest.Random(9, 32<<20))
	s.repos[0].Blobs[layer.Digest] = layer.Size
	o.Repositories, o.Blobs = s.repos, s
	return start(t, o), layer
}

// open asks for a blob and reads its first bytes.
func (r *running) open(d digest.Digest) *http.Response {
	r.t.Helper()
	resp, err := r.client.Get("http://" + r.host + "/v2/library/nginx/blobs/" + d.String())
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
		r.t.Fatal(err)
	}
	return resp
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%s did not come about", what)
}

func TestShutdownLetsDownloadsFinish(t *testing.T) {
	ending := make(chan int64, 1)
	r, layer := bigLayer(t, serve.Options{Ending: func(n int64) { ending <- n }})
	resp := r.open(layer.Digest)
	defer resp.Body.Close()
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	if n := <-ending; n != 1 {
		t.Errorf("%d answers under way, want 1", n)
	}
	eventually(t, "the end of listening", func() bool {
		c, err := net.Dial("tcp", r.host)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	time.Sleep(50 * time.Millisecond)
	select {
	case err := <-stopped:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != layer.Size-1 {
		t.Errorf("the download under way: %d of %d bytes, %v", n+1, layer.Size, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if s := r.Stats(); s.Requests != 1 || s.Cut != 0 || s.Bytes != layer.Size {
		t.Errorf("%+v", s)
	}
}

func TestShutdownHasLimits(t *testing.T) {
	for name, end := range map[string]func(*running) error{
		"patience": func(r *running) error { return r.stop() },
		"told twice": func(r *running) error {
			time.AfterFunc(100*time.Millisecond, func() { _ = r.Close() })
			return r.stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := serve.Options{}
			if name == "patience" {
				o.Patience = 100 * time.Millisecond
			}
			r, layer := bigLayer(t, o)
			resp := r.open(layer.Digest)
			defer resp.Body.Close()
			began := time.Now()
			if err := end(r); err != nil || time.Since(began) > 5*time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
			if n, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Errorf("a cut download looks whole: %d bytes", n)
			}
			if s := r.Stats(); s.Cut != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestClientThatTakesNothing(t *testing.T) {
	r, layer := bigLayer(t, serve.Options{Stall: 150 * time.Millisecond})
	resp := r.open(layer.Digest)
	defer resp.Body.Close()
	if a := r.accesses(1)[0]; a.Bytes >= layer.Size || a.Err != nil {
		t.Errorf("%+v: it was sent whole, or its slowness is called damage", a)
	}
}

// A slow client that does take something is waited for, longer than one stall.
func TestClientThatIsSlow(t *testing.T) {
	r, layer := bigLayer(t, serve.Options{Stall: 400 * time.Millisecond})
	resp := r.open(layer.Digest)
	defer resp.Body.Close()
	began := time.Now()
	h := digest.SHA256.Digester()
	_, _ = h.Hash().Write(contenttest.Random(9, 1))
	for {
		n, err := io.CopyN(h.Hash(), resp.Body, 1<<20)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("cut after %s, %d bytes: %v", time.Since(began), n, err)
		}
		time.Sleep(40 * time.Millisecond)
	}
	if h.Digest() != layer.Digest || time.Since(began) < 800*time.Millisecond {
		t.Errorf("%s after %s", h.Digest(), time.Since(began))
	}
}

func users(t *testing.T, text string) *serve.Users {
	t.Helper()
	u, err := serve.ParseUsers(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUsers(t *testing.T) {
	s := newSample()
	u := users(t, "# who may read\n\n"+entry(t, "alice", "secret")+"\n"+entry(t, "bob", "other")+"\r\n")
	r := start(t, serve.Options{Repositories: s.repos, Blobs: s, Users: u})
	get := func(name, password string) reply {
		req, _ := http.NewRequest("GET", "http://"+r.host+"/v2/library/nginx/manifests/1.27", nil)
		if name != "" {
			req.SetBasicAuth(name, password)
		}
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return reply{Response: resp, body: string(b)}
	}
	for range 2 { // also when the right ones are remembered
		for login, want := range map[string]int{
			":": 401, "alice:": 401, "alice:secret": 200, "alice:other": 401, "bob:other": 200, "bob:secret": 401,
			"carol:secret": 401, "ALICE:secret": 401, "alice:secret\x00": 401, "alice:" + strings.Repeat("x", 1000): 401,
		} {
			name, password, _ := strings.Cut(login, ":")
			got := get(name, password)
			if got.StatusCode != want {
				t.Errorf("%.40s: %d, want %d", login, got.StatusCode, want)
			}
			if want == 401 && (got.code(t) != "UNAUTHORIZED" || !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), `Basic realm="ferry"`)) {
				t.Errorf("%.40s: %s %v", login, got.body, got.Header)
			}
		}
	}
	for _, path := range []string{"/v2/", "/v2/_catalog", "/", "/v2/library/nginx/blobs/" + s.layer.Digest.String()} {
		for _, method := range []string{"GET", "HEAD", "PUT"} {
			if got := r.get(method, path); got.StatusCode != 401 {
				t.Errorf("%s %s without a password: %d", method, path, got.StatusCode)
			}
		}
	}
}

func TestUsersRefused(t *testing.T) {
	good := entry(t, "alice", "secret")
	for text, says := range map[string]string{
		"":                                      "names no user",
		"# nobody\n":                            "names no user",
		"alice":                                 "line 1: write NAME:HASH",
		":" + good[6:]:                          "line 1: write NAME:HASH",
		good + "\nalice:hunter2":                "line 2: the same name",
		"bob:hunter2":                           "not hashed by bcrypt",
		"bob:$apr1$x$yyyyyyyyyyyyyyy":           "htpasswd -B",
		"bob:{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=": "htpasswd -B",
		"bob:$2y$05$short":                      "broken",
		"bob:$2y$15$" + good[len(good)-53:]:     "cost 15",
		strings.Repeat("#\n", 1<<20):            "larger",
	} {
		_, err := serve.ParseUsers(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.30q: %v, want %q", text, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a password is repeated: %v", err)
		}
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add("alice:" + hashed)
	f.Add("a:$2y$05$x\n#\n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := serve.ParseUsers(strings.NewReader(text))
		if (u == nil) == (err == nil) {
			t.Fatalf("%v, %v", u, err)
		}
	})
}

func TestListen(t *testing.T) {
	u := users(t, entry(t, "alice", "secret"))
	if l, err := serve.Listen(t.Context(), "0.0.0.0:0", u, nil); err == nil {
		l.Close()
		t.Error("passwords over an open network were taken")
	} else if _, ok := errors.AsType[*serve.PlainPasswordError](err); !ok {
		t.Error(err)
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		l, err := serve.Listen(t.Context(), address, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	for _, o := range []struct {
		users *serve.Users
		tls   *tls.Config
	}{{nil, nil}, {u, &tls.Config{MinVersion: tls.VersionTLS12}}} {
		l, err := serve.Listen(t.Context(), "0.0.0.0:0", o.users, o.tls)
		if err != nil {
			t.Fatal(err)
		}
		if serve.Loopback(l.Addr()) {
			t.Errorf("%s counts as loopback", l.Addr())
		}
		_, err = serve.Listen(t.Context(), l.Addr().String(), nil, nil)
		if e, ok := errors.AsType[*serve.ListenError](err); !ok || !strings.Contains(e.Hint(), "--listen") {
			t.Errorf("a taken address: %v", err)
		}
		l.Close()
	}
}

// TestManyPulls: many nodes at once, and memory stays what it was.
func TestManyPulls(t *testing.T) {
	s, layers := onDisk(t)
	r := start(t, serve.Options{Repositories: s.repos, Blobs: s.disk})
	r.client.Transport = &http.Transport{DisableKeepAlives: true}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak, bytes atomic.Int64
	watching, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-watching:
				return
			case <-time.After(20 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), int64(m.HeapAlloc)))
			}
		}
	}()
	var pulls sync.WaitGroup
	for i := range 300 {
		layer := layers[i%len(layers)]
		pulls.Go(func() {
			resp, err := r.client.Get("http://" + r.host + "/v2/library/nginx/blobs/" + layer.Digest.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			v := layer.Digest.Verifier()
			n, err := io.Copy(v, bufio.NewReaderSize(resp.Body, 4<<10))
			bytes.Add(n)
			if err != nil || !v.Verified() {
				t.Errorf("%d bytes of %d, %v", n, layer.Size, err)
			}
		})
	}
	pulls.Wait()
	close(watching)
	<-watched
	grown := peak.Load() - int64(before.HeapAlloc)
	t.Logf("%d MB pulled, heap grew by at most %d MB", bytes.Load()>>20, grown>>20)
	// 64 KiB a pull on this side, and about as much on the client's.
	if grown > 100<<20 || peak.Load() == 0 {
		t.Errorf("the heap grew by %d bytes while %d were pulled", grown, bytes.Load())
	}
}

type diskSample struct {
	*sample
	disk file
}

// file finds blobs in one file, as a bundle does.
type file struct {
	*os.File
	at map[digest.Digest][2]int64
}

func (f file) Section(d digest.Digest) (*io.SectionReader, error) {
	p, ok := f.at[d]
	if !ok {
		return nil, content.ErrNotFound
	}
	return io.NewSectionReader(f.File, p[0], p[1]), nil
}

// onDisk has layers of 1 to 5 MB in one file.
func onDisk(t *testing.T) (diskSample, []ocispec.Descriptor) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "layers"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s := diskSample{newSample(), file{f, map[digest.Digest][2]int64{}}}
	var layers []ocispec.Descriptor
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 20 {
		layers = append(layers, s.add(t, contenttest.Random(uint64(i), 1<<20+rnd.IntN(4<<20))))
	}
	return s, layers
}

// add appends a layer to the file.
func (s diskSample) add(t *testing.T, b []byte) ocispec.Descriptor {
	t.Helper()
	at, err := s.disk.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.disk.Write(b); err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{Digest: digest.FromBytes(b), Size: int64(len(b))}
	s.disk.at[d.Digest] = [2]int64{at, d.Size}
	s.repos[0].Blobs[d.Digest] = d.Size
	return d
}
