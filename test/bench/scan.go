package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// scanFiles are what those who scan take.
type scanFiles struct {
	cache string // ferry's, with a database
	db    string // the same database, as grype takes it
	alone string // grype's library alone, as a test of the package that may use it
	// layouts are the corpus's images, one for each platform, each in a folder
	// that is an OCI layout; many is the one of 60 layers that shares none.
	layouts []string
	many    string
}

// scans are W6, the corpus looked into, and a report of many images.
func (b *bench) scans(ctx context.Context, r *report, base, folder string) error {
	f, err := b.scanFiles(ctx, folder)
	if err != nil {
		return err
	}
	if err := b.each(ctx, r, b.scan("W6", "all images of the corpus, 18 of which share 5 bases", f, base, f.layouts),
		b.scan("W6, one", "an image that shares nothing", f, base, []string{f.many}, "--image", b.reg.addr+"/bench/many:1")); err != nil {
		return err
	}
	return b.reports(ctx, r, f)
}

func (b *bench) scan(name, what string, f scanFiles, base string, layouts []string, more ...string) workload {
	ferry := b.one("ferry scan", f.ferry(b, append([]string{"scan", base, "-o", "json"}, more...)...)...)
	// What it found before is no work to measure.
	ferry.prepare = func(context.Context, string) error { return os.RemoveAll(filepath.Join(f.cache, "ferry", "scanned")) }
	return workload{
		name: name, what: what, runs: b.opts.runs,
		by: []contender{
			ferry,
			b.one("grype's library, one by one", "env", "FERRY_TEST_PROGRAMS=.", f.alone, "-test.run", "^TestGrypeAlone$",
				"-alone.db", f.db, "-alone.images", strings.Join(layouts, ",")),
		},
	}
}

// ferry is a command line of ferry with the database.
func (f scanFiles) ferry(b *bench, args ...string) []string {
	return append([]string{"env", "XDG_CACHE_HOME=" + f.cache, b.tools.ferry}, args...)
}

func (b *bench) scanFiles(ctx context.Context, folder string) (scanFiles, error) {
	f := scanFiles{cache: filepath.Join(b.work, "cache"), alone: filepath.Join(b.work, "alone")}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-tags", "bench", "-o", f.alone, "./internal/scanner")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return f, fmt.Errorf("build grype's library: %w\n%s", err, out)
	}
	archive := filepath.Join(b.work, "vulnerability-db.tar.zst")
	_, err := measure(ctx, [][]string{
		{"env", "FERRY_TEST_PROGRAMS=.", f.alone, "-test.run", "^TestMakeArchive$", "-archive.to", archive},
		f.ferry(b, "db", "import", archive),
	})
	if err != nil {
		return f, err
	}
	found, err := filepath.Glob(filepath.Join(f.cache, "ferry", "db", "sha256-*"))
	if err != nil || len(found) != 1 {
		return f, fmt.Errorf("there are %d databases in %s: %w", len(found), f.cache, err)
	}
	f.db = found[0]
	return f, f.split(b, folder)
}

// described is a descriptor of a layout.
type described struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type listed struct {
	SchemaVersion int         `json:"schemaVersion"`
	Manifests     []described `json:"manifests"`
}

// split makes a layout of each image of folder. All have their blobs where
// they are.
func (f *scanFiles) split(b *bench, folder string) error {
	all, err := readListed(filepath.Join(folder, "index.json"))
	if err != nil {
		return err
	}
	for _, top := range all.Manifests {
		images := []described{top}
		if strings.Contains(top.MediaType, "index") || strings.Contains(top.MediaType, "list") {
			children, err := readListed(filepath.Join(folder, "blobs", "sha256", strings.TrimPrefix(top.Digest, "sha256:")))
			if err != nil {
				return err
			}
			images = children.Manifests
		}
		for _, image := range images {
			dir := filepath.Join(b.work, fmt.Sprintf("layout-%02d", len(f.layouts)))
			if err := oneLayout(dir, folder, image); err != nil {
				return err
			}
			f.layouts = append(f.layouts, dir)
		}
	}
	// crane writes them in the order in which they were named.
	f.many = f.layouts[len(f.layouts)-1]
	return nil
}

