package diagnose

import (
	"strings"

	"ferry/internal/ref"
)

// carry brings the image to the nodes from here, where this machine can have
// it.
func carry(e env) []Remedy {
	if w := e.workload(); w != "" && e.label != SandboxImage {
		argv := []string{"ferry", "fix", w}
		if e.Namespace != "" {
			argv = append(argv, "-n", e.Namespace)
		}
		return one(do("pull it here, load it where it is needed, set imagePullPolicy, wait",
			"loads the image into the nodes and, where the policy is Always, patches "+w, argv...))
	}
	if e.name == (ref.Name{}) {
		return nil
	}
	if to := e.target(); to != "" {
		return one(do("pull it here and load it into the node", "the node holds the image; a pull policy of Always still asks the registry",
			"ferry", "load", e.image(), "--to", to))
	}
	return []Remedy{
		do("pull it here, into a file", "writes "+e.tarball(), "ferry", "pack", e.image(), "--to", e.tarball()),
		do("load that into the node (or kind, k3s, ssh://HOST)", "the node holds the image; a pull policy of Always still asks the registry",
			"ferry", "load", e.tarball(), "--to", "minikube"),
	}
}

// builtHere takes an image from this machine's engine, where one with so short
// a name was most likely built.
func builtHere(e env) []Remedy {
	if e.name == (ref.Name{}) || strings.Contains(e.Image, "/") || e.workload() != "" {
		return nil
	}
	return one(do("if it was built on this machine: take it from its Docker, into a file", "writes "+e.tarball(),
		"ferry", "pack", "docker-daemon:"+e.image(), "--to", e.tarball()))
}

// target is what ferry load calls the cluster at hand.
func (e env) target() string {
	switch e.Nodes {
	case Minikube, Kind, K3d:
		if e.Profile != "" && e.Profile != string(e.Nodes) {
			return string(e.Nodes) + ":" + e.Profile
		}
		return string(e.Nodes)
	case K3s, RKE2:
		if e.Node != "" {
			return "ssh://" + e.Node
		}
		return string(e.Nodes)
	}
	return ""
}

// mirror sends the image into a registry that the nodes reach.
func mirror(e env) []Remedy {
	if e.Nodes == Minikube || e.Nodes == Kind || e.Nodes == K3d {
		return nil
	}
	return one(do("or let the nodes ask a registry inside first, which ferry push fills", "prints the files that the nodes' runtime reads",
		"ferry", "mirror-config", "--registry", "REGISTRY/PREFIX"))
}

// lesson points to the text that tells more.
func lesson(e env) []Remedy {
	return one(do("what happens inside the node, and the fixes on each kind of cluster", "", "ferry", "explain", string(e.label)))
}

// nodeDNS gives the node a DNS server that answers.
func nodeDNS(e env) []Remedy {
	const server = "1.1.1.1"
	switch e.Nodes {
	case Minikube:
		return one(e.onNode("give the node another DNS server for now", "the node's /etc/resolv.conf, until it restarts; pods follow when CoreDNS restarts",
			"echo nameserver "+server+" | sudo tee /etc/resolv.conf"))
	case Kind, K3d:
		if e.Node != "" {
			return one(e.onNode("give the node another DNS server for now", "the node's /etc/resolv.conf, until it restarts",
				"sh", "-c", "echo nameserver "+server+" > /etc/resolv.conf"))
		}
	case Cloud:
		return advise("let the nodes' subnet reach the DNS server of the cloud: look at DHCP options, firewall rules, NodeLocal DNS", "the whole subnet")
	}
	return one(e.onNode("see which DNS servers the node asks, and put one that answers there (systemd-resolved, NetworkManager or DHCP write the file)", "",
		"cat", "/etc/resolv.conf"))
}

// retry has the kubelet try at once.
func retry(e env) []Remedy {
	if e.Pod == "" && e.name == (ref.Name{}) {
		return advise("try it by hand on the node, and see where it stops: "+e.puller()+" pull IMAGE", "the node holds the image, if it comes")
	}
	if e.Pod == "" {
		return nil
	}
	return one(do("try again now instead of waiting up to 5 minutes", "deletes the pod; its owner, if it has one, makes it anew",
		e.kubectl("delete", "pod", e.Pod)...))
}

