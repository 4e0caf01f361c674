package scanner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/sbom"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"ferry/internal/bundle"
	"ferry/internal/scan"
)

// maxRequest is the largest request that is read.
const maxRequest = 64 << 20

// Serve answers one request: one JSON document in, lines of JSON out. The last
// line is the answer, also of what failed. exit ends the process where a limit
// can be kept in no other way.
func Serve(ctx context.Context, version string, in io.Reader, out io.Writer, exit func(code int)) error {
	s := &serving{out: json.NewEncoder(out), exit: exit}
	var r scan.Request
	if err := json.NewDecoder(io.LimitReader(in, maxRequest)).Decode(&r); err != nil {
		return s.answer(scan.Answer{Error: "the request is not JSON: " + err.Error()})
	}
	if r.Protocol != scan.Protocol || r.Version != version {
		return s.answer(scan.Answer{Error: fmt.Sprintf("this is ferry-scanner %s, and ferry is %s: take both from one release", version, r.Version)})
	}
	s.request, s.limits = r, r.Limits.Or()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.guardMemory(ctx)
	a, err := s.do(ctx)
	if err != nil {
		a = scan.Answer{Error: err.Error(), Cause: cause(err)}
	}
	return s.answer(a)
}

// brokeDown is what an image gets to hear of a panic: grype puts the whole
// stack behind what went wrong.
func brokeDown(p any) error {
	what, _, _ := strings.Cut(fmt.Sprint(p), "\n")
	return fmt.Errorf("the scanner broke down over it: %s", what)
}

// cause says what ferry has to know of an error beside its text.
func cause(err error) string {
	var sqlite interface{ Code() int }
	switch {
	case errors.Is(err, errDamaged):
		return scan.CauseDamaged
	case isFull(err), errors.As(err, &sqlite) && sqlite.Code()&0xff == sqliteFull:
		return scan.CauseFull
	}
	return ""
}

// sqliteFull is what SQLite calls a full disk.
const sqliteFull = 13

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }

// serving is one request being answered.
type serving struct {
	request scan.Request
	limits  scan.Limits
	exit    func(code int)
	machine machine

	mu  sync.Mutex
	out *json.Encoder
}

func (s *serving) say(m scan.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Encode(m)
}

func (s *serving) answer(a scan.Answer) error {
	a.Tool = scan.Tool{Name: "grype", Version: moduleVersion("github.com/anchore/grype") + " with syft " + moduleVersion("github.com/anchore/syft")}
	return s.say(scan.Message{Answer: &a})
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, d := range info.Deps {
		if d.Path == path {
			return d.Version
		}
	}
	return ""
}

func (s *serving) do(ctx context.Context) (scan.Answer, error) {
	var err error
	var a scan.Answer
	switch s.request.Op {
	case scan.OpStatus:
		a.Database, err = status(ctx, s.request.Database)
	case scan.OpImport:
		a.Database, err = importArchive(ctx, s.request.Archive, s.request.Database)
	case scan.OpScan:
		a.Database, err = s.scan(ctx)
	case scan.OpMatch:
		a.Database, err = s.match(ctx)
	default:
		err = fmt.Errorf("%q is nothing that can be asked", s.request.Op)
	}
	return a, err
}

// jobs is how many images are looked into at once: each may need a gigabyte.
func (s *serving) jobs() int {
	if s.request.Jobs > 0 {
		return s.request.Jobs
	}
	return max(1, min(runtime.NumCPU(), int(s.limits.Memory>>30)))
}

