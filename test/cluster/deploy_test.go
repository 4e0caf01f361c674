package cluster

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The bank's journey: packed from a connected registry, verified, pushed into
// a private one with a password and an authority of its own, deployed; then
// upstream is gone, a node is emptied, and the pods run on the other one.
func TestBankStory(t *testing.T) {
	for _, r := range Runtimes() {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			bankStory(t, r)
		})
	}
}

func bankStory(t *testing.T, r Runtime) {
	b := newBank(t, Options{Nodes: 2, Containerd: r})
	c := b.c
	page := newStory("bank", c.Dir, "/run/nodes")
	defer func() {
		if r == V2 {
			page.toPage(t)
		}
	}()
	ferry := func(why string, code int, typed string) result {
		t.Helper()
		r := b.run(typed).want(t, code)
		page.tell(why, typed, r.stdout+r.stderr)
		return r
	}
	const (
		access = " --authfile auth.json --ca-file bank-ca.pem"
		deploy = "ferry deploy -f k8s --registry registry.bank.internal/mirror --bundle release.tar" + access
	)
	b.file("k8s/first.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: bank, namespace: shop}\n"+
		"type: kubernetes.io/dockerconfigjson\nstringData:\n  .dockerconfigjson: '"+b.auth+"'\n")
	b.file("k8s/web.yaml", `# The shop.
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      imagePullSecrets: [{name: bank}]
      containers:
      - name: web
        image: registry.example.com/team/web:1 # from outside
`)
	page.tell("The bank's cluster reaches one registry, its own. Its manifests name images as they are called outside:",
		"cat k8s/web.yaml", b.run("cat k8s/web.yaml").stdout)
	ferry("In the connected zone the image is pulled and sealed in one file:", 0, "ferry pack registry.example.com/team/web:1 --to release.tar")
	ferry("The file crosses. Inside, every byte of it is checked:", 0, "ferry verify release.tar")

	// Nothing was pushed yet: the answer is no, and nothing is applied.
	kubectl(t, c, "cordon", "node2")
	if r := ferry("Who deploys before the images are in is told so, before anything changes:", 3, deploy+" --yes"); !strings.Contains(flat(r.stdout), "the registry does not have it") {
		t.Errorf("deploy says\n%s%s", r.stdout, r.stderr)
	}
	if out := kubectl(t, c, "get", "namespace", "shop", "--ignore-not-found"); out != "" {
		t.Errorf("a refused plan made %s", out)
	}
	ferry("The private registry has a password, and a certificate of the bank's own authority:", 0,
		"ferry push release.tar --to registry.bank.internal/mirror"+access)
	b.run(deploy+" --dry-run").want(t, 0)
	run := ferry("Then the manifests go up. What can be asked before is asked before:", 0, deploy+" --yes")
	if !strings.Contains(run.stdout, "running Deployment shop/web, 2 of 2 ready") {
		t.Errorf("deploy says\n%s%s", run.stdout, run.stderr)
	}
	if again := b.run(deploy+" --yes").want(t, 0); strings.Contains(again.stdout, "changed ") || strings.Contains(again.stdout, "new ") {
		t.Errorf("a second time it plans\n%s", again.stdout)
	}
	const spec = "kubectl get deploy web -n shop -o jsonpath='{..image} {..imagePullPolicy}'"
	out := b.run(spec).want(t, 0).stdout
	if want := "registry.bank.internal/mirror/team/web:1@" + b.image.Digest() + " IfNotPresent"; strings.TrimSpace(out) != want {
		t.Errorf("the container has %s, want %s", out, want)
	}
	page.tell("What runs is pinned to the digest that was packed, and is not asked for again where it is:", spec, out)
	b.answers(page, "The pods answer:", "node1")

	// The gap closes. What ran on the first node comes up on the other, which
	// never had the image.
	b.upstream.manifests, b.upstream.blobs = map[string]manifest{}, map[string][]byte{}
	c.Resolver.Set("registry.example.com", Answer{Code: dnsNXDomain})
	kubectl(t, c, "uncordon", "node2")
	const move = "kubectl cordon node1 && kubectl delete pods -n shop --all && kubectl rollout status deploy/web -n shop --timeout=60s"
	page.tell("The gap closes: the registry outside is gone. A node is emptied, and the other one, which never had the image, takes the pods:",
		move, b.run(move).want(t, 0).stdout)
	b.answers(page, "They still run:", "node2")

	// Somebody else holds the image now: that is said, and not overwritten.
	kubectl(t, c, "set", "image", "deploy/web", "-n", "shop", "web=example.test/other:1", "--field-manager=somebody")
	if r := b.run(deploy+" --yes").want(t, 3); !strings.Contains(flat(r.stdout), `conflict with "somebody"`) || !strings.Contains(flat(r.stdout), "--force-conflicts takes these fields over") {
		t.Errorf("a conflict: deploy says\n%s%s", r.stdout, r.stderr)
	}
	b.run(deploy+" --yes --force-conflicts").want(t, 0)
	byHand(t, b, deploy+" --dry-run --force-conflicts")
}

