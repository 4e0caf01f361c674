// Package preflight says whether workloads will find their images inside: what
// is needed, held against what is there. It is pure.
//
// It is not for asking registries or clusters.
package preflight

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Need is what a workload needs.
type Need struct {
	Workload string
	Images   []string
	// Platforms are those of the nodes that its pods may run on; none means
	// that there is no such node, or that it is not known: then Unknown says
	// why.
	Platforms []string
	Unknown   string
}

// There is what is known of an image.
type There struct {
	// Platforms it is there for; none means that it could not be told.
	Platforms []string
	// Err says why it is not there, or cannot be told.
	Err error
}

// Verdict says of a workload whether its images are there.
type Verdict struct {
	Workload string `json:"workload"`
	// Images are what was looked for, Platforms for what.
	Images    int      `json:"images"`
	Platforms []string `json:"platforms,omitempty"`
	// Problems keep it from running; none means that its images are there.
	Problems []Problem `json:"problems,omitempty"`
	// Notes say what was not, or could not be, looked at.
	Notes []string `json:"notes,omitempty"`
}

// Problem is an image that is not as a workload needs it.
type Problem struct {
	Image string `json:"image"`
	Why   string `json:"why"`
	Err   error  `json:"-"`
}

// Check holds needs against what is there.
func Check(needs []Need, there map[string]There) []Verdict {
	var all []Verdict
	for _, n := range needs {
		v := Verdict{Workload: n.Workload, Images: len(n.Images), Platforms: n.Platforms}
		if len(n.Platforms) == 0 {
			why := cmp.Or(n.Unknown, "no node that is ready may take its pods")
			v.Notes = append(v.Notes, why+", so for which platforms its images have to be there is not known")
		}
		for _, img := range n.Images {
			t, ok := there[img]
			switch {
			case !ok:
				v.Problems = append(v.Problems, Problem{Image: img, Why: "it was not looked for"})
			case t.Err != nil:
				v.Problems = append(v.Problems, Problem{Image: img, Why: t.Err.Error(), Err: t.Err})
			case len(t.Platforms) == 0 && len(n.Platforms) > 0:
				v.Notes = append(v.Notes, img+" does not say which platforms it is for")
			default:
				if missing := lacking(n.Platforms, t.Platforms); len(missing) > 0 {
					v.Problems = append(v.Problems, Problem{Image: img, Why: fmt.Sprintf(
						"it is there for %s, and nodes that may get it are %s", strings.Join(t.Platforms, ", "), strings.Join(missing, ", "))})
				}
			}
		}
		all = append(all, v)
	}
	return all
}

// lacking are the platforms of nodes that an image is not there for. A variant
// (linux/arm/v7) serves its architecture.
func lacking(nodes, image []string) []string {
	if len(image) == 0 {
		return nil
	}
	var missing []string
	for _, n := range nodes {
		serves := func(p string) bool { return p == n || strings.HasPrefix(p, n+"/") }
		if !slices.ContainsFunc(image, serves) && !slices.Contains(missing, n) {
			missing = append(missing, n)
		}
	}
	return missing
}