// puller is the node's own tool for pulling.
func (e env) puller() string {
	switch {
	case isDocker(e.Runtime):
		return "docker"
	case e.Runtime == "podman":
		return "podman"
	}
	return "sudo crictl"
}

func wait(env) []Remedy {
	return advise("wait: the kubelet tries again by itself, at the latest after 5 minutes", "nothing")
}

// setImage corrects the name in the workload.
func setImage(e env) []Remedy {
	if e.Kind == "" || e.Name == "" {
		return advise("correct the image's name in the manifest, and apply it", "the workload starts new pods")
	}
	container := e.Container
	if container == "" {
		container = "CONTAINER"
	}
	image := "REGISTRY/REPOSITORY:TAG"
	if e.name != (ref.Name{}) && e.label == NotFoundTag {
		image = strings.TrimSuffix(e.name.Familiar(), e.suffix()) + ":TAG"
	}
	return one(do("correct the image's name", "the workload starts new pods",
		e.kubectl("set", "image", strings.ToLower(e.Kind)+"/"+e.Name, container+"="+image)...))
}

// suffix is what follows the repository in the image's name.
func (e env) suffix() string { return strings.TrimPrefix(e.name.String(), e.name.Repository()) }

func fullName(e env) []Remedy {
	if e.name == (ref.Name{}) {
		return setImage(e)
	}
	if e.Kind != "" && e.Name != "" && e.Container != "" {
		return one(do("write the full name, if Docker Hub is meant", "the workload starts new pods",
			e.kubectl("set", "image", strings.ToLower(e.Kind)+"/"+e.Name, e.Container+"="+e.name.String())...))
	}
	return advise("write the full name in the manifest: "+e.name.String()+", if Docker Hub is meant", "the workload starts new pods")
}

// listTags shows what there is.
func listTags(e env) []Remedy {
	if e.name == (ref.Name{}) {
		return nil
	}
	return one(do("see which tags there are", "", "skopeo", "list-tags", "docker://"+e.name.Repository()))
}

// pushIt brings the image into the registry that lacks it.
func pushIt(e env) []Remedy {
	if e.name == (ref.Name{}) || e.name.Registry() == "docker.io" {
		return nil
	}
	return one(do("if the image was never brought there: push it from a bundle", "the registry holds what the bundle holds",
		"ferry", "push", e.tarball(), "--to", e.name.Registry()))
}

// loginFile makes a file with a login for the registry; pullSecret brings it
// into the cluster.
func loginFile(e env) []Remedy {
	if e.cloud != "" {
		return nil
	}
	if e.login() == "" {
		return advise("log in to the registry, into a file of its own: podman login --authfile auth.json REGISTRY", "writes auth.json; asks for name and password")
	}
	return one(do("log in, into a file of its own", "writes auth.json; asks for name and password", "podman", "login", "--authfile", "auth.json", e.login()))
}

// newSecret is what a new pull secret is called.
const newSecret = "regcred"

func pullSecret(e env) []Remedy {
	if e.cloud != "" {
		return nil // a cloud's tokens are for the nodes' own identity; as a secret they expire
	}
	return []Remedy{
		do("make a pull secret of it", "a new secret in the pod's namespace", e.kubectl("create", "secret", "generic", newSecret,
			"--type=kubernetes.io/dockerconfigjson", "--from-file=.dockerconfigjson=auth.json")...),
		useSecret(e),
	}
}

// useSecret names the secret in the workload or its service account.
func useSecret(e env) Remedy {
	account := e.Account
	if account == "" {
		account = "default"
	}
	return do("give it to all pods of the service account", "new pods of that account use it; a running back-off ends with the next pod",
		e.kubectl("patch", "serviceaccount", account, "-p", `{"imagePullSecrets":[{"name":"`+newSecret+`"}]}`)...)
}