// byHand types what a plan says that a person would type instead, as it stands
// there. Nothing but its own settings leads to the cluster and the registry.
func byHand(t *testing.T, b *bank, deploy string) {
	t.Helper()
	b.run("cp $KUBECONFIG cluster.conf; kubectl --kubeconfig cluster.conf config unset current-context").want(t, 0)
	plan := b.run("unset KUBECONFIG; "+deploy+" --kubeconfig cluster.conf --context ferry-test").want(t, 0).stdout
	line := regexp.MustCompile(`(?m)^     ((?:mkdir|cp|ferry|skopeo|kubectl) .*)$`)
	typed := []string{"unset KUBECONFIG"}
	for _, m := range line.FindAllStringSubmatch(plan, -1) {
		typed = append(typed, strings.Replace(m[1], ":PASSWORD", ":right", 1))
	}
	const lines = 1 + 1 + 2 + 2 + 2 + 1 // rewrite, folder of authorities, look and log in, apply, wait
	if len(typed) != lines {
		t.Errorf("to type is\n%s\nin\n%s", strings.Join(typed, "\n"), plan)
	}
	b.run(strings.Join(typed, "\n")).want(t, 0)
}

// What deploy cannot do is said before anything is applied; what does not come
// up gets doctor's answer.
func TestDeployFaults(t *testing.T) {
	for _, r := range Runtimes() {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			f := newFaults(t, r)
			t.Run("refusals", f.on(refusals))
			t.Run("admission", f.on(admission))
			t.Run("definitions", f.on(definitions))
			t.Run("no API server", f.on(noAPIServer))
			t.Run("an API server that hangs", f.on(hangingAPIServer))
			t.Run("logins", f.on(logins))
			t.Run("jobs and pods", f.on(jobsAndPods))
			t.Run("no way", f.on(noWay))
		})
	}
}

// faults is a cluster of one node, and a registry inside that asks for no
// password.
type faults struct {
	t     *testing.T
	c     *Cluster
	host  string
	store *store
	dir   string
}

