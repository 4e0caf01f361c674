package cluster

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// laptop is what an engineer has: a cluster that reaches no registry, a podman
// with images, and ferry.
type laptop struct {
	t     *testing.T
	c     *Cluster
	nodes []string // the flags that say how the nodes are reached
}

func newLaptop(t *testing.T, nodes int, r Runtime) *laptop {
	t.Helper()
	return laptopOf(t, Options{Nodes: nodes, Containerd: r})
}

func laptopOf(t *testing.T, o Options) *laptop {
	t.Helper()
	l := &laptop{t: t, c: Up(t, o)}
	l.c.Resolver.Set("registry-1.docker.io", Answer{Silent: true})
	for _, n := range l.c.Nodes {
		l.nodes = append(l.nodes, "--node", n.Name+"=containerd:"+n.Socket)
	}
	podmanStore(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return l
}

// podmanStore gives podman a store of this test's own.
func podmanStore(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"storage.conf":                  fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", dir+"/root", dir+"/run"),
		"containers.conf":               "[containers]\ncgroupns = \"host\"\nnetns = \"none\"\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"runc\"\n",
		"config/containers/policy.json": `{"default":[{"type":"insecureAcceptAnything"}]}`,
	} {
		write(t, filepath.Join(dir, name), text)
	}
	t.Setenv("CONTAINERS_STORAGE_CONF", dir+"/storage.conf")
	t.Setenv("CONTAINERS_CONF", dir+"/containers.conf")
	t.Setenv("XDG_CONFIG_HOME", dir+"/config")
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func sh(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "bash", append([]string{"-euc", script, "bash"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// nginxImage builds an image of Debian's nginx, with what it is linked to, into
// podman.
func nginxImage(t *testing.T, name, page string) {
	t.Helper()
	sh(t, `
r=$1; name=$2; page=$3
mkdir -p "$r"/{etc,run,tmp,var/log/nginx,var/lib/nginx,usr/share/nginx/html}
for f in /usr/sbin/nginx $(ldd /usr/sbin/nginx | grep -o '/[^ )]*'); do cp --parents -L "$f" "$r"; done
cp -rL /etc/nginx "$r/etc/"
printf 'root:x:0:0::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n' > "$r/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' > "$r/etc/group"
printf 'daemon off;\nuser root;\nworker_processes 1;\nerror_log /dev/stderr;\npid /run/nginx.pid;\nevents {}\nhttp { access_log /dev/stdout; server { listen 80; root /usr/share/nginx/html; } }\n' > "$r/etc/nginx/nginx.conf"
echo "$page" > "$r/usr/share/nginx/html/index.html"
tar -C "$r" -c . | podman import -q -c 'CMD ["/usr/sbin/nginx"]' - "$name"`, t.TempDir(), name, page)
}

func (l *laptop) kubectl(args ...string) string {
	l.t.Helper()
	return kubectl(l.t, l.c, args...)
}

// fix runs ferry fix, which has to end with a code.
func (l *laptop) fix(code int, args ...string) result {
	l.t.Helper()
	r := runFerry(l.t, l.c.Kubeconfig, append(append([]string{"fix"}, args...), l.nodes...)...)
	if r.code != code {
		l.t.Fatalf("fix %v: exit %d, want %d\n%s%s", args, r.code, code, r.stdout, r.stderr)
	}
	return r
}

func (l *laptop) says(text string, want ...string) {
	l.t.Helper()
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(text) {
			l.t.Errorf("no %q in\n%s", w, text)
		}
	}
}

// until waits for kubectl to print something.
func (l *laptop) until(want string, args ...string) string {
	l.t.Helper()
	var got string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		if got, _ = l.c.Kubectl(l.t.Context(), args...); regexp.MustCompile(want).MatchString(got) {
			return got
		}
	}
	l.t.Fatalf("kubectl %s never says %s, but\n%s", strings.Join(args, " "), want, got)
	return ""
}

// served asks every running pod of an app by HTTP.
func (l *laptop) served(app, want string) {
	l.t.Helper()
	ips := strings.Fields(l.kubectl("get", "pods", "-l", "app="+app, "--field-selector=status.phase=Running", "-o", `jsonpath={range .items[*]}{.status.podIP}{"\n"}{end}`))
	if len(ips) == 0 {
		l.t.Fatal("no pod runs")
	}
	client := http.Client{Timeout: 10 * time.Second}
	for _, ip := range ips {
		resp, err := client.Get("http://" + ip + "/")
		if err != nil {
			l.t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
			l.t.Errorf("%s: %s %s", ip, resp.Status, b)
		}
	}
}

// TestLaptopStory is the mission, word for word.
func TestLaptopStory(t *testing.T) {
	l := newLaptop(t, 2, V2)
	page := newStory("laptop", l.c.Dir, "/run/nodes")
	defer page.toPage(t)
	nginxImage(t, "docker.io/library/nginx:latest", "Welcome to nginx!")
	l.kubectl("cordon", "node2")
	l.kubectl("create", "deployment", "my-web", "--image=nginx", "--replicas=1")
	l.until("ErrImagePull", "get", "pods")
	l.until("ImagePullBackOff", "get", "pods")
	l.until("i/o timeout", "get", "events")
	page.tell("A deployment, as one types it every day, on a cluster whose nodes reach no DNS server:",
		"kubectl create deployment my-web --image=nginx --replicas=1\n$ kubectl get pods", l.kubectl("get", "pods"))
	page.tell("The events say it, if one knows how to read them:", "kubectl get events",
		line(l.kubectl("get", "events", "-o", "custom-columns=REASON:.reason,MESSAGE:.message"), "i/o timeout"))
	d := runFerry(t, l.c.Kubeconfig, "doctor", "--no-probe")
	page.tell("ferry says what it means:", "ferry doctor --no-probe", d.stdout)
	l.says(d.stdout, "the node's DNS server does not answer", "ferry fix deploy")
	r := l.fix(0, "deploy/my-web", "--yes")
	l.says(r.stdout, `pull    nginx from podman on this machine`, `patch   deploy/my-web  imagePullPolicy of nginx: Always → IfNotPresent`,
		`✓ loaded    node1 holds docker.io/library/nginx:latest, pinned`, `✓ running   1 of 1 ready, on the digest that was loaded`)
	page.tell("And mends it. This machine's podman has nginx, built from Debian's packages; the nodes are none of minikube's, so two flags say how they are reached:",
		"ferry fix deploy/my-web --yes "+strings.Join(l.nodes, " "), r.stdout+r.stderr)
	page.tell("The pod runs, on the node that reaches nothing:", "kubectl get pods -o wide", l.until("Running", "get", "pods", "-o", "wide"))
	ip := l.kubectl("get", "pods", "-l", "app=my-web", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].status.podIP}")
	page.tell("", "curl -si http://"+ip+"/", sh(t, `curl -si "http://$1/"`, ip))
	l.served("my-web", "Welcome to nginx!")
	l.says(l.fix(0, "deploy/my-web", "--yes").stdout, "There is nothing to fix")

	// As it was before, and then by the article's policy.
	page.tell("What the patch changed can be had back, from any machine:", "ferry fix --undo deploy/my-web --yes", l.fix(0, "--undo", "deploy/my-web", "--yes").stdout)
	l.says(l.kubectl("get", "deploy", "my-web", "-o", "jsonpath={..imagePullPolicy} {.metadata.annotations}"), `^Always \{"deployment.kubernetes.io/revision":"\d+"\}$`)
	l.until("ImagePullBackOff|ErrImagePull", "get", "pods")
	page.tell("The policy that articles advise, Never, is one flag:", "ferry fix deploy/my-web --yes --pull-policy Never …",
		l.fix(0, "deploy/my-web", "--yes", "--pull-policy", "Never").stdout)
	l.says(l.kubectl("get", "deploy", "my-web", "-o", "jsonpath={..imagePullPolicy}"), "^Never$")
	l.served("my-web", "Welcome to nginx!")

	// Two nodes, four replicas.
	l.kubectl("delete", "deployment", "my-web", "--wait")
	l.kubectl("uncordon", "node2")
	l.kubectl("create", "deployment", "four", "--image=nginx", "--replicas=4")
	l.until("(?s)(ErrImage|BackOff).*node1.*(ErrImage|BackOff).*node2|(ErrImage|BackOff).*node2.*(ErrImage|BackOff).*node1", "get", "pods", "-o", "wide")
	r = l.fix(0, "deploy/four", "--yes")
	page.tell("Four replicas on two nodes: both get the image at once.", "ferry fix deploy/four --yes …", r.stdout)
	page.tell("", "kubectl get pods -o wide", l.kubectl("get", "pods", "-l", "app=four", "-o", "wide"))
	l.says(r.stdout, "✓ loaded    node1 holds", "✓ loaded    node2 holds", "4 of 4 ready, on the digest that was loaded")
	l.served("four", "Welcome to nginx!")
}

// line is the first line that holds a text.
func line(all, text string) string {
	for l := range strings.Lines(all) {
		if strings.Contains(l, text) {
			return l
		}
	}
	return ""
}

// TestFixFromARegistryOnlyThisMachineReaches pulls here what the node cannot.
func TestFixFromARegistryOnlyThisMachineReaches(t *testing.T) {
	l := newLaptop(t, 1, Debian)
	addr := "127.0.0.1:" + freePort(t)
	config := filepath.Join(t.TempDir(), "config.yml")
	write(t, config, fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", t.TempDir(), addr))
	registry := exec.Command("docker-registry", "serve", config)
	if err := registry.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = registry.Process.Kill(); _ = registry.Wait() }()
	image := addr + "/team/web:1"
	nginxImage(t, image, "from the registry")
	sh(t, `for i in $(seq 50); do podman push -q --tls-verify=false "$1" 2>/dev/null && break; sleep 0.2; done; podman rmi "$1"`, image)
	l.kubectl("create", "deployment", "web", "--image="+image)
	l.until("ErrImagePull|ImagePullBackOff", "get", "pods")
	// IfNotPresent needs no patch: the waiting pod is made anew.
	r := l.fix(0, "deploy/web", "--yes", "--plain-http", addr)
	l.says(r.stdout, "from "+regexp.QuoteMeta(addr), "✓ restarted", "1 of 1 ready, on the digest that was loaded")
	if strings.Contains(r.stdout, "patch ") {
		t.Errorf("what needed no patch was patched:\n%s", r.stdout)
	}
	l.served("web", "from the registry")
}

// TestFixOtherWorkloads fixes what is no Deployment.
func TestFixOtherWorkloads(t *testing.T) {
	l := newLaptop(t, 1, V2)
	nginxImage(t, "docker.io/library/nginx:latest", "other")
	// The Job's has a name of its own: it would come up by itself as soon as
	// another one's was loaded.
	sh(t, "podman tag docker.io/library/nginx:latest docker.io/library/nginx:job")
	file := filepath.Join(t.TempDir(), "all.yaml")
	pod := `{containers: [{name: web, image: nginx}], terminationGracePeriodSeconds: 1`
	write(t, file, `
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: sts}, spec: {serviceName: s, replicas: 2, selector: {matchLabels: {app: sts}}, template: {metadata: {labels: {app: sts}}, spec: `+pod+`, initContainers: [{name: setup, image: nginx, command: [/usr/sbin/nginx, -v]}]}}}}
---
{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: ds}, spec: {selector: {matchLabels: {app: ds}}, template: {metadata: {labels: {app: ds}}, spec: `+pod+`}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: job}, spec: {template: {metadata: {labels: {app: job}}, spec: {restartPolicy: Never, containers: [{name: v, image: "nginx:job", imagePullPolicy: IfNotPresent, command: [/usr/sbin/nginx, -v]}]}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: bare, labels: {app: bare}}, spec: `+pod+`}}
`)
	l.kubectl("apply", "-f", file)
	for _, app := range []string{"sts", "ds", "job", "bare"} {
		l.until("ErrImagePull|ImagePullBackOff", "get", "pods", "-l", "app="+app)
	}
	l.says(l.fix(1, "pod/bare", "--yes").stderr, "With --recreate")
	l.says(l.fix(0, "sts/sts", "--yes").stdout, "setup: Always → IfNotPresent, web: Always → IfNotPresent", "2 of 2 ready, on the digest that was loaded")
	l.says(l.fix(0, "ds/ds", "--yes").stdout, "1 of 1 ready, on the digest that was loaded")
	l.says(l.fix(0, "job/job", "--yes").stdout, "1 (running|completed), on the digest that was loaded")
	l.until("1/1", "get", "job", "job")
	l.says(l.fix(0, "pod/bare", "--yes", "--recreate").stdout, "4  replace pod/bare: it is deleted and made anew", "1 of 1 ready, on the digest that was loaded")
	for _, app := range []string{"sts", "ds", "bare"} {
		l.served(app, "other")
	}
}

// TestFixAllWhereANodeIsFull fixes what needs the other node alone, and says
// what is left as it was, and why.
func TestFixAllWhereANodeIsFull(t *testing.T) {
	l := laptopOf(t, Options{Nodes: 2, Node: func(number int, _ string) NodeOptions {
		if number == 2 {
			return NodeOptions{Disk: 64 << 20}
		}
		return NodeOptions{}
	}})
	nginxImage(t, "docker.io/library/nginx:latest", "roomy")
	sh(t, `head -c 96M /dev/urandom > "$1"/big; tar -C "$1" -c . | podman import -q - docker.io/library/big:latest`, t.TempDir())
	for app, node := range map[string]string{"nginx": "node1", "big": "node2"} {
		l.kubectl("create", "deployment", app, "--image="+app, "--replicas=0")
		l.kubectl("patch", "deployment", app, "-p", `{"spec":{"replicas":1,"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"`+node+`"}}}}}`)
		l.until("ErrImagePull|ImagePullBackOff", "get", "pods", "-l", "app="+app)
	}
	r := l.fix(5, "--all", "--yes")
	l.says(r.stderr, "into node2: .*no space left on device", "The disk there is full: ", "left as it was, .*: deploy/big")
	l.says(r.stdout, "1 of 1 ready, on the digest that was loaded")
	l.served("nginx", "roomy")
	if policy := l.kubectl("get", "deploy", "big", "-o", "jsonpath={..imagePullPolicy}"); policy != "Always" {
		t.Errorf("big was patched: %s", policy)
	}
}

// TestFixIsRefused has clear ends, and touches nothing.
func TestFixIsRefused(t *testing.T) {
	for _, r := range Runtimes() {
		t.Run(string(r), func(t *testing.T) { fixIsRefused(t, r) })
	}
}

func fixIsRefused(t *testing.T, r Runtime) {
	l := newLaptop(t, 2, r)
	nginxImage(t, "docker.io/library/nginx:latest", "refused")
	l.kubectl("create", "deployment", "my-web", "--image=nginx", "--replicas=2")
	l.until("ErrImagePull|ImagePullBackOff", "get", "pods")
	before := l.kubectl("get", "deploy", "my-web", "-o", "jsonpath={.metadata.generation} {..imagePullPolicy}")

	// A rule of the cluster.
	file := filepath.Join(t.TempDir(), "rule.yaml")
	write(t, file, `
{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: always}, spec: {
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments]}]},
  validations: [{expression: "object.spec.template.spec.containers.all(c, c.imagePullPolicy == 'Always')", message: "our rule: always pull"}]}}
---
{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: always}, spec: {policyName: always, validationActions: [Deny]}}
`)
	l.kubectl("apply", "-f", file)
	l.tried("our rule: always pull")
	l.says(l.fix(1, "deploy/my-web", "--yes").stderr, "our rule: always pull", "Nothing was changed")
	l.kubectl("delete", "-f", file)
	l.tried("")

	// A webhook: it is asked by the rehearsal, and says no to the patch alone
	// where it lets rehearsals pass.
	hook := l.c.refusingHook(t, "deployments")
	l.tried("our rule: no web here")
	l.says(l.fix(1, "deploy/my-web", "--yes").stderr, "our rule: no web here", "Nothing was changed")
	hook.rehearses.Store(true)
	l.says(l.fix(1, "deploy/my-web", "--yes").stderr, "our rule: no web here")
	if after := l.kubectl("get", "deploy", "my-web", "-o", "jsonpath={.metadata.generation} {..imagePullPolicy}"); after != before {
		t.Errorf("the workload was touched: %s, before %s", after, before)
	}
	l.kubectl("delete", "validatingwebhookconfiguration", "refuses")

	// A name that is nowhere.
	l.kubectl("create", "deployment", "nowhere", "--image=127.0.0.1:9/none:1")
	l.until("ErrImagePull|ImagePullBackOff", "get", "pods", "-l", "app=nowhere")
	l.says(l.fix(1, "deploy/nowhere", "--yes").stderr, "is in no engine on this machine, and its registry does not give it", "Nothing was changed")

	// A runtime that is gone: nothing is moved to the other one either.
	if err := l.c.Nodes[1].Kill(t.Context(), "containerd"); err != nil {
		t.Fatal(err)
	}
	l.says(l.fix(1, "deploy/my-web", "--yes").stderr, "node node2: ", "Nothing was changed")
	if after := l.kubectl("get", "deploy", "my-web", "-o", "jsonpath={.metadata.generation} {..imagePullPolicy}"); after != before {
		t.Errorf("the workload was touched: %s, before %s", after, before)
	}
}

// TestFixUnderAlwaysPullImages: the API server makes Always of every policy, so
// that loading helps nobody. That is said before anything is pulled or moved.
func TestFixUnderAlwaysPullImages(t *testing.T) {
	l := laptopOf(t, Options{Containerd: V2, Admission: []string{"AlwaysPullImages"}})
	nginxImage(t, "docker.io/library/nginx:latest", "always")
	l.kubectl("create", "deployment", "my-web", "--image=nginx")
	l.until("ErrImagePull|ImagePullBackOff", "get", "pods")
	before := l.kubectl("get", "deploy,pods", "-o", "jsonpath={.items[*].metadata.uid} {.items[0].metadata.generation}")
	for _, policy := range []string{"IfNotPresent", "Never"} {
		r := l.fix(1, "deploy/my-web", "--yes", "--pull-policy", policy)
		l.says(r.stderr, "the AlwaysPullImages admission plugin", "Nothing was changed")
		if strings.Contains(r.stdout, "✓") {
			t.Errorf("something was done:\n%s", r.stdout)
		}
	}
	if after := l.kubectl("get", "deploy,pods", "-o", "jsonpath={.items[*].metadata.uid} {.items[0].metadata.generation}"); after != before {
		t.Errorf("it was touched: %s, before %s", after, before)
	}
}

// tried waits until a patch of my-web, tried, is refused with a text; "" is
// until it is not refused. The API server takes a moment to learn of rules.
func (l *laptop) tried(text string) {
	l.t.Helper()
	err := wait(l.t.Context(), 30*time.Second, "the answer "+text, func() error {
		_, err := l.c.Kubectl(l.t.Context(), "patch", "deploy", "my-web", "--dry-run=server", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"nginx","imagePullPolicy":"Never"}]}}}}`)
		switch {
		case text == "":
			return err
		case err == nil:
			return errors.New("it is not refused")
		case !strings.Contains(err.Error(), text):
			return err
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// TestTwoFixesAtOnce: both end well, and the workload was patched once.
func TestTwoFixesAtOnce(t *testing.T) {
	for _, r := range Runtimes() {
		t.Run(string(r), func(t *testing.T) { twoFixesAtOnce(t, r) })
	}
}

func twoFixesAtOnce(t *testing.T, r Runtime) {
	l := newLaptop(t, 1, r)
	nginxImage(t, "docker.io/library/nginx:latest", "two")
	l.kubectl("create", "deployment", "my-web", "--image=nginx")
	l.until("ErrImagePull|ImagePullBackOff", "get", "pods")
	ferry(t)
	var wg sync.WaitGroup
	var results [2]result
	for i := range results {
		wg.Go(func() {
			results[i] = runFerry(t, l.c.Kubeconfig, append([]string{"fix", "deploy/my-web", "--yes"}, l.nodes...)...)
		})
	}
	wg.Wait()
	for _, r := range results {
		if r.code != 0 {
			t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	}
	l.served("my-web", "two")
	l.says(l.kubectl("get", "deploy", "my-web", "-o", "jsonpath={.metadata.annotations.ferry/former-pull-policies}"), `^\{"containers/nginx":"Always"\}$`)
}

// TestDemoOnACluster leaves no namespace behind.
func TestDemoOnACluster(t *testing.T) {
	l := newLaptop(t, 1, V2)
	r := runFerry(t, l.c.Kubeconfig, append([]string{"demo", "--cluster"}, l.nodes...)...)
	if r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	l.says(r.stdout, "refuses the connection", "✓ loaded    node1 holds", "on the digest that was loaded", `\$ kubectl logs job/hello`, "(?i)hello", "The namespace ferry-demo-.* is deleted")
	for end := time.Now().Add(time.Minute); strings.Contains(l.kubectl("get", "namespaces"), "ferry-demo"); time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatal("the namespace is still there")
		}
	}
}
