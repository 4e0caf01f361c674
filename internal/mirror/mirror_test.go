package mirror_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"sigs.k8s.io/yaml"

	"ferry/internal/mirror"
)

var hosts = []string{"docker.io", "localhost:5000"}

func TestContainerd(t *testing.T) {
	for name, c := range map[string]struct {
		r    mirror.Registry
		want string
	}{
		"prefix and CA": {mirror.Registry{Host: "registry.bank.internal", Prefix: "mirror/a", CA: true}, `server = "https://registry.bank.internal/v2/mirror/a"
override_path = true
ca = "ca.crt"

[host."https://registry.bank.internal/v2/mirror/a"]
  capabilities = ["pull", "resolve"]
  override_path = true
  ca = "ca.crt"
`},
		"plain": {mirror.Registry{Host: "r.internal:5000", Plain: true}, `server = "http://r.internal:5000"

[host."http://r.internal:5000"]
  capabilities = ["pull", "resolve"]
`},
		"fallback": {mirror.Registry{Host: "r.internal", Fallback: true}, `[host."https://r.internal"]
  capabilities = ["pull", "resolve"]
`},
	} {
		want := []mirror.File{
			{Path: "/etc/containerd/certs.d/docker.io/hosts.toml", Text: c.want},
			{Path: "/etc/containerd/certs.d/localhost_5000_/hosts.toml", Text: c.want},
		}
		if diff := cmp.Diff(want, c.r.Containerd(hosts)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestCRIO reads what is written as containers/image reads it.
func TestCRIO(t *testing.T) {
	type table struct {
		Prefix, Location string
		Insecure         bool
		Mirror           []table
	}
	for name, c := range map[string]struct {
		r    mirror.Registry
		want []table
	}{
		"prefix": {mirror.Registry{Host: "r.internal", Prefix: "mirror"}, []table{
			{Prefix: "docker.io", Location: "r.internal/mirror"}, {Prefix: "localhost:5000", Location: "r.internal/mirror"},
		}},
		"plain": {mirror.Registry{Host: "r.internal", Plain: true}, []table{
			{Prefix: "docker.io", Location: "r.internal", Insecure: true}, {Prefix: "localhost:5000", Location: "r.internal", Insecure: true},
		}},
		"fallback": {mirror.Registry{Host: "r.internal", Plain: true, Fallback: true}, []table{
			{Prefix: "docker.io", Location: "docker.io", Mirror: []table{{Location: "r.internal", Insecure: true}}},
			{Prefix: "localhost:5000", Location: "localhost:5000", Mirror: []table{{Location: "r.internal", Insecure: true}}},
		}},
		"serve": {mirror.Registry{Host: "r.internal", ByHost: true}, []table{
			{Prefix: "docker.io", Location: "r.internal/docker.io"}, {Prefix: "localhost:5000", Location: "r.internal"},
		}},
	} {
		files := c.r.CRIO(hosts)
		var got struct{ Registry []table }
		if err := toml.Unmarshal([]byte(files[0].Text), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got.Registry); diff != "" || len(files) != 1 {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestK3s reads what is written, and rewrites names as k3s does: its rules are
// regular expressions of Go. k3s itself was not to be had.
func TestK3s(t *testing.T) {
	files := mirror.Registry{Host: "r.internal:5000", Prefix: "mirror", CA: true}.K3s(hosts)
	var got struct {
		Mirrors map[string]struct {
			Endpoint []string
			Rewrite  map[string]string
		}
		Configs map[string]struct {
			TLS struct {
				CAFile string `json:"ca_file"`
			}
		}
	}
	if err := yaml.UnmarshalStrict([]byte(files[0].Text), &got); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		m := got.Mirrors[h]
		if !slices.Equal(m.Endpoint, []string{"https://r.internal:5000"}) || len(m.Rewrite) != 1 {
			t.Errorf("%s: %+v", h, m)
		}
		for from, to := range m.Rewrite {
			if s := regexp.MustCompile(from).ReplaceAllString("library/nginx", to); s != "mirror/library/nginx" {
				t.Errorf("library/nginx becomes %s", s)
			}
		}
	}
	if got.Configs["r.internal:5000"].TLS.CAFile != "/etc/rancher/k3s/ca.crt" {
		t.Errorf("%+v", got.Configs)
	}
}

// TestCAFiles: each ca.crt that a file names has its place.
func TestCAFiles(t *testing.T) {
	r := mirror.Registry{Host: "r.internal:5000", CA: true}
	beside := r.CAFiles(mirror.Containerd, hosts)
	for i, f := range r.Containerd(hosts) {
		if filepath.ToSlash(filepath.Dir(f.Path))+"/ca.crt" != beside[i] {
			t.Errorf("%s wants a certificate beside it, and it would be %s", f.Path, beside[i])
		}
	}
	if got := r.CAFiles(mirror.CRIO, hosts); !slices.Equal(got, []string{"/etc/containers/certs.d/r.internal:5000/ca.crt"}) {
		t.Error(got)
	}
	if k3s := r.CAFiles(mirror.K3s, hosts); !strings.Contains(r.K3s(hosts)[0].Text, "ca_file: "+k3s[0]) {
		t.Error(k3s)
	}
	r.CA = false
	for _, p := range mirror.For() {
		if len(r.CAFiles(p, hosts)) > 0 {
			t.Error("a certificate for nothing")
		}
	}
}

func TestSort(t *testing.T) {
	in := []string{"quay.io", "docker.io", "a.example", "quay.io"}
	if got := mirror.Sort(in); !slices.Equal(got, []string{"docker.io", "a.example", "quay.io"}) || in[0] != "quay.io" {
		t.Error(got, in)
	}
}
