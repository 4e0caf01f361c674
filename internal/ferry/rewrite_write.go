package ferry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ferry/internal/manifest"
	"ferry/internal/scratch"
)

// write writes what was decided, or says what would be.
func (r *rewriting) write(ctx context.Context) error {
	var outs []output
	for _, f := range r.files {
		o, err := r.output(f)
		if err != nil {
			return err
		}
		if o.to != "" {
			outs = append(outs, o)
		}
		r.result.Files = append(r.result.Files, r.describe(f, o))
	}
	outs, err := distinct(outs)
	if err != nil {
		return err
	}
	if err := r.fits(outs); err != nil || r.req.DryRun {
		return err
	}
	return putAll(ctx, outs)
}

// output is a file to be written.
type output struct {
	to     string
	text   []byte
	mode   fs.FileMode
	before []byte // what has to stand there still; nil where it does not matter
}

// output says where a file goes; to nowhere with an empty name.
func (r *rewriting) output(f *manifestFile) (output, error) {
	switch {
	case r.req.InPlace && f.path == "":
		return output{}, usage("--in-place changes files, and - is none: leave it out to have the manifests printed")
	case r.req.InPlace && f.changed():
		real, err := filepath.EvalSymlinks(f.path)
		if err != nil {
			return output{}, err
		}
		if out, err := leadsOut(f.root, real); out || err != nil {
			return output{}, errors.Join(fmt.Errorf("%s is a link that leads out of its folder, to %s: name that file itself", f.path, real), err)
		}
		return output{real, f.text, f.mode, f.before}, nil
	case r.req.To != "":
		mode := f.mode
		if f.path == "" {
			mode = 0o644
		}
		return output{filepath.Join(r.req.To, f.rel), f.text, mode, nil}, nil
	}
	return output{}, nil
}

// leadsOut says whether a file does not lie in the folder that was named.
func leadsOut(root, real string) (bool, error) {
	if root == "" {
		return false, nil
	}
	// One of both may be relative: a link's target is as it stands in the link.
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return false, err
	}
	if root, err = filepath.Abs(root); err != nil {
		return false, err
	}
	if real, err = filepath.Abs(real); err != nil {
		return false, err
	}
	return !inside(root, real), nil
}

func (r *rewriting) describe(f *manifestFile, o output) RewriteFile {
	d := RewriteFile{
		File: f.name, Changed: f.changed(), Manifest: f.isManifest(), rel: f.rel,
		Diff: manifest.Diff(filepath.ToSlash(f.name), f.before, f.edits),
	}
	if o.to == "" && !r.req.InPlace && r.req.To == "" {
		d.Text = string(f.text)
	}
	if !r.req.DryRun {
		d.Written = o.to
	}
	return d
}

// distinct refuses two files that would be written to one, and lets two names
// of one file, both changed alike, be one.
func distinct(outs []output) ([]output, error) {
	first := map[string]output{}
	var all []output
	for _, o := range outs {
		place, err := filepath.Abs(o.to) // named in full once, and in short
		if err != nil {
			return nil, err
		}
		other, ok := first[place]
		switch {
		case !ok:
			first[place] = o
			all = append(all, o)
		case !bytes.Equal(other.text, o.text):
			return nil, usage("two files would both become %s: name one folder that they lie in", o.to)
		}
	}
	return all, nil
}

// fits looks whether the folder of --to may be written to.
func (r *rewriting) fits(outs []output) error {
	if r.req.To == "" {
		return nil
	}
	for _, p := range r.req.Paths {
		if p == "-" {
			continue
		}
		if same, err := sameTree(p, r.req.To); same || err != nil {
			return errors.Join(usage("--to %s and -f %s are in each other: --in-place changes the files themselves", r.req.To, p), err)
		}
	}
	return r.stale(outs)
}

// sameTree says whether one path is the other or lies in it.
func sameTree(a, b string) (bool, error) {
	a, err := filepath.Abs(a)
	if err != nil {
		return false, err
	}
	b, err = filepath.Abs(b)
	if err != nil {
		return false, err
	}
	if info, err := os.Stat(a); err == nil && !info.IsDir() {
		return false, nil
	}
	return inside(a, b) || inside(b, a), nil
}

func inside(root, p string) bool {
	rel, err := filepath.Rel(root, p)
	return err == nil && filepath.IsLocal(rel)
}

