package diagnose

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

const (
	dnsLeaf  = `dial tcp: lookup registry-1.docker.io on 192.168.64.1:53: read udp 192.168.64.5:37260->192.168.64.1:53: i/o timeout`
	pullFail = `Failed to pull image "nginx": failed to pull and unpack image "docker.io/library/nginx:latest": failed to resolve image: failed to do request: Head "https://registry-1.docker.io/v2/library/nginx/manifests/latest": ` + dnsLeaf
)

func readText(t *testing.T, text string) *Reading {
	t.Helper()
	r, err := Read(strings.NewReader(text), Setting{})
	if err != nil {
		t.Fatal(err)
	}
	sound(t, r.Report)
	return r
}

// causes are the labels with the images.
func labelled(r *Reading) []string {
	all := []string{}
	for _, c := range r.Causes {
		all = append(all, strings.TrimSpace(string(c.Cause)+" "+c.Image))
	}
	return all
}

func TestRead(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		form       Form
		want       []string
	}{
		{"empty", "", FormEmpty, []string{"unknown"}},
		{"blank", " \n\t\n", FormEmpty, []string{"unknown"}},
		{"garbage", "lorem ipsum dolor\nsit amet", FormMessage, []string{"unknown"}},
		{"binary", "\x7fELF\x02\x01\x01\x00\x00\x00\x00", FormBinary, []string{"unknown"}},
		{"a log with a hole", pullFail + "\n" + strings.Repeat("\x00", 60) + "\n" + pullFail, FormMessages, []string{"dns-timeout nginx"}},
		{"message", pullFail, FormMessage, []string{"dns-timeout nginx"}},
		{"leaf", "x509: certificate signed by unknown authority", FormMessage, []string{"tls-unknown-authority"}},
		{"messages", "Error: ErrImagePull\n" + pullFail, FormMessages, []string{"dns-timeout nginx"}},
		{"docker pull", "Using default tag: latest\nlatest: Pulling from library/nginx\n5e: Pulling fs layer\nError response from daemon: toomanyrequests: You have reached your pull rate limit.\n", FormMessages, []string{"rate-limited"}},
		{"docker run", "Unable to find image 'shop/cart:2.4' locally\ndocker: Error response from daemon: pull access denied for shop/cart, repository does not exist or may require 'docker login': denied: requested access to the resource is denied.\nSee 'docker run --help'.", FormMessage, []string{"not-found-repo-or-denied shop/cart:2.4"}},
		{"podman pull", "Trying to pull quay.io/shop/cart:2.4...\nError: initializing source docker://quay.io/shop/cart:2.4: reading manifest 2.4 in quay.io/shop/cart: unauthorized: access to the requested resource is not authorized\n", FormMessages, []string{"auth-required quay.io/shop/cart:2.4"}},
		{"crictl pull", `E1124 10:00:00.000000   59141 remote_image.go:171] "PullImage from image service failed" err="rpc error: code = NotFound desc = failed to pull and unpack image \"docker.io/shop/cart:2.4\": no match for platform in manifest: not found" image="shop/cart:2.4"` + "\n" + `FATA[0002] pulling image: rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/shop/cart:2.4": no match for platform in manifest: not found`, FormLog, []string{"platform-mismatch docker.io/shop/cart:2.4"}},
		{"kubeadm", "[preflight] Some fatal errors occurred:\n\t[ERROR ImagePull]: failed to pull image registry.k8s.io/etcd:3.5.9-0: output: Error response from daemon: Get https://registry.k8s.io/v2/: dial tcp 203.0.113.7:443: connect: connection refused\n, error: exit status 1\n\t[ERROR ImagePull]: failed to pull image registry.k8s.io/coredns/coredns:v1.10.1: output: Error response from daemon: received unexpected HTTP status: 503 Service Unavailable\n, error: exit status 1\n", FormMessages, []string{"connect-refused registry.k8s.io/etcd:3.5.9-0", "registry-5xx registry.k8s.io/coredns/coredns:v1.10.1"}},
		{"kubelet log", klogLine("nginx", dnsLeaf) + "\n" + klogLine("nginx", dnsLeaf) + "\nI1124 10:00:00.000000 1 x.go:1] \"Readiness probe failed\" err=\"Get http://10.0.0.1/v2/: dial tcp 10.0.0.1:80: connect: connection refused\"\n", FormLog, []string{"dns-timeout nginx"}},
		{"containerd log", `time="2030-01-01T00:00:00.000000000Z" level=info msg="PullImage \"nginx:1.27\""` + "\n" + `time="2030-01-01T00:00:01.000000000Z" level=error msg="PullImage \"nginx:1.27\" failed" error="failed to pull and unpack image \"docker.io/library/nginx:1.27\": failed to resolve reference \"docker.io/library/nginx:1.27\": failed to do request: Head \"https://registry-1.docker.io/v2/library/nginx/manifests/1.27\": x509: certificate signed by unknown authority"` + "\n", FormLog, []string{"tls-unknown-authority docker.io/library/nginx:1.27"}},
		{"journal", "Nov 24 10:00:00 node1 dockerd[99]: time=\"2030-01-01T00:00:00Z\" level=error msg=\"Not continuing with pull after error: context canceled\"\nNov 24 10:00:00 node1 kernel: eth0: link up\nNov 24 10:00:01 node1 dockerd[99]: time=\"2030-01-01T00:00:00Z\" level=error msg=\"Handler for POST /v1.46/images/create returned error: Get \\\"https://registry.example/v2/\\\": dial tcp 10.0.0.9:443: i/o timeout\" pulling\n", FormLog, []string{"connect-timeout", "canceled"}},
		{"a log of something else", "2030-01-01T00:00:00Z listening\n2030-01-01T00:00:00Z dial tcp 10.0.0.1:5432: connect: connection refused\n2030-01-01T00:00:00Z image upload failed: EOF\n", FormLog, []string{"unknown"}},
		{"json log", `{"level":"info","msg":"started"}` + "\n" + `{"level":"error","msg":"pull failed","error":"failed to pull and unpack image \"a.example/b:1\": unexpected status from HEAD request to https://a.example/v2/b/manifests/1: 503 Service Unavailable"}` + "\n", FormLog, []string{"registry-5xx a.example/b:1"}},
		{"events of another controller", "  Warning  FetchPackage  7s (x6 over 40s)  packages/provider.pkg.example.com  cannot fetch package: GET https://registry.example/v2/shop/cart/manifests/2.4: DENIED: Permission \"pull\" denied on resource \"shop\"\n  Warning  Unhealthy  7s  kubelet  Readiness probe failed: Get \"http://10.0.0.1/v2/\": dial tcp 10.0.0.1:80: connect: connection refused\n", FormEvents, []string{"auth-denied"}},
		{"log of a scanner", "2030-01-01T00:00:00Z [INFO] [/transfer.go:274]: cart:2.4 read\n2030-01-01T00:00:00Z [ERROR] [/transfer.go:224]: unsupported media type: application/octet-stream\n", FormLog, []string{"media-type-unsupported"}},
		{"api answer", `{"message":"Get \"https://registry.example/v2/\": http: server gave HTTP response to HTTPS client"}`, FormMessage, []string{"http-to-https-client"}},
		{"pods", "NAMESPACE NAME READY STATUS RESTARTS AGE\nshop cart-1 0/1 ImagePullBackOff 0 5m\nshop web-1 1/1 Running 0 5m\nshop db-1 0/1 Init:ErrImageNeverPull 0 5m\nshop bad-1 0/1 InvalidImageName 0 5m\n", FormPods, []string{"never-pull", "invalid-name", "unknown"}},
		{"pods that are fine", "NAME READY STATUS RESTARTS AGE\nweb-1 1/1 Running 0 5m\njob-1 0/1 Completed 0 5m\n", FormPods, []string{}},
		{"events", "LAST SEEN   TYPE      REASON      OBJECT           MESSAGE\n12s         Warning   Failed      pod/cart-1       " + pullFail + "\n11s         Warning   Unhealthy   pod/web-1        Readiness probe failed: Get \"http://10.0.0.1:80/\": dial tcp 10.0.0.1:80: connect: connection refused\n10s         Normal    BackOff     pod/cart-1       Back-off pulling image \"nginx\"\n", FormEvents, []string{"dns-timeout nginx"}},
		{"events of all namespaces", "NAMESPACE   LAST SEEN           TYPE      REASON   OBJECT       MESSAGE\nshop        12s (x4 over 60s)   Warning   Failed   pod/cart-1   " + pullFail + "\n", FormEvents, []string{"dns-timeout nginx"}},
		{"events without their head", "  Warning  Failed     12s (x3 over 60s)  kubelet  " + pullFail[:120] + "\n" + pullFail[120:] + "\n", FormEvents, []string{"dns-timeout nginx"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := readText(t, tc.text)
			if r.Form != tc.form || !slices.Equal(labelled(r), tc.want) {
				t.Errorf("%s %q, want %s %q", r.Form, labelled(r), tc.form, tc.want)
			}
		})
	}
}

