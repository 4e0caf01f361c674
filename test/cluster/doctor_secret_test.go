package cluster

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A pull secret that does not serve, and what doctor has to say of it, besides
// the cause. The kubelet and the registry say the same of most of them.
type badSecret struct {
	name, data string // .dockerconfigjson; HOST stands for the registry
	kind       string // of the secret, if not dockerconfigjson
	namespace  string // if not the pod's
	cause      string
	says       string
}

func badSecrets() []badSecret {
	const password = `"auth":"dXNlcjpodW50ZXIy"` // user:hunter2
	return []badSecret{
		{name: "other-host", data: `{"auths":{"quay.io":{` + password + `}}}`, cause: "auth-required", says: "has no login for"},
		{name: "other-port", data: `{"auths":{"registry.test:1":{` + password + `}}}`, cause: "auth-required", says: "has no login for"},
		{name: "rejected", data: `{"auths":{"HOST":{` + password + `}}}`, cause: "auth-required", says: "does not accept the login in the pull secret rejected"},
		{name: "opaque", kind: "Opaque", data: `{}`, cause: "auth-required", says: "is of type Opaque"},
		{name: "no-base64", data: `{"auths":{"HOST":{"auth":"!!!"}}}`, cause: "secret-missing", says: "does not even try to pull"},
		{name: "no-object", data: `{"auths":[]}`, cause: "secret-missing", says: "does not even try to pull"},
		{name: "elsewhere", namespace: "other", data: `{"auths":{"HOST":{` + password + `}}}`, cause: "secret-missing", says: "is in other, and pods can use only secrets of their own namespace"},
		{name: "nowhere", namespace: "-", cause: "secret-missing", says: "does not exist in namespace default"},
	}
}

