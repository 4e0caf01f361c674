package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"ferry/internal/command"
	"ferry/internal/download"
	"ferry/internal/evidence"
	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/progress"
	"ferry/internal/scan"
	"ferry/internal/scanproc"
)

// scanFlags are the flags of every command that scans.
type scanFlags struct {
	database string
	memory   string
	timeout  time.Duration
	jobs     int
}

func (s *scanFlags) register(f *pflag.FlagSet) {
	f.StringVar(&s.database, "db", "", "the vulnerability database: oci://REGISTRY/REPOSITORY, an archive, or a bundle (default: the one in use, see ferry db)")
	f.IntVar(&s.jobs, "scan-jobs", 0, "how many images are looked into at once (default: as many as processors and memory allow)")
	f.StringVar(&s.memory, "scan-memory", "4G", "how much memory the scanner may take")
	f.DurationVar(&s.timeout, "scan-timeout", scan.MaxTime, "how long the scanner may look into one image")
}

func (s *scanFlags) limits() (scan.Limits, error) {
	if s.memory == "" {
		return scan.Limits{}, nil // a command that has no such flags
	}
	memory, err := parseSize(s.memory)
	if err != nil {
		return scan.Limits{}, usageError{fmt.Errorf("--scan-memory: %w", err), "ferry scan"}
	}
	return scan.Limits{Memory: memory, Time: s.timeout}, nil
}

// parseSize reads 512M, 4G.
func parseSize(s string) (int64, error) {
	var n int64
	var unit string
	if _, err := fmt.Sscanf(s, "%d%s", &n, &unit); err == nil && n > 0 && n < 1<<20 {
		switch unit {
		case "M":
			return n << 20, nil
		case "G":
			return n << 30, nil
		}
	}
	return 0, fmt.Errorf("%q is no size: write 512M or 4G", s)
}

// withScanner gives w the scanner. It is looked for when it is first needed,
// so that whoever scans nothing needs none.
func (a *app) withScanner(w *ferry.World) error {
	limits, err := a.scanning.limits()
	if err != nil {
		return err
	}
	p := &scannerProcess{version: a.version, limits: limits, jobs: a.scanning.jobs, progress: w.Progress}
	w.Databases, w.ScannerVersion = p, a.version.scanner()
	fetch, err := download.New(download.Options{CAFiles: a.network.caFiles, UserAgent: "ferry/" + a.version.Version})
	if err != nil {
		return err
	}
	w.Fetcher = fetch
	// A copy, as it is now: the scanner looks for its database through it.
	world := *w
	p.database = sync.OnceValues(func() (string, error) { return ferry.DatabaseFrom(context.Background(), world, a.scanning.database) })
	w.Scanner = p
	return nil
}

// scanner names the scanner's code, which is of ferry's own commit; "" where
// nothing does: what such a build found once, it may find no more.
func (v Version) scanner() string {
	if v.Commit == "" || v.Commit == "unknown" || strings.HasSuffix(v.Version, "-dirty") {
		return ""
	}
	return v.Version + " " + v.Commit
}

// scannerProcess is ferry-scanner as the verbs see it.
type scannerProcess struct {
	version  Version
	limits   scan.Limits
	jobs     int
	progress progress.Func
	// database finds the folder of the database to use.
	database func() (string, error)
}

var (
	_ ferry.Scanner   = (*scannerProcess)(nil)
	_ ferry.Databases = (*scannerProcess)(nil)
)

func (s *scannerProcess) ask(ctx context.Context, r scan.Request) (scan.Answer, error) {
	self, err := os.Executable()
	if err != nil {
		return scan.Answer{}, err
	}
	path, err := scanproc.Find(self)
	if err != nil {
		return scan.Answer{}, err
	}
	r.Limits, r.Jobs = s.limits, s.jobs
	p := scanproc.Program{Path: path, Version: s.version.Version + " " + s.version.Commit, Run: command.Local{}}
	return p.Ask(ctx, r, func(int) { s.progress.Emit(progress.Advance{Items: 1}) })
}

// Import makes a database of an archive.
func (s *scannerProcess) Import(ctx context.Context, archive, dir string) (scan.Database, error) {
	a, err := s.ask(ctx, scan.Request{Op: scan.OpImport, Archive: archive, Database: dir, Dir: dir})
	return a.Database, err
}

// Check checks a database.
func (s *scannerProcess) Check(ctx context.Context, dir string) (scan.Database, error) {
	a, err := s.ask(ctx, scan.Request{Op: scan.OpStatus, Database: dir})
	return a.Database, err
}

// Database checks the database that a scan would use.
func (s *scannerProcess) Database(ctx context.Context) (policy.DatabaseInfo, error) {
	dir, err := s.database()
	if err != nil {
		return policy.DatabaseInfo{}, err
	}
	d, err := s.Check(ctx, dir)
	return d.Info(), ferry.DamagedDatabase(dir, err)
}

// Scan looks into images of a bundle.
func (s *scannerProcess) Scan(ctx context.Context, file string, images []evidence.Wanted, dir string) ([]ferry.Scanned, error) {
	folder, err := s.database()
	if err != nil {
		return nil, err
	}
	r := scan.Request{Op: scan.OpScan, Database: folder, Bundle: file, Dir: dir}
	for _, i := range images {
		r.Images = append(r.Images, scan.Image{Name: i.Image, Platform: i.Platform, Digest: i.Digest})
	}
	a, err := s.ask(ctx, r)
	return scanned(a), ferry.DamagedDatabase(folder, err)
}

// Match matches SBOMs that were made before.
func (s *scannerProcess) Match(ctx context.Context, sboms []evidence.Document) ([]ferry.Scanned, error) {
	folder, err := s.database()
	if err != nil {
		return nil, err
	}
	r := scan.Request{Op: scan.OpMatch, Database: folder}
	for _, doc := range sboms {
		r.SBOMs = append(r.SBOMs, doc.Path)
	}
	a, err := s.ask(ctx, r)
	return scanned(a), ferry.DamagedDatabase(folder, err)
}

func scanned(a scan.Answer) []ferry.Scanned {
	var all []ferry.Scanned
	for _, r := range a.Results {
		s := ferry.Scanned{
			Tool: evidence.Tool(a.Tool), Database: a.Database.Info(), Distribution: r.Distribution, Packages: r.Packages,
			Findings: r.Findings, Failed: r.Failed, Warnings: r.Warnings,
		}
		for _, d := range r.SBOMs {
			s.SBOMs = append(s.SBOMs, evidence.Document{MediaType: d.MediaType, Path: d.Path})
		}
		all = append(all, s)
	}
	return all
}
