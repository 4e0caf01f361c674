package ui

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"ferry/internal/ferry"
	"ferry/internal/mirror"
	"ferry/internal/quote"
	"ferry/internal/ref"
)

// ServeAccess says who may read what is served.
type ServeAccess struct {
	// Host is the address as others reach it.
	Host                 string
	Loopback, Users, TLS bool
}

// Serve shows where a bundle is served, and the lines that make it a mirror.
func (p *Printer) Serve(r *ferry.ServeResult, access ServeAccess) error {
	if p.JSON {
		if err := p.json(r); err != nil {
			return err
		}
	}
	p.sayf("%s serving %s (%s, %s) at %s", p.good(), quote.Terminal(r.File),
		count(len(r.Images), "image", "images"), Bytes(r.Size), r.URL)
	for _, img := range r.Images {
		p.sayf("  %s  %s  %s", quote.Terminal(img.Name), short(img.Digest), platforms(img))
	}
	p.sayf("%s %s, unsigned; %s", p.warn(), quote.Terminal(r.Gate), readers(access))
	for _, lines := range mirrorLines(r, access) {
		p.sayf("")
		for _, line := range lines {
			p.sayf("%s", line)
		}
	}
	p.sayf("")
	p.sayf("Ctrl-C ends it.")
	return nil
}

func readers(a ServeAccess) string {
	switch {
	case a.Loopback:
		return "only this machine can reach it (--listen 0.0.0.0:5000 for others)"
	case a.Users:
		return "whoever has a password can read it"
	case a.TLS:
		return "everybody who reaches this machine can read it (--htpasswd asks for passwords)"
	}
	return "everybody who reaches this machine can read it, unencrypted (--tls-cert, --tls-key, --htpasswd)"
}

// mirrorLines is the configuration of those who pull from here.
func mirrorLines(r *ferry.ServeResult, access ServeAccess) [][]string {
	var hosts []string
	for _, img := range r.Images {
		if n, err := ref.Parse(img.Name); err == nil {
			hosts = append(hosts, n.Registry())
		}
	}
	if hosts = mirror.Sort(hosts); len(hosts) == 0 {
		return nil
	}
	m := mirror.Registry{Host: access.Host, ByHost: true, Plain: !access.TLS, CA: access.TLS}
	first := m.Containerd(hosts)[0]
	containerd := append([]string{"containerd   " + first.Path}, indented(first.Text)...)
	if m.CA {
		containerd = append(containerd, "  where the system trusts the certificate, without ca")
	}
	if len(hosts) > 1 {
		containerd = append(containerd, "  the same in the folder of "+strings.Join(hosts[1:], ", "))
	}
	containerd = append(containerd, "  read where /etc/containerd/config.toml says so, which wants a restart:")
	containerd = append(containerd, indented(strings.Join(mirror.ContainerdConfig(), "\n"))...)
	crio, k3s := m.CRIO(hosts)[0], m.K3s(hosts)[0]
	return [][]string{
		containerd,
		append([]string{"CRI-O, podman   " + crio.Path}, indented(crio.Text)...),
		append([]string{"k3s   " + k3s.Path + ", and a restart"}, indented(k3s.Text)...),
	}
}

func indented(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		lines = append(lines, strings.TrimRight("    "+line, " "))
	}
	return lines
}

// ServedRequest is a request that was answered. Its texts are foreign.
type ServedRequest struct {
	Remote string
	Method string
	URI    string
	Status int
	Bytes  int64
	Took   time.Duration
	Err    error
}

// ServeLog prints what happens while a bundle is served. It may be used by
// several goroutines at once.
type ServeLog struct {
	mu sync.Mutex
	p  *Printer
}

// NewServeLog returns a log that prints to p.
func NewServeLog(p *Printer) *ServeLog { return &ServeLog{p: p} }

// Request prints a request: all with Verbose, else those that went wrong
// here, and not with the client.
func (l *ServeLog) Request(r ServedRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	uri := r.URI
	if len(uri) > 300 {
		uri = uri[:300] + "…"
	}
	what := quote.Terminal(quote.Secrets(fmt.Sprintf("%s %s %s", r.Remote, r.Method, uri)))
	if r.Err != nil {
		l.p.Error(what+": "+r.Err.Error(), "It was not delivered. Run ferry verify on the bundle, and carry it over again.")
		return
	}
	if l.p.Verbose {
		l.p.sayf("%s  %d  %s in %s", what, r.Status, Bytes(r.Bytes), duration(r.Took))
	}
}

// Note prints what net/http says of a connection.
func (l *ServeLog) Note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.p.Verbose {
		l.p.sayf("%s", quote.Terminal(text))
	}
}

// Ending says what is waited for.
func (l *ServeLog) Ending(answers int64, patience time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.p.sayf("ending: %s under way, at most %s more; Ctrl-C again cuts", count(int(answers), "answer is", "answers are"), duration(patience))
}

// Ended says what was served.
func (l *ServeLog) Ended(requests, bytes, cut int64, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := fmt.Sprintf("served %s, %s, in %s", count(int(requests), "request", "requests"), Bytes(bytes), duration(took))
	if cut > 0 {
		line += fmt.Sprintf("; %s cut", count(int(cut), "answer was", "answers were"))
	}
	l.p.sayf("%s", line)
}
