package diagnose

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ferry/internal/ref"
)

// Finding is one cause, and all that it keeps from running.
type Finding struct {
	Cause
	// Because is what the cluster's facts add to the text's cause, in a
	// sentence: which secret is wrong, which policy does not fit.
	Because string `json:"because,omitempty"`
	// Images are those that it is about, in full; Nodes where it was seen.
	Images []string `json:"images"`
	Nodes  []string `json:"nodes,omitempty"`
	// Workloads and Pods are what it hits.
	Workloads []Affected `json:"workloads"`
	Pods      []HitPod   `json:"pods"`
	// Since is when the first of them began to fail, as far as the cluster
	// remembers.
	Since time.Time `json:"since,omitzero"`
	// Last is when the newest of the texts was seen.
	Last time.Time `json:"last,omitzero"`
	// Checks are what was looked up besides, in the order in which it was.
	Checks []Check `json:"checks,omitempty"`

	symptoms []Symptom
}

// Affected is a workload that does not run as it should.
type Affected struct {
	Object

	Desired int       `json:"desired"`
	Ready   int       `json:"ready"`
	Created time.Time `json:"created,omitzero"`
}

// HitPod is a container of a pod that is hit.
type HitPod struct {
	Object

	Container string `json:"container,omitempty"`
	Node      string `json:"node,omitempty"`
	Image     string `json:"image,omitempty"`
	// Workload is its outermost owner.
	Workload Object `json:"-"`
}

// Explain returns g with a sentence more on why it is so; two are enough.
func (g Finding) Explain(sentence string) Finding {
	switch {
	case sentence == "" || strings.Contains(g.Because, sentence):
	case g.Because == "":
		g.Because = sentence
	case !strings.Contains(g.Because, ". "):
		g.Because += " " + sentence
	}
	return g
}

// Add returns g with checks; what is known already is not said again.
func (g Finding) Add(checks ...Check) Finding {
	for _, c := range checks {
		same := func(have Check) bool { return have.Name == c.Name && have.Text == c.Text }
		if !slices.ContainsFunc(g.Checks, same) {
			g.Checks = append(g.Checks, c)
		}
	}
	return g
}

// Check is something that was looked up to prove or refute a claim.
type Check struct {
	// Name is short and stable: dns, tcp, tls, login, tag, platform, secret,
	// node-image.
	Name string `json:"name"`
	// Result is ok, no, or unknown where it could not be found out.
	Result string `json:"result"`
	// Text says it in a sentence without a full stop.
	Text string `json:"text"`
	// Took is how long it took; 0 for what the cluster's facts tell.
	Took time.Duration `json:"tookNanoseconds,omitempty"`
}

// The results of a check.
const (
	CheckOK      = "ok"
	CheckNo      = "no"
	CheckUnknown = "unknown"
)

// Findings are the causes of everything in f that does not run for the sake
// of an image, most harmful first.
func (f *Facts) Findings() []Finding {
	v := f.view()
	groups := map[string]*Finding{}
	var order []string
	for _, s := range f.Symptoms() {
		c, ok := v.cause(s, v.roughly)
		if !ok {
			continue
		}
		key := groupKey(c, s) + "\x00" + v.loginFault(c, s)
		g := groups[key]
		if g == nil {
			c, _ = v.cause(s, v.reader.Message)
			g = &Finding{Cause: c}
			g.Seen = 0
			groups[key] = g
			order = append(order, key)
		}
		g.symptoms = append(g.symptoms, s)
	}
	findings := []Finding{}
	for _, key := range order {
		g := v.describe(*groups[key])
		g = v.withPlatforms(v.withNodeImages(v.withSecrets(g)))
		findings = append(findings, g)
	}
	slices.SortStableFunc(findings, harm)
	return findings
}

// A reading asks the parser.
type reading func(text string, set Setting) Report