func readListed(path string) (l listed, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return l, err
	}
	return l, json.Unmarshal(raw, &l)
}

func oneLayout(dir, folder string, image described) error {
	index, err := json.Marshal(listed{SchemaVersion: 2, Manifests: []described{image}})
	if err != nil {
		return err
	}
	return errors.Join(os.Mkdir(dir, 0o755), os.Symlink(filepath.Join(folder, "blobs"), filepath.Join(dir, "blobs")),
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644),
		os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644))
}

// What a report is made of: each image has as many packages, and there is
// something against each.
const reportPackages = 100

// reports measures the page about many images.
func (b *bench) reports(ctx context.Context, r *report, f scanFiles) error {
	images := 200
	if b.opts.quick {
		images /= 20
	}
	archive, policy, bundle := filepath.Join(b.work, "many.tar"), filepath.Join(b.work, "ferry.policy.yaml"), filepath.Join(b.work, "many.bundle.tar")
	if err := errors.Join(manyImages(archive, images), os.WriteFile(policy, []byte("version: 1\n"), 0o644)); err != nil {
		return err
	}
	if _, err := measure(ctx, [][]string{f.ferry(b, "pack", archive, "--policy", policy, "--to", bundle)}); err != nil {
		return err
	}
	page := filepath.Join(b.work, "report.html")
	w := workload{
		name: "report", what: fmt.Sprintf("one page about %d images with %d findings each", images, reportPackages), runs: b.opts.runs,
		by: []contender{b.one("ferry report", f.ferry(b, "report", bundle, "--to", page)...)},
	}
	if err := b.each(ctx, r, w); err != nil {
		return err
	}
	info, err := os.Stat(page)
	if err != nil {
		return err
	}
	r.page = info.Size()
	return nil
}

// manyImages writes what docker save would, of images on one base.
func manyImages(to string, n int) error {
	base := tarOf(map[string][]byte{"etc/os-release": []byte("ID=debian\nVERSION_ID=\"12\"\n")})
	files := map[string][]byte{"base.tar": base}
	var manifest []map[string]any
	for i := range n {
		var status strings.Builder
		for k := range reportPackages {
			fmt.Fprintf(&status, "Package: bench-%d\nStatus: install ok installed\nMaintainer: bench\nArchitecture: amd64\nVersion: 1.%d\nDescription: bench\n\n", k, i)
		}
		layer := tarOf(map[string][]byte{"var/lib/dpkg/status": []byte(status.String())})
		config, err := json.Marshal(map[string]any{
			"architecture": "amd64", "os": "linux", "created": "2026-11-01T00:00:00Z",
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{sumOf(base), sumOf(layer)}},
		})
		if err != nil {
			return err
		}
		files[fmt.Sprintf("%d.json", i)], files[fmt.Sprintf("%d.tar", i)] = config, layer
		manifest = append(manifest, map[string]any{
			"Config": fmt.Sprintf("%d.json", i), "RepoTags": []string{fmt.Sprintf("quay.io/bench/many-%03d:1", i)}, "Layers": []string{"base.tar", fmt.Sprintf("%d.tar", i)},
		})
	}
	var err error
	if files["manifest.json"], err = json.Marshal(manifest); err != nil {
		return err
	}
	return os.WriteFile(to, tarOf(files), 0o644)
}

func sumOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// tarOf writes into memory, which does not fail.
func tarOf(files map[string][]byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, body := range files {
		_ = w.WriteHeader(&tar.Header{Name: name, Size: int64(len(body)), Mode: 0o644, Format: tar.FormatUSTAR})
		_, _ = w.Write(body)
	}
	_ = w.Close()
	return b.Bytes()
}
