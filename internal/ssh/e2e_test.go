//go:build e2e

package ssh_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"ferry/internal/command"
	"ferry/internal/ssh"
)

// sshd starts Debian's sshd on loopback with more lines in its configuration,
// for root and one key with the given restrictions.
func sshd(t *testing.T, config, restrict string) ssh.Options {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, host := newKey(t)
	signer, key := newKey(t)
	write(t, dir+"/host", host)
	write(t, dir+"/id", key)
	write(t, dir+"/authorized_keys", append([]byte(restrict+" "), gossh.MarshalAuthorizedKey(signer.PublicKey())...))
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	write(t, dir+"/config", fmt.Appendf(nil, `ListenAddress 127.0.0.1
Port %d
HostKey %s/host
AuthorizedKeysFile %s/authorized_keys
StrictModes no
PermitRootLogin prohibit-password
PidFile none
%s
`, port, dir, dir, config))
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", dir+"/config")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	o := ssh.Options{
		Host: "127.0.0.1", Port: port, User: "root", KeyFiles: []string{dir + "/id"},
		HostKeys: &ssh.HostKeys{Check: ssh.AcceptNew, Files: []string{dir + "/known_hosts"}},
	}
	for range 100 {
		conn, err := net.Dial("tcp", o.Address())
		if err == nil {
			_ = conn.Close()
			return o
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("sshd does not start")
	return o
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// echo is a unix socket that gives back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return socket
}

func TestRealSSHD(t *testing.T) {
	o := sshd(t, "", "")
	c := dial(t, o)
	// Whom accept-new has met is known.
	strict := o
	strict.HostKeys = &ssh.HostKeys{Files: o.HostKeys.Files}
	dial(t, strict)
	var out strings.Builder
	words := []string{"printf", "%s|", "a b", "'", `"$(id)"`, "ü", "\x1b[31m"}
	if err := c.Run(t.Context(), command.Command{Argv: words, Stdout: &out}); err != nil || out.String() != strings.Join(words[2:], "|")+"|" {
		t.Errorf("the words arrived as %q, %v", out.String(), err)
	}
	out.Reset()
	in := make([]byte, 3<<20)
	_, _ = rand.Read(in)
	if err := c.Run(t.Context(), command.Command{Argv: []string{"cat"}, Stdin: bytes.NewReader(in), Stdout: &out}); err != nil || out.String() != string(in) {
		t.Errorf("%d of %d bytes came back, %v", out.Len(), len(in), err)
	}
	err := c.Run(t.Context(), command.Command{Argv: []string{"no-such-program-here"}})
	if e, ok := errors.AsType[*command.Error](err); !ok || e.ExitCode != 127 || !strings.Contains(err.Error(), "not found") {
		t.Errorf("got %v", err)
	}
	conn, err := c.DialUnix(t.Context(), echo(t))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = conn.Write(in) }()
	back := make([]byte, len(in))
	if _, err := io.ReadFull(conn, back); err != nil || !bytes.Equal(back, in) {
		t.Errorf("the socket: %v", err)
	}
	_ = conn.Close()
	_, err = c.DialUnix(t.Context(), "/nonexistent/socket")
	hinted(t, err, "/nonexistent/socket is not there", "runtime")
}

func TestRealSSHDForbidsForwarding(t *testing.T) {
	socket := echo(t)
	for _, config := range []string{"AllowTcpForwarding no", "AllowStreamLocalForwarding no"} {
		c := dial(t, sshd(t, config, ""))
		_, err := c.DialUnix(t.Context(), socket)
		hinted(t, err, "sshd does not forward "+socket, "AllowStreamLocalForwarding")
	}
	c := dial(t, sshd(t, "", "restrict"))
	_, err := c.DialUnix(t.Context(), socket)
	hinted(t, err, "sshd does not forward", "port-forwarding")
	// Where nothing may be run, which of the two it is stays open.
	c = dial(t, sshd(t, "", `restrict,command="/bin/false"`))
	_, err = c.DialUnix(t.Context(), socket)
	hinted(t, err, "cannot connect to "+socket+" there", "AllowStreamLocalForwarding")
}

// A key that may do nothing but forward is enough for a socket.
func TestRealSSHDLockedDownKey(t *testing.T) {
	c := dial(t, sshd(t, "", `restrict,port-forwarding,command="/bin/false"`))
	conn, err := c.DialUnix(t.Context(), echo(t))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "ping")
	got := make([]byte, 4)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "ping" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = conn.Close()
}

func TestRealSSHDRefuses(t *testing.T) {
	o := sshd(t, "", "")
	unknown := o
	unknown.HostKeys = &ssh.HostKeys{Files: []string{o.HostKeys.Files[0]}}
	_, err := ssh.Dial(t.Context(), unknown)
	hinted(t, err, "is not known: its host key is ssh-ed25519", "accept-new")
	_, key := newKey(t)
	wrong := o
	wrong.KeyFiles = []string{filepath.Join(t.TempDir(), "wrong")}
	write(t, wrong.KeyFiles[0], key)
	_, err = ssh.Dial(t.Context(), wrong)
	hinted(t, err, "lets root in with none of these keys", "ssh-copy-id")
	other := sshd(t, "", "")
	b, err := os.ReadFile(o.HostKeys.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	// The same address with another key.
	write(t, other.HostKeys.Files[0], []byte(strings.ReplaceAll(string(b), fmt.Sprint(o.Port), fmt.Sprint(other.Port))))
	_, err = ssh.Dial(t.Context(), other)
	hinted(t, err, "shows another host key than before", "ssh-keygen -R '[127.0.0.1]:")
}
