package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry/internal/ref"
)

// aboutPulls says whether a cause is one where it matters what the node holds
// already.
func aboutPulls(l Label) bool {
	return !slices.Contains([]Label{PlatformMismatch, InvalidName, RuntimeDown, DiskFull, SandboxImage, SignaturePolicy}, l)
}

// subject is an image that a node should run.
type subjectOnNode struct{ image, node string }

// withNodeImages adds whether the nodes list the images, and what follows from
// that and the pull policy.
func (v view) withNodeImages(g Finding) Finding {
	if !aboutPulls(g.Cause.Cause) {
		return g
	}
	var done []subjectOnNode
	var ignored []Symptom // where the image is held under its name, and not taken
	everywhere := true
	for _, s := range g.symptoms {
		at := subjectOnNode{imageName(cmp.Or(s.Image, g.Image)), s.Node}
		n := v.node(s.Node)
		if slices.Contains(done, at) {
			continue
		}
		if n == nil || s.Image == "" || len(done) >= maxSubjects {
			everywhere = false // as far as is known
			continue
		}
		done = append(done, at)
		held := n.holds(s.Image)
		g = g.Add(n.imageCheck(at.image, held))
		if held != "" {
			g = g.Explain(v.whyNotUsed(s, *n, held))
		}
		if ignores(s, held) {
			ignored = append(ignored, s)
		} else {
			everywhere = false
		}
	}
	if len(ignored) > 0 {
		g.Remedies = v.policyFirst(g, ignored[0], everywhere)
	}
	if g.Cause.Cause == NeverPull && g.Because == "" {
		g = g.Explain(v.mayHeal(g))
	}
	return g
}

// ignores says that the kubelet would take an image which the node holds, if
// the policy let it.
func ignores(s Symptom, held string) bool {
	return s.Policy == "Always" && held != "" && (held != s.Image || held == imageName(s.Image))
}

// policyFirst puts first what makes the kubelet take the image that a node
// holds. Where all nodes hold it, the policy alone is enough.
func (v view) policyFirst(g Finding, s Symptom, everywhere bool) []Remedy {
	e := newEnv(g.Cause.Cause, g.Detail, v.setting(s))
	if e.workload() == "" {
		return g.Remedies
	}
	first := carry(e)
	if everywhere {
		first = append(first, patchPolicy(e, s.Kind)...)
	}
	others := slices.DeleteFunc(slices.Clone(g.Remedies), func(r Remedy) bool {
		return len(r.Argv) > 1 && r.Argv[0] == "ferry" && r.Argv[1] == "fix"
	})
	return append(first, others...)
}

// patchPolicy sets the policy alone, in the template of what makes pods anew.
func patchPolicy(e env, place string) []Remedy {
	list := map[string]string{MainContainer: "containers", InitContainer: "initContainers"}[place]
	if list == "" || e.Container == "" || !slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, e.Kind) {
		return nil
	}
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{%q:[{"name":%q,"imagePullPolicy":"IfNotPresent"}]}}}}`, list, e.Container)
	return one(do("or set the policy alone: the nodes hold the image", "new pods of "+e.workload()+" take the image that their node holds",
		e.kubectl("patch", strings.ToLower(e.Kind), e.Name, "-p", patch)...))
}

// holds returns the name under which the node lists the image; "" if it does
// not.
func (n Node) holds(image string) string {
	for _, name := range NodeNames(image) {
		if slices.Contains(n.Images, name) {
			return name
		}
	}
	return ""
}

// imageCheck says in words what the node's list of images tells. That an image
// is missing there proves nothing, and is said so.
func (n Node) imageCheck(image, held string) Check {
	if held != "" {
		return Check{Name: "node-image", Result: CheckOK, Text: fmt.Sprintf("node %s lists %s among its images", n.Name, held)}
	}
	text := fmt.Sprintf("node %s does not list the image %s (it lists %d; absence is no proof)", n.Name, image, n.Listed)
	return Check{Name: "node-image", Result: CheckUnknown, Text: text}
}

// whyNotUsed says why an image that the node lists is not taken.
func (v view) whyNotUsed(s Symptom, n Node, held string) string {
	if full := imageName(s.Image); held == s.Image && held != full {
		return fmt.Sprintf("The node holds the image as %s, and the kubelet looks for %s: it has to be stored under its full name.", held, full)
	}
	switch s.Policy {
	case "Always":
		why := ""
		if isLatest(s.Image) {
			why = ", which is what Kubernetes sets for the tag latest"
		}
		return fmt.Sprintf("The node has the image, but imagePullPolicy is Always%s: the kubelet asks the registry each time.", why)
	case "Never", "IfNotPresent":
		return fmt.Sprintf("The node has the image, and kubelet %s still does not let this pod use it: most likely it was once pulled with a pull secret that this pod does not have (KEP-2535), which looks like absence on purpose.", n.Kubelet)
	}
	return ""
}

// isLatest says whether Kubernetes gives image the policy Always by default.
func isLatest(image string) bool {
	n, err := ref.Parse(image)
	return err == nil && n.Tag() == "latest"
}

// mayHeal says what else "not present" can mean right after a pod was made.
func (v view) mayHeal(g Finding) string {
	var newest time.Time
	for _, s := range g.symptoms {
		if p := v.pod(s.Pod); p != nil && p.Created.After(newest) {
			newest = p.Created
		}
	}
	if newest.IsZero() || v.Now.Sub(newest) > time.Minute {
		return ""
	}
	return "The pod is younger than a minute: while another pull of this image is under way on the node, the kubelet says the same, and it heals by itself."
}

// withPlatforms adds what the nodes are, where an image is of another kind.
func (v view) withPlatforms(g Finding) Finding {
	if g.Cause.Cause != PlatformMismatch {
		return g
	}
	platforms := map[string][]string{}
	for _, name := range g.Nodes {
		if n := v.node(name); n != nil && n.Platform() != "" {
			platforms[n.Platform()] = append(platforms[n.Platform()], n.Name)
		}
	}
	for p, nodes := range platforms {
		g.Checks = append(g.Checks, Check{Name: "platform", Result: CheckNo, Text: fmt.Sprintf("%s %s", listed(nodes, "node", "nodes"), "runs "+p)})
	}
	slices.SortFunc(g.Checks, func(a, b Check) int { return cmp.Compare(a.Text, b.Text) })
	return g
}

// listed writes names with their noun, and no more than a few of them.
func listed(names []string, one, many string) string {
	const most = 3
	noun := many
	if len(names) == 1 {
		noun = one
	}
	text := noun + " " + strings.Join(names[:min(len(names), most)], ", ")
	if n := len(names) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