func newFaults(t *testing.T, r Runtime) *faults {
	t.Helper()
	f := &faults{t: t, c: Up(t, Options{Containerd: r}), store: newStore(), dir: t.TempDir()}
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := WebImage(t.Context(), arch, "faults")
		if err != nil {
			t.Fatal(err)
		}
		f.store.putImage("team/web:"+arch, image)
	}
	f.host = f.serve(f.store)
	kubectl(t, f.c, "apply", "-f", "../../docs/rbac/deploy.yaml", "-f", "../../docs/rbac/doctor.yaml", "-f", "testdata/deploy-users.yaml")
	for file, group := range map[string]string{"deployer": "deployers", "onlooker": "onlookers", "tenant": "tenants"} {
		if _, err := f.c.writeUser(file, certificate{name: file, groups: []string{group}}); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// on runs a test on the same cluster.
func (f *faults) on(test func(*faults)) func(*testing.T) {
	return func(t *testing.T) {
		here := *f
		here.t = t
		test(&here)
	}
}

// serve serves a registry that the node reaches over HTTP.
func (f *faults) serve(h http.Handler) string {
	f.t.Helper()
	host := f.c.Gateway + ":" + freePort(f.t)
	if err := f.c.serveAt(host, nil, h); err != nil {
		f.t.Fatal(err)
	}
	if err := f.c.Nodes[0].Mirror(host, overHTTP(host)); err != nil {
		f.t.Fatal(err)
	}
	return host
}

// deploy deploys with the least permissions.
func (f *faults) deploy(text string, more ...string) result {
	f.t.Helper()
	return f.deployAs("deployer", f.host, text, more...)
}

func (f *faults) deployAs(user, host, text string, more ...string) result {
	f.t.Helper()
	cmd := f.command(user, host, text, more...)
	return runFerry(f.t, f.c.file(user+".kubeconfig"), cmd...)
}

func (f *faults) command(_, host, text string, more ...string) []string {
	f.t.Helper()
	file := filepath.Join(f.dir, "web.yaml")
	write(f.t, file, text)
	return append([]string{"deploy", "-f", file, "--registry", host, "--plain-http", host, "-n", "limited", "--yes"}, more...)
}

func (f *faults) says(r result, code int, words ...string) {
	f.t.Helper()
	r.want(f.t, code)
	for _, w := range words {
		if !strings.Contains(flat(r.stdout+r.stderr), w) {
			f.t.Errorf("no %q in\n%s%s", w, r.stdout, r.stderr)
		}
	}
}

// flat is a text as it would stand on one line.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

// nothing wants the namespace to be empty.
func (f *faults) nothing(what string) {
	f.t.Helper()
	if out := kubectl(f.t, f.c, "get", "all", "-n", "limited", "-o", "name"); out != "" {
		f.t.Errorf("%s: nothing should be there, and there is %s", what, out)
	}
}

func (f *faults) clear() {
	f.t.Helper()
	kubectl(f.t, f.c, "delete", "deployments,jobs,pods,configmaps", "-n", "limited", "--all", "--grace-period=1")
}

func webDeployment(name, image string) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s}\nspec:\n  selector: {matchLabels: {app: %s}}\n"+
		"  template:\n    metadata: {labels: {app: %s}}\n    spec:\n      containers:\n      - {name: web, image: %q}\n", name, name, name, image)
}

func refusals(f *faults) {
	right := webDeployment("web", "docker.io/team/web:amd64")
	f.says(f.deployAs("onlooker", f.host, right), 3, "cannot patch resource", "nothing was applied")
	f.nothing("no permission to patch")
	f.says(f.deploy(webDeployment("web", "team/web:arm64")), 3, "it is there for linux/arm64, and nodes that may get it are linux/amd64")
	f.nothing("another platform")
	f.says(f.deploy(webDeployment("web", "team/gone:1")), 3, "the registry does not have it")
	f.nothing("not inside")
	f.says(f.deploy(strings.Replace(right, "selector:", "replcas: 2\n  selector:", 1)), 3, ".spec.replcas: field not declared in schema")
	f.nothing("an unknown field")
	f.says(f.deployAs("tenant", f.host, right, "--dry-run"), 0, "this login may not list the nodes, so for which platforms its images have to be there is not known")
	// With the least permissions it goes well.
	f.says(f.deploy(right), 0, "running Deployment limited/web, 1 of 1 ready")
	f.clear()
}

