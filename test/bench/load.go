package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// nodeFiles are the image for a node, in the forms that the programs take.
type nodeFiles struct {
	// bundle is ferry's, which ctr imports too.
	bundle string
	// docker and oci are archives as skopeo writes them: one with layers
	// unpacked, as podman save does, one with layers as they are.
	docker, oci string
}

// loads are W5: a large image into the runtime of a node.
func (b *bench) loads(ctx context.Context, r *report, _, _ string) error {
	files, err := b.nodeFiles(ctx)
	if err != nil {
		return err
	}
	if err := b.each(ctx, r, b.loadContainerd(files, false), b.loadContainerd(files, true)); err != nil {
		return err
	}
	if err := b.loadAgain(ctx, r, files); err != nil {
		return err
	}
	return b.each(ctx, r, b.loadPodman(files))
}

func (b *bench) nodeFiles(ctx context.Context) (nodeFiles, error) {
	ref := b.reg.addr + "/" + b.corpus.Node + ":1"
	f := nodeFiles{bundle: filepath.Join(b.work, "node.tar"), docker: filepath.Join(b.work, "docker.tar"), oci: filepath.Join(b.work, "oci.tar")}
	copies := [][]string{b.ferryPack(b.reg.addr, f.bundle, []string{ref})}
	for _, to := range []string{"docker-archive:" + f.docker, "oci-archive:" + f.oci} {
		copies = append(copies, []string{
			b.tools.skopeo, "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "docker://" + ref, to + ":" + ref,
		})
	}
	_, err := measure(ctx, copies)
	return f, err
}

// loadContainerd loads into a containerd that has nothing yet.
func (b *bench) loadContainerd(f nodeFiles, unpack bool) workload {
	w := workload{
		name: "W5", what: "540 MB into an empty containerd, without unpacking. CPU and memory are the client's and not containerd's", runs: b.opts.runs, empty: startContainerd,
		by: []contender{
			{name: "ferry load --no-unpack", argvs: func(socket, _ string) [][]string { return [][]string{b.ferryLoad(f, socket, "--no-unpack")} }},
			{name: "ctr images import --no-unpack", argvs: func(socket, _ string) [][]string { return [][]string{ctrImport(f, socket, "--no-unpack")} }},
		},
	}
	if !unpack {
		return w
	}
	w.name, w.what = "W5, unpacked", "540 MB into an empty containerd, which unpacks them"
	w.by = []contender{
		{name: "ferry load", argvs: func(socket, _ string) [][]string { return [][]string{b.ferryLoad(f, socket)} }},
		{name: "ctr images import", argvs: func(socket, _ string) [][]string { return [][]string{ctrImport(f, socket)} }},
	}
	return w
}

// loadAgain loads once more what is there. Each has a containerd of its own:
// ctr takes away the label that pins an image, and ferry would put it back.
func (b *bench) loadAgain(ctx context.Context, r *report, f nodeFiles) error {
	w := workload{name: "W5, again", what: "the same into a containerd that has it, unpacked", runs: b.opts.runs}
	for _, c := range []contender{
		{name: "ferry load again", argvs: func(socket, _ string) [][]string { return [][]string{b.ferryLoad(f, socket)} }},
		{name: "ctr images import again", argvs: func(socket, _ string) [][]string { return [][]string{ctrImport(f, socket)} }},
	} {
		dir, err := os.MkdirTemp(b.work, "node-")
		if err != nil {
			return err
		}
		s, err := startContainerd(ctx, dir)
		if err != nil {
			return err
		}
		defer s.stop()
		if _, err := measure(ctx, c.argvs(s.addr, "")); err != nil {
			return err
		}
		c.at = s.addr
		w.by = append(w.by, c)
	}
	return b.each(ctx, r, w)
}

