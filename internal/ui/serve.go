package ui

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"ferry/internal/ferry"
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
	m := newMirror(r, access)
	for _, lines := range [][]string{m.containerd(), m.podman(), m.k3s()} {
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

// mirror writes the configuration of those who pull from here.
type mirror struct {
	url, host string
	tls       bool
	// registries are those that the bundle has images of, the first one
	// first.
	registries []string
}

func newMirror(r *ferry.ServeResult, access ServeAccess) mirror {
	m := mirror{url: "http://" + access.Host, host: access.Host, tls: access.TLS}
	if m.tls {
		m.url = "https://" + m.host
	}
	for _, img := range r.Images {
		if n, err := ref.Parse(img.Name); err == nil && !slices.Contains(m.registries, n.Registry()) {
			m.registries = append(m.registries, n.Registry())
		}
	}
	// The one whose name is left out of most names goes first.
	slices.SortStableFunc(m.registries, func(a, b string) int {
		return strings.Compare(order(a), order(b))
	})
	return m
}

func order(registry string) string {
	if registry == "docker.io" {
		return ""
	}
	return registry
}

func (m mirror) containerd() []string {
	lines := []string{
		fmt.Sprintf("containerd   /etc/containerd/certs.d/%s/hosts.toml", m.registries[0]),
		fmt.Sprintf("    server = %q", m.url),
		fmt.Sprintf("    [host.%q]", m.url),
		`      capabilities = ["pull", "resolve"]`,
	}
	if m.tls {
		lines = append(lines, `      ca = "/etc/containerd/certs.d/ca.crt"    # unless the system trusts the certificate`)
	}
	lines = append(lines, m.others("  the same in the folder of")...)
	return append(lines,
		"  read where /etc/containerd/config.toml says so, which wants a restart:",
		`    [plugins."io.containerd.cri.v1.images".registry]    # 2.x`,
		`    [plugins."io.containerd.grpc.v1.cri".registry]      # 1.6, 1.7`,
		`      config_path = "/etc/containerd/certs.d"`)
}

func (m mirror) podman() []string {
	registry, location := m.registries[0], m.host
	// A registry with a port cannot stand in the path of a name.
	if !strings.Contains(registry, ":") {
		location += "/" + registry
	}
	lines := []string{
		"CRI-O, podman   /etc/containers/registries.conf.d/ferry.conf",
		"    [[registry]]",
		fmt.Sprintf("    location = %q", registry),
		"    [[registry.mirror]]",
		fmt.Sprintf("    location = %q", location),
	}
	if !m.tls {
		lines = append(lines, "    insecure = true")
	}
	return append(lines, m.others("  the same again for")...)
}

func (m mirror) k3s() []string {
	lines := []string{"k3s   /etc/rancher/k3s/registries.yaml, and a restart", "    mirrors:"}
	for _, r := range m.registries {
		lines = append(lines, fmt.Sprintf("      %q:", r), fmt.Sprintf("        endpoint: [%q]", m.url))
	}
	return lines
}

func (m mirror) others(text string) []string {
	if len(m.registries) < 2 {
		return nil
	}
	return []string{text + " " + strings.Join(m.registries[1:], ", ")}
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