func klogLine(image, err string) string {
	return fmt.Sprintf(`Nov 24 10:00:00 node1 kubelet[1]: E1124 10:00:00.000000    1088 pod_workers.go:1298] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"app\" with ErrImagePull: \"failed to pull image \\\"%s\\\": %s\"" pod="shop/web-1" podUID="0"`, image, err)
}

func TestLogsNameThePod(t *testing.T) {
	c := readText(t, klogLine("nginx", dnsLeaf)+"\n"+klogLine("nginx", dnsLeaf)).Causes[0]
	if c.Seen != 2 || !slices.Equal(c.Objects, []string{"Pod shop/web-1"}) {
		t.Errorf("%+v", c)
	}
}

const describeTwo = `Name:             my-web-684f49ddf4-pmprv
Namespace:        shop
Service Account:  robot
Node:             minikube-m02/192.168.64.6
Status:           Pending
Controlled By:    ReplicaSet/my-web-684f49ddf4
Init Containers:
  setup:
    Image:          busybox:1.36
    State:          Terminated
      Reason:       Completed
      Exit Code:    0
    Ready:          True
Containers:
  web:
    Image:          nginx
    State:          Waiting
      Reason:       ImagePullBackOff
    Ready:          False
Conditions:
  Type              Status
  Ready             False
Events:
  Type     Reason     Age                From     Message
  ----     ------     ----               ----     -------
  Normal   Pulling    2m                 kubelet  Pulling image "nginx"
  Warning  Failed     9s (x12 over 4m)   kubelet  ` + pullFail + `
  Warning  Failed     9s (x12 over 4m)   kubelet  Error: ErrImagePull


Name:             fine-1
Namespace:        shop
Node:             minikube/192.168.64.5
Status:           Running
Containers:
  web:
    Image:          redis:7
    State:          Running
      Started:      Mon, 24 Nov 2026 10:00:00 +0000
    Ready:          True
Events:
  Type     Reason     Age   From     Message
  ----     ------     ----  ----     -------
  Warning  Failed     9m    kubelet  Failed to pull image "redis:7": EOF
`

