package scanner

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/filetree"
	"github.com/anchore/stereoscope/pkg/filetree/filenode"
	"github.com/anchore/stereoscope/pkg/image"
)

// addFolders tells the library of the folders that no layer has an entry for.
// Many builders write var/lib/dpkg/status.d/zlib1g and none of the folders
// that it lies in, which every runtime makes by itself. The library finds
// folders by their entries alone: what it looks for in status.d it would not
// find, and say that nothing is there.
//
// It looks at the image as it is in the end, with what upper layers took away
// or turned into links: only what is a folder there is told of.
func addFolders(seen *image.Image) error {
	if len(seen.Layers) == 0 {
		return nil
	}
	tree, ok := seen.SquashedTree().(filetree.ReadWriter)
	index, known := seen.FileCatalog.(*image.FileCatalog)
	if !ok || !known {
		return fmt.Errorf("%T and %T are not what they were", seen.SquashedTree(), seen.FileCatalog)
	}
	f := folders{seen: seen, tree: tree, index: index, untold: foldersWithoutEntry(tree)}
	f.findLayers()
	if err := f.tell(); err != nil || len(f.links) == 0 {
		return err
	}
	if err := f.throughLinks(); err != nil {
		return err
	}
	seen.SquashedSearchContext = filetree.NewSearchContext(tree, index)
	return nil
}

// folders are those of one image.
type folders struct {
	seen   *image.Image
	tree   filetree.ReadWriter
	index  *image.FileCatalog
	untold []file.Path                // folders without an entry, sorted
	by     map[file.Path]*image.Layer // the last layer that has something in one
	links  map[file.Path]bool         // what is a symbolic link in some layer
}

// foldersWithoutEntry are sorted, so that the same image is told of in the
// same order.
func foldersWithoutEntry(tree filetree.Reader) []file.Path {
	var all []file.Path
	for f := range nodes(tree) {
		if f.FileType == file.TypeDirectory && f.Reference == nil && f.RealPath != file.DirSeparator {
			all = append(all, f.RealPath)
		}
	}
	slices.Sort(all)
	return all
}

func nodes(tree filetree.Reader) func(func(*filenode.FileNode) bool) {
	return func(yield func(*filenode.FileNode) bool) {
		for _, n := range tree.TreeReader().Nodes() {
			if f, ok := n.(*filenode.FileNode); ok && !yield(f) {
				return
			}
		}
	}
}

func (f *folders) findLayers() {
	f.by, f.links = map[file.Path]*image.Layer{}, map[file.Path]bool{}
	for _, name := range f.untold {
		f.by[name] = f.seen.Layers[0]
	}
	for _, l := range f.seen.Layers {
		for n := range nodes(l.Tree) {
			switch {
			case n.FileType == file.TypeSymLink:
				f.links[n.RealPath] = true
			case n.FileType == file.TypeDirectory && f.by[n.RealPath] != nil:
				f.by[n.RealPath] = l
			}
		}
	}
}

// tell makes the entries that a builder left out.
func (f *folders) tell() error {
	for _, name := range f.untold {
		ref, err := f.tree.AddDir(name)
		if err != nil {
			return err
		}
		f.index.Add(*ref, entry(name, file.TypeDirectory, fs.ModeDir|0o755, ""), f.by[name], nil)
	}
	return nil
}

// entry is what a tar would have said.
func entry(name file.Path, kind file.Type, mode fs.FileMode, to string) file.Metadata {
	return file.Metadata{
		Path: string(name), Type: kind, LinkDestination: to,
		FileInfo: file.ManualInfo{NameValue: path.Base(string(name)), ModeValue: mode, ModTimeValue: time.Unix(0, 0).UTC()},
	}
}

// throughLinks looks at folders without an entry that stand where a lower
// layer has a link, as lib/x does above lib -> usr/lib. Runtimes differ there:
// with overlayfs the folder hides the link, where layers are unpacked above
// each other the link stays and leads to x. What either of them shows is looked
// into, so what was to be seen through the link alone gets a link of its own.
func (f *folders) throughLinks() error {
	for _, name := range f.untold {
		if !f.links[name] {
			continue
		}
		lower := f.lastLinked(name)
		if lower == nil {
			continue
		}
		if err := complete(lower.SquashedTree); err != nil {
			return err
		}
		if err := f.show(name, lower); err != nil {
			return err
		}
	}
	return nil
}

// lastLinked is the last layer up to which a folder is a link.
func (f *folders) lastLinked(name file.Path) *image.Layer {
	for _, l := range slices.Backward(f.seen.Layers) {
		_, at, err := l.SquashedTree.File(name)
		if err != nil || at == nil || !at.HasReference() || at.RealPath != name {
			continue
		}
		if e, err := f.index.Get(*at.Reference); err == nil && e.Type == file.TypeSymLink {
			return l
		}
	}
	return nil
}

// complete gives each folder of a tree a reference, which says where it is.
func complete(tree filetree.Reader) error {
	w, ok := tree.(filetree.Writer)
	if !ok {
		return fmt.Errorf("%T is not what it was", tree)
	}
	for _, name := range foldersWithoutEntry(tree) {
		if _, err := w.AddDir(name); err != nil {
			return err
		}
	}
	return nil
}

// show makes links to what lower has in a folder by its name, and the image
// has not.
func (f *folders) show(folder file.Path, lower *image.Layer) error {
	listed, err := lower.SquashedTree.ListPaths(folder)
	if err != nil {
		return err
	}
	slices.Sort(listed)
	for _, name := range listed {
		exists, at, err := f.tree.File(name)
		switch {
		case err != nil:
			continue // a link in a circle, which no runtime follows
		case !exists:
			err = f.link(name, lower)
		case f.isFolder(name, at):
			err = f.show(name, lower)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *folders) isFolder(name file.Path, at *file.Resolution) bool {
	if at == nil || !at.HasReference() || at.RealPath != name {
		return false
	}
	e, err := f.index.Get(*at.Reference)
	return err == nil && e.Type == file.TypeDirectory
}

// link leads to what a folder hides, if that is still there.
func (f *folders) link(name file.Path, lower *image.Layer) error {
	exists, at, err := lower.SquashedTree.File(name)
	if err != nil || !exists || at == nil || !at.HasReference() || !f.tree.HasPath(at.RealPath) {
		return nil //nolint:nilerr // nothing is there that could be looked into
	}
	to := at.RealPath
	ref, err := f.tree.AddSymLink(name, to)
	if err != nil {
		return err
	}
	f.index.Add(*ref, entry(name, file.TypeSymLink, fs.ModeSymlink|0o777, string(to)), lower, nil)
	return nil
}
