package node

import (
	"testing"
)

func TestIdentify(t *testing.T) {
	for name, tt := range map[string]struct {
		facts Facts
		want  Way
	}{
		"kind":              {Facts{Name: "dev-worker", ProviderID: "kind://docker/dev/dev-worker"}, Way{KindKind, "dev", "docker"}},
		"kind in podman":    {Facts{Name: "kind-worker", ProviderID: "kind://podman/kind/kind-worker"}, Way{KindKind, "kind", "podman"}},
		"minikube":          {Facts{Name: "m2-m02", Labels: map[string]string{"minikube.k8s.io/name": "m2"}}, Way{KindMinikube, "m2", ""}},
		"k3d":               {Facts{Name: "k3d-my-server-x-agent-1", KubeletVersion: "v1.33.4+k3s1"}, Way{KindK3d, "my-server-x", ""}},
		"k3s":               {Facts{Name: "pi", KubeletVersion: "v1.33.4+k3s1"}, Way{KindK3s, "", ""}},
		"rke2":              {Facts{Name: "n1", KubeletVersion: "v1.33.4+rke2r1"}, Way{KindK3s, "", ""}},
		"k3s here":          {Facts{Name: "laptop", KubeletVersion: "v1.33.4+k3s1"}, Way{KindHost, "", ""}},
		"this machine":      {Facts{Name: "Laptop"}, Way{KindHost, "", ""}},
		"Docker Desktop":    {Facts{Name: "docker-desktop", Runtime: "docker://28.5.1"}, Way{KindDesktop, "", ""}},
		"Desktop, kind":     {Facts{Name: "docker-desktop", Runtime: "containerd://2.1.0"}, Way{KindOther, "", ""}},
		"anything else":     {Facts{Name: "ip-10-0-0-1", ProviderID: "aws:///eu/i-1"}, Way{KindOther, "", ""}},
		"no name, no facts": {Facts{}, Way{KindOther, "", ""}},
	} {
		if got := Identify(tt.facts, "laptop"); got != tt.want {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestParseRuntime(t *testing.T) {
	for s, want := range map[string]Runtime{
		"containerd://2.2.3": Containerd, "docker://28.5.1": Docker, "cri-o://1.33.0": CRIO, "crio": CRIO, "containerd": Containerd, "rkt": "", "": "",
	} {
		if got := ParseRuntime(s); got != want {
			t.Errorf("%q: got %q", s, got)
		}
	}
}

func TestParseDestination(t *testing.T) {
	for s, want := range map[string]Destination{
		"ssh://root@node1":                       {User: "root", Host: "node1"},
		"ssh://node1:2222/":                      {Host: "node1", Port: 2222},
		"ssh://me@[fe80::1]:22":                  {User: "me", Host: "fe80::1", Port: 22},
		"ssh://root@n/run/containerd/other.sock": {User: "root", Host: "n", Socket: "/run/containerd/other.sock"},
	} {
		if got, err := ParseDestination(s); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"node1", "ssh://", "ssh://root@", "ssh:node1", "http://node1", "ssh://root:secret@node1", "ssh://n:0", "ssh://n:99999",
		"ssh://n?x=1", "ssh://n#x", "ssh://-oProxyCommand=id", "ssh://n/a/../b", "ssh://root@n x",
	} {
		if got, err := ParseDestination(s); err == nil {
			t.Errorf("%q was read as %+v", s, got)
		}
	}
}

func FuzzParseDestination(f *testing.F) {
	f.Add("ssh://root@node1:22/run/c.sock")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDestination(s)
		if err == nil && (d.Host == "" || d.Host[0] == '-' || d.Port < 0 || d.Port > 65535) {
			t.Errorf("%q was read as %+v", s, d)
		}
	})
}
