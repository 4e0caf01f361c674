package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Failure is a way in which an image does not arrive, arranged for one pod.
type Failure struct {
	// Name is the pod's; of a failure that comes before there is a pod, the
	// deployment's.
	Name string
	// Causes are the labels that are right for it; the first is the best. "none"
	// says that the texts may show nothing that has to do with images: doctor
	// looks further.
	Causes []string
	// Causes16 are those of containerd 1.6, where its words tell another.
	Causes16 []string

	image  string
	second string // of a second container
	policy string // the pull policy
	secret string // the pull secret's name
	node   int    // where it is shown; 1 if 0
	// It is shown when the container waits for this reason (ImagePullBackOff
	// if both are empty) and an event of this reason is there.
	reason string
	event  string
	// notOn16 says that containerd 1.6 waits for ever instead.
	notOn16 bool
}

// On are the causes that are right for it on a runtime.
func (f Failure) On(r Runtime) []string {
	if r == Debian && f.Causes16 != nil {
		return f.Causes16
	}
	return f.Causes
}

// Numbers of the nodes that are shaped for failures.
const (
	nodeDeaf    = 2 // asks a resolver that is not there, and has little disk
	nodeProxied = 3 // goes through a proxy that refuses, and limits its pulls
	nodeBare    = 4 // has no pause image
)

// FailureOptions is the cluster that ArrangeFailures wants.
func FailureOptions(r Runtime) Options {
	return Options{Nodes: nodeBare, Containerd: r, Node: func(number int, gateway string) NodeOptions {
		switch number {
		case nodeDeaf:
			return NodeOptions{Resolver: "127.0.0.53", Disk: 100 << 20, PullsPerSecond: unthrottled}
		case nodeProxied:
			return NodeOptions{Proxy: "http://" + gateway + ":3128", PullsPerSecond: 1}
		case nodeBare:
			return NodeOptions{NoPause: true, PullsPerSecond: unthrottled}
		}
		return NodeOptions{PullsPerSecond: unthrottled}
	}}
}

// unthrottled is more pulls in a second than there are failures: all begin at
// once, and what the kubelet puts off says nothing of why a pull fails.
const unthrottled = 100

// ArrangeFailures starts every failure at once, or those that are named, and
// returns what was started.
func (c *Cluster) ArrangeFailures(ctx context.Context, names ...string) ([]Failure, error) {
	a := &arranger{ctx: ctx, c: c}
	all := slices.Concat(a.network(), a.proxy(), a.tls(), a.auth(), a.names(), a.content(), a.registry(), a.node(), a.sideloads())
	all = slices.DeleteFunc(all, func(f Failure) bool { return f.notOn16 && c.options.Containerd == Debian })
	if len(names) > 0 {
		all = slices.DeleteFunc(all, func(f Failure) bool { return !slices.Contains(names, f.Name) })
	}
	a.secrets()
	a.pulledWithSecret()
	a.pods(all)
	return all, a.err
}

// An arranger prepares failures. After an error it does nothing more.
type arranger struct {
	ctx context.Context
	c   *Cluster
	err error
}

func (a *arranger) do(work func() error) {
	if a.err == nil {
		a.err = work()
	}
}

// inNode runs a shell line in the node of a number.
func (a *arranger) inNode(number int, line string) {
	a.do(func() error {
		_, err := a.c.Nodes[number-1].Run(a.ctx, "/bin/sh", "-c", line)
		return err
	})
}

// name makes the resolver answer of a name in some way.
func (a *arranger) name(name string, answer Answer) string {
	a.c.Resolver.Set(name, answer)
	return name
}

// host is a name that leads to the bridge, with a port.
func (a *arranger) host(port int) string {
	a.name("registry.test", Answer{IP: a.c.Gateway})
	return fmt.Sprintf("registry.test:%d", port)
}

// mirror tells all nodes' containerd how to talk to a host.
func (a *arranger) mirror(host, hostsToml string) {
	for _, n := range a.c.Nodes {
		a.do(func() error { return n.Mirror(host, hostsToml) })
	}
}

func (a *arranger) serve(port int, config *tls.Config, h http.Handler) {
	a.do(func() error { return a.c.serveAt(fmt.Sprintf("%s:%d", a.c.Gateway, port), config, h) })
}

// plain serves by HTTP, and containerd knows that it is HTTP.
func (a *arranger) plain(port int, h http.Handler) string {
	host := a.host(port)
	a.serve(port, nil, h)
	a.mirror(host, overHTTP(host))
	return host
}

func overHTTP(host string) string {
	return fmt.Sprintf("server = \"http://%s\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", host, host)
}

// trusts is the part of hosts.toml for a registry whose authority is known.
func (a *arranger) trusts(host string) string {
	return fmt.Sprintf("server = \"https://%s\"\n[host.\"https://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = %q\n",
		host, host, a.c.file("ca.crt"))
}

// certificate makes what a TLS server shows.
func (a *arranger) certificate(what certificate) *tls.Config {
	var config *tls.Config
	a.do(func() error {
		what.server = true
		p, err := a.c.ca.sign(what)
		if err != nil {
			return err
		}
		pair, err := tls.X509KeyPair(p.cert, p.key)
		config = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		return err
	})
	return config
}

