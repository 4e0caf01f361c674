package ferry

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"ferry/internal/lock"
	"ferry/internal/mirror"
	"ferry/internal/ref"
)

// MirrorRequest says which registry nodes ask in upstream's place.
type MirrorRequest struct {
	// Registry is REGISTRY[/PREFIX], as for push.
	Registry string
	// Bundle, Lock and Hosts say for which registries outside; none means the
	// usual ones.
	Bundle, Lock string
	Hosts        []string
	// For are the programs that files are written for; none means all.
	For []string
	// CAFile is the certificate of the registry's authority, where nodes do
	// not trust it already.
	CAFile    string
	PlainHTTP bool
	// Fallback asks upstream for what is not inside.
	Fallback bool
	// To is a folder to write to, laid out as a node's root.
	To string
}

// MirrorResult is what nodes need.
type MirrorResult struct {
	Registry string       `json:"registry"`
	Hosts    []string     `json:"hosts"`
	Usual    bool         `json:"usual,omitempty"` // nobody said which hosts
	Files    []MirrorFile `json:"files"`
	To       string       `json:"to,omitempty"`
}

// MirrorFile is a file of a node, and the program it is for.
type MirrorFile struct {
	For string `json:"for"`
	mirror.File
}

// usualHosts are the registries that most images come from.
func usualHosts() []string {
	return []string{"docker.io", "gcr.io", "ghcr.io", "mcr.microsoft.com", "public.ecr.aws", "quay.io", "registry.k8s.io"}
}

// maxCA is the largest file of certificates, in bytes.
const maxCA = 1 << 20

// MirrorConfig writes what makes a registry inside the mirror of those
// outside, for nodes whose manifests keep upstream's names.
func MirrorConfig(ctx context.Context, req MirrorRequest) (*MirrorResult, error) {
	if req.Registry == "" {
		return nil, usage("say where the images are inside: --registry registry.bank.internal/mirror")
	}
	m, err := ref.ParseTarget(req.Registry)
	if err != nil {
		return nil, usage("--registry: %v", err)
	}
	programs, err := mirrorPrograms(req.For)
	if err != nil {
		return nil, err
	}
	ca, err := certificates(req.CAFile)
	if err != nil {
		return nil, err
	}
	r := &MirrorResult{Registry: m.String(), To: req.To}
	if r.Hosts, r.Usual, err = mirrorHosts(req, m.Registry); err != nil {
		return nil, err
	}
	r.Files = mirrorFiles(mirror.Registry{
		Host: m.Registry, Prefix: m.Prefix, Plain: req.PlainHTTP, CA: ca != "", Fallback: req.Fallback,
	}, programs, r.Hosts, ca)
	if req.To == "" {
		return r, nil
	}
	return r, r.write(ctx)
}

func mirrorPrograms(programs []string) ([]string, error) {
	if len(programs) == 0 {
		return mirror.For(), nil
	}
	for i, p := range programs {
		if p == "podman" || p == "crio" {
			programs[i] = mirror.CRIO
		} else if !slices.Contains(mirror.For(), p) {
			return nil, usage("--for %s: write %s", p, strings.Join(mirror.For(), ", "))
		}
	}
	return programs, nil
}

// mirrorHosts says which registries outside are meant: those that were named,
// and those of a bundle.
func mirrorHosts(req MirrorRequest, inside string) (hosts []string, usual bool, err error) {
	for _, h := range req.Hosts {
		h = strings.ToLower(h) // nodes look for the folder by the name as images have it
		n, err := ref.Parse(h + "/x/y")
		if err != nil || n.Registry() != h {
			return nil, false, usage("--host %s is not a registry's host, as in quay.io", h)
		}
		hosts = append(hosts, h)
	}
	l, err := digests(RewriteRequest{Bundle: req.Bundle, Lock: req.Lock})
	if err != nil {
		return nil, false, err
	}
	if l != nil {
		hosts = append(hosts, lockHosts(*l)...)
	}
	if usual = len(hosts) == 0; usual {
		hosts = usualHosts()
	}
	hosts = slices.DeleteFunc(hosts, func(h string) bool { return h == inside })
	if len(hosts) == 0 {
		return nil, false, usage("all images are of %s itself, which needs no mirror", inside)
	}
	return mirror.Sort(hosts), usual, nil
}

func lockHosts(l lock.Lock) []string {
	var hosts []string
	for _, img := range l.Images {
		if n, err := ref.Parse(img.Name); err == nil {
			hosts = append(hosts, n.Registry())
		}
	}
	return hosts
}

// certificates reads a file of certificates, and nothing else that may stand
// in it: it goes to every node.
func certificates(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := readLimited(file, maxCA)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	n := 0
	for block, rest := pem.Decode(b); block != nil && len(b) <= maxCA; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			n++
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return "", fmt.Errorf("read %s: certificate %d: %w", file, n, err)
			}
			_ = pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes}) // a builder takes all
		}
	}
	if out.Len() == 0 {
		return "", fmt.Errorf("read %s: it holds no certificate (PEM, -----BEGIN CERTIFICATE-----) in its first MiB", file)
	}
	return out.String(), nil
}

func mirrorFiles(r mirror.Registry, programs, hosts []string, ca string) []MirrorFile {
	var files []MirrorFile
	for _, p := range programs {
		write := r.K3s
		switch p {
		case mirror.Containerd:
			write = r.Containerd
		case mirror.CRIO:
			write = r.CRIO
		}
		for _, f := range write(hosts) {
			files = append(files, MirrorFile{p, f})
		}
		for _, path := range r.CAFiles(p, hosts) {
			files = append(files, MirrorFile{p, mirror.File{Path: path, Text: ca}})
		}
	}
	return files
}

// write lays the files out below a folder.
func (r *MirrorResult) write(ctx context.Context) error {
	var outs []output
	for _, f := range r.Files {
		outs = append(outs, output{
			to: filepath.Join(r.To, filepath.FromSlash(f.Path)), text: []byte(f.Text), mode: fs.FileMode(0o644),
		})
	}
	return putAll(ctx, outs)
}