// loadPodman loads into an empty store of podman's.
func (b *bench) loadPodman(f nodeFiles) workload {
	podman := func(file string) func(dir, _ string) [][]string {
		return func(dir, _ string) [][]string {
			return [][]string{podmanIn(dir, "podman", "load", "--quiet", "--input", file)}
		}
	}
	return workload{
		name: "W5, podman", what: "into an empty store of podman's (overlay). A docker-archive has its layers unpacked, so that podman has less to do, and its image gets other digests", runs: b.opts.runs, empty: podmanStore,
		by: []contender{
			{name: "ferry load --to podman", argvs: func(dir, _ string) [][]string {
				return [][]string{podmanIn(dir, b.tools.ferry, "load", f.bundle, "--to", "podman")}
			}},
			{name: "podman load of an oci-archive", argvs: podman(f.oci)},
			{name: "podman load of a docker-archive", argvs: podman(f.docker)},
			// What podman allows whoever wants digests kept: nothing between it
			// and the layers.
			{name: "podman pull of an oci folder that is there", prepare: unpacked(f.oci), argvs: func(dir, _ string) [][]string {
				// From within: podman makes the image's name of the path.
				return [][]string{podmanIn(dir, "env", "-C", dir, "podman", "pull", "--quiet", "oci:layout")}
			}},
		},
	}
}

func (b *bench) ferryLoad(f nodeFiles, socket string, more ...string) []string {
	return append([]string{b.tools.ferry, "load", f.bundle, "--to", "containerd:" + socket}, more...)
}

func ctrImport(f nodeFiles, socket string, more ...string) []string {
	argv := append([]string{"ctr", "--address", socket, "--namespace", "k8s.io", "images", "import"}, more...)
	return append(argv, f.bundle)
}

// unpacked makes a folder of an archive.
func unpacked(archive string) func(context.Context, string) error {
	return func(ctx context.Context, dir string) error {
		layout := filepath.Join(dir, "layout")
		if err := os.Mkdir(layout, 0o755); err != nil {
			return err
		}
		if out, err := exec.CommandContext(ctx, "tar", "xf", archive, "-C", layout).CombinedOutput(); err != nil {
			return fmt.Errorf("tar: %w: %s", err, out)
		}
		return nil
	}
}

// containerdConfig is for containerd 1.6. config16 in test/e2e/load_test.go is
// the same, in another module: what is mended in one has to be in the other.
const containerdConfig = `version = 2
root = %q
state = %q
[grpc]
  address = %q
[ttrpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
`

// startContainerd starts Debian's containerd, with store and socket in dir.
func startContainerd(ctx context.Context, dir string) (*server, error) {
	socket, config := filepath.Join(dir, "c.sock"), filepath.Join(dir, "containerd.toml")
	text := fmt.Sprintf(containerdConfig, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, socket+".ttrpc")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	s := &server{addr: socket, cmd: exec.Command("containerd", "--config", config)}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (scripts/e2e-install installs it on Debian)", err)
	}
	for range 200 {
		if exec.CommandContext(ctx, "ctr", "--address", socket, "version").Run() == nil {
			return s, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.stop()
	return nil, errors.New("containerd does not answer (it wants root)")
}

// podmanFiles are podman's settings: a store in the folder, as a new machine
// has it.
func podmanFiles() map[string]string {
	return map[string]string{
		"storage.conf":                  "[storage]\ndriver = \"overlay\"\ngraphroot = \"$DIR/store\"\nrunroot = \"$DIR/run\"\n",
		"containers.conf":               "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n",
		"config/containers/policy.json": `{"default":[{"type":"insecureAcceptAnything"}]}`,
	}
}

// podmanStore makes an empty store in dir. Its addr is the folder.
func podmanStore(_ context.Context, dir string) (*server, error) {
	for name, text := range podmanFiles() {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		text = os.Expand(text, func(string) string { return dir })
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	// podman leaves its store mounted on itself.
	return &server{addr: dir, undo: func() { _ = syscall.Unmount(filepath.Join(dir, "store", "overlay"), 0) }}, nil
}

// podmanIn is a program that finds podman's store in dir.
func podmanIn(dir string, argv ...string) []string {
	return append([]string{
		"env", "CONTAINERS_STORAGE_CONF=" + filepath.Join(dir, "storage.conf"), "CONTAINERS_CONF=" + filepath.Join(dir, "containers.conf"),
		"XDG_CONFIG_HOME=" + filepath.Join(dir, "config"), "TMPDIR=" + dir,
	}, argv...)
}