// Each fault of a pull secret is told from the others, by what a real kubelet
// makes of it, and no password is shown.
func TestDoctorOfPullSecrets(t *testing.T) {
	c := Up(t, Options{})
	a := &arranger{ctx: t.Context(), c: c}
	// By its address, which the nodes and this machine have in common.
	host := c.Gateway + ":5100"
	a.serve(5100, nil, refuses(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", "WWW-Authenticate", `Basic realm="x"`))
	a.mirror(host, overHTTP(host))
	if a.err != nil {
		t.Fatal(a.err)
	}
	kubectl(t, c, "create", "namespace", "other")
	for _, s := range badSecrets() {
		s.make(t, c, host)
	}
	failing := func() bool {
		out := kubectl(t, c, "get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}")
		return !strings.Contains(out, "ContainerCreating") && strings.Count(out, "Err")+strings.Count(out, "ImagePullBackOff") >= len(badSecrets())-2
	}
	for range 60 {
		if failing() {
			break
		}
		time.Sleep(time.Second)
	}
	d := diagnose(t, c.Kubeconfig, "--plain-http", host)
	for _, s := range badSecrets() {
		found := d.of(s.name)
		if len(found) != 1 || len(found[0].Workloads) != 1 {
			t.Errorf("%s: %+v", s.name, found)
			continue
		}
		if f := found[0]; f.Cause != s.cause || !strings.Contains(f.Because, s.says) {
			t.Errorf("%s is %s: %s %v", s.name, f.Cause, f.Because, f.Checks)
		}
	}
	for _, args := range [][]string{{"doctor"}, {"doctor", "-o", "json"}} {
		r := runFerry(t, c.Kubeconfig, append(args, "--plain-http", host)...)
		if all := r.stdout + r.stderr; strings.Contains(all, "hunter2") || strings.Contains(all, "dXNlcjpodW50ZXIy") {
			t.Errorf("%v shows a password", args)
		}
	}
}

// make makes the secret, and a pod of the same name that names it.
func (s badSecret) make(t *testing.T, c *Cluster, host string) {
	t.Helper()
	kind, key, namespace := "kubernetes.io/dockerconfigjson", ".dockerconfigjson", s.namespace
	if s.kind != "" {
		kind, key = s.kind, "config"
	}
	if namespace == "" {
		namespace = "default"
	}
	if namespace != "-" {
		kubectl(t, c, "-n", namespace, "create", "secret", "generic", s.name, "--type="+kind,
			"--from-literal="+key+"="+strings.ReplaceAll(s.data, "HOST", host))
	}
	kubectl(t, c, "run", s.name, "--image="+host+"/app:1", fmt.Sprintf(`--overrides={"spec":{"imagePullSecrets":[{"name":%q}]}}`, s.name))
}

// Wherever a pod names an image, doctor names the right one.
func TestDoctorOfPlaces(t *testing.T) {
	c := Up(t, Options{})
	a := &arranger{ctx: t.Context(), c: c}
	good := newStore()
	image, err := WebImage(t.Context(), "amd64", "")
	if err != nil {
		t.Fatal(err)
	}
	good.putImage("app:1", image)
	host := a.plain(5101, good)
	if a.err != nil {
		t.Fatal(a.err)
	}
	apply(t, c, strings.ReplaceAll(places, "HOST", host))
	want := map[string]string{"init": "/init:2", "volume": "/data:2", "second": "/second:2", "cron": "/cron:2", "debugged": "/debug:2"}
	kubectl(t, c, "wait", "--for=condition=Ready", "pod/debugged", "--timeout=60s")
	kubectl(t, c, "patch", "pod", "debugged", "--subresource=ephemeralcontainers", "--type=strategic",
		"-p", `{"spec":{"ephemeralContainers":[{"name":"debug","image":"`+host+`/debug:2"}]}}`)
	missing := map[string]string{}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(2 * time.Second) {
		r := runFerry(t, c.Kubeconfig, "doctor", "-o", "json", "--no-probe")
		clear(missing)
		for name, image := range want {
			if !strings.Contains(r.stdout, `"`+host+image+`"`) || !strings.Contains(r.stdout, `"name": "`+name+`"`) {
				missing[name] = image
			}
		}
		if len(missing) == 0 {
			break
		}
	}
	if len(missing) > 0 {
		t.Errorf("doctor does not name %v\n%s", missing, kubectl(t, c, "get", "pods"))
	}
}

const places = `
apiVersion: v1
kind: Pod
metadata: {name: init}
spec:
  initContainers: [{name: first, image: "HOST/init:2"}]
  containers: [{name: web, image: "HOST/app:1"}]
---
apiVersion: v1
kind: Pod
metadata: {name: volume}
spec:
  containers: [{name: web, image: "HOST/app:1", volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, image: {reference: "HOST/data:2"}}]
---
apiVersion: v1
kind: Pod
metadata: {name: second}
spec:
  containers: [{name: web, image: "HOST/app:1"}, {name: beside, image: "HOST/second:2"}]
---
apiVersion: v1
kind: Pod
metadata: {name: debugged}
spec:
  containers: [{name: web, image: "HOST/app:1"}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron}
spec:
  schedule: "* * * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "HOST/cron:2"}]}}}}
`

func apply(t *testing.T, c *Cluster, manifests string) {
	t.Helper()
	cmd := c.KubectlCommand(t.Context(), "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifests)
	if out, err := output(cmd); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// An API server that hangs, stopped as it is, ends the look in the time that
// was given, with the kubeconfig, the context and the address; and once it goes
// on, so does doctor.
func TestDoctorOfAServerThatHangs(t *testing.T) {
	c := Up(t, Options{})
	stopped := stopAPIServer(t, c)
	start := time.Now()
	r := runFerry(t, c.Kubeconfig, "doctor", "-A", "--request-timeout", "2s")
	if took := time.Since(start); r.code != 1 || took > 10*time.Second {
		t.Errorf("exit %d after %s", r.code, took)
	}
	for _, part := range []string{c.server(), c.Kubeconfig, "context", "no answer within 2s"} {
		if !strings.Contains(r.stderr, part) {
			t.Errorf("it does not say %s: %s", part, r.stderr)
		}
	}
	stopped()
	if r := runFerry(t, c.Kubeconfig, "doctor", "-A", "--no-probe"); r.code != 0 {
		t.Errorf("afterwards: exit %d: %s %s", r.code, r.stderr, r.stdout)
	}
}

// stopAPIServer stops the API server's process, and lets it go on again.
func stopAPIServer(t *testing.T, c *Cluster) (goOn func()) {
	t.Helper()
	all, err := c.slot.processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range all {
		if strings.Contains(commandLine(pid), "kube-apiserver --etcd-servers") {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			goOn = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
			t.Cleanup(goOn)
			return goOn
		}
	}
	t.Fatal("the API server's process was not found")
	return nil
}