// stale refuses a folder with manifests of something else: whoever applies the
// folder would apply those too.
func (r *rewriting) stale(outs []output) error {
	info, err := os.Stat(r.req.To)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return usage("--to names a folder, and %s is a file", r.req.To)
	}
	return filepath.WalkDir(r.req.To, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains(manifestNames(), filepath.Ext(p)) {
			return err
		}
		if slices.ContainsFunc(outs, func(o output) bool { return o.to == filepath.Clean(p) }) {
			return nil
		}
		return usage("%s is none of these manifests and would stay among them: remove it, or name another folder with --to", p)
	})
}

// ChangedError says that some of several files were written.
type ChangedError struct {
	Done, All int
	Err       error
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%d of %d files were written: %v", e.Done, e.All, e.Err)
}

func (e *ChangedError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (*ChangedError) Hint() string {
	return "Each file is either as it was or as it should be, and the same command does the rest."
}

// WriteError says that a file could not be written, and nothing was changed.
type WriteError struct {
	File string
	Err  error
}

func (e *WriteError) Error() string { return fmt.Sprintf("write %s: %v", e.File, e.Err) }

func (e *WriteError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (*WriteError) Hint() string {
	return "Nothing was changed. A file is written beside its place and gets its name at the end: its folder has to be writable and have space."
}

// putAll writes all files beside their places, and only then gives them their
// names.
func putAll(ctx context.Context, outs []output) error {
	d := &drafts{folders: map[string]string{}}
	defer d.remove()
	var temps []string
	for _, o := range outs {
		t, err := d.write(o)
		if err != nil {
			return &WriteError{o.to, err}
		}
		temps = append(temps, t)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for i, o := range outs {
		if err := put(temps[i], o); err != nil {
			if i == 0 {
				return &WriteError{o.to, err}
			}
			return &ChangedError{Done: i, All: len(outs), Err: fmt.Errorf("write %s: %w", o.to, err)}
		}
	}
	return nil
}

// drafts are files that do not have their names yet. Each lies in a folder
// beside its place, which the next run takes away where this one is killed.
type drafts struct {
	folders map[string]string // by the folder of the place
	removes []func()
	written int
}

func (d *drafts) remove() {
	for _, remove := range d.removes {
		remove()
	}
}

// write writes a file next to its place.
func (d *drafts) write(o output) (string, error) {
	folder, err := d.beside(filepath.Dir(o.to))
	if err != nil {
		return "", err
	}
	d.written++
	f, err := os.OpenFile(filepath.Join(folder, strconv.Itoa(d.written)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(o.text)
	return f.Name(), errors.Join(err, f.Chmod(o.mode), f.Sync(), f.Close())
}

func (d *drafts) beside(dir string) (string, error) {
	if folder, ok := d.folders[dir]; ok {
		return folder, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	folder, remove, err := scratch.Dir(dir, ".ferry-rewrite-")
	if err != nil {
		return "", err
	}
	d.folders[dir], d.removes = folder, append(d.removes, remove)
	return folder, nil
}

// put gives a file its name, unless somebody has changed it meanwhile.
func put(temp string, o output) error {
	if o.before != nil {
		now, err := readLimited(o.to, int64(len(o.before)))
		if err != nil {
			return err
		}
		if !bytes.Equal(now, o.before) {
			return errors.New("somebody else has changed it meanwhile")
		}
	}
	return os.Rename(temp, o.to)
}

// Stream is all manifests as one, as kubectl apply -f - reads them. What no
// cluster could take is left out.
func (r *RewriteResult) Stream() string {
	var texts []string
	for _, f := range r.Files {
		if f.Manifest || len(r.Files) == 1 {
			texts = append(texts, f.Text)
		}
	}
	if len(texts) == 1 {
		return texts[0]
	}
	var b strings.Builder
	for _, t := range texts {
		// A mark that says UTF-8 stands at the very beginning, or is a
		// character of the text.
		t = strings.TrimPrefix(t, "\ufeff")
		if !strings.HasPrefix(t, "---") {
			b.WriteString("---\n")
		}
		b.WriteString(t)
		if !strings.HasSuffix(t, "\n") {
			b.WriteString("\n")
		}
	}
	return b.String()
}
