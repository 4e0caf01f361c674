package ferry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ferry/internal/manifest"
)

// Limits of what is read as manifests in one run.
const (
	maxManifestFiles = 10_000
	maxManifestBytes = 256 << 20
)

// FilesError says what is wrong with each of several files.
type FilesError struct{ Errs []error }

func (e *FilesError) Error() string { return errors.Join(e.Errs...).Error() }

// Unwrap returns all causes.
func (e *FilesError) Unwrap() []error { return e.Errs }

// manifestFile is a file that may hold manifests.
type manifestFile struct {
	name string // as it is told
	path string // "" for what comes in
	// rel is its path below the folder that was named.
	rel string
	// named says that it was named itself, and not found in a folder.
	named bool
	// root is the folder that it may not be linked out of.
	root   string
	before []byte
	mode   fs.FileMode
	// parsed is nil where it was not understood; then text is as before.
	parsed *manifest.File
	text   []byte
	edits  []manifest.Edit
}

// read reads all files, and tells of all that cannot be read at once.
func (r *rewriting) read(ctx context.Context) error {
	for _, p := range r.req.Paths {
		if err := r.find(p); err != nil {
			return err
		}
	}
	if len(r.files) == 0 {
		return usage("there is no .yaml, .yml or .json in %s", strings.Join(r.req.Paths, ", "))
	}
	var failed FilesError
	total := 0
	for _, f := range r.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.load(r.req.Stdin); err != nil {
			failed.Errs = append(failed.Errs, err)
			continue
		}
		if total += len(f.before); total > maxManifestBytes {
			return fmt.Errorf("the manifests have more than %d bytes in all: name fewer at once", maxManifestBytes)
		}
		if err := r.parse(f); err != nil {
			failed.Errs = append(failed.Errs, err)
		}
	}
	if len(failed.Errs) > 0 {
		return &failed
	}
	return nil
}

// find adds the file, or the files of the folder.
func (r *rewriting) find(path string) error {
	if path == "-" {
		r.files = append(r.files, &manifestFile{name: "stdin", rel: "stdin.yaml", named: true})
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		r.files = append(r.files, &manifestFile{name: path, path: path, rel: filepath.Base(path), named: true})
		return nil
	}
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		return r.walked(filepath.Join(path, rel), root, rel, d)
	})
}

// walked takes up what was found in a folder.
func (r *rewriting) walked(path, root, rel string, d fs.DirEntry) error {
	hidden := strings.HasPrefix(d.Name(), ".") && rel != "."
	switch {
	case d.IsDir() && hidden:
		return fs.SkipDir
	case d.IsDir() || hidden:
		return nil
	case d.Type()&fs.ModeSymlink != 0:
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) && slices.Contains(manifestNames(), filepath.Ext(rel)) {
			r.result.Left = append(r.result.Left, RewriteLeft{File: path, Why: "is a link to nothing", Missing: true})
			return nil
		}
		if err == nil && info.IsDir() {
			r.result.Left = append(r.result.Left, RewriteLeft{File: path, Why: "is a link to a folder, which is not followed: name it with -f", Missing: true})
			return nil
		}
	}
	if !slices.Contains(manifestNames(), filepath.Ext(rel)) {
		return nil
	}
	if len(r.files) == maxManifestFiles {
		return fmt.Errorf("%s has more than %d files: name folders in it", path, maxManifestFiles)
	}
	r.files = append(r.files, &manifestFile{name: path, path: path, rel: rel, root: root})
	return nil
}

// manifestNames are how the names of manifests end in a folder.
func manifestNames() []string { return []string{".yaml", ".yml", ".json"} }

// load reads the text.
func (f *manifestFile) load(stdin io.Reader) error {
	in := stdin
	if f.path != "" {
		// A pipe would be waited for when it is opened.
		info, err := os.Stat(f.path)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("read %s: it is no regular file; what comes through a pipe is -f -", f.path)
		}
		file, err := os.Open(f.path)
		if err != nil {
			return err
		}
		defer file.Close()
		in, f.mode = file, info.Mode().Perm()
	}
	b, err := io.ReadAll(io.LimitReader(in, manifest.MaxFile+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", f.name, err)
	}
	f.before, f.text = b, b
	return nil
}

// parse reads the manifests of a file. A template in a folder is left as it
// is; one that was named is an error, since then it was meant.
func (r *rewriting) parse(f *manifestFile) error {
	parsed, err := manifest.Read(f.name, f.before, r.opts)
	if e, ok := errors.AsType[*manifest.Error](err); ok && e.Template && !f.named {
		r.result.Left = append(r.result.Left, RewriteLeft{
			File: f.name, Line: e.Line, Why: "is a template and no manifest: render it first, helm template NAME CHART | ferry rewrite -f - …", Missing: true,
		})
		return nil
	}
	if err != nil {
		return err
	}
	if isKustomization(parsed) {
		r.result.Left = append(r.result.Left, RewriteLeft{
			File: f.name, Why: "is a kustomization: render it first, kubectl kustomize FOLDER | ferry rewrite -f - …", Missing: true,
		})
		return nil
	}
	f.parsed = parsed
	return nil
}

func isKustomization(f *manifest.File) bool {
	if slices.Contains([]string{"kustomization.yaml", "kustomization.yml"}, filepath.Base(f.Name)) {
		return true
	}
	return len(f.Objects) == 1 && strings.HasPrefix(f.Objects[0].APIVersion, "kustomize.config.k8s.io/")
}

func (f *manifestFile) changed() bool { return !bytes.Equal(f.before, f.text) }

// isManifest says whether a cluster could take the file.
func (f *manifestFile) isManifest() bool { return f.parsed != nil && len(f.parsed.Objects) > 0 }
