package ui

import (
	"strings"

	"ferry/internal/ferry"
	"ferry/internal/mirror"
	"ferry/internal/quote"
)

// Mirror shows the files that nodes need, and what to do with them.
func (p *Printer) Mirror(r *ferry.MirrorResult) error {
	if p.JSON {
		return p.json(r)
	}
	if r.To == "" {
		for i, f := range r.Files {
			if i > 0 {
				p.linef("")
			}
			p.linef("# %s", quote.Terminal(f.Path))
			p.linef("%s", strings.TrimSuffix(quote.Block(f.Text), "\n"))
		}
		p.sayf("")
	} else {
		for _, f := range r.Files {
			p.linef("%s %s", p.good(), quote.Terminal(r.To+f.Path))
		}
	}
	p.sayf("%s stands for %s", quote.Terminal(r.Registry), quote.Terminal(strings.Join(r.Hosts, ", ")))
	if r.Usual {
		p.sayf("%s these are the usual ones: --bundle or --host says which there are", p.warn())
	}
	p.mirrorNext(r)
	return nil
}

// mirrorNext says for each program what makes it read its files.
func (p *Printer) mirrorNext(r *ferry.MirrorResult) {
	told := map[string]bool{}
	for _, f := range r.Files {
		if told[f.For] {
			continue
		}
		told[f.For] = true
		switch f.For {
		case mirror.Containerd:
			p.sayf("containerd reads them at each pull, where /etc/containerd/config.toml says so, which wants a restart:")
			for _, line := range mirror.ContainerdConfig() {
				p.sayf("    %s", line)
			}
		case mirror.CRIO:
			p.sayf("CRI-O reads its file after systemctl reload crio, podman at once")
		case mirror.K3s:
			p.sayf("k3s reads its file when it starts, on each node (rke2: /etc/rancher/rke2/registries.yaml)")
		}
	}
	p.sayf("a registry that wants a password: pull secrets are for the name in the pod, so the node itself has to know it")
}
