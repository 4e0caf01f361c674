package diagnose

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/credential"
	"ferry/internal/ref"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const dnsText = `Failed to pull image "nginx": failed to pull and unpack image "docker.io/library/nginx:latest": failed to resolve image: failed to do request: Head "https://registry-1.docker.io/v2/library/nginx/manifests/latest": dial tcp: lookup registry-1.docker.io on %s:53: read udp 10.0.0.2:%d->%[1]s:53: i/o timeout`

// waiting is a pod whose only container waits for its image.
func waiting(namespace, name, image, failure string) Pod {
	return Pod{
		Namespace: namespace, Name: name, UID: name, Node: "n1", Phase: "Pending", Created: noon.Add(-time.Hour),
		Account:  "default",
		Workload: Object{Kind: "Deployment", Namespace: namespace, Name: strings.TrimRight(name, "-0123456789")},
		Containers: []Container{{
			Name: "c", Kind: MainContainer, Image: image, Policy: "Always",
			Waiting: Waiting{Reason: "ImagePullBackOff", Message: "Back-off pulling image"},
		}},
		Events: []Event{{
			Reason: "Failed", Warning: true, Container: "c", Message: failure, Count: 3,
			First: noon.Add(-time.Hour), Last: noon.Add(-time.Minute),
		}},
	}
}

func only(t *testing.T, f *Facts) Finding {
	t.Helper()
	all := f.Findings()
	if len(all) != 1 {
		t.Fatalf("%d findings, want 1: %+v", len(all), all)
	}
	return all[0]
}

func TestFindingsAreGroupedByCause(t *testing.T) {
	f := &Facts{Now: noon}
	for i := range 14 {
		p := waiting([]string{"a", "b", "c"}[i%3], fmt.Sprintf("web-%d", i), "nginx", fmt.Sprintf(dnsText, "192.168.64.1", 40000+i))
		f.Pods = append(f.Pods, p)
	}
	f.Pods = append(f.Pods,
		waiting("a", "other-1", "nginx", fmt.Sprintf(dnsText, "10.9.9.9", 1)),
		waiting("a", "third-1", "r.example/x:1", `Failed to pull image "r.example/x:1": rpc error: code = NotFound desc = failed to pull and unpack image "r.example/x:1": failed to resolve image: r.example/x:1: not found`))
	all := f.Findings()
	if len(all) != 3 {
		t.Fatalf("%d findings, want 3", len(all))
	}
	first := all[0]
	if first.Cause.Cause != DNSTimeout || len(first.Pods) != 14 || len(first.Workloads) != 3 || first.Detail[DetailResolver] != "192.168.64.1:53" {
		t.Errorf("most harmful first: %s, %d pods, %d workloads, %v", first.Cause.Cause, len(first.Pods), len(first.Workloads), first.Detail)
	}
	if first.Seen != 14*3 || !first.Since.Equal(noon.Add(-time.Hour)) || !slices.Equal(first.Images, []string{"docker.io/library/nginx:latest"}) {
		t.Errorf("seen %d since %v, images %q", first.Seen, first.Since, first.Images)
	}
}

