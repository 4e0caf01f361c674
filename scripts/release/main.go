// Command release builds what ferry is shipped as: for each platform two static
// programs, an archive of each with all licences, and its SBOMs; and the
// checksums of all. The same commit gives the same bytes on every machine: the
// host's ferry is built twice, the second time elsewhere and from nothing,
// and a difference is a failure. It publishes nothing.
//
//	go run ./scripts/release -version V -commit C -to DIR
//	go run ./scripts/release -licences
//
// SOURCE_DATE_EPOCH, in seconds, is the only time that gets into files.
package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The programs that are shipped, each in an archive of its own.
const (
	ferry   = "ferry"
	scanner = "ferry-scanner"
)

// target is a program on a platform that it is built for.
type target struct{ program, os, arch string }

func (t target) exe() string {
	if t.os == "windows" {
		return t.program + ".exe"
	}
	return t.program
}

// targets are all that is built: ferry everywhere, the scanner on the systems
// that were asked for.
func targets(scannerOn []string) []target {
	var all []target
	for _, program := range []string{ferry, scanner} {
		for _, goos := range []string{"linux", "darwin", "windows"} {
			if program == scanner && !slices.Contains(scannerOn, goos) {
				continue
			}
			for _, arch := range []string{"amd64", "arm64"} {
				all = append(all, target{program, goos, arch})
			}
		}
	}
	return all
}

// release is one run of this program.
type release struct {
	version, commit string
	to              string // folder, emptied first
	work            string // folder that is removed at the end
	date            time.Time
	licences        *licences
	scannerOn       []string // systems
}

func main() {
	var r release
	flag.StringVar(&r.version, "version", "devel", "the version to stamp")
	flag.StringVar(&r.commit, "commit", "unknown", "the commit to stamp")
	flag.StringVar(&r.to, "to", "dist", "the folder to write; what it held is lost")
	on := flag.String("scanner", "linux,darwin,windows", "the systems that ferry-scanner is built for: it takes ten minutes of a processor each")
	onlyLicences := flag.Bool("licences", false, "only look at the licences of all programs on all systems: nothing is compiled or written")
	flag.Parse()
	r.scannerOn = strings.Split(*on, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	run := r.run
	if *onlyLicences {
		run = r.checkLicences
	}
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func (r *release) run(ctx context.Context) (err error) {
	if r.date, err = sourceDate(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "ferry-release-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(r.work) }()
	goroot, err := goSays(ctx, "env", "GOROOT")
	if err != nil {
		return err
	}
	r.licences = &licences{list: listModules, goroot: goroot}
	if err := errors.Join(os.RemoveAll(r.to), os.MkdirAll(r.to, 0o755)); err != nil {
		return err
	}
	for _, t := range targets(r.scannerOn) {
		if err := r.target(ctx, t); err != nil {
			return fmt.Errorf("%s for %s/%s: %w", t.program, t.os, t.arch, err)
		}
	}
	if err := r.rebuild(ctx); err != nil {
		return err
	}
	return r.checksums()
}

// checkLicences fails where a release would fail for a licence.
func (r *release) checkLicences(ctx context.Context) error {
	goroot, err := goSays(ctx, "env", "GOROOT")
	if err != nil {
		return err
	}
	l := licences{list: listModules, goroot: goroot}
	for _, t := range targets(r.scannerOn) {
		third, err := l.of(ctx, t, nil)
		if err != nil {
			return fmt.Errorf("%s for %s/%s: %w", t.program, t.os, t.arch, err)
		}
		fmt.Printf("%-14s %-14s %3d modules: %s\n", t.program, t.os+"/"+t.arch, len(third), strings.Join(allLicences(third), ", "))
	}
	return nil
}

func sourceDate(s string) (time.Time, error) {
	sec, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%q: want the commit's time in seconds", s)
	}
	return time.Unix(sec, 0).UTC(), nil
}

func (r *release) binary(t target) string {
	return filepath.Join(r.work, t.program+"-"+t.os+"-"+t.arch, t.exe())
}

func (r *release) name(t target) string {
	return fmt.Sprintf("%s_%s_%s_%s", t.program, strings.TrimPrefix(r.version, "v"), t.os, t.arch)
}

// target builds, describes and packs t.
func (r *release) target(ctx context.Context, t target) error {
	bin := r.binary(t)
	if err := r.build(ctx, ".", t, bin); err != nil {
		return err
	}
	if err := static(t, bin); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(bin)
	if err != nil {
		return err
	}
	third, err := r.licences.of(ctx, t, info)
	if err != nil {
		return err
	}
	sum, size, err := sha256File(bin)
	if err != nil {
		return err
	}
	if err := r.sboms(t, sum, info, third); err != nil {
		return err
	}
	out, err := r.pack(t, bin, third)
	if err != nil {
		return err
	}
	fmt.Printf("%-52s %5.1f MB program, %d modules\n", filepath.Base(out), float64(size)/1e6, len(third))
	return nil
}

// build compiles t from the source in dir.
func (r *release) build(ctx context.Context, dir string, t target, out string, env ...string) error {
	ldflags := fmt.Sprintf("-s -w -X main.version=%s -X main.commit=%s", r.version, r.commit)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", out, "./cmd/"+t.program)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch), env...)
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, msg)
	}
	return nil
}

// static fails for a Linux program that asks for a loader.
func static(t target, bin string) error {
	if t.os != "linux" {
		return nil
	}
	f, err := elf.Open(bin)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("the program is linked dynamically")
		}
	}
	return nil
}

// rebuild builds the host's ferry again, from a copy of the source in
// another folder and with an empty build cache, and compares.
func (r *release) rebuild(ctx context.Context) error {
	host := target{ferry, runtime.GOOS, runtime.GOARCH}
	if !slices.Contains(targets(nil), host) {
		return fmt.Errorf("nothing is built for %s/%s, so nothing can be compared", host.os, host.arch)
	}
	copied := filepath.Join(r.work, "again", "source")
	for _, part := range []string{"cmd", "internal"} {
		if err := os.CopyFS(filepath.Join(copied, part), os.DirFS(part)); err != nil {
			return err
		}
	}
	for _, part := range []string{"go.mod", "go.sum"} {
		if err := copyFile(part, filepath.Join(copied, part)); err != nil {
			return err
		}
	}
	bin := filepath.Join(r.work, "again", host.exe())
	if err := r.build(ctx, copied, host, bin, "GOCACHE="+filepath.Join(r.work, "again", "cache")); err != nil {
		return fmt.Errorf("build again: %w", err)
	}
	first, _, err1 := sha256File(r.binary(host))
	second, _, err2 := sha256File(bin)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if first != second {
		return fmt.Errorf("%s/%s built twice: %s, then %s: the build is not reproducible", host.os, host.arch, first, second)
	}
	fmt.Printf("%s/%s built twice: sha256:%s both times\n", host.os, host.arch, first)
	return nil
}

// checksums writes SHA256SUMS in the form that sha256sum -c reads.
func (r *release) checksums() error {
	entries, err := os.ReadDir(r.to)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, e := range entries {
		sum, _, err := sha256File(filepath.Join(r.to, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s  %s\n", sum, e.Name())
	}
	return os.WriteFile(filepath.Join(r.to, "SHA256SUMS"), []byte(b.String()), 0o644)
}

func sha256File(name string) (sum string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