// scan catalogues and matches images. One that cannot be read says so, and
// holds up none of the others.
func (s *serving) scan(ctx context.Context) (scan.Database, error) {
	db, err := openDatabase(ctx, s.request.Database)
	if err != nil {
		return scan.Database{}, err
	}
	defer db.Close()
	b, err := bundle.Open(s.request.Bundle)
	if err != nil {
		return scan.Database{}, err
	}
	defer b.Close()
	var images []*listing
	for at, img := range s.request.Images {
		images = append(images, list(ctx, b, img, at))
	}
	unpacked := newLayers(b, s.request.Dir, s.limits, images)
	slices.SortStableFunc(images, (*listing).order)
	syft.SetLogger(&s.machine)
	// What knows the texts of licences takes two seconds to make, for each
	// image anew if it is not in the context.
	if ctx, err = syft.SetContextLicenseScanner(ctx, config().Licenses); err != nil {
		return scan.Database{}, err
	}
	err = s.each(ctx, len(images), func(ctx context.Context, i int) (int, scan.Result, error) {
		res, err := s.image(ctx, db, unpacked, images[i])
		return images[i].at, res, err
	}, func(i int) int { return images[i].at })
	return db.database, errors.Join(err, db.unchanged())
}

// each does the work for n things, some at once, and says what came of each.
func (s *serving) each(ctx context.Context, n int, work func(context.Context, int) (int, scan.Result, error), place func(int) int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.jobs())
	for i := range n {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			at := place(i)
			if err := s.say(scan.Message{Begun: &at}); err != nil {
				return err
			}
			stop := s.guardTime()
			defer stop()
			one, cancel := context.WithTimeoutCause(ctx, s.limits.Time, s.tookTooLong())
			defer cancel()
			at, res, err := work(one, i)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// syft and grype leave out what they were stopped at, and call it
			// done: what was found in too short a time is not all.
			if cause := context.Cause(one); cause != nil {
				err = cause
			}
			if err != nil {
				res = scan.Result{Failed: err.Error()}
			}
			res.At = at
			return s.say(scan.Message{Result: &res})
		})
	}
	return g.Wait()
}

func (s *serving) image(ctx context.Context, db *opened, from *layers, l *listing) (res scan.Result, err error) {
	// A cataloguer that meets what it did not expect is a failed image, and
	// not the end of all.
	defer func() {
		if p := recover(); p != nil {
			err = brokeDown(p)
		}
	}()
	defer from.done(l.layers())
	if l.err != nil {
		return res, l.err
	}
	dir, remove, err := ownFolder(s.request.Dir)
	if err != nil {
		return res, err
	}
	defer remove()
	begun := s.machine.count()
	c, err := l.catalogue(ctx, from, dir)
	if err := errors.Join(err, s.machine.failedSince(begun)); err != nil {
		return res, err
	}
	document, err := encode(c.list, s.limits.SBOM)
	if err != nil {
		return res, err
	}
	res, err = db.one(ctx, document, func(_ *sbom.SBOM, id artifact.ID) digest.Digest { return c.layer[id] })
	if err != nil {
		return res, err
	}
	res.Warnings = append(res.Warnings, c.warnings...)
	res.SBOMs, err = l.documents(c.list, document, s.request.Dir, s.limits.SBOM)
	return res, err
}

func (s *serving) match(ctx context.Context) (scan.Database, error) {
	db, err := openDatabase(ctx, s.request.Database)
	if err != nil {
		return scan.Database{}, err
	}
	defer db.Close()
	err = s.each(ctx, len(s.request.SBOMs), func(ctx context.Context, i int) (int, scan.Result, error) {
		res, err := s.matchFile(ctx, db, s.request.SBOMs[i])
		return i, res, err
	}, func(i int) int { return i })
	return db.database, errors.Join(err, db.unchanged())
}

func (s *serving) matchFile(ctx context.Context, db *opened, path string) (res scan.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = brokeDown(p)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return res, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, s.limits.SBOM+1))
	if err != nil {
		return res, err
	}
	if int64(len(b)) > s.limits.SBOM {
		return res, fmt.Errorf("the SBOM %s has more than %d bytes, which is the limit", filepath.Base(path), s.limits.SBOM)
	}
	return db.one(ctx, b, fromDocument)
}