// Of two causes in one pod that are as sure, the one that stands now comes
// first: the one whose event is newer, or which a state tells.
func TestWhatStandsNowComesFirst(t *testing.T) {
	const refused = `Failed to pull image "r.example/x:1": failed to resolve image: failed to do request: Head "https://r.example/v2/x/manifests/1": dial tcp 10.1.2.3:443: connect: connection refused`
	at := func(minutes int) time.Time { return noon.Add(-time.Duration(minutes) * time.Minute) }
	for name, tt := range map[string]struct {
		refused, dns int // minutes ago; 0 is a state
		want         []Label
	}{
		"the one whose name is first": {5, 50, []Label{ConnectRefused, DNSTimeout}},
		"the one whose name is last":  {50, 5, []Label{DNSTimeout, ConnectRefused}},
		"a state":                     {1, 0, []Label{DNSTimeout, ConnectRefused}},
		"both at once":                {5, 5, []Label{ConnectRefused, DNSTimeout}},
	} {
		p := waiting("a", "web-1", "r.example/x:1", refused)
		p.Events[0].Last = at(tt.refused)
		second := waiting("a", "web-1", "nginx", fmt.Sprintf(dnsText, "10.0.0.1", 1))
		second.Containers[0].Name, second.Events[0].Container, second.Events[0].Last = "d", "d", at(tt.dns)
		if tt.dns == 0 {
			second.Containers[0].Waiting = Waiting{Reason: "ErrImagePull", Message: second.Events[0].Message}
			second.Events = nil
		}
		p.Containers, p.Events = append(p.Containers, second.Containers...), append(p.Events, second.Events...)
		var got []Label
		for _, g := range (&Facts{Now: noon, Pods: []Pod{p}}).Findings() {
			if g.Confidence != Certain {
				t.Errorf("%s: %s is only %s", name, g.Cause.Cause, g.Confidence)
			}
			got = append(got, g.Cause.Cause)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// Remedies name the pod's own namespace, though the text was read before for
// another pod.
func TestRemediesAreThePodsOwn(t *testing.T) {
	f := &Facts{Now: noon, Pods: []Pod{waiting("one", "a-1", "r.example/x:1", deniedText), waiting("two", "b-1", "r.example/x:1", deniedText)}}
	all := f.Findings()
	if len(all) != 2 {
		t.Fatalf("%d findings, want one for each namespace", len(all))
	}
	for _, g := range all {
		namespace := g.Pods[0].Namespace
		for _, r := range g.Remedies {
			for _, other := range []string{"one", "two"} {
				if other != namespace && slices.Contains(r.Argv, other) {
					t.Errorf("a remedy for %s speaks of %s: %s", namespace, other, r.Command)
				}
			}
		}
	}
}

func TestWhichTextCounts(t *testing.T) {
	p := waiting("a", "p", "nginx", "Failed to pull image \"nginx\": "+"old: connection refused")
	f := &Facts{Now: noon, Pods: []Pod{p}}
	if s := f.Symptoms(); len(s) != 1 || s[0].From != "event" || s[0].Count != 3 {
		t.Errorf("before 1.32 the event tells: %+v", s)
	}
	// From 1.32 on the waiting state carries the cause: the newest there is.
	f.Pods[0].Containers[0].Waiting.Message = `Back-off pulling image "nginx": ErrImagePull: no such host`
	if s := f.Symptoms(); len(s) != 1 || s[0].From != "waiting state" || !strings.Contains(s[0].Text, "no such host") {
		t.Errorf("from 1.32 on the waiting state tells: %+v", s)
	}
	// That the kubelet throttles itself says nothing about why it has to try again.
	f.Pods[0].Containers[0].Waiting.Message = `Back-off pulling image "nginx": ErrImagePull: pull QPS exceeded`
	later := f.Pods[0].Events[0]
	later.Message, later.Last = `Failed to pull image "nginx": pull QPS exceeded`, later.Last.Add(time.Minute)
	f.Pods[0].Events = append(f.Pods[0].Events, later)
	if s := f.Symptoms(); len(s) != 1 || s[0].From != "event" || !strings.Contains(s[0].Text, "connection refused") {
		t.Errorf("what failed before the throttle tells: %+v", s)
	}
	f.Pods[0].Events = f.Pods[0].Events[1:]
	if s := f.Symptoms(); len(s) != 1 || !strings.Contains(s[0].Text, "QPS") {
		t.Errorf("where nothing else is known the throttle tells: %+v", s)
	}
}

func TestSuspect(t *testing.T) {
	running := Container{Name: "c", Kind: MainContainer, Running: true, Ready: true, ImageID: "sha256:1"}
	ended := func(reason string, code int, after time.Duration) Container {
		return Container{Name: "c", Kind: MainContainer, ImageID: "x", Ended: &Ended{Reason: reason, ExitCode: code, Started: noon, Finished: noon.Add(after)}}
	}
	for name, c := range map[string]struct {
		pod  Pod
		want bool
	}{
		"runs":               {Pod{Node: "n", Phase: "Running", Containers: []Container{running}}, false},
		"not scheduled":      {Pod{Phase: "Pending", Containers: []Container{{}}}, false},
		"being deleted":      {Pod{Node: "n", Phase: "Pending", Deleting: true, Containers: []Container{{Waiting: Waiting{Reason: "ErrImagePull"}}}}, false},
		"one of two waits":   {Pod{Node: "n", Phase: "Running", Containers: []Container{running, {Waiting: Waiting{Reason: "ErrImagePull"}}}}, true},
		"being created":      {Pod{Node: "n", Phase: "Pending", Containers: []Container{{Waiting: Waiting{Reason: "ContainerCreating"}}}}, true},
		"crashed at once":    {Pod{Node: "n", Phase: "Running", Containers: []Container{ended("Error", 1, time.Second)}}, true},
		"crashed later":      {Pod{Node: "n", Phase: "Running", Containers: []Container{ended("Error", 1, time.Minute)}}, false},
		"out of memory":      {Pod{Node: "n", Phase: "Running", Containers: []Container{ended("OOMKilled", 137, 0)}}, false},
		"done":               {Pod{Node: "n", Phase: "Succeeded", Containers: []Container{ended("Completed", 0, 0)}}, false},
		"evicted for disk":   {Pod{Node: "n", Phase: "Failed", Reason: "Evicted", Message: "The node was low on resource: ephemeral-storage."}, true},
		"evicted for memory": {Pod{Node: "n", Phase: "Failed", Reason: "Evicted", Message: "The node was low on resource: memory."}, false},
	} {
		if got := c.pod.Suspect(); got != c.want {
			t.Errorf("%s: suspect %v", name, got)
		}
	}
}

// A crash that has nothing to do with the image is none of ferry's business.
func TestCrashesAreLeftOut(t *testing.T) {
	p := Pod{Namespace: "a", Name: "p", Node: "n", Phase: "Running", Containers: []Container{{
		Name: "c", Image: "x", Kind: MainContainer, Ended: &Ended{Reason: "Error", ExitCode: 1, Started: noon, Finished: noon}, Log: "panic: no database\n",
	}}}
	f := &Facts{Now: noon, Pods: []Pod{p}}
	if all := f.Findings(); len(all) != 0 {
		t.Errorf("findings: %+v", all)
	}
	f.Pods[0].Containers[0].Log = "exec /app: exec format error\n"
	f.Pods[0].Node = "n"
	f.Nodes = []Node{{Name: "n", OS: "linux", Arch: "amd64"}}
	g := only(t, f)
	if g.Cause.Cause != PlatformMismatch || len(g.Checks) == 0 || !strings.Contains(g.Checks[0].Text, "linux/amd64") {
		t.Errorf("%s, checks %+v", g.Cause.Cause, g.Checks)
	}
}

func TestSandbox(t *testing.T) {
	p := waiting("a", "p", "nginx", "")
	p.Containers[0].Waiting = Waiting{Reason: "ContainerCreating"}
	p.Events = []Event{{
		Reason: "FailedCreatePodSandBox", Warning: true, Last: noon, First: noon, Count: 4,
		Message: `Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox image "registry.k8s.io/pause:3.9": failed to pull image "registry.k8s.io/pause:3.9": failed to pull and unpack image "registry.k8s.io/pause:3.9": failed to resolve reference "registry.k8s.io/pause:3.9": failed to do request: Head "https://registry.k8s.io/v2/pause/manifests/3.9": dial tcp: lookup registry.k8s.io on 10.0.0.1:53: no such host`,
	}}
	f := &Facts{Now: noon, Pods: []Pod{p}}
	g := only(t, f)
	if g.Cause.Cause != SandboxImage || !slices.Equal(g.Images, []string{"registry.k8s.io/pause:3.9"}) {
		t.Errorf("%s about %q", g.Cause.Cause, g.Images)
	}
	// Once the sandbox is there, an old event says nothing any more.
	there := true
	f.Pods[0].Sandbox = &there
	if all := f.Findings(); len(all) != 0 {
		t.Errorf("an old sandbox event still counts: %+v", all)
	}
}

func TestNodes(t *testing.T) {
	f := &Facts{Now: noon, Nodes: []Node{
		{Name: "ok", Ready: Condition{Status: "True"}, Disk: Condition{Status: "False"}},
		{Name: "full", Ready: Condition{Status: "True"}, Disk: Condition{Status: "True", Reason: "KubeletHasDiskPressure", Message: "kubelet has disk pressure"}},
		{Name: "down", Ready: Condition{Status: "False", Reason: "KubeletNotReady", Message: "[container runtime is down, PLEG is not healthy]"}},
		{Name: "gc", Ready: Condition{Status: "True"}, Events: []Event{{
			Reason: "FreeDiskSpaceFailed", Warning: true, Message: "Failed to garbage collect required amount of images. Attempted to free 100 bytes, but only found 0 bytes eligible to free.",
		}}},
	}}
	got := map[string]Label{}
	for _, g := range f.Findings() {
		got[g.Nodes[0]] = g.Cause.Cause
	}
	want := map[string]Label{"full": DiskFull, "down": RuntimeDown, "gc": DiskFull}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestKubeletTakes(t *testing.T) {
	for _, c := range []struct {
		key, image string
		want       bool
	}{
		{"https://index.docker.io/v1/", "nginx", true},
		{"index.docker.io", "nginx", true},
		{"docker.io", "nginx", true},
		{"docker.io/library", "nginx", true},
		{"registry-1.docker.io", "nginx", false},
		{"r.example", "r.example/a:1", true},
		{"https://r.example/v2/", "r.example/a:1", true},
		{"r.example:5000", "r.example/a:1", false},
		{"r.example", "r.example:5000/a:1", false},
		{"r.example:5000", "r.example:5000/a:1", true},
		{"*.example", "r.example/a:1", true},
		{"*.example", "a.r.example/a:1", false},
		{"r.example/team", "r.example/team/a:1", true},
		{"r.example/team", "r.example/other/a:1", false},
		{"://", "r.example/a:1", false},
	} {
		n, err := ref.Parse(c.image)
		if err != nil {
			t.Fatal(err)
		}
		if got := kubeletTakes(c.key, n); got != c.want {
			t.Errorf("%s for %s: %v", c.key, c.image, got)
		}
	}
}

func logins(t *testing.T, auths string) (*credential.File, []string) {
	t.Helper()
	f, err := credential.Parse([]byte(`{"auths":` + auths + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return f, f.Keys()
}

const deniedText = `Failed to pull image "r.example/x:1": failed to pull and unpack image "r.example/x:1": failed to resolve image: pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials`

func TestPullSecrets(t *testing.T) {
	jwt := func(exp time.Time) string {
		return "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, exp.Unix())) + ".c2ln"
	}
	ecr := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"payload":"x","expiration":%d}`, noon.Add(-time.Minute).Unix()))
	basic := func(user, password string) string {
		return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	}
	for name, c := range map[string]struct {
		auths   string // "" for no secret that could be parsed
		secret  PullSecret
		cause   Label
		because string
	}{
		"other host":  {`{"quay.io":{"auth":"dTpw"}}`, PullSecret{Type: typeConfigJSON}, AuthRequired, "has no login for r.example"},
		"missing":     {"", PullSecret{Missing: true}, SecretMissing, "does not exist in namespace shop"},
		"elsewhere":   {"", PullSecret{Missing: true, Elsewhere: []string{"default"}}, SecretMissing, "is in default, and pods can use only secrets of their own namespace"},
		"wrong type":  {"", PullSecret{Type: "Opaque"}, AuthRequired, "is of type Opaque"},
		"unparsable":  {"", PullSecret{Type: typeConfigJSON, Problem: "the credential file is not a JSON object"}, SecretMissing, "cannot be read"},
		"bad base64":  {`{"r.example":{"auth":"!!!"}}`, PullSecret{Type: typeConfigJSON}, SecretMissing, "cannot be read"},
		"expired JWT": {`{"r.example":{"auth":"` + basic("oauth2", jwt(noon.Add(-time.Hour))) + `"}}`, PullSecret{Type: typeConfigJSON}, AuthRequired, "has expired"},
		"expired ECR": {`{"r.example":{"auth":"` + basic("AWS", ecr) + `"}}`, PullSecret{Type: typeConfigJSON}, AuthRequired, "has expired"},
		"fresh JWT":   {`{"r.example":{"auth":"` + basic("oauth2", jwt(noon.Add(time.Hour))) + `"}}`, PullSecret{Type: typeConfigJSON}, AuthRequired, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.secret
			s.Namespace, s.Name = "shop", "regcred"
			if c.auths != "" {
				s.Logins, s.Hosts = logins(t, c.auths)
			}
			p := waiting("shop", "web-1", "r.example/x:1", deniedText)
			p.Secrets = []string{"regcred"}
			g := only(t, &Facts{Now: noon, Pods: []Pod{p}, Secrets: []PullSecret{s}})
			if g.Cause.Cause != c.cause || !strings.Contains(g.Because, c.because) || c.because == "" && g.Because != "" {
				t.Errorf("%s because %q", g.Cause.Cause, g.Because)
			}
			if len(g.Checks) == 0 || g.Checks[0].Name != "secret" {
				t.Errorf("checks: %+v", g.Checks)
			}
			if text := fmt.Sprintf("%+v", g); strings.Contains(text, "c2ln") || strings.Contains(text, "oauth2") {
				t.Errorf("the finding shows the login: %s", text)
			}
		})
	}
}

// What the kubelet quotes of a URL may be a password.
func TestEvidenceIsWithoutPasswords(t *testing.T) {
	p := waiting("shop", "web-1", "r.example/x:1", strings.ReplaceAll(deniedText, "insufficient", "https://u:hunter2@r.example/ insufficient")+" https://u:hunter2@r.example/")
	p.Secrets = []string{"nosuch"}
	p.Events = append(p.Events, Event{
		Reason: "FailedToRetrieveImagePullSecret", Warning: true, Last: noon,
		Message: "Unable to retrieve some image pull secrets (nosuch); attempting to pull the image may not succeed. https://u:hunter2@r.example/",
	})
	g := only(t, &Facts{Now: noon, Pods: []Pod{p}, Secrets: []PullSecret{{Namespace: "shop", Name: "nosuch", Missing: true}}})
	if g.Cause.Cause != SecretMissing || len(g.Evidence) != 2 {
		t.Fatalf("%s %q", g.Cause.Cause, g.Evidence)
	}
	if text := fmt.Sprint(g.Cause, g.Because, g.Checks); strings.Contains(text, "hunter2") {
		t.Errorf("a password is shown: %s", text)
	}
}

// A secret that is not there is made under the name that the pod uses.
func TestRemedyMakesTheMissingSecret(t *testing.T) {
	p := waiting("shop", "web-1", "r.example/x:1", deniedText)
	p.Secrets = []string{"nosuch"}
	g := only(t, &Facts{Now: noon, Pods: []Pod{p}, Secrets: []PullSecret{{Namespace: "shop", Name: "nosuch", Missing: true}}})
	made := false
	for _, r := range g.Remedies {
		made = made || slices.Contains(r.Argv, "nosuch") && strings.Contains(r.Command, "create secret generic nosuch")
		if slices.Contains(r.Argv, "serviceaccount") {
			t.Errorf("the pod needs no other secret: %s", r.Command)
		}
	}
	if !made {
		t.Errorf("remedies: %+v", g.Remedies)
	}
}

func TestImageVolume(t *testing.T) {
	p := waiting("a", "p", "nginx", `Failed to pull image "r.example/data:1": rpc error: code = NotFound desc = failed to pull and unpack image "r.example/data:1": failed to resolve image: r.example/data:1: not found`)
	p.Containers = append(p.Containers, Container{Name: "data", Kind: ImageVolume, Image: "r.example/data:1", Policy: "IfNotPresent"})
	g := only(t, &Facts{Now: noon, Pods: []Pod{p}})
	if !slices.Equal(g.Images, []string{"r.example/data:1"}) || g.Pods[0].Container != "data" {
		t.Errorf("about %q in %s", g.Images, g.Pods[0].Container)
	}
}

func TestNoSecretAtAll(t *testing.T) {
	f := &Facts{Now: noon, Pods: []Pod{waiting("shop", "web-1", "r.example/x:1", deniedText)}}
	if g := only(t, f); !strings.Contains(g.Because, "no pull secret") {
		t.Errorf("because %q", g.Because)
	}
	f.Accounts = []Account{{Namespace: "shop", Name: "default", Secrets: []string{"regcred"}}}
	if g := only(t, f); !strings.Contains(g.Because, "older than that") {
		t.Errorf("because %q", g.Because)
	}
}

func TestHubAlias(t *testing.T) {
	s := PullSecret{Namespace: "shop", Name: "hub", Type: typeConfigJSON}
	s.Logins, s.Hosts = logins(t, `{"https://registry-1.docker.io":{"auth":"dTpw"}}`)
	n, err := ref.Parse("me/private")
	if err != nil {
		t.Fatal(err)
	}
	if v := s.judge(n, noon); !strings.Contains(v.because, "https://index.docker.io/v1/") {
		t.Errorf("because %q", v.because)
	}
}

func TestLoginFor(t *testing.T) {
	s := PullSecret{Namespace: "shop", Name: "regcred", Type: typeConfigJSON}
	s.Logins, s.Hosts = logins(t, `{"r.example":{"auth":"YTpi"},"r.example/team":{"auth":"YzpkCg=="}}`)
	f := &Facts{Secrets: []PullSecret{s}}
	n, err := ref.Parse("r.example/team/x:1")
	if err != nil {
		t.Fatal(err)
	}
	l, ok := f.LoginFor("shop", []string{"nope", "regcred"}, n)
	if !ok || l.Key != "r.example/team" || l.Login.Username != "c" {
		t.Errorf("%v %q", ok, l.Key)
	}
	if _, ok := f.LoginFor("other", []string{"regcred"}, n); ok {
		t.Error("a secret of another namespace was used")
	}
}

func TestPolicyAndNodeImages(t *testing.T) {
	const never = `Container image "nginx" is not present with pull policy of Never`
	for name, c := range map[string]struct {
		policy, failure string
		node            Node
		because, check  string
	}{
		"sideloaded, but Always": {"Always", fmt.Sprintf(dnsText, "10.0.0.1", 1), Node{Images: []string{"docker.io/library/nginx:latest"}}, "imagePullPolicy is Always, which is what Kubernetes sets for the tag latest", "lists docker.io/library/nginx:latest"},
		"KEP-2535":               {"Never", never, Node{Kubelet: "v1.35.4", Images: []string{"docker.io/library/nginx:latest"}}, "KEP-2535", "lists"},
		"not normalised":         {"Never", never, Node{Images: []string{"nginx"}}, "stored under its full name", "lists nginx"},
		"absent":                 {"Never", never, Node{Listed: 50}, "", "absence is no proof"},
	} {
		t.Run(name, func(t *testing.T) {
			p := waiting("a", "p", "nginx", c.failure)
			p.Containers[0].Policy = c.policy
			if c.policy == "Never" {
				p.Containers[0].Waiting = Waiting{Reason: "ErrImageNeverPull", Message: never}
				p.Events = nil
			}
			c.node.Name = "n1"
			g := only(t, &Facts{Now: noon, Pods: []Pod{p}, Nodes: []Node{c.node}})
			if !strings.Contains(g.Because, c.because) || c.because == "" && g.Because != "" {
				t.Errorf("because %q", g.Because)
			}
			if len(g.Checks) != 1 || !strings.Contains(g.Checks[0].Text, c.check) {
				t.Errorf("checks %+v", g.Checks)
			}
		})
	}
}

// Where the node holds the image and only the policy makes the kubelet ask the
// registry, the policy is mended first, whatever the registry's fault is.
func TestPolicyIsMendedFirst(t *testing.T) {
	const (
		held    = "r.example/team/web:1"
		refused = `Failed to pull image "r.example/team/web:1": failed to resolve image: failed to do request: Head "https://r.example/v2/team/web/manifests/1": dial tcp 10.1.2.3:443: connect: connection refused`
		gone    = `Failed to pull image "r.example/team/web:1": rpc error: code = NotFound desc = failed to pull and unpack image "r.example/team/web:1": failed to resolve image: r.example/team/web:1: not found`
		fix     = "ferry fix deployment/web -n a"
		patch   = `kubectl -n a patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"c","imagePullPolicy":"IfNotPresent"}]}}}}'`
		set     = "kubectl -n a set image"
	)
	for name, tt := range map[string]struct {
		failure, policy string
		held            [2]string // by the two nodes
		first           []string
	}{
		"refused, and held":              {refused, "Always", [2]string{held, held}, []string{fix, patch, set}},
		"refused, and held by one":       {refused, "Always", [2]string{"", held}, []string{fix, set}},
		"refused, and held by none":      {refused, "Always", [2]string{}, []string{set, fix}},
		"refused, and the policy is not": {refused, "IfNotPresent", [2]string{held, held}, []string{set, fix}},
		"another one is held":            {refused, "Always", [2]string{"r.example/team/web:2", "r.example/team/web:2"}, []string{set, fix}},
		"not there, and held":            {gone, "Always", [2]string{held, held}, []string{fix, patch, "skopeo list-tags"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &Facts{Now: noon}
			for i, n := range []string{"n1", "n2"} {
				p := waiting("a", "web-"+n[1:], held, tt.failure)
				p.Node, p.Containers[0].Policy = n, tt.policy
				f.Pods = append(f.Pods, p)
				f.Nodes = append(f.Nodes, Node{Name: n, Listed: 1, Images: []string{tt.held[i]}})
			}
			g := only(t, f)
			for i, want := range tt.first {
				if len(g.Remedies) <= i || !strings.HasPrefix(g.Remedies[i].Command, want) {
					t.Errorf("%d: not %s in %+v", i, want, g.Remedies)
				}
			}
			fixes := 0
			for _, r := range g.Remedies {
				if r.Command == fix {
					fixes++
				}
			}
			if fixes > 1 {
				t.Errorf("fix is advised %d times", fixes)
			}
		})
	}
	// A name that the kubelet does not look for is no image that it holds.
	p := waiting("a", "web-1", "nginx", strings.ReplaceAll(refused, held, "nginx"))
	g := only(t, &Facts{Now: noon, Pods: []Pod{p}, Nodes: []Node{{Name: "n1", Images: []string{"nginx"}}}})
	if strings.HasPrefix(g.Remedies[0].Command, fix) {
		t.Errorf("got %+v", g.Remedies)
	}
}

