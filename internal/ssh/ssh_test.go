package ssh_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"ferry/internal/command"
	"ferry/internal/ssh"
)

func dial(t *testing.T, o ssh.Options) *ssh.Client {
	t.Helper()
	c, err := ssh.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// hinted wants an error that says something, and a hint that says what next.
func hinted(t *testing.T, err error, says, hints string) {
	t.Helper()
	var h interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want %q", err, says)
	} else if !errors.As(err, &h) || !strings.Contains(h.Hint(), hints) {
		t.Errorf("%v: no hint %q", err, hints)
	}
}

func TestRun(t *testing.T) {
	s := &server{exec: func(line string, ch gossh.Channel) int {
		in, _ := io.ReadAll(ch)
		_, _ = ch.Write(bytes.ToUpper(in))
		_, _ = io.WriteString(ch.Stderr(), "noise\nran "+line+"\n")
		if strings.HasPrefix(line, "fail") {
			return 3
		}
		return 0
	}}
	c := dial(t, start(t, s))
	var out strings.Builder
	err := c.Run(t.Context(), command.Command{Argv: []string{"cat", "a b", "$(id)"}, Env: []string{"A=1 2"}, Stdin: strings.NewReader("hello"), Stdout: &out})
	if err != nil || out.String() != "HELLO" {
		t.Fatalf("got %q, %v", out.String(), err)
	}
	if got := s.ran(); len(got) != 1 || got[0] != `env 'A=1 2' cat 'a b' '$(id)'` && got[0] != `env 'A=1 2' cat 'a b' "$(printf '$(id)')"` {
		t.Errorf("the shell there was given %q", got)
	}
	err = c.Run(t.Context(), command.Command{Argv: []string{"fail"}})
	e, ok := errors.AsType[*command.Error](err)
	if !ok || e.ExitCode != 3 || e.Stderr != "noise\nran fail\n" || !strings.HasPrefix(err.Error(), "ssh -p ") || !strings.Contains(err.Error(), "me@127.0.0.1 fail: exit code 3") {
		t.Errorf("got %v", err)
	}
	if err := c.Run(t.Context(), command.Command{}); err == nil {
		t.Error("nothing was run, without an error")
	}
}

func TestRunBrokenStreams(t *testing.T) {
	sawEnd := make(chan bool, 1)
	s := &server{exec: func(_ string, ch gossh.Channel) int {
		_, err := io.Copy(io.Discard, ch)
		sawEnd <- err == nil
		return 0
	}}
	c := dial(t, start(t, s))
	broken := errors.New("disk full")
	in := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))
	if err := c.Run(t.Context(), command.Command{Argv: []string{"x"}, Stdin: in}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	talk := &server{exec: func(_ string, ch gossh.Channel) int {
		_, _ = ch.Write([]byte("text"))
		_, _ = io.Copy(io.Discard, ch)
		return 0
	}}
	c = dial(t, start(t, talk))
	err := c.Run(t.Context(), command.Command{Argv: []string{"x"}, Stdout: failing{broken}, Stdin: blocking{t.Context().Done()}})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

type blocking struct{ until <-chan struct{} }

func (b blocking) Read([]byte) (int, error) { <-b.until; return 0, io.EOF }

func TestRunIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &server{exec: func(_ string, ch gossh.Channel) int {
		cancel()
		_, _ = io.Copy(io.Discard, ch)
		return 0
	}}
	c := dial(t, start(t, s))
	err := c.Run(ctx, command.Command{Argv: []string{"sleep"}, Stdin: blocking{t.Context().Done()}})
	_ = c.Close()
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	// It was told to end, before its input ended: that it cannot take for all.
	if got := s.signals(); len(got) != 1 || got[0] != "TERM" {
		t.Errorf("signals: %q", got)
	}
}

