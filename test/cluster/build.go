package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// A program of Kubernetes that testkube can be: it looks at its own name.
func kubePrograms() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"}
}

// BuildContainerd returns the folder with containerd 2.x, its shim and ctr,
// built from the versions in containerd/go.mod. Built once, it is found again
// in the user's cache folder.
func BuildContainerd(ctx context.Context) (string, error) {
	return build(ctx, "containerd", func(b builder) error {
		version, err := b.moduleVersion("github.com/containerd/containerd/v2")
		if err != nil {
			return err
		}
		const main = "github.com/containerd/containerd/v2/"
		return b.gobuild("no_btrfs no_devmapper no_zfs urfave_cli_no_docs", "-X "+main+"version.Version="+version,
			main+"cmd/containerd", main+"cmd/containerd-shim-runc-v2", main+"cmd/ctr")
	})
}

// BuildKubernetes returns the folder with etcd's clients: the API server, the
// controller manager, the scheduler, the kubelet and kubectl, built from the
// versions in kube/go.mod.
func BuildKubernetes(ctx context.Context) (string, error) {
	return build(ctx, "kube", func(b builder) error {
		version, err := b.moduleVersion("k8s.io/kubernetes")
		if err != nil {
			return err
		}
		if err := b.gobuild("", stampKubernetes(version), "."); err != nil {
			return err
		}
		for _, name := range kubePrograms() {
			if err := os.Symlink("kube", filepath.Join(b.out, name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// buildProgram returns the folder with the static program that the sample
// images hold, for one processor.
func buildProgram(ctx context.Context, arch string) (string, error) {
	return build(ctx, "program", func(b builder) error {
		b.env = append(b.env, "GOARCH="+arch)
		return b.gobuild("", "", ".")
	}, arch)
}

// stampKubernetes names the version in both places where Kubernetes looks: an
// API server without one answers v0.0.0, and clients refuse it.
func stampKubernetes(version string) string {
	minor := strings.Split(version, ".")[1]
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, set := range []string{
			"gitVersion=" + version, "gitMajor=1", "gitMinor=" + minor, "gitCommit=" + strings.Repeat("0", 40),
			"gitTreeState=archive", "buildDate=2026-01-01T00:00:00Z",
		} {
			flags = append(flags, "-X "+pkg+"."+set)
		}
	}
	return strings.Join(flags, " ")
}

type builder struct {
	ctx context.Context
	src string
	out string
	env []string
}

// build runs do once for each state of the source folder name, and keeps
// what it made. Two runs at the same time wait for each other.
func build(ctx context.Context, name string, do func(builder) error, more ...string) (string, error) {
	src, err := sourceDir(ctx, name)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	key, err := sourceKey(src, more)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "ferry-test-cluster", name+"-"+key)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return "", err
	}
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		return "", err
	}
	if err := do(builder{ctx: ctx, src: src, out: fresh, env: []string{"CGO_ENABLED=0"}}); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return dir, os.Rename(fresh, dir)
}

// sourceDir finds a folder of this module; tests run in any of its packages.
func sourceDir(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "ferry/test/cluster").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("find the folder of ferry/test/cluster (run this in it, or with go -C): %w: %s", err, out)
	}
	return filepath.Join(strings.TrimSpace(string(out)), name), nil
}

// sourceKey tells one state of a source folder, and of the compiler, from
// another.
func sourceKey(src string, more []string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH, more, "1")
	files, err := filepath.Glob(filepath.Join(src, "*"))
	if err != nil {
		return "", err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, filepath.Base(name))
		_, err = io.Copy(h, f)
		if err = firstError(err, f.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func (b builder) moduleVersion(module string) (string, error) {
	out, err := b.run("list", "-m", "-f", "{{.Version}}", module)
	return strings.TrimSpace(out), err
}

func (b builder) gobuild(tags, ldflags string, packages ...string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-tags", tags, "-ldflags", "-s -w " + ldflags, "-o", b.out + "/"}
	_, err := b.run(append(args, packages...)...)
	return err
}

func (b builder) run(args ...string) (string, error) {
	cmd := exec.CommandContext(b.ctx, "go", args...)
	cmd.Dir = b.src
	cmd.Env = append(os.Environ(), b.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.String())
	}
	return stdout.String(), nil
}

// lockFile waits until no other process holds the lock.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, firstError(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
