package diagnose

import (
	"net/netip"
	"net/url"
	"strings"

	"ferry/internal/ref"
)

// trustCA makes the node trust the registry's authority.
func trustCA(e env) []Remedy {
	host := e.host
	if host == "" {
		return nil
	}
	switch e.Nodes {
	case Minikube:
		return one(do("give minikube the authority's certificate, after copying it to ~/.minikube/certs/", "restarts the node with it", "minikube", "start", "--embed-certs"))
	case Kind, K3d:
		if e.Node != "" {
			return one(do("give the node the authority's certificate, then restart its containerd", "the node trusts that authority",
				"docker", "cp", "ca.crt", e.Node+":/usr/local/share/ca-certificates/ca.crt"))
		}
	case K3s, RKE2:
		return advise("name the authority's file in /etc/rancher/"+string(e.Nodes)+"/registries.yaml (configs, "+host+", tls, ca_file), and restart it", "the node trusts it for this registry")
	}
	if isDocker(e.Runtime) {
		return one(e.onNode("put the authority's certificate where Docker looks for it", "Docker trusts it for this registry, without a restart",
			"sudo", "install", "-D", "ca.crt", "/etc/docker/certs.d/"+host+"/ca.crt"))
	}
	return one(e.onNode("put the authority's certificate beside the registry's hosts.toml, and name it there (ca = \"ca.crt\")", "containerd trusts it for this registry, without a restart",
		"sudo", "install", "-D", "ca.crt", "/etc/containerd/certs.d/"+host+"/ca.crt"))
}

func isDocker(runtime string) bool { return strings.HasPrefix(runtime, "docker") }

func certificateName(e env) []Remedy {
	return advise("use the name that the certificate is for, or have it issued for "+otherwise(e.host, "the name that the image uses")+" (as a subject alternative name; a common name alone does not count)", "the registry's certificate")
}