// Right after it was made, "not present" may heal by itself.
func TestYoungPodMayHeal(t *testing.T) {
	p := waiting("a", "p", "nginx", "")
	p.Containers[0].Policy, p.Containers[0].Waiting = "Never", Waiting{Reason: "ErrImageNeverPull", Message: `Container image "nginx" is not present with pull policy of Never`}
	p.Events, p.Created = nil, noon.Add(-10*time.Second)
	if g := only(t, &Facts{Now: noon, Pods: []Pod{p}}); !strings.Contains(g.Because, "heals by itself") {
		t.Errorf("because %q", g.Because)
	}
}

func TestFailedCreate(t *testing.T) {
	w := Workload{Object: Object{Kind: "Deployment", Namespace: "a", Name: "web"}, Desired: 2, Events: []Event{
		{Reason: "FailedCreate", Warning: true, Count: 9, Message: `Error creating: pods "web-1" is forbidden: exceeded quota: pods`},
	}}
	f := &Facts{Now: noon, Workloads: []Workload{w}}
	if all := f.Findings(); len(all) != 0 {
		t.Errorf("a quota is not about images: %+v", all)
	}
	if all := f.Refusals(); len(all) != 1 || all[0].Name != "web" || all[0].Text != `pods "web-1" is forbidden: exceeded quota: pods` {
		t.Errorf("why it has no pods: %+v", all)
	}
	f.Workloads[0].Ready = 2
	if all := f.Refusals(); len(all) != 0 {
		t.Errorf("it has its pods: %+v", all)
	}
	f.Workloads[0].Refused = "no more of them" // but those of before
	if all := f.Refusals(); len(all) != 1 || all[0].Text != "no more of them" {
		t.Errorf("a rollout that is refused: %+v", all)
	}
	f.Workloads[0].Ready, f.Workloads[0].Refused = 0, ""
	f.Workloads[0].Events[0].Message = `Error creating: admission webhook "policy.sigstore.dev" denied the request: validation failed: failed policy: signed-images: spec.template.spec.containers[0].image index.docker.io/library/nginx@sha256:aa signature keyless validation failed for authority authority-0`
	g := only(t, f)
	if g.Cause.Cause != SignaturePolicy || len(g.Workloads) != 1 || g.Workloads[0].Desired != 2 {
		t.Errorf("%s %+v", g.Cause.Cause, g.Workloads)
	}
}

