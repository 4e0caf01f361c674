package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// server is a registry on loopback, or another place that images go to.
type server struct {
	addr string
	cmd  *exec.Cmd // nil where no program is behind it
	undo func()    // what stop has to do beside; may be nil
}

// startRegistry starts a distribution registry, Debian's or a newer one: both
// take the same configuration.
func startRegistry(ctx context.Context, program, data, work string) (*server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	config := filepath.Join(work, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n"+
		"  filesystem: {rootdirectory: %q}\n  cache: {blobdescriptor: inmemory}\nhttp: {addr: %q}\n", data, addr)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	s := &server{addr: addr, cmd: exec.Command(program, "serve", config)}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (scripts/e2e-install installs it on Debian)", err)
	}
	for range 200 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v2/", nil)
		if err != nil {
			break
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			return s, resp.Body.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.stop()
	return nil, errors.New("the registry does not answer")
}

func (s *server) stop() {
	if s.undo != nil {
		s.undo()
	}
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// relay passes connections on to a server and counts what comes back. It is
// only in the way of runs whose time is not taken.
type relay struct {
	addr     string
	down, up atomic.Int64

	l  net.Listener
	wg sync.WaitGroup
}

// traffic is what went through a relay, in bytes: to the client, and from it.
type traffic struct{ down, up int64 }

func startRelay(ctx context.Context, to string) (*relay, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{addr: l.Addr().String(), l: l}
	r.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.pass(ctx, conn, to) })
		}
	})
	return r, nil
}

func (r *relay) pass(ctx context.Context, client net.Conn, to string) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var sent sync.WaitGroup
	sent.Go(func() {
		n, _ := io.Copy(server, client)
		r.up.Add(n)
		_ = server.(*net.TCPConn).CloseWrite()
	})
	n, _ := io.Copy(client, server)
	r.down.Add(n)
	_ = client.Close()
	sent.Wait()
}

// stop waits until every connection has ended: then the count is whole.
func (r *relay) stop() traffic {
	_ = r.l.Close()
	r.wg.Wait()
	return traffic{down: r.down.Load(), up: r.up.Load()}
}
