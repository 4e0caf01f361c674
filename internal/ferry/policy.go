package ferry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"ferry/internal/policy"
)

// PolicyRequest says which policy to look at.
type PolicyRequest struct {
	// File is the policy; "" looks for ferry.policy.yaml in Dir and above.
	File string
	Dir  string
}

// PolicyResult is what a policy says.
type PolicyResult struct {
	File    string          `json:"file"`
	Digest  digest.Digest   `json:"digest"`
	Clauses []policy.Clause `json:"rules"`
	// Exceptions are in the order of the file.
	Exceptions []PolicyException `json:"exceptions,omitempty"`
	VEX        []PolicyVEX       `json:"vex,omitempty"`
	// Next is when the first of those that hold expires.
	Next string `json:"nextExpiry,omitempty"`
}

// PolicyException is an exception and whether it still holds.
type PolicyException struct {
	policy.Exception
	Expired bool `json:"expired"`
}

// PolicyVEX is an OpenVEX document that the policy takes.
type PolicyVEX struct {
	File       string        `json:"file"`
	Digest     digest.Digest `json:"digest"`
	Author     string        `json:"author"`
	Statements int           `json:"statements"`
	Expires    string        `json:"expires,omitempty"`
	Expired    bool          `json:"expired"`
}

// Policy reads a policy and all that it names, and says what is in it.
func Policy(w World, req PolicyRequest) (*PolicyResult, error) {
	p, err := loadPolicy(req)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, usage("there is no %s in this folder or above: name the policy, or write one that begins with version: 1", policy.FileName)
	}
	return describePolicy(p, w.Now()), nil
}

func describePolicy(p *loadedPolicy, now time.Time) *PolicyResult {
	r := &PolicyResult{File: p.path, Digest: p.policy.Digest, Clauses: policy.Explain(p.policy)}
	var next time.Time
	hold := func(u policy.Until) bool {
		if u.Over(now) {
			return false
		}
		if !u.End.IsZero() && (next.IsZero() || u.End.Before(next)) {
			next, r.Next = u.End, u.Text
		}
		return true
	}
	for _, e := range p.policy.Exceptions {
		r.Exceptions = append(r.Exceptions, PolicyException{Exception: e, Expired: !hold(e.Expires)})
	}
	for _, v := range p.vex {
		r.VEX = append(r.VEX, PolicyVEX{
			File: v.File, Digest: v.Digest, Author: v.Author, Statements: v.Statements(),
			Expires: v.Expires.Text, Expired: !hold(v.Expires),
		})
	}
	return r
}

// loadedPolicy is a policy with the documents that it names.
type loadedPolicy struct {
	path   string
	policy *policy.Policy
	vex    []*policy.VEX
	// text and documents are the bytes that were read, to go into a bundle.
	text      []byte
	documents [][]byte
}

// loadPolicy reads the policy asked for, or the one that is found; nil where
// none was asked for and there is none.
func loadPolicy(req PolicyRequest) (*loadedPolicy, error) {
	path := req.File
	if path == "" {
		var err error
		if path, err = findPolicy(req.Dir); path == "" || err != nil {
			return nil, err
		}
	}
	text, err := readLimited(path, policy.MaxSize)
	if err != nil {
		return nil, &policy.Error{File: path, Detail: err.Error()}
	}
	p, err := policy.Parse(path, text)
	if err != nil {
		return nil, err
	}
	l := &loadedPolicy{path: path, policy: p, text: text}
	for _, source := range p.VEX {
		if err := l.loadVEX(source); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// loadVEX reads a document from the policy's own folder or below, so that they
// travel together: no link leads out of it either.
func (l *loadedPolicy) loadVEX(source policy.VEXSource) error {
	if !filepath.IsLocal(source.File) {
		return &policy.Error{File: l.path, Detail: fmt.Sprintf("vex: %s does not lie in the policy's folder", source.File)}
	}
	b, err := readBelow(filepath.Dir(l.path), source.File, policy.MaxVEX)
	if err != nil {
		return &policy.Error{File: l.path, Detail: "vex: " + err.Error()}
	}
	v, err := policy.ParseVEX(source, b)
	if err != nil {
		return err
	}
	l.vex, l.documents = append(l.vex, v), append(l.documents, b)
	return nil
}

// nearlyPolicy is how some spell policy.FileName. A gate that is not there for
// two letters would be none.
const nearlyPolicy = "ferry.policy.yml"

// findPolicy looks for ferry.policy.yaml in dir and above; "" where there is
// none. One that cannot be looked at is an error: it may be there.
func findPolicy(from string) (string, error) {
	dir, err := filepath.Abs(from)
	if err != nil {
		return "", err
	}
	path, err := policyAbove(dir)
	if path != "" || err != nil {
		return path, err
	}
	// Whoever came here by a link is below the folders of the place itself too.
	real, err := filepath.EvalSymlinks(dir)
	if err != nil || real == dir {
		return "", err
	}
	return policyAbove(real)
}

func policyAbove(dir string) (string, error) {
	for {
		for _, name := range []string{policy.FileName, nearlyPolicy} {
			path := filepath.Join(dir, name)
			_, err := os.Lstat(path)
			switch {
			case err == nil && name == nearlyPolicy:
				return "", &policy.Error{File: asTyped(path), Detail: "it is looked for under the name " + policy.FileName + ": rename it, or name it with --policy"}
			case err == nil:
				return asTyped(path), nil
			case !errors.Is(err, fs.ErrNotExist):
				return "", &policy.Error{File: path, Detail: err.Error()}
			}
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", nil
		}
		dir = up
	}
}

// asTyped names path as somebody who works in this folder would, where that
// leads to the same file: below a link .. is another folder.
func asTyped(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && len(rel) < len(path) && sameFile(rel, path) {
		return rel
	}
	return path
}

func sameFile(a, b string) bool {
	x, errX := os.Lstat(a)
	y, errY := os.Lstat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// readBelow is readLimited of a file that lies in dir or below, wherever links
// lead.
func readBelow(dir, name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// readLimited reads a whole file of at most limit bytes, and one byte more, by
// which the reader of it sees that it is too long.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}