// secrets makes the pull secrets that failures name.
func (a *arranger) secrets() {
	for name, login := range map[string][2]string{
		"wrong-5021": {a.host(5021), "wrong"}, "wrong-5025": {a.host(5025), "wrong"}, "right-5027": {a.host(5027), "right"},
		"expired": {ecrHost, expiredToken()},
	} {
		a.do(func() error {
			_, err := a.c.Kubectl(a.ctx, "create", "secret", "docker-registry", name,
				"--docker-server="+login[0], "--docker-username=user", "--docker-password="+login[1])
			return err
		})
	}
}

// pods starts them all with one call.
func (a *arranger) pods(all []Failure) {
	var b bytes.Buffer
	for _, f := range all {
		if err := json.NewEncoder(&b).Encode(f.object()); err != nil {
			a.do(func() error { return err })
		}
	}
	a.do(func() error {
		cmd := a.c.KubectlCommand(a.ctx, "create", "-f", "-")
		cmd.Stdin = &b
		_, err := output(cmd)
		return err
	})
}

type object = map[string]any

// object is the pod, or the deployment, that shows the failure.
func (f Failure) object() object {
	container := object{"name": "app", "image": f.image}
	if f.policy != "" {
		container["imagePullPolicy"] = f.policy
	}
	containers := []any{container}
	if f.second != "" {
		containers = append(containers, object{"name": "second", "image": f.second})
	}
	spec := object{
		"containers":                    containers,
		"nodeSelector":                  object{"kubernetes.io/hostname": fmt.Sprintf("node%d", max(f.node, 1))},
		"automountServiceAccountToken":  false,
		"terminationGracePeriodSeconds": 0,
	}
	if f.secret != "" {
		spec["imagePullSecrets"] = []any{object{"name": f.secret}}
	}
	labels := object{"app": f.Name}
	if f.event != eventFailedCreate {
		return object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": f.Name, "labels": labels}, "spec": spec}
	}
	return object{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": object{"name": f.Name}, "spec": object{
		"selector": object{"matchLabels": labels}, "template": object{"metadata": object{"labels": labels}, "spec": spec},
	}}
}

const (
	eventFailedCreate  = "FailedCreate" // of a replica set whose pods are refused
	eventFailedSandbox = "FailedCreatePodSandBox"
	eventFailedSecret  = "FailedToRetrieveImagePullSecret"
	eventBackOff       = "BackOff" // of a pull, or of a container that ended
)

// writeFile writes beside the cluster's own files.
func (a *arranger) writeFile(name string, body []byte) string {
	path := filepath.Join(a.c.Dir, name)
	a.do(func() error { return os.WriteFile(path, body, 0o644) })
	return path
}

// WaitShown waits until every failure is shown, and returns those that are
// not.
func (c *Cluster) WaitShown(ctx context.Context, all []Failure, most time.Duration) ([]Failure, error) {
	waiting := slices.Clone(all)
	for end := time.Now().Add(most); len(waiting) > 0 && time.Now().Before(end); {
		pods, err := c.podStates(ctx)
		if err != nil {
			return waiting, err
		}
		waiting = slices.DeleteFunc(waiting, func(f Failure) bool { return pods[f.Name].shows(f) })
		select {
		case <-ctx.Done():
			return waiting, ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return waiting, nil
}

// A podState is why a pod's container waits, and what its events are called.
type podState struct {
	reason string
	events []string
}

func (p podState) shows(f Failure) bool {
	reason := f.reason
	if reason == "" && f.event == "" {
		reason = "ImagePullBackOff"
	}
	// The waiting reason alone is there before the event that tells why.
	event := f.event
	if event == "" && reason == "ImagePullBackOff" {
		event = "Failed"
	}
	return (reason == "" || strings.Contains(reason, p.reason) && p.reason != "") && (event == "" || slices.Contains(p.events, event))
}

func (c *Cluster) podStates(ctx context.Context) (map[string]podState, error) {
	var pods struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				ContainerStatuses []struct {
					State struct{ Waiting struct{ Reason string } }
				}
			}
		}
	}
	var events struct {
		Items []struct {
			InvolvedObject struct{ Name string }
			Reason         string
		}
	}
	err := firstError(c.get(ctx, "/api/v1/namespaces/default/pods", &pods), c.get(ctx, "/api/v1/namespaces/default/events", &events))
	states := map[string]podState{}
	for _, p := range pods.Items {
		var state podState
		if s := p.Status.ContainerStatuses; len(s) > 0 {
			state.reason = s[0].State.Waiting.Reason
		}
		states[p.Metadata.Name] = state
	}
	for _, e := range events.Items {
		name := e.InvolvedObject.Name
		if e.Reason == eventFailedCreate { // of NAME-HASH, the deployment's replica set
			name = name[:max(0, strings.LastIndexByte(name, '-'))]
		}
		state := states[name]
		state.events = append(state.events, e.Reason)
		// A kubelet need not look again before the container is due: its state
		// is then that it ended, all the time.
		if e.Reason == eventBackOff && state.reason == "" {
			state.reason = "CrashLoopBackOff"
		}
		states[name] = state
	}
	return states, err
}