func TestDescribe(t *testing.T) {
	r := readText(t, describeTwo)
	if r.Form != FormDescribe || r.Pods != 2 || !slices.Equal(labelled(r), []string{"dns-timeout nginx"}) {
		t.Fatalf("%s, %d pods: %q", r.Form, r.Pods, labelled(r))
	}
	c := r.Causes[0]
	if c.Confidence != Certain || c.Seen != 12 || c.Detail[DetailResolver] != "192.168.64.1:53" || c.Detail[DetailHost] != "registry-1.docker.io" || c.Detail[DetailPhase] != string(PhaseResolve) {
		t.Errorf("%+v", c)
	}
	if got := c.Remedies[0].Command; got != "ferry fix deployment/my-web -n shop" || !c.Remedies[0].Ferry {
		t.Errorf("the first remedy is %s", got)
	}
	if got, want := c.Verify.Command, "minikube ssh -n minikube-m02 -- nslookup registry-1.docker.io 192.168.64.1"; got != want {
		t.Errorf("%s instead of %s", got, want)
	}
}

// pod is a Pod as the API server has it, with the state of its container.
func podJSON(name, image, state string) string {
	return fmt.Sprintf(`{"kind":"Pod","metadata":{"name":%q,"namespace":"shop","uid":"u-%s","ownerReferences":[{"kind":"StatefulSet","name":"db"}]},
"spec":{"nodeName":"node1","serviceAccountName":"default","imagePullSecrets":[{"name":"regcred"}],"containers":[{"name":"app","image":%q,"imagePullPolicy":"Always"}]},
"status":{"phase":"Pending","containerStatuses":[{"name":"app","image":%q,"state":%s}]}}`, name, name, image, image, state)
}

func eventJSON(pod, kind, reason, message string, count int) string {
	return fmt.Sprintf(`{"kind":"Event","type":%q,"reason":%q,"message":%q,"count":%d,"involvedObject":{"kind":"Pod","namespace":"shop","name":%q,"uid":"u-%s","fieldPath":"spec.containers{app}"}}`, kind, reason, message, count, pod, pod)
}