// The cluster's own quota and a webhook refuse at the rehearsal; so does, too
// late, a webhook that lets rehearsals pass.
func admission(f *faults) {
	right := webDeployment("web", "team/web:amd64")
	kubectl(f.t, f.c, "create", "quota", "none", "-n", "limited", "--hard=count/deployments.apps=0")
	f.until("exceeded quota", right)
	f.nothing("a quota that refuses")
	kubectl(f.t, f.c, "delete", "quota", "none", "-n", "limited")

	hook := f.c.refusingHook(f.t, "deployments")
	f.until("denied the request: our rule: no web here", right)
	f.says(f.deploy(right), 3, "denied the request: our rule: no web here", "nothing was applied")
	f.nothing("a webhook that refuses")
	hook.rehearses.Store(true)
	f.says(f.deploy(right), 1, "denied the request: our rule: no web here", "0 of 1 objects were applied",
		"Whoever runs the cluster can change it.", "the same command again goes on from there")
	f.nothing("a webhook that refuses late")
	hook.agrees.Store(true)
	f.says(f.deploy(right), 0, "running Deployment limited/web, 1 of 1 ready")
	kubectl(f.t, f.c, "delete", "validatingwebhookconfiguration", "refuses")
	refusedRollout(f, right)
}

// refusedRollout: no further pod may be made, and that of before runs on.
func refusedRollout(f *faults, right string) {
	kubectl(f.t, f.c, "create", "quota", "full", "-n", "limited", "--hard=pods=1")
	f.until("exceeded quota", "{apiVersion: v1, kind: Pod, metadata: {name: more}, spec: {containers: [{name: web, image: \"team/web:amd64\"}]}}\n")
	f.says(f.deploy(strings.Replace(right, "labels: {app: web}", "labels: {app: web, next: \"2\"}", 1), "--timeout", "10s"), 5,
		"Deployment limited/web: the cluster does not let its pods be made", "exceeded quota: full")
	kubectl(f.t, f.c, "delete", "quota", "full", "-n", "limited")
	f.clear()
}

