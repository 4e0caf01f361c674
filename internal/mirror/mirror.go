// Package mirror writes the files by which containerd, CRI-O, podman and k3s
// ask a registry inside for images that are named as upstream names them.
//
// It is not for putting the files anywhere, nor for looking whether the images
// are in the registry.
package mirror

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Registry is the registry inside.
type Registry struct {
	// Host is its host, with a port that is not the usual.
	Host string
	// Prefix is the path in it below which images are; the name of their
	// registry outside is not part of it.
	Prefix string
	// ByHost says that their registry outside is the first part of it, as
	// ferry serve has it.
	ByHost bool
	// Plain says that it speaks HTTP.
	Plain bool
	// CA says that its certificate is not one that the nodes trust already:
	// the files then name a ca.crt, which has to be laid beside them.
	CA bool
	// Fallback asks upstream for what is not inside. Without it, an answer
	// says what the registry inside said, and not that upstream is out of
	// reach.
	Fallback bool
}

// File is a file of a node.
type File struct {
	// Path is where it stands, as in /etc/containerd/certs.d/….
	Path string `json:"path"`
	Text string `json:"text"`
}

// The programs that files are for.
const (
	Containerd = "containerd"
	CRIO       = "cri-o" // and podman
	K3s        = "k3s"
)

// For is all of them.
func For() []string { return []string{Containerd, CRIO, K3s} }

// Sort brings hosts in order, docker.io first, since its name is left out of
// most names, and takes each once.
func Sort(hosts []string) []string {
	hosts = slices.Clone(hosts)
	slices.SortFunc(hosts, func(a, b string) int {
		return strings.Compare(rank(a), rank(b))
	})
	return slices.Compact(hosts)
}

func rank(host string) string {
	if host == "docker.io" {
		return ""
	}
	return host
}

func (r Registry) scheme() string {
	if r.Plain {
		return "http://"
	}
	return "https://"
}

// containerdDir is where containerd is usually told to look for hosts.toml.
const containerdDir = "/etc/containerd/certs.d"

// ContainerdConfig are lines of /etc/containerd/config.toml without which no
// hosts.toml is read.
func ContainerdConfig() []string {
	return []string{
		`[plugins."io.containerd.cri.v1.images".registry]    # 2.x`,
		`[plugins."io.containerd.grpc.v1.cri".registry]      # 1.x`,
		`  config_path = "` + containerdDir + `"`,
	}
}

// Containerd is a hosts.toml for each host. containerd reads them at each
// pull, and wants no restart.
func (r Registry) Containerd(hosts []string) []File {
	var files []File
	for _, h := range hosts {
		files = append(files, File{path.Join(containerdDir, containerdFolder(h), "hosts.toml"), r.hostsToml()})
	}
	return files
}

// containerdFolder writes host:port as host_port_, which is right on every
// file system.
func containerdFolder(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > 0 {
		return host[:i] + "_" + host[i+1:] + "_"
	}
	return host
}

// hostsToml names the registry twice: containerd 1.6 refuses a file without a
// host table, and without server it would ask upstream at the end.
func (r Registry) hostsToml() string {
	url, below := r.scheme()+r.Host, ""
	if r.Prefix != "" {
		url += "/v2/" + r.Prefix
		below = "override_path = true\n"
	}
	if r.CA {
		below += "ca = \"ca.crt\"\n"
	}
	var b strings.Builder
	if !r.Fallback {
		fmt.Fprintf(&b, "server = %q\n%s\n", url, below)
	}
	fmt.Fprintf(&b, "[host.%q]\n", url)
	for line := range strings.Lines("capabilities = [\"pull\", \"resolve\"]\n" + below) {
		b.WriteString("  " + line)
	}
	return b.String()
}

// CRIO is a registries.conf for CRI-O and podman.
func (r Registry) CRIO(hosts []string) []File {
	var b strings.Builder
	for i, h := range hosts {
		if i > 0 {
			b.WriteString("\n")
		}
		r.registryTable(&b, h)
	}
	return []File{{"/etc/containers/registries.conf.d/50-ferry.conf", b.String()}}
}

func (r Registry) registryTable(b *strings.Builder, host string) {
	fmt.Fprintf(b, "[[registry]]\nprefix = %q\n", host)
	if r.Fallback {
		fmt.Fprintf(b, "location = %q\n[[registry.mirror]]\n", host)
	}
	fmt.Fprintf(b, "location = %q\n", r.location(host))
	if r.Plain {
		b.WriteString("insecure = true\n")
	}
}

// location is where the images of a host are, as a name's beginning.
func (r Registry) location(host string) string {
	switch {
	case r.Prefix != "":
		return r.Host + "/" + r.Prefix
	// A port cannot stand in the path of a name.
	case r.ByHost && !strings.Contains(host, ":"):
		return r.Host + "/" + host
	}
	return r.Host
}

// K3s is a registries.yaml for k3s, which reads it when it starts. rke2 has
// the same in /etc/rancher/rke2.
func (r Registry) K3s(hosts []string) []File {
	var b strings.Builder
	b.WriteString("mirrors:\n")
	for _, h := range hosts {
		fmt.Fprintf(&b, "  %q:\n    endpoint: [%q]\n", h, r.scheme()+r.Host)
		if r.Prefix != "" {
			fmt.Fprintf(&b, "    rewrite:\n      \"^(.*)$\": %q\n", r.Prefix+"/$1")
		}
	}
	if r.CA {
		fmt.Fprintf(&b, "configs:\n  %q:\n    tls:\n      ca_file: /etc/rancher/k3s/ca.crt\n", r.Host)
	}
	return []File{{"/etc/rancher/k3s/registries.yaml", b.String()}}
}

// CAFiles is where the certificate of the registry's authority has to lie for
// the files of a program.
func (r Registry) CAFiles(program string, hosts []string) []string {
	if !r.CA {
		return nil
	}
	switch program {
	case Containerd:
		var paths []string
		for _, h := range hosts {
			paths = append(paths, path.Join(containerdDir, containerdFolder(h), "ca.crt"))
		}
		return paths
	case CRIO:
		return []string{path.Join("/etc/containers/certs.d", r.Host, "ca.crt")}
	}
	return []string{"/etc/rancher/k3s/ca.crt"}
}