func list(items ...string) string {
	return `{"kind":"List","apiVersion":"v1","items":[` + strings.Join(items, ",") + `]}`
}

func TestObjects(t *testing.T) {
	const (
		backOff  = `{"waiting":{"reason":"ImagePullBackOff","message":"Back-off pulling image \"nginx\""}}`
		creating = `{"waiting":{"reason":"ContainerCreating"}}`
		running  = `{"running":{"startedAt":"2030-01-01T00:00:00Z"}}`
	)
	pauseFails := `Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox image "registry.k8s.io/pause:3.9": failed to pull image "registry.k8s.io/pause:3.9": failed to pull and unpack image "registry.k8s.io/pause:3.9": failed to resolve reference "registry.k8s.io/pause:3.9": failed to do request: Head "https://registry.k8s.io/v2/pause/manifests/3.9": dial tcp 203.0.113.7:443: i/o timeout`
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"the event tells", list(podJSON("a", "nginx", backOff), eventJSON("a", "Warning", "Failed", pullFail, 3), eventJSON("a", "Normal", "BackOff", `Back-off pulling image "nginx"`, 9)), []string{"dns-timeout nginx"}},
		{"the event is gone", list(podJSON("a", "nginx", backOff)), []string{"unknown nginx"}},
		{"the waiting message tells", podJSON("a", "nginx", `{"waiting":{"reason":"ErrImagePull","message":"failed to pull and unpack image \"docker.io/library/nginx:latest\": failed to resolve image: docker.io/library/nginx:latest: not found"}}`), []string{"not-found-tag nginx"}},
		{"it runs by now", list(podJSON("a", "nginx", running), eventJSON("a", "Warning", "Failed", pullFail, 3)), []string{}},
		{"events alone", `{"kind":"EventList","items":[` + strings.ReplaceAll(eventJSON("a", "Warning", "Failed", pullFail, 3), `"kind":"Event",`, "") + `]}`, []string{"dns-timeout nginx"}},
		{"the newer events", `{"kind":"EventList","items":[{"type":"Warning","reason":"Failed","note":"x509: certificate signed by unknown authority","regarding":{"kind":"Pod","name":"a","namespace":"b"}}]}`, []string{"tls-unknown-authority"}},
		{"no sandbox", list(podJSON("a", "nginx", creating), eventJSON("a", "Warning", "FailedCreatePodSandBox", pauseFails, 3)), []string{"sandbox-image registry.k8s.io/pause:3.9", "connect-timeout registry.k8s.io/pause:3.9"}},
		{"an old failure of the sandbox", list(podJSON("a", "nginx", backOff), eventJSON("a", "Warning", "FailedCreatePodSandBox", "rpc error: code = Unavailable desc = server is not initialized yet", 1), eventJSON("a", "Warning", "Failed", pullFail, 3)), []string{"dns-timeout nginx"}},
		{"a failed probe", list(podJSON("a", "nginx", running), eventJSON("a", "Warning", "Unhealthy", "dial tcp 10.0.0.1:80: connect: connection refused", 3)), []string{}},
		{"a missing secret besides", list(podJSON("a", "nginx", backOff), eventJSON("a", "Warning", "FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.", 3), eventJSON("a", "Warning", "Failed", `Failed to pull image "nginx": no basic auth credentials`, 3)), []string{"auth-required nginx", "secret-missing"}},
		{"never", podJSON("a", "my-web:1", `{"waiting":{"reason":"ErrImageNeverPull","message":"Container image \"my-web:1\" is not present with pull policy of Never"}}`), []string{"never-pull my-web:1"}},
		{"another processor, proved", podJSON("a", "nginx", `{"terminated":{"exitCode":1,"reason":"Error","message":"exec /app: exec format error"}}`), []string{"platform-mismatch nginx"}},
		{"it crashes of its own", podJSON("a", "nginx", `{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 5m0s restarting failed container"}}`), []string{}},
		{"no pods", `{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"a"},"spec":{}}`, []string{"unknown"}},
		{"an empty list", list(), []string{"unknown"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := readText(t, tc.text)
			if r.Form != FormObjects || !slices.Equal(labelled(r), tc.want) {
				t.Errorf("%s %q, want %q", r.Form, labelled(r), tc.want)
			}
		})
	}
	// A text that is cut off is answered as well.
	whole := list(podJSON("a", "nginx", backOff), eventJSON("a", "Warning", "Failed", pullFail, 3))
	for n := range len(whole) {
		if n%7 == 0 {
			readText(t, whole[:n])
		}
	}
}