// until waits for a rehearsal to say something: the API server takes a moment
// to learn of quotas and webhooks.
func (f *faults) until(word, text string) {
	f.t.Helper()
	err := wait(f.t.Context(), 20*time.Second, word, func() error {
		if r := f.deploy(text, "--dry-run"); !strings.Contains(flat(r.stdout), word) {
			return fmt.Errorf("deploy says %s", r.stdout)
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// definitions come before what is of their kind, in one deploy; the images of
// custom resources are found where --image-path says.
func definitions(f *faults) {
	const text = `apiVersion: bank.example/v1
kind: Database
metadata: {name: ledger, namespace: limited}
spec: {image: "team/web:amd64"}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: databases.bank.example}
spec:
  group: bank.example
  scope: Namespaced
  names: {plural: databases, singular: database, kind: Database}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {image: {type: string}}}}}
`
	path := []string{"--image-path", "Database:.spec.image"}
	f.says(f.deployAs("admin", f.host, strings.Replace(text, "team/web", "team/gone", 1), path...), 3, "Database limited/ledger", "the registry does not have it")
	if out := kubectl(f.t, f.c, "get", "crd"); out != "" {
		f.t.Errorf("a refused plan made %s", out)
	}
	f.says(f.deployAs("admin", f.host, text, path...), 0, "unchecked Database limited/ledger not rehearsed: its kind is new here",
		"where its pods run, and by which login they pull, is not known", "applied CustomResourceDefinition databases.bank.example", "applied Database limited/ledger")
	if got := kubectl(f.t, f.c, "get", "database", "ledger", "-n", "limited", "-o", "jsonpath={.spec.image}"); got != f.host+"/team/web:amd64" {
		f.t.Errorf("its image is %s", got)
	}
	f.says(f.deployAs("admin", f.host, text, path...), 0, "same Database limited/ledger")
	// Names that another definition has are said, in the cluster's words.
	other := strings.NewReplacer("databases.bank.example", "bases.bank.example", "plural: databases", "plural: bases", "name: ledger", "name: other").Replace(text)
	f.says(f.deployAs("admin", f.host, other, path...), 1, "the cluster does not take the names of the kind bases.bank.example", `is already in use; 1 of 2 objects were applied`)
	kubectl(f.t, f.c, "delete", "crd", "databases.bank.example", "bases.bank.example")
}

// noAPIServer dies midway: what was done is said, and the same command does
// the rest.
func noAPIServer(f *faults) {
	const maps, enough = 40, 5
	text := webDeployment("web", "team/web:amd64")
	for i := range maps {
		text += fmt.Sprintf("---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: settings-%d}}\n", i)
	}
	argv := f.command("deployer", f.host, text)
	server := f.c.apiServer(f.t)
	applied := 0
	r := f.follow(argv, func(line string) {
		if strings.Contains(line, "✓ applied ConfigMap") {
			applied++
			if applied == enough {
				if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
					f.t.Fatal(err)
				}
			}
		}
	})
	said := regexp.MustCompile(`(\d+) of 41 objects were applied`).FindStringSubmatch(r.stderr)
	if r.code != 1 || len(said) == 0 || said[1] != strconv.Itoa(applied) ||
		!strings.Contains(r.stderr, "the same command again goes on from there") {
		f.t.Errorf("exit %d after %d:\n%s", r.code, applied, r.stderr)
	}
	if err := f.c.startAPIServer(); err != nil {
		f.t.Fatal(err)
	}
	if err := wait(f.t.Context(), time.Minute, "the API server", func() error { return f.c.get(f.t.Context(), "/readyz", nil) }); err != nil {
		f.t.Fatal(err)
	}
	there := strings.Count(kubectl(f.t, f.c, "get", "configmaps", "-n", "limited", "-o", "name"), "settings-")
	if there < applied || there > applied+1 || applied >= maps {
		f.t.Errorf("%d are there, and %d were said to be", there, applied)
	}
	f.says(runFerry(f.t, f.c.file("deployer.kubeconfig"), argv...), 0, "same ConfigMap limited/settings-", "new ConfigMap limited/settings-", "running Deployment limited/web, 1 of 1 ready")
	f.clear()
}

// hangingAPIServer takes the connection and does not answer, while pods are
// waited for: deploy says so, and goes on once it does.
func hangingAPIServer(f *faults) {
	const hangs = 6 * time.Second
	argv := f.command("deployer", f.host, webDeployment("web", "team/web:amd64"), "--request-timeout", "2s")
	r := f.follow(argv, func(line string) {
		if strings.Contains(line, "✓ applied Deployment") {
			time.AfterFunc(hangs, stopAPIServer(f.t, f.c))
		}
	})
	f.says(r, 0, "the API server does not answer: ", "no answer within 2s; trying again", "running Deployment limited/web, 1 of 1 ready")
	f.clear()
}

// follow runs ferry as the deployer, and gives out each line of its answer as
// it comes.
func (f *faults) follow(argv []string, each func(line string)) result {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), ferry(f.t), argv...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+f.c.file("deployer.kubeconfig"), "NO_COLOR=1")
	var stdout, stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	for lines := bufio.NewScanner(io.TeeReader(out, &stdout)); lines.Scan(); {
		each(lines.Text())
	}
	_ = cmd.Wait() // the exit code tells
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// apiServer is the process of the cluster's API server.
func (c *Cluster) apiServer(t *testing.T) int {
	t.Helper()
	pids, err := c.slot.processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if program, _, _ := strings.Cut(string(line), "\x00"); filepath.Base(program) == "kube-apiserver" {
			return pid
		}
	}
	t.Fatal("no API server runs")
	return 0
}

// logins are tried before anything is applied, as the kubelet would use them.
func logins(f *faults) {
	host := f.serve(guarded(f.store))
	auth := func(host, password string) string {
		return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("bank:"+password)))
	}
	file := filepath.Join(f.dir, "auth.json")
	write(f.t, file, auth(host, "right"))
	secret := func(kind, text string) string {
		key := map[string]string{"Opaque": "password"}[kind]
		return fmt.Sprintf("---\n{apiVersion: v1, kind: Secret, metadata: {name: bank}, type: %q, stringData: {%q: %q}}\n", kind, cmp.Or(key, ".dockerconfigjson"), text)
	}
	const config = "kubernetes.io/dockerconfigjson"
	none := webDeployment("web", "team/web:amd64")
	named := strings.Replace(none, "      containers:", "      imagePullSecrets: [{name: bank}]\n      containers:", 1)
	for _, tt := range []struct{ text, says string }{
		{none, "the pods have no pull secret, and their service account default gives them none; " + host + " gives team/web to nobody without a login (401)"},
		{named, "The pull secret bank does not exist in namespace limited."},
		{named + secret("Opaque", "right"), "The secret bank is of type Opaque, which the kubelet does not use for pulling."},
		{named + secret(config, auth("quay.io", "right")), "The pull secret bank has no login for " + host},
		{named + secret(config, auth(host, "wrong")), host + " refuses the login of secret limited/bank for team/web (401)"},
	} {
		f.says(f.deployAs("deployer", host, tt.text, "--authfile", file), 3, tt.says, "nothing was applied",
			"kubectl create secret docker-registry", "--docker-server="+host)
		f.nothing(tt.says)
	}
	f.says(f.deployAs("deployer", host, none, "--authfile", file, "--node-login", "--dry-run"), 0, "no login was tried", "nothing was applied")
	f.says(f.deployAs("deployer", host, named+secret(config, auth(host, "right")), "--authfile", file), 0,
		host+" takes the login of secret limited/bank", "running Deployment limited/web, 1 of 1 ready")
	// What is in the cluster now counts too.
	f.says(f.deployAs("deployer", host, named, "--authfile", file), 0, host+" takes the login of secret limited/bank")
	f.clear()
	kubectl(f.t, f.c, "delete", "secret", "bank", "-n", "limited")
}

