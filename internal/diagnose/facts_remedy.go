package diagnose

import (
	"slices"

	"ferry/internal/ref"
)

// Renamed returns the remedies of a finding whose image is misspelled: first
// the command that sets the name which was meant.
func Renamed(g Finding, meant ref.Name) []Remedy {
	for _, p := range g.Pods {
		w := p.Workload
		if p.Image == "" || slices.ContainsFunc([]string{p.Container, w.Name, w.Namespace}, func(s string) bool { return !objectName.MatchString(s) }) {
			continue
		}
		e := env{Setting: Setting{Namespace: w.Namespace, Kind: w.Kind, Name: w.Name}}
		set := do("use the name that there is", "new pods of "+e.workload()+" use that image",
			e.kubectl("set", "image", e.workload(), p.Container+"="+meant.Familiar())...)
		others := slices.DeleteFunc(slices.Clone(g.Remedies), func(r Remedy) bool {
			return slices.Contains(r.Argv, "set") && slices.Contains(r.Argv, "image")
		})
		return append([]Remedy{set}, others...)
	}
	return g.Remedies
}
