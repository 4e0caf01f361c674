package cluster

import (
	"context"
	"time"
)

// sideloads are images that were brought to the node by hand, in a way that
// the kubelet does not take.
func (a *arranger) sideloads() []Failure {
	a.load("amd64", "k8s.io", "docker.io/library/brought:latest")
	a.load("amd64", "default", "docker.io/library/elsewhere:1")
	a.load("amd64", "k8s.io", "unqualified:1")
	a.load("arm64", "k8s.io", "docker.io/library/foreign:1")
	guardedHost := a.guardedRegistry(5027)
	return []Failure{
		{Name: "sideloaded-always", Causes: []string{"dns-timeout"}, image: "brought"},
		{Name: "sideloaded-wrong-namespace", Causes: []string{"never-pull"}, image: "elsewhere:1", policy: "Never", reason: "ErrImageNeverPull"},
		{Name: "sideloaded-short-name", Causes: []string{"never-pull"}, image: "unqualified:1", policy: "Never", reason: "ErrImageNeverPull"},
		{
			Name: "sideloaded-wrong-platform", Causes: []string{"platform-mismatch", "never-pull", "none"}, image: "foreign:1", policy: "Never",
			reason: "CrashLoopBackOff RunContainerError CreateContainerError ErrImageNeverPull",
		},
		// It is on the node, and was pulled with a secret that this pod lacks.
		{Name: "present-needs-secret", Causes: []string{"auth-required"}, image: guardedHost + "/app:1"},
		{Name: "present-never-needs-secret", Causes: []string{"never-pull"}, image: guardedHost + "/app:1", policy: "Never", reason: "ErrImageNeverPull"},
	}
}

// load imports an image on the first node, in one of containerd's namespaces,
// under just this name.
func (a *arranger) load(arch, namespace, name string) {
	a.do(func() error {
		i, err := WebImage(a.ctx, arch, name)
		if err != nil {
			return err
		}
		file := a.c.Nodes[0].Dir + "/load.tar"
		if err := i.WriteArchive(file, name); err != nil {
			return err
		}
		_, err = a.c.Nodes[0].Run(a.ctx, "ctr", "-n", namespace, "images", "import", "--all-platforms", "--snapshotter", "overlayfs", file)
		return err
	})
}

func (a *arranger) guardedRegistry(port int) string {
	s := newStore()
	a.do(func() error {
		i, err := WebImage(a.ctx, "amd64", "guarded")
		s.putImage("app:1", i)
		return err
	})
	return a.plain(port, guarded(s))
}

// pulledWithSecret runs a pod with the right password, so that the kubelet
// knows the image as one that takes a secret.
func (a *arranger) pulledWithSecret() {
	with := Failure{Name: "with-secret", image: a.host(5027) + "/app:1", secret: "right-5027"}
	a.pods([]Failure{with})
	a.do(func() error {
		return wait(a.ctx, time.Minute, "the pod with the right secret", func() error { return a.c.podReady(a.ctx, with.Name) })
	})
}

func (c *Cluster) podReady(ctx context.Context, name string) error {
	_, err := c.Kubectl(ctx, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=10s")
	return err
}
