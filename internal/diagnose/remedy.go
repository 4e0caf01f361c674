package diagnose

import (
	"strings"

	"ferry/internal/pattern"
	"ferry/internal/quote"
	"ferry/internal/ref"
)

// env is what remedies are made of: what is known around the text, and what
// the text told.
type env struct {
	Setting
	label  Label
	detail map[string]string
	name   ref.Name // the image's; zero where none was read
	host   string   // of the registry, fit for a command; may be empty
	cloud  string   // ecr, acr, gar; "" for all others
}

// A remedyFunc makes the remedies of one kind that fit; none where it lacks
// what it needs.
type remedyFunc func(env) []Remedy

// newEnv reads names and hosts. What does not parse goes into no command.
func newEnv(label Label, detail map[string]string, s Setting) env {
	e := env{Setting: s, label: label, detail: detail}
	if n, err := ref.Parse(s.Image); err == nil {
		e.name = n
	}
	e.host = cleanHost(detail[DetailHost])
	if e.host == "" && e.name != (ref.Name{}) {
		e.host = e.name.Registry()
	}
	e.cloud = cloudOf(e.host)
	if e.cloud == "" {
		e.cloud = cloudOf(e.name.Registry())
	}
	for _, field := range []*string{&e.Namespace, &e.Name, &e.Pod, &e.Container, &e.Node, &e.Account, &e.Profile} {
		if !objectName.MatchString(*field) {
			*field = ""
		}
	}
	return e
}

var (
	objectName = pattern.New(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	hostName   = pattern.New(`^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)
)

// cleanHost returns a host that may stand in a command; "" for what is none.
func cleanHost(host string) string {
	if !hostName.MatchString(host) {
		return ""
	}
	return host
}

// bare cuts the port off a host.
func bare(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.Trim(host, "[]")
}

// login is the host that credentials are for.
func (e env) login() string {
	if e.name != (ref.Name{}) {
		return e.name.Registry()
	}
	if e.host == "docker.io" || strings.HasSuffix(e.host, ".docker.io") {
		return "docker.io" // whichever of its hosts was asked
	}
	return e.host
}

func cloudOf(host string) string {
	switch host = bare(host); {
	case strings.Contains(host, ".dkr.ecr.") || host == "public.ecr.aws":
		return "ecr"
	case strings.HasSuffix(host, ".azurecr.io"), strings.HasSuffix(host, ".azurecr.cn"):
		return "acr"
	case strings.HasSuffix(host, "pkg.dev"), host == "gcr.io", strings.HasSuffix(host, ".gcr.io") && host != "k8s.gcr.io":
		return "gar"
	}
	return ""
}

// do makes a remedy of a command.
func do(summary, changes string, argv ...string) Remedy {
	return Remedy{Summary: summary, Changes: changes, Argv: argv, Command: quote.Shell(argv...), Ferry: argv[0] == "ferry"}
}

// advise makes a remedy of what cannot be typed.
func advise(summary, changes string) []Remedy { return []Remedy{{Summary: summary, Changes: changes}} }

func one(r Remedy) []Remedy { return []Remedy{r} }

// kubectl returns a kubectl command in the namespace at hand.
func (e env) kubectl(args ...string) []string {
	argv := []string{"kubectl"}
	if e.Namespace != "" {
		argv = append(argv, "-n", e.Namespace)
	}
	return append(argv, args...)
}

// workload names what kubectl and ferry fix are told; "" where it is unknown.
func (e env) workload() string {
	switch {
	case e.Name != "" && e.Kind != "":
		return strings.ToLower(e.Kind) + "/" + e.Name
	case e.Pod != "":
		return "pod/" + e.Pod
	}
	return ""
}

// onNode returns a command that runs on the node, from here where the kind of
// node is known. One
// word alone is a script for the node's shell.
func (e env) onNode(summary, changes string, argv ...string) Remedy {
	switch {
	case e.Nodes == Minikube:
		ssh := []string{"minikube", "ssh"}
		if e.Profile != "" && e.Profile != "minikube" {
			ssh = append(ssh, "-p", e.Profile)
		}
		if e.Node != "" && e.Node != "minikube" && e.Node != e.Profile {
			ssh = append(ssh, "-n", e.Node)
		}
		if line := quote.Shell(argv...); len(argv) > 1 && line != strings.Join(argv, " ") {
			argv = []string{line} // the node's shell reads it once more
		}
		return do(summary, changes, append(append(ssh, "--"), argv...)...)
	case (e.Nodes == Kind || e.Nodes == K3d) && e.Node != "":
		if argv[0] == "sudo" {
			argv = argv[1:]
		}
		return do(summary, changes, append([]string{"docker", "exec", e.Node}, argv...)...)
	}
	r := do(summary, changes, argv...)
	r.On = "the node"
	return r
}

// registryOf is the host that the runtime asks for images of name.
func registryOf(n ref.Name) string {
	if n.Registry() == "docker.io" {
		return "registry-1.docker.io"
	}
	return n.Registry()
}

// image is the name that commands use: as people write it.
func (e env) image() string {
	if e.name == (ref.Name{}) {
		return ""
	}
	return e.name.Familiar()
}

// tarball is a file's name for the image at hand.
func (e env) tarball() string {
	path := e.name.Path()
	return path[strings.LastIndexByte(path, '/')+1:] + ".tar"
}