// cause asks the parser. What a cluster says of crashes and sandboxes that
// has nothing to do with images carries no cause, and is left out.
func (v view) cause(s Symptom, read reading) (Cause, bool) {
	set := v.setting(s)
	r := read(s.Text, set)
	if len(r.Causes) == 0 {
		return Cause{}, false
	}
	c := r.Causes[0]
	if c.Cause == Unknown && !AboutImage(s.Reason) && s.Reason != reasonSecret {
		return Cause{}, false
	}
	if s.Reason == reasonCreate && c.Cause != SignaturePolicy {
		return Cause{}, false // a quota, a security policy: the image is not what they mind
	}
	if p := v.pod(s.Pod); p != nil && (aboutLogins(c.Cause) || s.Reason == reasonSecret) {
		return v.missingSecret(c, s, *p, set, read), true
	}
	return c, true
}

// roughly reads a text that was read before from memory, so that thousands of
// pods which fail alike cost little more than one: enough to know with which
// others a text belongs together, but the remedies may be those of another
// pod.
func (v view) roughly(text string, set Setting) Report {
	key := strings.Join([]string{withoutPorts(text), set.Image, set.Reason, set.Policy}, "\x00")
	r, ok := v.read[key]
	if !ok {
		r = v.reader.Message(text, set)
		v.read[key] = r
	}
	return r
}

// withoutPorts takes out what differs each time: the port that the asking side
// had, as in 10.0.0.2:43634->10.0.0.1:53.
func withoutPorts(text string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(text, "->")
		if !ok {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(strings.TrimRight(before, "0123456789"))
		b.WriteString("->")
		text = after
	}
}

// setting is what the facts know of the world around a text.
func (v view) setting(s Symptom) Setting {
	set := Setting{
		Image: s.Image, Namespace: cmp.Or(s.Pod.Namespace, s.Workload.Namespace), Kind: s.Workload.Kind, Name: s.Workload.Name,
		Pod: s.Pod.Name, Container: s.Container, Reason: s.Reason, Policy: s.Policy, Node: s.Node,
	}
	if n := v.node(s.Node); n != nil {
		set.Nodes, set.Profile = n.Kind()
		set.Runtime, set.Platform = n.Runtime, n.Platform()
	}
	if p := v.pod(s.Pod); p != nil {
		set.Secrets, set.Account = p.Secrets, p.Account
	}
	return set
}

// view finds facts by name.
type view struct {
	*Facts

	reader    *Reader
	read      map[string]Report // what roughly remembers
	faults    map[string]string // what loginFault remembers
	pods      map[Object]int
	workloads map[Object]int
	nodes     map[string]int
}

func (f *Facts) view() view {
	v := view{Facts: f, reader: NewReader(), read: map[string]Report{}, faults: map[string]string{}, pods: map[Object]int{}, workloads: map[Object]int{}, nodes: map[string]int{}}
	for i := range f.Pods {
		v.pods[f.Pods[i].Object()] = i
	}
	for i := range f.Workloads {
		v.workloads[f.Workloads[i].Object] = i
	}
	for i := range f.Nodes {
		v.nodes[f.Nodes[i].Name] = i
	}
	return v
}

func (v view) node(name string) *Node {
	if i, ok := v.nodes[name]; ok {
		return &v.Nodes[i]
	}
	return nil
}

func (v view) pod(o Object) *Pod {
	if i, ok := v.pods[o]; ok {
		return &v.Pods[i]
	}
	return nil
}

