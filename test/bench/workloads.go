package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// bench runs the workloads.
type bench struct {
	opts   options
	tools  tools
	reg    *server
	corpus *corpus
	work   string
}

// contender is one way to do a workload.
type contender struct {
	name string
	// prepare makes what has to be there before; its time is not taken.
	prepare func(ctx context.Context, dir string) error
	// at is the address that argvs get as host; "" is the corpus's registry,
	// or the empty one of the workload.
	at string
	// argvs are the programs to run, with a registry at host and an empty
	// folder dir to work in.
	argvs func(host, dir string) [][]string
}

// workload is a job and those who do it; the first is ferry.
type workload struct {
	name, what string
	runs       int
	network    bool
	by         []contender
	// empty starts an empty registry, or another place, for each run; its time
	// is not taken.
	empty func(ctx context.Context, dir string) (*server, error)
}

// result is a workload with what was measured.
type result struct {
	workload
	series []series
	// wallOnly says that only the time was taken.
	wallOnly bool
}

func (b *bench) all(ctx context.Context) (*report, error) {
	base, folder := filepath.Join(b.work, "base.tar"), filepath.Join(b.work, "folder")
	refs := b.corpus.refs(b.reg.addr, "1")
	if _, err := measure(ctx, [][]string{b.ferryPack(b.reg.addr, base, refs)}); err != nil {
		return nil, err
	}
	if _, err := measure(ctx, [][]string{b.cranePull(folder, refs)}); err != nil {
		return nil, err
	}
	r := &report{corpus: b.corpus}
	info, err := os.Stat(base)
	if err != nil {
		return nil, err
	}
	r.bundle = info.Size()
	if err := b.parts(ctx, r, base, folder); err != nil {
		return nil, err
	}
	version, err := b.run(ctx, workload{name: "version", runs: 20, by: []contender{b.one("ferry", b.tools.ferry, "version")}})
	if err != nil {
		return nil, err
	}
	r.idle = version.series[0].rss()
	return r, nil
}

// parts runs all parts, or the one that was asked for.
func (b *bench) parts(ctx context.Context, r *report, base, folder string) error {
	found := false
	for _, part := range []struct {
		name string
		run  func(ctx context.Context, r *report, base, folder string) error
	}{{"bundles", b.bundles}, {"pushes", b.pushes}, {"serves", b.serves}, {"loads", b.loads}, {"scans", b.scans}, {"fixes", b.fixes}} {
		if b.opts.only != "" && b.opts.only != part.name {
			continue
		}
		found = true
		done := len(r.results)
		if err := part.run(ctx, r, base, folder); err != nil {
			return err
		}
		r.tell(os.Stderr, done)
	}
	if !found {
		return fmt.Errorf("-only %s: there is no such part", b.opts.only)
	}
	return nil
}

// bundles are the workloads that make and read a bundle.
func (b *bench) bundles(ctx context.Context, r *report, base, folder string) error {
	return b.each(ctx, r, b.pack(), b.packAgain(base, folder), b.verify(base), b.start())
}

// pushes are W2 into both registries, and W4.
func (b *bench) pushes(ctx context.Context, r *report, base, folder string) error {
	dir := filepath.Join(b.work, "filled")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	reg, err := startRegistry(ctx, "docker-registry", filepath.Join(dir, "registry"), dir)
	if err != nil {
		return err
	}
	defer reg.stop()
	if err := b.fill(ctx, base, folder, reg.addr); err != nil {
		return err
	}
	if err := b.each(ctx, r, b.pushAgain(base, folder, reg.addr)); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return b.each(ctx, r, b.push("W2", "docker-registry", base, folder), b.push("W2, distribution 3", b.tools.registry, base, folder))
}

// serves are what is fetched from ferry serve.
func (b *bench) serves(ctx context.Context, r *report, base, _ string) error {
	s, err := b.startServe(ctx, base)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := b.each(ctx, r, b.fromServe(s.addr)); err != nil {
		return err
	}
	for range b.opts.runs {
		t, err := b.pull(ctx, s, 2)
		if err != nil {
			return err
		}
		r.pulls = append(r.pulls, t)
	}
	return nil
}