// jobsAndPods are waited for as far as they can be: a Job that works on until
// its pods have started, a short one until it is done.
func jobsAndPods(f *faults) {
	pod := func(args string) string {
		return `{restartPolicy: Never, terminationGracePeriodSeconds: 1, containers: [{name: web, image: "team/web:amd64", command: ` + args + `}]}`
	}
	job := func(name, args string) string {
		return fmt.Sprintf("{apiVersion: batch/v1, kind: Job, metadata: {name: %s}, spec: {backoffLimit: 0, template: {spec: %s}}}\n", name, pod(args))
	}
	bare := "{apiVersion: v1, kind: Pod, metadata: {name: bare}, spec: " + pod("[/program, web]") + "}\n"
	f.says(f.deploy(job("short", "[/program, exit]")+"---\n"+job("long", "[/program, web]")+"---\n"+bare), 0,
		"running Job limited/long, its pods have started (1)", "Job limited/short", "running Pod limited/bare, ready")
	f.says(f.deploy(job("short", "[/program, web]")), 3, "field is immutable", "→ A Job cannot be changed once it is there. Where it may run again: kubectl delete job short -n limited")
	f.deploy(job("fails", "[/program, nonsense]")) // its pod may well be met before it dies
	kubectl(f.t, f.c, "wait", "--for=condition=failed", "job/fails", "-n", "limited", "--timeout=60s")
	f.says(f.deploy(job("fails", "[/program, nonsense]")), 5, "applied, and not up: Job limited/fails", "Job limited/fails failed: BackoffLimitExceeded")
	f.clear()
}

// noWay is left from the node to the registry: deploy ends long before its
// time, with the cause, for pods of every kind.
func noWay(f *faults) {
	if err := f.c.Nodes[0].Mirror(f.host, "server = \"http://127.0.0.1:1\"\n[host.\"http://127.0.0.1:1\"]\n"); err != nil {
		f.t.Fatal(err)
	}
	text := webDeployment("late", "team/web:amd64") +
		"---\n{apiVersion: batch/v1, kind: Job, metadata: {name: late}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: web, image: \"team/web:amd64\"}]}}}}\n"
	started := time.Now()
	f.says(f.deploy(text, "--pull-policy", "Always", "--timeout", "4m"), 5,
		"applied, and not up: Deployment limited/late, Job limited/late", "connection refused")
	if took := time.Since(started); took > 2*time.Minute {
		f.t.Errorf("it took %v to say so", took)
	}
}