// groupKey says what failures have to share to have one cause.
func groupKey(c Cause, s Symptom) string {
	d := c.Detail
	parts := []string{string(c.Cause)}
	switch c.Cause {
	case DNSTimeout, DNSServerUnreachable, DNSServerMisbehaving:
		parts = append(parts, d[DetailResolver])
		if d[DetailResolver] == "" {
			parts = append(parts, d[DetailHost])
		}
	case DNSNoSuchHost, ConnectTimeout, ConnectRefused, NoRoute, ConnectionReset, Timeout, Proxy,
		TLSUnknownAuthority, TLSHostnameMismatch, TLSExpired, TLSHandshake, HTTPToHTTPSClient, HTTPSToHTTPClient,
		RateLimited, Registry5xx, RegistryUnavailable, BlockedByRegistry, NonRegistryResponse, CloudCredential:
		parts = append(parts, cmp.Or(d[DetailHost], imageRegistry(s.Image)))
	case AuthRequired, AuthDenied, BadCredentials:
		// What a namespace's secrets are worth differs from the next one's.
		parts = append(parts, cmp.Or(d[DetailHost], imageRegistry(s.Image)), s.Pod.Namespace)
	case SecretMissing:
		parts = append(parts, s.Pod.Namespace, d[DetailSecret])
	case DiskFull, RuntimeDown:
		parts = append(parts, s.Node)
	case SandboxImage:
		parts = append(parts, c.Image)
	default:
		parts = append(parts, imageName(cmp.Or(s.Image, c.Image)))
	}
	return strings.Join(parts, "\x00")
}

func imageRegistry(image string) string {
	n, err := ref.Parse(image)
	if err != nil {
		return image
	}
	return n.Registry()
}

// imageName is the image's full name; what is none stays as it is.
func imageName(image string) string {
	n, err := ref.Parse(image)
	if err != nil {
		return image
	}
	return n.String()
}

// describe fills in what a finding hits.
func (v view) describe(g Finding) Finding {
	g.Images, g.Workloads, g.Pods = []string{}, []Affected{}, []HitPod{}
	images, nodes := map[string]bool{}, map[string]bool{}
	workloads := map[Object]bool{}
	slices.SortStableFunc(g.symptoms, func(a, b Symptom) int { return b.Last.Compare(a.Last) })
	for _, s := range g.symptoms {
		g.Seen += max(s.Count, 1)
		if image := imageName(cmp.Or(s.Image, g.Image)); image != "" && !images[image] {
			images[image] = true
			g.Images = append(g.Images, image)
		}
		if s.Node != "" && !nodes[s.Node] {
			nodes[s.Node] = true
			g.Nodes = append(g.Nodes, s.Node)
		}
		if s.Workload.Name != "" && !workloads[s.Workload] {
			workloads[s.Workload] = true
			g.Workloads = append(g.Workloads, v.affected(s.Workload))
		}
		if s.Pod.Name != "" {
			g.Pods = append(g.Pods, HitPod{Object: s.Pod, Workload: s.Workload, Container: s.Container, Node: s.Node, Image: s.Image})
		}
		if !s.First.IsZero() && (g.Since.IsZero() || s.First.Before(g.Since)) {
			g.Since = s.First
		}
		if s.Last.After(g.Last) {
			g.Last = s.Last
		}
	}
	slices.Sort(g.Images)
	slices.Sort(g.Nodes)
	return g
}

func (v view) affected(o Object) Affected {
	if i, ok := v.workloads[o]; ok {
		w := v.Workloads[i]
		return Affected{Object: o, Desired: w.Desired, Ready: w.Ready, Created: w.Created}
	}
	return Affected{Object: o, Desired: -1}
}

// newer orders findings by when they were seen last. What no event tells is a
// state that stands while it is looked at.
func (g Finding) newer(other Finding) int {
	if g.Last.IsZero() != other.Last.IsZero() {
		if g.Last.IsZero() {
			return -1
		}
		return 1
	}
	return other.Last.Compare(g.Last)
}

// harm orders findings: what keeps most pods from running first; of those the
// surest, of those what was seen last, since that stands now.
func harm(a, b Finding) int {
	return cmp.Or(
		cmp.Compare(len(b.Pods), len(a.Pods)),
		cmp.Compare(len(b.Workloads), len(a.Workloads)),
		cmp.Compare(a.Confidence.rank(), b.Confidence.rank()),
		a.newer(b),
		cmp.Compare(a.Cause.Cause, b.Cause.Cause),
		slices.Compare(a.Images, b.Images),
		slices.Compare(a.Nodes, b.Nodes),
	)
}
