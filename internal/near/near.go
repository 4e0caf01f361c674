// Package near finds what somebody may have meant.
package near

import (
	"cmp"
	"slices"
	"strings"
)

// most is how many are offered.
const most = 3

// Names returns those of have that look most like wanted, the nearest first, at
// most three: a letter or two that are wrong, missing, too many or in the wrong
// order, or that are large and not small. What is longer may differ by more.
func Names(wanted string, have []string) []string {
	type near struct {
		name     string
		distance int
		swapped  bool // it has the same letters
		alike    int  // so long it begins the same
	}
	var found []near
	limit := 1 + len(wanted)/5
	for _, name := range have {
		if len(name) > len(wanted)+limit || len(name) < len(wanted)-limit || name == wanted {
			continue
		}
		if d := distance(strings.ToLower(wanted), strings.ToLower(name)); d <= limit {
			found = append(found, near{name, d, sameLetters(wanted, name), alike(wanted, name)})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int {
		if a.distance == b.distance && a.swapped != b.swapped {
			return map[bool]int{true: -1, false: 1}[a.swapped]
		}
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(b.alike, a.alike), cmp.Compare(b.name, a.name))
	})
	var names []string
	for _, f := range found[:min(len(found), most)] {
		names = append(names, f.name)
	}
	return names
}

func sameLetters(a, b string) bool {
	x, y := []byte(a), []byte(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

func alike(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// distance counts the edits from a to b: a byte changed, added, left out, or
// two neighbours swapped (optimal string alignment).
func distance(a, b string) int {
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
