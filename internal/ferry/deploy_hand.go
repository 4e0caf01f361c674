package ferry

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"ferry/internal/diagnose"
	"ferry/internal/ref"
)

// DeployByHand is what a person would type instead, before anything is applied.
type DeployByHand struct {
	// Rewrite makes the manifests fit for inside, in the folder inside.
	Rewrite []string `json:"rewrite"`
	// Trust makes a folder of the authorities that ferry was told to trust,
	// for Images and the logins; nothing where it was told none.
	Trust [][]string `json:"trust,omitempty"`
	// Images ask the registry, once for each image.
	Images [][]string `json:"images"`
}

// byHandFolder is where a person would have the manifests for inside.
const byHandFolder = "inside"

// byHand says what a person would type for each step.
func (d *deploying) byHand() {
	given := d.world.Given
	d.result.ByHand = DeployByHand{Rewrite: d.rewriteByHand(), Trust: given.trust(), Images: [][]string{}}
	for _, i := range d.result.Rewrite.Images {
		n, err := ref.Parse(i.Inside)
		if err != nil {
			continue // it has no name inside
		}
		argv := given.typed("skopeo", "inspect", n.Docker())
		if !slices.ContainsFunc(d.result.ByHand.Images, func(a []string) bool { return slices.Equal(a, argv) }) {
			d.result.ByHand.Images = append(d.result.ByHand.Images, argv)
		}
	}
	for i := range d.result.Objects {
		o := &d.result.Objects[i]
		// A file is applied as a whole, with its first object.
		if !slices.ContainsFunc(d.result.Objects[:i], func(other DeployObject) bool { return other.File == o.File }) {
			o.ByHand = d.applyByHand(*o)
		}
		if o.Kind == definition {
			o.ByHand = append(o.ByHand, []string{"kubectl", "wait", "--for=condition=Established", "crd/" + o.Name})
		}
		o.ByHand, o.Watch = given.allTyped(o.ByHand), given.typed(o.watchByHand()...)
	}
	for i := range d.result.Logins {
		l := &d.result.Logins[i]
		l.ByHand, l.Remedy = given.typed(l.ByHand...), given.allTyped(l.Remedy)
	}
}

func (d *deploying) rewriteByHand() []string {
	req := d.req.Rewrite
	argv := []string{"ferry", "rewrite"}
	add := func(flag, value string) {
		if value != "" {
			argv = append(argv, flag, value)
		}
	}
	for _, p := range req.Paths {
		add("-f", p)
	}
	add("--registry", req.Registry)
	if req.Flatten {
		argv = append(argv, "--flatten")
	}
	add("--bundle", req.Bundle)
	add("--lock", req.Lock)
	if req.PullPolicy != "IfNotPresent" {
		add("--pull-policy", req.PullPolicy)
	}
	for _, p := range req.ImagePaths {
		add("--image-path", p)
	}
	return append(argv, "--to", byHandFolder)
}

func (d *deploying) applyByHand(o DeployObject) [][]string {
	rel := o.File
	for _, f := range d.result.Rewrite.Files {
		if f.File == o.File {
			rel = cmp.Or(f.rel, o.File)
		}
	}
	argv := []string{"kubectl", "apply", "--server-side", "-f", filepath.Join(byHandFolder, rel)}
	if d.req.Force {
		argv = append(argv, "--force-conflicts")
	}
	here, elsewhere, unnamed := d.env.Cluster.Place().Namespace, false, false
	for _, other := range d.result.Objects {
		if other.File == o.File && other.Namespace != "" {
			elsewhere = elsewhere || other.named && other.Namespace != here
			unnamed = unnamed || !other.named
		}
	}
	switch {
	case !unnamed:
		return [][]string{argv}
	case elsewhere:
		// kubectl refuses a file with an object of another namespace than -n.
		context := cmp.Or(d.world.Given.Context, "--current")
		return [][]string{{"kubectl", "config", "set-context", context, "--namespace", here}, argv}
	}
	return [][]string{append(argv, "-n", here)}
}

// watchByHand is how a person would wait for an object's pods.
func (o DeployObject) watchByHand() []string {
	if !o.Waits {
		return nil
	}
	return watchByHand(diagnose.Object{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name})
}

func watchByHand(o diagnose.Object) []string {
	at := strings.ToLower(o.Kind) + "/" + o.Name
	switch o.Kind {
	case "Job":
		return []string{"kubectl", "wait", "--for=condition=complete", at, "-n", o.Namespace}
	case "Pod":
		return []string{"kubectl", "wait", "--for=condition=ready", at, "-n", o.Namespace}
	}
	return []string{"kubectl", "rollout", "status", at, "-n", o.Namespace}
}