func TestYAML(t *testing.T) {
	const pod = `apiVersion: v1
kind: Pod
metadata:
  name: NAME
  namespace: shop
spec:
  containers:
  - name: app
    image: nginx
status:
  containerStatuses:
  - name: app
    image: nginx
    state:
      waiting:
        reason: ErrImagePull
        message: 'failed to pull and unpack image "docker.io/library/nginx:latest": failed
          to resolve image: docker.io/library/nginx:latest: not found'
`
	one := strings.ReplaceAll(pod, "NAME", "a")
	two := one + "---\n" + strings.ReplaceAll(pod, "NAME", "b")
	item := func(name string) string {
		lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(pod, "NAME", name)), "\n")
		return "- " + strings.Join(lines, "\n  ") + "\n"
	}
	for name, text := range map[string]string{
		"one":       one,
		"documents": two,
		"list":      "apiVersion: v1\nitems:\n" + item("a") + item("b") + "kind: List\nmetadata:\n  resourceVersion: \"\"\n",
		"dashes":    "---\n" + one,
	} {
		r := readText(t, text)
		if !slices.Equal(labelled(r), []string{"not-found-tag nginx"}) || r.Form != FormObjects {
			t.Errorf("%s: %s %q", name, r.Form, labelled(r))
		}
		if want := []string{"Pod shop/a", "Pod shop/b"}; name != "one" && name != "dashes" && !slices.Equal(r.Causes[0].Objects, want) {
			t.Errorf("%s: %q", name, r.Causes[0].Objects)
		}
	}
}

// TestGzip: a log that was rotated, and one that was cut off.
func TestGzip(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	fmt.Fprintln(w, pullFail)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if r := readText(t, b.String()); !slices.Equal(labelled(r), []string{"dns-timeout nginx"}) {
		t.Errorf("%s %q", r.Form, labelled(r))
	}
	for _, cut := range []int{5, b.Len() - 12} {
		if _, err := Read(bytes.NewReader(b.Bytes()[:cut]), Setting{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of it: %v", cut, err)
		}
	}
}

// TestUTF16: with its mark and, as some tools write it, without.
func TestUTF16(t *testing.T) {
	text := utf16.Encode([]rune(pullFail + " 👩‍🚀"))
	for _, units := range [][]uint16{append([]uint16{0xfeff}, text...), text} {
		for _, little := range []bool{true, false} {
			var b []byte
			for _, u := range units {
				if little {
					b = append(b, byte(u), byte(u>>8))
				} else {
					b = append(b, byte(u>>8), byte(u))
				}
			}
			if r := readText(t, string(b)); !slices.Equal(labelled(r), []string{"dns-timeout nginx"}) {
				t.Errorf("little %v, %d units: %s %q", little, len(units), r.Form, labelled(r))
			}
		}
	}
}

// What is known besides goes into the commands.
func TestSetting(t *testing.T) {
	for _, tc := range []struct {
		s    Setting
		want string
	}{
		{Setting{}, "ferry pack nginx:1.27 --to nginx.tar"},
		{Setting{Nodes: Minikube}, "ferry load nginx:1.27 --to minikube"},
		{Setting{Nodes: Kind, Profile: "dev"}, "ferry load nginx:1.27 --to kind:dev"},
		{Setting{Nodes: K3s, Node: "node1"}, "ferry load nginx:1.27 --to ssh://node1"},
		{Setting{Pod: "a", Namespace: "b"}, "ferry fix pod/a -n b"},
		{Setting{Kind: "StatefulSet", Name: "db", Namespace: "b"}, "ferry fix statefulset/db -n b"},
	} {
		c := Message(`Failed to pull image "nginx:1.27": `+dnsLeaf, tc.s).Causes[0]
		if got := c.Remedies[0].Command; got != tc.want {
			t.Errorf("%+v: %s instead of %s", tc.s, got, tc.want)
		}
	}
}

func TestHostileNames(t *testing.T) {
	r := Message("Failed to pull image \"nginx\": \u202edial tcp 10.0.0.1:443: connect: connection refused\x1b[31m\u009b31m", Setting{})
	if got := r.Causes[0].Evidence[0]; strings.ContainsAny(got, "\x1b") {
		t.Errorf("%q", got)
	}
}