func serviceAccount(e env) []Remedy {
	if len(e.Secrets) == 0 {
		return nil
	}
	return advise("the pod names the pull secret "+strings.Join(e.Secrets, ", ")+": look whether it is for this host and in this namespace", "nothing")
}

func replaceSecret(e env) []Remedy {
	for _, s := range e.Secrets {
		if objectName.MatchString(s) {
			return []Remedy{
				do("take the old pull secret away", "pods cannot pull with it until the next step", e.kubectl("delete", "secret", s)...),
				do("and make it anew", "a new secret of the same name", e.kubectl("create", "secret", "generic", s,
					"--type=kubernetes.io/dockerconfigjson", "--from-file=.dockerconfigjson=auth.json")...),
			}
		}
	}
	return pullSecret(e)
}

func copySecret(env) []Remedy {
	return one(do("see in which namespaces there are pull secrets: a pod uses those of its own alone", "",
		"kubectl", "get", "secrets", "-A", "--field-selector", "type=kubernetes.io/dockerconfigjson"))
}

// cloudLogin fetches a new token for a cloud's registry.
func cloudLogin(e env) []Remedy {
	switch e.cloud {
	case "ecr":
		if e.login() == "public.ecr.aws" {
			return one(do("see whether it gives your own identity a token (it asks none of who pulls without a login)", "",
				"aws", "ecr-public", "get-login-password", "--region", "us-east-1"))
		}
		return one(do("see whether the registry gives your own identity a token (nodes should use theirs: AmazonEC2ContainerRegistryReadOnly on the node role)", "",
			"aws", "ecr", "get-login-password"))
	case "acr":
		name, _, _ := strings.Cut(e.login(), ".")
		return []Remedy{
			do("see whether the registry accepts you", "", "az", "acr", "login", "--name", name),
			{Summary: "let the cluster's own identity pull: az aks update --attach-acr", Changes: "the role AcrPull for the kubelet's identity"},
		}
	case "gar":
		return one(do("see whether the registry accepts you (nodes should use their service account, with roles/artifactregistry.reader)", "writes a credential helper into Docker's config",
			"gcloud", "auth", "configure-docker", bare(e.login())))
	}
	return nil
}

func grant(e env) []Remedy {
	where := e.login()
	if where == "" {
		where = "the registry"
	}
	return advise("have the account get the right to pull this repository at "+where, "that account alone")
}

// wrongPlatform: another build of the image, or another node.
func otherBuild(e env) []Remedy {
	if e.name == (ref.Name{}) {
		return advise("build and push the image for the node's platform: docker buildx build --platform", "the registry's tag")
	}
	argv := []string{"docker", "buildx", "build", "--push", "--platform", "linux/amd64,linux/arm64", "-t", e.name.Familiar(), "."}
	return one(do("if the image is yours: build it for both platforms", "replaces the tag in the registry", argv...))
}

func nodeArch(e env) []Remedy {
	rs := one(do("see the nodes' platforms; a nodeSelector kubernetes.io/arch keeps the pod where the image runs", "",
		"kubectl", "get", "nodes", "-L", "kubernetes.io/os", "-L", "kubernetes.io/arch"))
	if e.name != (ref.Name{}) && e.Platform != "" {
		rs = append(rs, do("if it was loaded by hand: load the node's own platform", "the file holds that platform alone",
			"ferry", "pack", e.image(), "--platform", e.Platform, "--to", e.tarball()))
	}
	return rs
}

func copyAgain(e env) []Remedy {
	if e.name == (ref.Name{}) && e.label == Schema1Unsupported {
		return advise("store it anew in today's format, if the registry may be written: skopeo copy --format oci docker://IMAGE docker://IMAGE", "replaces the tag there")
	}
	if e.name == (ref.Name{}) {
		return nil
	}
	return one(do("store it anew in today's format, if the registry may be written", "replaces the tag there",
		"skopeo", "copy", "--format", "oci", "docker://"+e.name.String(), "docker://"+e.name.String()))
}