func TestKilledThere(t *testing.T) {
	c := dial(t, start(t, &server{exec: func(string, gossh.Channel) int { return -1 }}))
	err := c.Run(t.Context(), command.Command{Argv: []string{"ctr"}})
	if e, ok := errors.AsType[*command.Error](err); !ok || e.ExitCode != -1 {
		t.Fatalf("got %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	s := &server{}
	c := dial(t, start(t, s))
	for range 2 {
		conn, err := c.DialUnix(t.Context(), socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "ping")
		got := make([]byte, 4)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "ping" {
			t.Fatalf("got %q, %v", got, err)
		}
		_ = conn.Close()
	}
	if got := s.ran(); len(got) != 1 || got[0] != "true" {
		t.Errorf("sessions before the sockets: %q, want one", got)
	}
	for answer, says := range map[string][2]string{
		"absent": {"is not there", "container runtime"},
		"closed": {"this user may not open", "sudo without a password"},
		"open":   {"sshd does not forward", "AllowTcpForwarding"},
		"":       {"cannot connect to", "AllowTcpForwarding"},
	} {
		c := dial(t, start(t, &server{exec: func(line string, ch gossh.Channel) int {
			if line != "true" {
				_, _ = io.WriteString(ch, answer+"\n")
			}
			return 0
		}}))
		_, err = c.DialUnix(t.Context(), socket+"-gone")
		hinted(t, err, says[0], says[1])
	}
	forbidden := dial(t, start(t, &server{forbid: true}))
	_, err = forbidden.DialUnix(t.Context(), socket)
	hinted(t, err, "sshd does not forward", "AllowTcpForwarding")
}

func TestHostKeys(t *testing.T) {
	s := &server{}
	o := start(t, s)
	known := o.HostKeys.Files[0]
	other, _ := newKey(t)
	changed := knownhosts.Line([]string{s.addr}, other.PublicKey()) + "\n"
	for name, tt := range map[string]struct {
		known, says, hints string
		check              ssh.Check
		asked              func(string, string, string) bool
		after              string
	}{
		"known":                    {known: s.line()},
		"unknown":                  {says: "is not known: its host key is ssh-ed25519 SHA256:", hints: "accept-new"},
		"changed":                  {known: changed, says: "shows another host key than before", hints: "ssh-keygen -R"},
		"changed, accept-new":      {known: changed, check: ssh.AcceptNew, says: "shows another host key than before", hints: "ssh-keygen -R"},
		"changed, no":              {known: changed, check: ssh.Off, after: changed},
		"unknown, accept-new":      {known: "# end", check: ssh.AcceptNew, after: "# end\n" + s.line()},
		"unknown, no":              {check: ssh.Off, after: s.line()},
		"unknown, ask, nobody":     {check: ssh.Ask, says: "is not known", hints: "accept-new"},
		"unknown, ask, yes":        {check: ssh.Ask, asked: func(a, _, _ string) bool { return a == s.addr }, after: s.line()},
		"unknown, ask, no":         {check: ssh.Ask, asked: func(string, string, string) bool { return false }, says: "is not known", hints: "accept-new"},
		"revoked":                  {known: "@revoked * " + strings.SplitN(s.line(), " ", 2)[1], check: ssh.Off, says: "is revoked by", hints: "Ask who runs"},
		"a line nobody reads":      {known: "host ssh-xmss AAAA\n" + s.line()},
		"a bad line, then changed": {known: "garbage\n" + changed, says: "known_hosts:2", hints: "ssh-keygen -R"},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, known, []byte(tt.known))
			o := o
			o.HostKeys = &ssh.HostKeys{Check: tt.check, Files: []string{known, known + "-none"}, Asker: tt.asked}
			c, err := ssh.Dial(t.Context(), o)
			if err == nil {
				_ = c.Close()
			}
			if tt.says != "" {
				hinted(t, err, tt.says, tt.hints)
			} else if err != nil {
				t.Fatal(err)
			}
			if b, _ := os.ReadFile(known); tt.after != "" && string(b) != tt.after {
				t.Errorf("known_hosts is now %q, want %q", b, tt.after)
			} else if tt.after == "" && string(b) != tt.known {
				t.Errorf("known_hosts was changed to %q", b)
			}
		})
	}
	_ = os.Remove(known)
	o.HostKeys = nil
	if _, err := ssh.Dial(t.Context(), o); err == nil {
		t.Error("without known hosts, a host counted as known")
	}
	o.HostKeys = &ssh.HostKeys{Unchecked: true}
	dial(t, o)
}

