// Package diagnose tells why an image did not arrive: from the text that a
// failed pull leaves to its causes, each with how sure that is, its evidence
// and its remedies. It also holds the lessons that explain each cause.
//
// A message is parsed (trace.go: what wraps what, down to the innermost
// error), the parts are looked up in a table of wordings (words.go), and a
// table of rules over the result names the cause (rules.go).
//
// It is not for asking anyone: it reaches neither network, processes nor
// clock. Texts in its results are foreign, but for secrets, which are
// redacted: whoever prints them uses package quote.
package diagnose

import (
	"maps"
	"slices"
)

// Label is the short, stable name of a cause: dns-timeout.
type Label string

// Confidence says how sure a cause is.
type Confidence string

// The confidences, surest first.
const (
	Certain  Confidence = "certain"  // the evidence proves it
	Likely   Confidence = "likely"   // nothing fits better
	Possible Confidence = "possible" // it would fit
)

// rank orders confidences; less is surer.
func (c Confidence) rank() int {
	return slices.Index([]Confidence{Certain, Likely, Possible}, c)
}

// Report says why an image did not arrive. No causes: nothing is wrong in
// what was read.
type Report struct {
	// Image is the one that the first cause is about, as the text names it;
	// empty where it names none.
	Image  string  `json:"image"`
	Causes []Cause `json:"causes"`
}

// Cause is one reason why images did not arrive.
type Cause struct {
	Cause      Label      `json:"cause"`
	Confidence Confidence `json:"confidence"`
	// Title says it in a line, Meaning in two sentences.
	Title   string `json:"title"`
	Meaning string `json:"meaning,omitempty"`
	// Image, and Objects (Pod default/my-web-1) that it hit; Seen is how often
	// the text has it, as events count.
	Image   string   `json:"image,omitempty"`
	Objects []string `json:"objects,omitempty"`
	Seen    int      `json:"seen,omitempty"`
	// Evidence is quoted from the text; Checked is what ferry looked up by
	// itself, in sentences.
	Evidence []string `json:"evidence"`
	Checked  []string `json:"checked,omitempty"`
	// Detail are the parts of the error; the keys are the Detail constants.
	Detail map[string]string `json:"detail,omitempty"`
	// Remedies, best first for the cluster at hand.
	Remedies []Remedy `json:"remedies"`
	// Verify is a command that shows whether the claim is true.
	Verify *Remedy `json:"verify,omitempty"`
}

// Keys of Cause.Detail. Only those are there that the text tells.
const (
	DetailHost     = "host"     // registry, token service or blob store that was asked
	DetailResolver = "resolver" // the DNS server, with its port
	DetailAddress  = "address"  // the address that was dialled, with its port
	DetailURL      = "url"      // what was asked for
	DetailStatus   = "status"   // of the HTTP answer
	DetailCode     = "code"     // the registry's error code, or the one of gRPC
	DetailPhase    = "phase"    // how far the pull came: one of the Phase constants
	DetailRuntime  = "runtime"  // containerd, cri-o, docker, podman
	DetailPlatform = "platform" // that was wanted
	DetailSecret   = "secret"   // the pull secret
	DetailSocket   = "socket"   // of the runtime
	DetailProxy    = "proxy"    // that was to be used
	DetailUnder    = "under"    // the cause beneath a pause image's failure
)

// Remedy is something to do.
type Remedy struct {
	// Summary says what it is for.
	Summary string `json:"summary"`
	// Command is Argv as a POSIX shell reads it; empty where nothing can be
	// typed.
	Command string   `json:"command,omitempty"`
	Argv    []string `json:"argv,omitempty"`
	// Changes says what will be different afterwards, and for whom.
	Changes string `json:"changes,omitempty"`
	// Ferry says that ferry does it.
	Ferry bool `json:"ferry,omitempty"`
	// On says where it is typed: "the node"; empty for this machine.
	On string `json:"on,omitempty"`
}

// Setting is what is known of the world around a text. Its zero value is
// right where nothing is: remedies then hold for any cluster.
type Setting struct {
	Image     string // as the pod's spec names it
	Namespace string
	// Kind and Name are the workload's that a person deployed: Deployment,
	// my-web. Pod is the pod's name.
	Kind, Name string
	Pod        string
	Container  string
	// Reason is the event's, or the waiting state's.
	Reason string
	// Policy is the pull policy in force: Always, IfNotPresent, Never.
	Policy string
	// Nodes is the kind of the cluster's nodes, Profile the name that
	// minikube, kind or k3d know the cluster by, and Node the node that failed.
	Nodes   NodeKind
	Profile string
	Node    string
	// Runtime is the node's: containerd://2.2.3, or just containerd.
	Runtime string
	// Platform of the node: linux/arm64.
	Platform string
	// Secrets are the pod's pull secrets, Account its service account.
	Secrets []string
	Account string
}

// NodeKind says what a cluster's nodes are.
type NodeKind string

// The kinds of nodes that remedies differ for.
const (
	Minikube NodeKind = "minikube"
	Kind     NodeKind = "kind"
	K3d      NodeKind = "k3d"
	K3s      NodeKind = "k3s"
	RKE2     NodeKind = "rke2"
	Cloud    NodeKind = "cloud" // EKS, GKE, AKS and the like
)

// Raise returns c with what was looked up to confirm it; the surer of both
// confidences counts.
func (c Cause) Raise(to Confidence, checked ...string) Cause {
	if to.rank() < c.Confidence.rank() {
		c.Confidence = to
	}
	c.Checked = union(c.Checked, checked)
	return c
}

// Merge makes one of causes that say the same of the same image, and orders
// them best first: the surest, of those the one seen most, of those the one
// that came first.
func Merge(causes ...Cause) []Cause {
	merged := []Cause{}
	index := map[[2]string]int{}
	for _, c := range causes {
		key := [2]string{string(c.Cause), c.Image}
		if i, ok := index[key]; ok {
			merged[i] = merged[i].with(c)
			continue
		}
		index[key] = len(merged)
		merged = append(merged, c)
	}
	slices.SortStableFunc(merged, func(a, b Cause) int {
		if d := a.Confidence.rank() - b.Confidence.rank(); d != 0 {
			return d
		}
		return b.Seen - a.Seen
	})
	return merged
}

// with adds what other knows to c, which comes first.
func (c Cause) with(other Cause) Cause {
	c = c.Raise(other.Confidence, other.Checked...)
	c.Seen += other.Seen
	c.Objects = union(c.Objects, other.Objects)
	c.Evidence = union(c.Evidence, other.Evidence)
	if len(c.Remedies) == 0 {
		c.Remedies = other.Remedies
	}
	if c.Verify == nil {
		c.Verify = other.Verify
	}
	detail := maps.Clone(other.Detail)
	if detail == nil {
		detail = map[string]string{}
	}
	maps.Copy(detail, c.Detail)
	c.Detail = detail
	return c
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
