package ssh_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"ferry/internal/ssh"
)

// server is an SSH server in this process. What it does in a session is what
// exec says; sockets are those of this machine.
type server struct {
	addr      string
	host      gossh.Signer
	user      gossh.PublicKey
	exec      func(line string, ch gossh.Channel) int
	forbid    bool // forward no sockets
	deaf      chan struct{}
	conns     sync.WaitGroup
	sessions  []string
	signalled []string
	mu        sync.Mutex
}

func newKey(t *testing.T) (gossh.Signer, []byte) {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// start starts a server and returns options that fit it.
func start(t *testing.T, s *server) ssh.Options {
	t.Helper()
	signer, key := newKey(t)
	s.user = signer.PublicKey()
	if s.host == nil {
		s.host, _ = newKey(t)
	}
	if s.exec == nil {
		s.exec = func(string, gossh.Channel) int { return 0 }
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	t.Cleanup(func() {
		_ = l.Close()
		s.conns.Wait()
	})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Go(func() { s.serve(conn) })
		}
	}()
	dir := t.TempDir()
	file := filepath.Join(dir, "id")
	write(t, file, key)
	known := filepath.Join(dir, "known_hosts")
	write(t, known, []byte(s.line()))
	host, port, _ := net.SplitHostPort(s.addr)
	n, _ := strconv.Atoi(port)
	return ssh.Options{Host: host, Port: n, User: "me", KeyFiles: []string{file}, HostKeys: &ssh.HostKeys{Files: []string{known}}}
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// line is what known_hosts has of the server.
func (s *server) line() string {
	return knownhosts.Line([]string{s.addr}, s.host.PublicKey()) + "\n"
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	config := &gossh.ServerConfig{PublicKeyCallback: func(_ gossh.ConnMetadata, key gossh.PublicKey) (*gossh.Permissions, error) {
		if string(key.Marshal()) != string(s.user.Marshal()) {
			return nil, io.EOF
		}
		return nil, nil
	}}
	config.AddHostKey(s.host)
	sc, chans, reqs, err := gossh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer sc.Close()
	go s.requests(reqs)
	var wg sync.WaitGroup
	defer wg.Wait()
	for n := range chans {
		wg.Go(func() { s.channel(n) })
	}
}

// requests answers what is asked of the connection, unless the server is deaf.
func (s *server) requests(reqs <-chan *gossh.Request) {
	for r := range reqs {
		select {
		case <-s.deaf:
			continue
		default:
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
}

func (s *server) channel(n gossh.NewChannel) {
	switch n.ChannelType() {
	case "session":
		s.session(n)
	case "direct-streamlocal@openssh.com":
		s.socket(n)
	default:
		_ = n.Reject(gossh.UnknownChannelType, "unknown")
	}
}

func (s *server) session(n gossh.NewChannel) {
	ch, reqs, err := n.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for r := range reqs {
		if r.Type != "exec" {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		var line struct{ Line string }
		_ = gossh.Unmarshal(r.Payload, &line)
		s.mu.Lock()
		s.sessions = append(s.sessions, line.Line)
		s.mu.Unlock()
		go s.listen(reqs)
		code := s.exec(line.Line, ch)
		if code < 0 {
			return // as a program that was killed
		}
		_, _ = ch.SendRequest("exit-status", false, gossh.Marshal(struct{ Status uint32 }{uint32(code)}))
		return
	}
}

// listen notes the signals that are sent to a session.
func (s *server) listen(reqs <-chan *gossh.Request) {
	for r := range reqs {
		var signal struct{ Name string }
		if r.Type == "signal" && gossh.Unmarshal(r.Payload, &signal) == nil {
			s.mu.Lock()
			s.signalled = append(s.signalled, signal.Name)
			s.mu.Unlock()
		}
	}
}

func (s *server) signals() []string {
	s.conns.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.signalled...)
}

func (s *server) socket(n gossh.NewChannel) {
	if s.forbid {
		_ = n.Reject(gossh.Prohibited, "open failed")
		return
	}
	var target struct {
		Path      string
		Reserved0 string
		Reserved1 uint32
	}
	_ = gossh.Unmarshal(n.ExtraData(), &target)
	conn, err := net.DialTimeout("unix", target.Path, time.Second)
	if err != nil {
		_ = n.Reject(gossh.ConnectionFailed, "open failed")
		return
	}
	defer conn.Close()
	ch, reqs, err := n.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go gossh.DiscardRequests(reqs)
	go func() {
		_, _ = io.Copy(conn, ch)
		_ = conn.Close()
	}()
	_, _ = io.Copy(ch, conn)
}

func (s *server) ran() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.sessions...)
}

func pemOf(b *pem.Block) []byte { return pem.EncodeToMemory(b) }
