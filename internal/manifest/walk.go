package manifest

import (
	"fmt"
	"strings"
)

// place is where an image stands in the tree.
type place struct {
	entry
	// policy is the key that its pull policy has; "" where none belongs.
	policy string
	// within is the mapping that it was found in: not the holder where a <<
	// or an alias lies between.
	within *node
}

// visit keeps a part that several aliases lead to from being walked again for
// the same purpose: aliases of aliases would be walked for ever.
type visit struct {
	node *node
	as   string
}

type walker struct {
	file  *File
	opts  Options
	seen  map[visit]bool
	roots []root
}

// root is where an object begins.
type root struct {
	node   *node
	object Object
}

// first says whether n is walked as this for the first time.
func (w *walker) first(n *node, as string) bool {
	v := visit{n, as}
	if n == nil || w.seen[v] {
		return false
	}
	w.seen[v] = true
	return true
}

// through notes an alias on the way, and returns what it stands for.
func (w *walker) through(n *node) *node {
	if n != nil && n.kind == alias {
		w.file.walked[n] = true
	}
	return n.real()
}

// entry looks a key up and notes the aliases on the way to it.
func (w *walker) entry(n *node, key string) (entry, bool) {
	e, ok := n.get(key)
	for _, a := range e.via {
		w.through(a)
	}
	return e, ok
}

// step goes to what stands under a key.
func (w *walker) step(n *node, key string) *node {
	e, _ := w.entry(n, key)
	return w.through(e.value)
}

// object walks an object; what it does not say of itself is as in its list.
func (w *walker) object(n *node, o Object) {
	n = w.through(n)
	if n == nil || n.kind != mapping || !w.first(n, "object") {
		return
	}
	if v := n.text("kind"); v != "" {
		o.Kind = v
	}
	if v := n.text("apiVersion"); v != "" {
		o.APIVersion = v
	}
	meta := n.child("metadata")
	o.Name, o.Namespace = meta.text("name"), meta.text("namespace")
	if o.Name == "" {
		o.Name = meta.text("generateName")
		o.Generated = o.Name != ""
	}
	o.Line = w.file.source.line(n.start)
	w.roots = append(w.roots, root{n, o})
	items := w.step(n, "items")
	if of, ok := strings.CutSuffix(o.Kind, "List"); ok && items != nil && items.kind == sequence {
		// Items of a List name their kind; those of a PodList need not.
		inherited := Object{Kind: of, APIVersion: o.APIVersion}
		if of == "" {
			inherited = Object{}
		}
		for _, item := range items.kids {
			w.object(item, inherited)
		}
		return
	}
	if o.Kind == "" {
		return
	}
	w.file.Objects = append(w.file.Objects, o)
	w.workload(n, o)
	for _, p := range w.opts.Paths {
		p.walk(w, n, o)
	}
}

// workload walks to the pod spec of the kinds that have one.
func (w *walker) workload(n *node, o Object) {
	group, _, grouped := strings.Cut(o.APIVersion, "/")
	if !grouped {
		group = ""
	}
	var steps, path string
	switch {
	case group == "" && o.Kind == "Pod":
		steps = "spec"
	case group == "" && o.Kind == "PodTemplate":
		steps = "template spec"
	case group == "batch" && o.Kind == "CronJob":
		steps = "spec jobTemplate spec template spec"
	case group == "" && o.Kind == "ReplicationController",
		group == "batch" && o.Kind == "Job",
		(group == "apps" || group == "extensions") && hasTemplate(o.Kind):
		steps = "spec template spec"
	default:
		return
	}
	for step := range strings.SplitSeq(steps, " ") {
		n, path = w.step(n, step), path+"."+step
	}
	w.podSpec(n, o, path)
}

func hasTemplate(kind string) bool {
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet":
		return true
	}
	return false
}

func (w *walker) podSpec(n *node, o Object, path string) {
	if !w.first(n, "pod") {
		return
	}
	for _, list := range []struct{ key, in string }{
		{"initContainers", "init container"}, {"containers", "container"}, {"ephemeralContainers", "ephemeral container"},
	} {
		w.each(w.step(n, list.key), path+"."+list.key, func(c *node, path string) {
			w.image(c, "image", "imagePullPolicy", Image{Object: o, In: list.in + " " + c.text("name"), Path: path + ".image"})
		})
	}
	w.each(w.step(n, "volumes"), path+".volumes", func(v *node, path string) {
		w.image(w.step(v, "image"), "reference", "pullPolicy", Image{Object: o, In: "volume " + v.text("name"), Path: path + ".image.reference"})
	})
}

func (w *walker) each(list *node, path string, do func(n *node, path string)) {
	if list == nil || list.kind != sequence {
		return
	}
	for i, kid := range list.kids {
		if n := w.through(kid); n != nil && n.kind == mapping {
			do(n, fmt.Sprintf("%s[%d]", path, i))
		}
	}
}

// image notes the image under a key of n.
func (w *walker) image(n *node, key, policy string, img Image) {
	e, ok := w.entry(n, key)
	if !ok || !w.first(n, "holder of "+key) {
		return
	}
	img.Policy, img.HasPolicy = n.text(policy), true
	w.note(place{entry: e, policy: policy, within: n}, img)
}

func (w *walker) note(p place, img Image) {
	v := p.value.real()
	img.Line = w.file.source.line(p.value.start)
	if why := noImage(v); why != "" {
		text := ""
		if why != empty {
			line, _ := w.file.source.rest(p.value.start)
			text = short(string(line))
		}
		w.file.Elsewhere = append(w.file.Elsewhere, Finding{Object: img.Object, Path: img.Path, Text: text, Line: img.Line, Why: why, Image: true})
		return
	}
	img.Name = v.value
	w.file.Images = append(w.file.Images, img)
	w.file.places = append(w.file.places, p)
}

// empty is said of a place that names nothing: null is no text.
const empty = "should be an image and is empty"

// noImage says why what stands in an image's place names none.
func noImage(v *node) string {
	switch {
	case v.kind != scalar:
		// {{ .Values.image }} is a mapping in a mapping to YAML.
		return "should be an image and is no string: a template has to be rendered first"
	case v.tag == "!!null" || v.value == "":
		return empty
	}
	return ""
}
