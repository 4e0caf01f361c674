package scanner

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/filetree"
	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft/sbom"
)

// shownUnread are enough warnings of one kind.
const shownUnread = 3

// unread looks at the files that syft could not make anything of. A list of a
// package manager among them is an error: all of its packages may be missing.
// Of others, broken archives as a rule, there are warnings.
func unread(seen *image.Image, list *sbom.SBOM) (warnings []string, err error) {
	var all []string
	for at, reasons := range list.Artifacts.Unknowns {
		text := at.RealPath + ": " + strings.Join(reasons, "; ")
		if isPackageList(at.RealPath) && !isEmpty(seen, at.RealPath) {
			return nil, fmt.Errorf("its list of packages cannot be read: %s", text)
		}
		if path.Ext(at.RealPath) == ".md5sums" {
			continue // beside the lists of distroless images, and none
		}
		all = append(all, "could not be read: "+text)
	}
	slices.Sort(all)
	if more := len(all) - shownUnread; more > 0 {
		all = append(all[:shownUnread], fmt.Sprintf("%d more files could not be read", more))
	}
	return all, nil
}

// plainReasons makes the reasons why syft could not read something the same whenever
// and wherever it looks: it names temporary files and numbers of its own in
// them, and they stand in the SBOM. The same image gives the same bytes.
func plainReasons(list *sbom.SBOM) {
	for at, reasons := range list.Artifacts.Unknowns {
		for i, reason := range reasons {
			reasons[i] = plainReason(reason)
		}
		slices.Sort(reasons)
		list.Artifacts.Unknowns[at] = slices.Compact(reasons)
	}
}

// plainReason keeps who could not read it and, behind the last colon, what is wrong
// with it; all between is how syft got there.
func plainReason(reason string) string {
	who, why, found := strings.Cut(reason, ": ")
	if !found {
		return reason
	}
	if i := strings.LastIndex(why, ": "); i >= 0 {
		why = why[i+2:]
	}
	if strings.ContainsAny(why, "<=") || strings.Contains(why, os.TempDir()) {
		return who
	}
	return who + ": " + why
}

// isPackageList says whether a file is where a package manager keeps what is
// installed: dpkg, apk, or rpm in one of its three forms.
func isPackageList(name string) bool {
	dir, base := path.Split(name)
	switch base {
	case "status":
		return strings.HasSuffix(dir, "/lib/dpkg/")
	case "installed":
		return strings.HasSuffix(dir, "/lib/apk/db/")
	case "Packages", "Packages.db", "rpmdb.sqlite":
		return strings.HasSuffix(dir, "/rpm/")
	}
	return false
}

// isEmpty says whether a file has no bytes: a list of nothing is no damage.
func isEmpty(seen *image.Image, name string) bool {
	exists, at, err := seen.SquashedTree().File(file.Path(name), filetree.FollowBasenameLinks)
	if err != nil || !exists || at == nil || at.Reference == nil {
		return false
	}
	entry, err := seen.FileCatalog.Get(*at.Reference)
	return err == nil && entry.Size() == 0
}