func TestKeys(t *testing.T) {
	s := &server{}
	o := start(t, s)
	right := o.KeyFiles[0]
	dir := t.TempDir()
	_, wrongKey := newKey(t)
	wrong := filepath.Join(dir, "wrong")
	write(t, wrong, wrongKey)
	locked := filepath.Join(dir, "locked")
	raw, err := gossh.ParseRawPrivateKey(wrongKey)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKeyWithPassphrase(raw, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, locked, pemOf(block))
	garbage := filepath.Join(dir, "garbage")
	write(t, garbage, []byte("garbage"))
	for name, tt := range map[string]struct {
		files, defaults []string
		says, hints     string
	}{
		"right":         {files: []string{right}},
		"by default":    {defaults: []string{dir + "/none", wrong, right}},
		"wrong":         {files: []string{wrong}, says: "lets me in with none of these keys: " + wrong, hints: "ssh-copy-id -p"},
		"none":          {defaults: []string{dir + "/none"}, says: "there is no key to log in", hints: "--ssh-key"},
		"locked":        {files: []string{locked}, says: "there is no key", hints: "ssh-add " + locked},
		"garbage":       {files: []string{garbage}, says: garbage + ": ssh: no key found", hints: "--ssh-key"},
		"not there":     {files: []string{dir + "/none"}, says: "no such file", hints: "--ssh-key"},
		"named alone":   {files: []string{wrong}, defaults: []string{right}, says: "with none of these keys: " + wrong, hints: "ssh-copy-id"},
		"right, second": {files: []string{wrong, right}},
	} {
		o.KeyFiles, o.DefaultKeyFiles = tt.files, tt.defaults
		c, err := ssh.Dial(t.Context(), o)
		if err == nil {
			_ = c.Close()
		}
		if tt.says != "" {
			hinted(t, err, tt.says, tt.hints)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAgent(t *testing.T) {
	s := &server{}
	o := start(t, s)
	b, err := os.ReadFile(o.KeyFiles[0])
	if err != nil {
		t.Fatal(err)
	}
	raw, err := gossh.ParseRawPrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: raw}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	o.Agent, o.KeyFiles = socket, nil
	dial(t, o)
	// A named key that the agent holds need not be readable: its public half names it.
	dir := t.TempDir()
	write(t, dir+"/id", []byte("locked away"))
	write(t, dir+"/id.pub", gossh.MarshalAuthorizedKey(s.user))
	o.KeyFiles = []string{dir + "/id"}
	dial(t, o)
	o.Agent, o.KeyFiles = socket+"-gone", nil
	_, err = ssh.Dial(t.Context(), o)
	hinted(t, err, "the agent does not answer", "--ssh-key")
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := ssh.Options{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: "me", Timeout: 50 * time.Millisecond}
	port := strconv.Itoa(o.Port)
	_, err = ssh.Dial(t.Context(), o)
	hinted(t, err, "connect to me@127.0.0.1:"+port+": no answer within 50ms", "firewall")
	_ = l.Close()
	_, err = ssh.Dial(t.Context(), o)
	hinted(t, err, "connection refused", "ssh -p "+port+" me@127.0.0.1 tries the same")
	_, err = ssh.Dial(t.Context(), ssh.Options{Host: "nobody.invalid", User: "me"})
	hinted(t, err, "connect to me@nobody.invalid: ", "ssh -G nobody.invalid")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var h interface{ Hint() string }
	if _, err := ssh.Dial(ctx, o); !errors.Is(err, context.Canceled) || errors.As(err, &h) {
		t.Errorf("cancelled: got %v", err)
	}
}

// A machine that is gone is noticed, and does not keep a load for ever.
func TestGoneMachineIsNoticed(t *testing.T) {
	s := &server{deaf: make(chan struct{})}
	close(s.deaf)
	s.exec = func(_ string, ch gossh.Channel) int {
		_, _ = io.Copy(io.Discard, ch)
		return 0
	}
	o := start(t, s)
	o.Alive = 20 * time.Millisecond
	c := dial(t, o)
	err := c.Run(t.Context(), command.Command{Argv: []string{"ctr"}, Stdin: blocking{t.Context().Done()}})
	if !errors.Is(err, ssh.ErrGone) {
		t.Fatalf("got %v", err)
	}
}

func TestParseCheck(t *testing.T) {
	for s, want := range map[string]ssh.Check{"": ssh.Strict, "yes": ssh.Strict, "accept-new": ssh.AcceptNew, "ask": ssh.Ask, "no": ssh.Off, "off": ssh.Off} {
		if got, err := ssh.ParseCheck(s); err != nil || got != want {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
	if _, err := ssh.ParseCheck("false"); err == nil || !strings.Contains(err.Error(), "accept-new") {
		t.Errorf("got %v", err)
	}
}
