package serve_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/content/contenttest"
	"ferry/internal/serve"
)

// TestClientThatCutsTheLine: that is no damage, and nothing waits for it, in
// a blob that is hashed and in one that the kernel sends.
func TestClientThatCutsTheLine(t *testing.T) {
	hashed, big := bigLayer(t, serve.Options{})
	s, _ := onDisk(t)
	sent := s.add(t, contenttest.Random(96, 40<<20))
	for name, c := range map[string]struct {
		r      *running
		digest digest.Digest
		before int // answers until then
	}{
		"hashed":             {hashed, big.Digest, 0},
		"sent by the kernel": {served(t, s, sent), sent.Digest, 1},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", c.r.host)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "GET /v2/library/nginx/blobs/"+c.digest.String()+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			conn.Close()
			a := c.r.accesses(c.before + 1)[c.before]
			if a.Err != nil || a.Bytes >= 32<<20 || a.Took > 10*time.Second {
				t.Errorf("%+v: it was sent whole, waited for, or the cut is called damage", a)
			}
			began := time.Now()
			if err := c.r.stop(); err != nil || time.Since(began) > 5*time.Second || c.r.Stats().Cut != 0 {
				t.Errorf("its end: %v after %s, %+v", err, time.Since(began), c.r.Stats())
			}
		})
	}
}

// TestClientThatNeverAsks: headers that never end keep no connection.
func TestClientThatNeverAsks(t *testing.T) {
	t.Parallel()
	r, _ := startSample(t)
	conn, err := net.Dial("tcp", r.host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the server holds the connection on: %v", err)
	}
}