func TestNodeKind(t *testing.T) {
	for name, c := range map[string]struct {
		node    Node
		kind    NodeKind
		profile string
	}{
		"kind":     {Node{Provider: "kind://docker/mine/mine-worker"}, Kind, "mine"},
		"minikube": {Node{Labels: map[string]string{"minikube.k8s.io/name": "m2"}}, Minikube, "m2"},
		"k3s":      {Node{Name: "pi", Kubelet: "v1.32.0+k3s1"}, K3s, ""},
		"k3d":      {Node{Name: "k3d-a-b-server-0", Kubelet: "v1.32.0+k3s1"}, K3d, "a-b"},
		"rke2":     {Node{Kubelet: "v1.32.0+rke2r1"}, RKE2, ""},
		"cloud":    {Node{Provider: "aws:///eu-west-1a/i-1"}, Cloud, ""},
		"other":    {Node{}, "", ""},
	} {
		if kind, profile := c.node.Kind(); kind != c.kind || profile != c.profile {
			t.Errorf("%s: %s %q", name, kind, profile)
		}
	}
}

func TestThousandsThatFailAlike(t *testing.T) {
	f := &Facts{Now: noon}
	for i := range 5000 {
		f.Pods = append(f.Pods, waiting(fmt.Sprintf("ns%d", i%50), fmt.Sprintf("web-%d", i), "nginx", fmt.Sprintf(dnsText, "10.0.0.1", i)))
	}
	start := time.Now()
	g := only(t, f)
	if len(g.Pods) != 5000 || len(g.Workloads) != 50 {
		t.Errorf("%d pods, %d workloads", len(g.Pods), len(g.Workloads))
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}