func otherwise(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func nodeClock(e env) []Remedy {
	return one(e.onNode("compare the node's clock with a right one: after a laptop slept, a node's is often wrong", "", "date", "-u"))
}

// plainHTTP tells the runtime that the registry is without TLS.
func plainHTTP(e env) []Remedy {
	host := e.host
	if host == "" {
		return nil
	}
	switch e.Nodes {
	case Minikube:
		return one(do("make the cluster anew with this registry allowed in plain HTTP (the flag counts at creation alone)", "deletes nothing by itself; needs minikube delete before",
			"minikube", "start", "--insecure-registry", host))
	case K3s, RKE2:
		return advise("write the mirror "+host+" with endpoint http://"+host+" into /etc/rancher/"+string(e.Nodes)+"/registries.yaml, and restart it", "the node asks this registry in plain HTTP")
	}
	if isDocker(e.Runtime) {
		return advise("name "+host+" under insecure-registries in /etc/docker/daemon.json on the node, and restart Docker", "Docker asks this registry in plain HTTP")
	}
	return one(do("let the nodes ask it in plain HTTP", "prints the files that the nodes' runtime reads (hosts.toml, registries.conf)",
		"ferry", "mirror-config", "--registry", "http://"+host))
}

func plainSetting(e env) []Remedy {
	if e.host == "" || isDocker(e.Runtime) {
		return advise("take the registry out of the insecure or http:// settings of the runtime", "the node asks this registry by HTTPS")
	}
	return one(e.onNode("look for the http:// setting", "", "cat", "/etc/containerd/certs.d/"+e.host+"/hosts.toml"))
}

func proxySetting(e env) []Remedy {
	host := bare(e.host)
	if host == "" {
		host = "the registry"
	}
	return advise("set HTTPS_PROXY and NO_PROXY for the node's runtime (a systemd drop-in), with "+host+" in the right one, and restart it", "all pulls of that node")
}

func mirrorSetting(env) []Remedy {
	return one(do("write the mirror's settings anew", "prints the files that the nodes' runtime reads", "ferry", "mirror-config", "--registry", "REGISTRY/PREFIX"))
}

func removeImage(e env) []Remedy {
	if e.name == (ref.Name{}) {
		return advise("take away what is left of it on the node, so that it is fetched whole: sudo crictl rmi IMAGE", "removes the image from that node")
	}
	return one(e.onNode("take away what is left of it on the node, so that it is fetched whole", "removes the image from that node", "sudo", "crictl", "rmi", e.name.String()))
}

func pruneImages(e env) []Remedy {
	return one(e.onNode("free space: remove images that no container uses", "they are pulled again when needed, which fails behind an air gap", "sudo", "crictl", "rmi", "--prune"))
}

func moreIDs(env) []Remedy {
	return advise("give the runtime's user more subordinate ids in /etc/subuid and /etc/subgid (65536 or more), then podman system migrate; or build the image without such high ids", "the rootless runtime of that user")
}

// windows says whether the runtime's socket is one of Windows.
func (e env) windows() bool { return strings.HasPrefix(e.detail[DetailSocket], pipes) }

// service is the service of the node's runtime, as the system calls it.
func (e env) service() string {
	switch {
	case e.Nodes == K3s || e.Nodes == RKE2:
		return string(e.Nodes)
	case isDocker(e.Runtime) || strings.Contains(e.detail[DetailSocket], "docker"):
		return "docker"
	case strings.HasPrefix(e.Runtime, "cri-o") || strings.Contains(e.detail[DetailSocket], "crio"):
		return "crio"
	}
	return "containerd"
}

func restartRuntime(e env) []Remedy {
	if e.windows() {
		return advise("start Docker Desktop there, or the service again: Restart-Service "+e.service(), "")
	}
	return one(e.onNode("start the runtime again", "running containers go on", "sudo", "systemctl", "restart", e.service()))
}

func nodeLog(e env) []Remedy {
	if e.windows() {
		return advise("read the runtime's own log: Docker Desktop, Troubleshoot; or Get-EventLog -LogName Application -Source "+e.service(), "")
	}
	return one(e.onNode("read the runtime's own log", "", "sudo", "journalctl", "-u", e.service(), "--since", "-15min", "--no-pager"))
}

func sandboxSetting(e env) []Remedy {
	return one(e.onNode("see which pause image the runtime wants; it can be set to one in your own registry (sandbox_image, pause_image)", "",
		"sudo", "grep", "-rE", "sandbox_image|sandbox =|pause_image", "/etc/containerd/config.toml"))
}

func allowPull(e env) []Remedy {
	if e.workload() == "" || e.Kind == "" {
		return advise("or let it be pulled: imagePullPolicy: IfNotPresent", "the workload starts new pods")
	}
	return one(do("or let it be pulled: set imagePullPolicy to IfNotPresent", "opens the workload in an editor; it starts new pods", e.kubectl("edit", e.workload())...))
}

func qps(env) []Remedy {
	return advise("raise registryPullQPS and registryBurst in the kubelet's configuration, if it happens often", "the kubelet of that node, after a restart")
}

func askEvents(e env) []Remedy {
	argv := e.kubectl("get", "events")
	if e.Pod != "" {
		argv = e.kubectl("get", "events", "--field-selector", "involvedObject.name="+e.Pod)
	}
	if e.Namespace == "" && e.Pod == "" {
		argv = append(argv, "-A")
	}
	return one(do("read the events: \"Failed to pull image\" has the cause, and is kept for an hour", "", append(argv, "-o", "yaml")...))
}

func askDoctor(e env) []Remedy {
	argv := []string{"ferry", "doctor"}
	if w := e.workload(); w != "" {
		argv = append(argv, w)
	}
	switch {
	case e.Namespace != "":
		argv = append(argv, "-n", e.Namespace)
	case e.Pod == "":
		argv = append(argv, "-A")
	}
	return one(do("let ferry look at the cluster itself", "reads, and changes nothing", argv...))
}

// What shows whether a claim is true.

func lookUp(e env) []Remedy {
	if e.host == "" {
		return nil
	}
	argv := []string{"nslookup", bare(e.host)}
	if r := bare(e.detail[DetailResolver]); r != "" && hostName.MatchString(r) {
		argv = append(argv, r)
	}
	return one(e.onNode("ask the same DNS server from the node", "", argv...))
}

// route asks the node's own tables, which said that there is no way.
func route(e env) []Remedy {
	address := bare(e.detail[DetailAddress])
	if _, err := netip.ParseAddr(address); err != nil {
		return tryRegistry(e)
	}
	return one(e.onNode("see which way the node would go", "", "ip", "route", "get", address))
}

func dial(e env) []Remedy {
	return tryRegistry(e)
}

// tryRegistry asks the registry from the node: any answer, 401 too, shows
// that the way is open.
func tryRegistry(e env) []Remedy {
	host := e.host
	if host == "docker.io" {
		host = "registry-1.docker.io"
	}
	if host == "" {
		return nil
	}
	scheme := "https://"
	if strings.HasPrefix(e.detail[DetailURL], "http://") {
		scheme = "http://"
	}
	return one(e.onNode("ask from the node; 200 or 401 means that the way is open", "", "curl", "-sSI", scheme+host+"/v2/"))
}

func tryPlain(e env) []Remedy {
	if e.host == "" {
		return nil
	}
	return one(e.onNode("ask it in plain HTTP", "", "curl", "-sSI", "http://"+e.host+"/v2/"))
}

func seeAnswer(e env) []Remedy {
	target := e.detail[DetailURL]
	if u, err := url.Parse(target); err != nil || u.Host == "" || u.RawQuery != "" || u.User != nil || cleanHost(u.Host) == "" {
		if e.host == "" {
			return nil
		}
		target = "https://" + e.host + "/v2/"
	}
	return one(e.onNode("see what answers there", "", "curl", "-sSi", target))
}

func showProxy(e env) []Remedy {
	return one(e.onNode("see which proxy the runtime uses", "", "systemctl", "show", e.service(), "--property=Environment"))
}

func showCertificate(e env) []Remedy {
	host := e.host
	if host == "" {
		return nil
	}
	if host == "docker.io" {
		host = "registry-1.docker.io"
	}
	target := host
	if bare(host) == strings.Trim(host, "[]") {
		target += ":443"
	}
	return one(e.onNode("see the certificate, its names, dates and issuer", "", "openssl", "s_client", "-connect", target, "-servername", bare(host), "-showcerts"))
}

func showSecrets(e env) []Remedy {
	if e.Pod != "" {
		return one(do("see which pull secrets the pod names", "", e.kubectl("get", "pod", e.Pod, "-o", "jsonpath={.spec.imagePullSecrets}")...))
	}
	return one(do("see which pull secrets there are", "", e.kubectl("get", "secrets", "--field-selector", "type=kubernetes.io/dockerconfigjson")...))
}

func tryLogin(e env) []Remedy {
	if e.login() == "" {
		return nil
	}
	return one(do("try the same login from here", "", "podman", "login", "--authfile", "/dev/null", e.login()))
}

func showImage(e env) []Remedy {
	if e.Pod == "" {
		return nil
	}
	return one(do("see the name as the pod has it", "", e.kubectl("get", "pod", e.Pod, "-o", "jsonpath={.spec.containers[*].image}")...))
}

func showShortNames(e env) []Remedy {
	return one(e.onNode("see how the node completes names", "", "grep", "-rE", "unqualified-search|short-name-mode", "/etc/containers/registries.conf", "/etc/containers/registries.conf.d"))
}

func showPlatforms(e env) []Remedy {
	if e.name == (ref.Name{}) {
		return nil
	}
	return one(do("see what the registry has under this name", "", "skopeo", "inspect", "--raw", e.name.Docker()))
}

func seeImage(e env) []Remedy {
	if e.name == (ref.Name{}) {
		return nil
	}
	return one(do("see from here whether the registry has it", "", "skopeo", "inspect", "--no-tags", e.name.Docker()))
}

func showPolicy(e env) []Remedy {
	if strings.HasPrefix(e.Runtime, "cri-o") || e.Runtime == "podman" {
		return one(e.onNode("see the runtime's policy", "", "cat", "/etc/containers/policy.json"))
	}
	return one(do("see which admission checks the cluster has", "", "kubectl", "get", "validatingwebhookconfigurations,validatingadmissionpolicies"))
}

func showMirrors(e env) []Remedy {
	return one(e.onNode("see the node's mirrors", "", "grep", "-r", "", "/etc/containerd/certs.d"))
}

func showDisk(e env) []Remedy {
	return one(e.onNode("see how full the node's disks are", "", "df", "-h"))
}

func showIDs(e env) []Remedy {
	return one(e.onNode("see which ids the runtime's user may map", "", "cat", "/etc/subuid", "/etc/subgid"))
}

func showRuntime(e env) []Remedy {
	if e.windows() {
		return advise("see whether the runtime runs: docker version, or Get-Service "+e.service(), "")
	}
	return one(e.onNode("see whether the runtime runs", "", "systemctl", "status", e.service()))
}

func showSandbox(e env) []Remedy {
	return one(e.onNode("see whether the node holds a pause image", "", "sudo", "crictl", "images"))
}

func showNodeImages(e env) []Remedy {
	return one(e.onNode("see which names the node's images have, as the kubelet sees them", "", "sudo", "crictl", "images"))
}

func showPods(e env) []Remedy {
	return one(do("see it come up", "", e.kubectl("get", "pods", "--watch")...))
}