func (b *bench) each(ctx context.Context, r *report, ws ...workload) error {
	for _, w := range ws {
		res, err := b.run(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		r.results = append(r.results, res)
	}
	return nil
}

// run warms up once, then takes turns.
func (b *bench) run(ctx context.Context, w workload) (result, error) {
	res := result{workload: w, series: make([]series, len(w.by))}
	for i, c := range w.by {
		res.series[i].name = c.name
	}
	for n := range w.runs + 1 {
		for i, c := range w.by {
			fmt.Fprintf(os.Stderr, "%s: %s, run %d of %d (0 warms up)\n", w.name, c.name, n, w.runs)
			s, err := b.once(ctx, w, c)
			if err != nil {
				return res, err
			}
			if n > 0 {
				res.series[i].samples = append(res.series[i].samples, s)
			}
		}
	}
	if !w.network {
		return res, nil
	}
	for i, c := range w.by {
		fmt.Fprintf(os.Stderr, "%s: %s, bytes counted\n", w.name, c.name)
		var counted traffic
		if _, err := b.counted(ctx, w, c, &counted); err != nil {
			return res, err
		}
		res.series[i].fetched, res.series[i].sent = counted.down, counted.up
	}
	return res, nil
}

// once does a job in a fresh folder and removes what it made.
func (b *bench) once(ctx context.Context, w workload, c contender) (sample, error) {
	return b.counted(ctx, w, c, nil)
}

// counted is once, through a relay that counts bytes if counts is given.
func (b *bench) counted(ctx context.Context, w workload, c contender, counts *traffic) (s sample, err error) {
	dir, err := os.MkdirTemp(b.work, "once-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if c.prepare != nil {
		if err := c.prepare(ctx, dir); err != nil {
			return s, err
		}
	}
	host, stop, err := b.host(ctx, w, c, dir)
	if err != nil {
		return s, err
	}
	defer stop()
	// What was left in memory to be written would be so in this one's time.
	syscall.Sync()
	if counts == nil {
		return measure(ctx, c.argvs(host, dir))
	}
	relay, err := startRelay(ctx, host)
	if err != nil {
		return s, err
	}
	s, err = measure(ctx, c.argvs(relay.addr, dir))
	*counts = relay.stop()
	return s, err
}

// host is the registry that a run speaks with.
func (b *bench) host(ctx context.Context, w workload, c contender, dir string) (string, func(), error) {
	switch {
	case w.empty != nil:
		reg, err := w.empty(ctx, dir)
		if err != nil {
			return "", nil, err
		}
		return reg.addr, reg.stop, nil
	case c.at != "":
		return c.at, func() {}, nil
	}
	return b.reg.addr, func() {}, nil
}

func (b *bench) one(name string, argv ...string) contender {
	return contender{name: name, argvs: func(string, string) [][]string { return [][]string{argv} }}
}

func (b *bench) ferryPack(host, to string, refs []string, more ...string) []string {
	argv := append([]string{b.tools.ferry, "pack", "--plain-http", host, "--to", to}, more...)
	return append(argv, refs...)
}

func (b *bench) cranePull(dir string, refs []string) []string {
	argv := append([]string{b.tools.crane, "pull", "--format", "oci", "--annotate-ref"}, refs...)
	return append(argv, dir)
}

func tarUp(dir string) []string {
	return []string{"tar", "-cf", filepath.Join(dir, "bundle.tar"), "-C", filepath.Join(dir, "layout"), "."}
}

// pack is W1.
func (b *bench) pack() workload {
	return workload{
		name: "W1", what: "20 images from a registry into one file", runs: b.opts.runs, network: true,
		by: []contender{
			{name: "ferry pack", argvs: func(host, dir string) [][]string {
				return [][]string{b.ferryPack(host, filepath.Join(dir, "bundle.tar"), b.corpus.refs(host, "1"))}
			}},
			{name: "crane pull, tar", argvs: func(host, dir string) [][]string {
				return [][]string{b.cranePull(filepath.Join(dir, "layout"), b.corpus.refs(host, "1")), tarUp(dir)}
			}},
			{name: "skopeo copy ×20, tar", argvs: b.skopeoCopies},
		},
	}
}

func (b *bench) skopeoCopies(host, dir string) [][]string {
	var argvs [][]string
	for _, ref := range b.corpus.refs(host, "1") {
		argvs = append(argvs, []string{
			b.tools.skopeo, "--insecure-policy", "copy", "-q", "--all", "--src-tls-verify=false",
			"docker://" + ref, "oci:" + filepath.Join(dir, "layout") + ":" + ref,
		})
	}
	return append(argvs, tarUp(dir))
}

// packAgain is W3. All have what they made the last time: ferry its bundle,
// crane the folder beside its tar, or the tar alone.
func (b *bench) packAgain(base, folder string) workload {
	return workload{
		name: "W3", what: "the same with 1 of 20 images changed, the last result at hand", runs: b.opts.runs, network: true,
		by: []contender{
			{name: "ferry pack --base", argvs: func(host, dir string) [][]string {
				return [][]string{b.ferryPack(host, filepath.Join(dir, "bundle.tar"), b.corpus.refs(host, "2"), "--base", base)}
			}},
			{
				name: "crane pull into its folder, tar",
				prepare: func(ctx context.Context, dir string) error {
					return linkLayout(ctx, folder, filepath.Join(dir, "layout"))
				},
				argvs: func(host, dir string) [][]string {
					return [][]string{b.cranePull(filepath.Join(dir, "layout"), b.corpus.refs(host, "2")), tarUp(dir)}
				},
			},
			{name: "the last tar unpacked, crane pull into it, tar", argvs: func(host, dir string) [][]string {
				layout := filepath.Join(dir, "layout")
				return [][]string{
					{"mkdir", layout},
					{"tar", "xf", base, "-C", layout},
					b.cranePull(layout, b.corpus.refs(host, "2")), tarUp(dir),
				}
			}},
			// What the disk allows whoever writes a whole bundle and wants it
			// to be there after a power cut: no hash, no network.
			{name: "cp of the last bundle, synced", argvs: func(_, dir string) [][]string {
				to := filepath.Join(dir, "bundle.tar")
				return [][]string{{"cp", "--reflink=auto", base, to}, {"sync", to}}
			}},
		},
	}
}

// linkLayout copies a layout: blobs as links, the files that change as copies.
func linkLayout(ctx context.Context, from, to string) error {
	if out, err := exec.CommandContext(ctx, "cp", "-al", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	for _, name := range []string{"index.json", "oci-layout"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := errors.Join(os.Remove(filepath.Join(to, name)), os.WriteFile(filepath.Join(to, name), b, 0o644)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) verify(base string) workload {
	return workload{
		name: "verify", what: "every digest in the bundle, against sha256sum of the file", runs: b.opts.runs,
		by: []contender{b.one("ferry verify", b.tools.ferry, "verify", base), b.one("sha256sum", "sha256sum", base)},
	}
}

func (b *bench) start() workload {
	return workload{
		name: "start", what: "--help", runs: 20,
		by: []contender{b.one("ferry", b.tools.ferry, "--help"), b.one("crane", b.tools.crane, "--help")},
	}
}
