package diagnose

import (
	"net/url"
	"slices"
	"strings"
)

// matter is something else than an image that a text can be about. To say so
// is the answer then: the errors in it are of the same words as those of a
// pull, and mean another thing.
type matter struct {
	kind  kind
	about string // "the text is about …"
	texts []string
	// weight is sole where the text cannot be about a pull too.
	weight weight
	// look is where the cause stands.
	look    string
	command []string
}

const (
	otherRequest kind = "other: request"
	otherProgram kind = "other: program"
)

const notAboutImages = "the text is not about an image that could not be had"

func matters() []matter { return slices.Concat(clusterMatters(), containerMatters()) }

func kubectl(args ...string) []string { return append([]string{"kubectl"}, args...) }

func clusterMatters() []matter {
	return []matter{
		{
			"other: network", "the pod's network, which a CNI plugin makes",
			[]string{
				"network for sandbox", "network for pod", "networkplugin cni", `plugin type="`, "no networks found in", "failed to find plugin",
				"failed to set up pod network",
			},
			sole, "see whether the network plugin's own pods run", kubectl("get", "pods", "-A", "-o", "wide"),
		},
		{
			"other: server", "the Kubernetes API server, or a webhook that it asks",
			[]string{
				"unable to connect to the server", "the connection to the server", "logged in to the server", "cannot list resource", "cannot get resource",
				"cannot create resource", "cannot watch resource", "failed calling webhook", "failed to call webhook", "kubernetes cluster unreachable",
				"failed to list *v1", "failed to watch *v1", "couldn't get current server api group list", "etcd-endpoints", "etcdserver:",
			},
			sole, "see whether it answers, and as whom it knows you", kubectl("cluster-info"),
		},
		{
			"other: quota", "what the cluster lets this namespace create",
			[]string{"exceeded quota", "violates podsecurity", "unable to validate against any security context constraint"},
			sole, "see the quotas", kubectl("get", "resourcequotas", "-A"),
		},
		{
			"other: volume", "a volume that cannot be mounted",
			[]string{"mountvolume", "unable to attach or mount", "attachvolume", "persistentvolumeclaim"},
			sole, "see the volumes and what claims them", kubectl("get", "persistentvolumeclaims,persistentvolumes", "-A"),
		},
		{
			"other: scheduling", "a node for the pod, which the scheduler does not find",
			[]string{"nodes are available", "insufficient memory", "insufficient cpu", "didn't match pod"},
			sole, "see what the nodes have left", kubectl("describe", "nodes"),
		},
	}
}

func containerMatters() []matter {
	return []matter{
		{
			"other: probe", "a probe of a container that runs",
			[]string{"liveness probe", "readiness probe", "startup probe"},
			sole, "see which pods are not ready", kubectl("get", "pods", "-A"),
		},
		{
			"other: configuration", "the container's configuration: a ConfigMap or a Secret that is not there",
			[]string{`error: configmap "`, `error: secret "`, "couldn't find key", "createcontainerconfigerror"},
			sole, "see which there are", kubectl("get", "configmaps,secrets", "-A"),
		},
		{
			"other: memory", "memory: a container was killed for what it used, or the node ran short",
			[]string{"oomkilled", "low on resource: memory", "low on resource: pids"},
			hint, "see what the nodes have left", kubectl("describe", "nodes"),
		},
		{
			otherProgram, "a container that starts and ends again: its image is there",
			[]string{"crashloopbackoff", "back-off restarting failed container"},
			hint, "read the log of its last run", kubectl("logs", "POD", "--previous"),
		},
		{
			"other: start", "a program that cannot be started: its image is on the node",
			[]string{
				"oci runtime create failed", "runc create failed", "failed to create shim", "unable to start container process", "executable file not found",
				"failed to create containerd container", "failed to start container",
			},
			hint, "see what the container is told to run", kubectl("describe", "pods", "-A"),
		},
		{
			"other: wait", "a wait that ran out: it does not say for what",
			[]string{"timed out waiting for the condition", "timed out waiting for pod", "failed: resource not ready", "exceeded its progress deadline"},
			sole, "see which pods are not ready, and why", kubectl("get", "pods", "-A"),
		},
		{
			"other: download", "another program's download",
			[]string{"fatal: unable to access", "unable to clone", "npm err!", "could not find a version that satisfies", "failed to fetch http", "/simple/"},
			sole, "", nil,
		},
		{
			otherRequest, "a request to a server that is no registry, as far as it shows",
			nil, sole, "", nil,
		},
	}
}

func matterWords() []words {
	var all []words
	for _, m := range matters() {
		all = append(all, words{kind: m.kind, texts: m.texts})
	}
	return all
}

func matterRules() []rule {
	var all []rule
	for _, m := range matters() {
		all = append(all, rule{kind: m.kind, label: Unknown, sure: Possible, weight: m.weight})
	}
	return all
}

// tell says in c what the text is about instead of an image.
func (m matter) tell(c *Cause) {
	c.Title = notAboutImages
	c.Meaning = "It is about " + m.about + ". What ferry explains are failed pulls."
	c.Remedies, c.Verify = []Remedy{}, nil
	if m.command != nil {
		c.Remedies = append(c.Remedies, do(m.look, "", m.command...))
	}
}

// matterOf returns the matter that a fault is of.
func matterOf(k kind) (matter, bool) {
	all := matters()
	i := slices.IndexFunc(all, func(m matter) bool { return m.kind == k })
	if i < 0 {
		return matter{}, false
	}
	return all[i], true
}

// pullFailed says whether a text tells of a failed pull, whatever else it is
// about.
func pullFailed(low string) bool {
	return containsAny(low, "failed to pull", "errimagepull", "error pulling image", "image pull failed", "unable to pull", "failed to get sandbox image", "failed pulling image")
}

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(s, p) })
}

// ofImages says whether a text speaks of images, or of what handles them.
func (t *trace) ofImages() bool {
	return len(t.images) > 0 ||
		containsAny(lower(t.text), "image", "manifest", "registry", "repository", "sha256", "docker", "container", "cri-o", "podman", "layer", "blob", "kubelet", "/v2/")
}

// foreign says whether a fault is of a request to something that is no
// registry, in a text that does not speak of images.
func (t *trace) foreign(f fault) bool {
	if t.ofImages() {
		return false
	}
	if f.url != "" {
		return !registryURL(f.url)
	}
	_, port, _ := strings.Cut(f.address, ":")
	return slices.Contains([]string{"22", "25", "2379", "2380", "3306", "5432", "5672", "6379", "6443", "9042", "9092", "9200", "10250", "11211", "27017"}, port)
}

// registryURL says whether a URL can be one of a registry, its token service
// or its blob store: the last two have whatever path they like.
func registryURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil {
		return true
	}
	return u.Path == "" || u.Path == "/" || u.RawQuery != "" || phaseOf(u.Path) != "" ||
		containsAny(u.Path, "/v1/", "/v2", "token", "auth", "oci")
}
