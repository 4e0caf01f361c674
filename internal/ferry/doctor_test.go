package ferry_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/credential"
	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/ref"
)

// standInCluster is a stand-in for a cluster: it has the facts it was given.
type standInCluster struct {
	facts   []*diagnose.Facts // one after another; the last stays
	err     error
	scope   diagnose.Scope
	looks   int
	changes int // how often Changed returns before it ends the watch
}

func (c *standInCluster) Place() diagnose.Place { return diagnose.Place{Namespace: "shop"} }

func (c *standInCluster) Facts(_ context.Context, scope diagnose.Scope) (*diagnose.Facts, error) {
	c.scope = scope
	c.looks++
	f := c.facts[min(c.looks, len(c.facts))-1]
	if f == nil {
		return nil, c.err
	}
	return f, nil
}

var errEnough = errors.New("enough")

func (c *standInCluster) Changed(context.Context, diagnose.Scope, *diagnose.Facts) error {
	c.changes--
	if c.changes < 0 {
		return errEnough
	}
	return nil
}

// standInRegistry is a stand-in for a registry as this machine sees it.
type standInRegistry struct {
	way   ferry.Way
	image []byte // the manifest or index
	media string
	blob  []byte // the config
	err   error
	tags  []string
	hang  bool

	mu     sync.Mutex
	asked  []string
	logins []*diagnose.Login
}

// probes is the stand-in as a prober.
func (r *standInRegistry) probes() ferry.Prober { return standInProber{r} }

type standInProber struct{ registry *standInRegistry }

func (p standInProber) Way(_ context.Context, n ref.Name) ferry.Way {
	r := p.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, n.String())
	w := r.way
	w.Host, w.Name = n.Registry(), n.Registry()
	if w.Steps == nil {
		w.Steps = []ferry.WayStep{{Name: "dns", To: "192.0.2.1", Took: 21 * time.Millisecond}, {Name: "tcp", To: "192.0.2.1:443"}, {Name: "tls"}}
	}
	return w
}

func (p standInProber) Open(_ ref.Name, login *diagnose.Login) (ferry.Probed, error) {
	p.registry.mu.Lock()
	defer p.registry.mu.Unlock()
	p.registry.logins = append(p.registry.logins, login)
	return p.registry, nil
}

func (r *standInRegistry) Fetch(ctx context.Context, _ string) (ocispec.Descriptor, []byte, error) {
	if r.hang {
		<-ctx.Done()
		return ocispec.Descriptor{}, nil, ctx.Err()
	}
	if r.err != nil {
		return ocispec.Descriptor{}, nil, r.err
	}
	return ocispec.Descriptor{MediaType: r.media, Digest: digest.FromBytes(r.image), Size: int64(len(r.image))}, r.image, nil
}

func (r *standInRegistry) Open(context.Context, ocispec.Descriptor, int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(r.blob)), nil
}

func (r *standInRegistry) Tags(context.Context, int) ([]string, error) { return r.tags, nil }

// answer is an error as registries' are.
type answer struct {
	status int
	code   string
}

func (a answer) Error() string     { return fmt.Sprintf("%d %s", a.status, a.code) }
func (a answer) StatusCode() int   { return a.status }
func (a answer) ErrorCode() string { return a.code }
func (a answer) Is(target error) bool {
	return a.status == 404 && target == content.ErrNotFound
}

var doctorNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const (
	dnsFailed  = `Failed to pull image "nginx": failed to pull and unpack image "docker.io/library/nginx:latest": failed to resolve image: failed to do request: Head "https://registry-1.docker.io/v2/library/nginx/manifests/latest": dial tcp: lookup registry-1.docker.io on 192.168.64.1:53: read udp 10.0.0.2:40000->192.168.64.1:53: i/o timeout`
	tagMissing = `Failed to pull image "nginx:1.72": rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/nginx:1.72": failed to resolve image: docker.io/library/nginx:1.72: not found`
	loginWants = `Failed to pull image "r.example/x:1": failed to pull and unpack image "r.example/x:1": failed to resolve image: pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials`
)

func failingFacts(image, failure string) *diagnose.Facts {
	o := diagnose.Object{Kind: "Deployment", Namespace: "shop", Name: "my-web"}
	return &diagnose.Facts{
		Now:  doctorNow,
		Seen: diagnose.Seen{Pods: 15, Fine: 14},
		Pods: []diagnose.Pod{{
			Namespace: "shop", Name: "my-web-1", UID: "1", Node: "minikube", Phase: "Pending", Workload: o, Created: doctorNow.Add(-4 * time.Minute),
			Containers: []diagnose.Container{{
				Name: "web", Kind: diagnose.MainContainer, Image: image, Policy: "Always",
				Waiting: diagnose.Waiting{Reason: "ImagePullBackOff"},
			}},
			Events: []diagnose.Event{{
				Reason: "Failed", Warning: true, Container: "web", Message: failure, Count: 12,
				First: doctorNow.Add(-4 * time.Minute), Last: doctorNow,
			}},
		}},
		Workloads: []diagnose.Workload{{Object: o, Desired: 1}},
		Nodes:     []diagnose.Node{{Name: "minikube", OS: "linux", Arch: "arm64", Labels: map[string]string{"minikube.k8s.io/name": "minikube"}}},
	}
}

func doctorWorld() ferry.World { return ferry.World{Now: func() time.Time { return doctorNow }} }

func examine(t *testing.T, f *diagnose.Facts, registry *standInRegistry) (*ferry.DoctorResult, diagnose.Finding) {
	t.Helper()
	r, err := ferry.Doctor(t.Context(), doctorWorld(), &standInCluster{facts: []*diagnose.Facts{f}}, registry.probes(), ferry.DoctorRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) != 1 {
		t.Fatalf("%d findings", len(r.Findings))
	}
	return r, r.Findings[0]
}

func checkOf(t *testing.T, f diagnose.Finding, name string) diagnose.Check {
	t.Helper()
	for _, c := range f.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s in %+v", name, f.Checks)
	return diagnose.Check{}
}

// index is an image index for two platforms.
func index(t *testing.T) *standInRegistry {
	t.Helper()
	b, err := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{
		{Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}},
		{Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}},
		{Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &standInRegistry{image: b, media: ocispec.MediaTypeImageIndex}
}

// A registry that this machine connects to is reached, be it that no TLS comes
// of it; one that it does not connect to is not.
func TestDoctorMachineGetsNoFurther(t *testing.T) {
	for _, tls := range []bool{true, false} {
		reg := &standInRegistry{way: ferry.Way{Steps: []ferry.WayStep{{Name: "dns"}, {Name: "tcp", To: "192.0.2.1:443"}}}}
		if tls {
			reg.way.PlainHTTP = true
			reg.way.Steps = append(reg.way.Steps, ferry.WayStep{Name: "tls", Why: "it speaks HTTP"})
		} else {
			reg.way.Steps[1].Why = "connection refused"
		}
		_, f := examine(t, failingFacts("nginx", dnsFailed), reg)
		if strings.Contains(f.Because, "does not get there either") == tls {
			t.Errorf("TLS tried: %v: %s", tls, f.Because)
		}
	}
}

func TestDoctorMachineCanNodeCannot(t *testing.T) {
	reg := index(t)
	r, f := examine(t, failingFacts("nginx", dnsFailed), reg)
	if r.Failing != 1 || r.Fine != 14 || r.Healthy() {
		t.Errorf("failing %d, fine %d", r.Failing, r.Fine)
	}
	if !strings.Contains(f.Because, "This machine can pull the image and the node cannot") {
		t.Errorf("because %q", f.Because)
	}
	if c := checkOf(t, f, "dns"); c.Result != diagnose.CheckOK || c.Took != 21*time.Millisecond {
		t.Errorf("%+v", c)
	}
	if c := checkOf(t, f, "platform"); c.Text != "the image is for linux/amd64, linux/arm64" || c.Result != diagnose.CheckOK {
		t.Errorf("%+v", c)
	}
	if reg.logins[0] != nil {
		t.Error("a pod without a pull secret was given a login")
	}
}

func TestDoctorNoProbe(t *testing.T) {
	reg := index(t)
	_, err := ferry.Doctor(t.Context(), doctorWorld(), &standInCluster{facts: []*diagnose.Facts{failingFacts("nginx", dnsFailed)}}, reg.probes(), ferry.DoctorRequest{NoProbe: true})
	if err != nil || len(reg.asked) != 0 {
		t.Errorf("asked %q, %v", reg.asked, err)
	}
}

func TestDoctorNearMiss(t *testing.T) {
	_, f := examine(t, failingFacts("nginx:1.72", tagMissing), &standInRegistry{err: answer{404, "MANIFEST_UNKNOWN"}, tags: []string{"1.26", "1.27", "latest"}})
	if f.Because != "Did you mean docker.io/library/nginx:1.27?" || f.Confidence != diagnose.Certain {
		t.Errorf("%s: %q", f.Confidence, f.Because)
	}
	if got := f.Remedies[0].Command; got != "kubectl -n shop set image deployment/my-web web=nginx:1.27" {
		t.Errorf("the first remedy: %s", got)
	}
	if c := checkOf(t, f, "tag"); c.Result != diagnose.CheckNo || !strings.Contains(c.Text, "has no tag 1.72; it has 1.27") {
		t.Errorf("%+v", c)
	}
	facts := failingFacts("ngnix:1.27", strings.ReplaceAll(strings.ReplaceAll(tagMissing, "nginx", "ngnix"), "1.72", "1.27"))
	_, f = examine(t, facts, &standInRegistry{err: answer{404, "NAME_UNKNOWN"}})
	if f.Because != "Did you mean docker.io/library/nginx:1.27?" {
		t.Errorf("an official image: %q", f.Because)
	}
	facts = failingFacts("r.example/team/wbe:1", strings.ReplaceAll(tagMissing, "docker.io/library/nginx:1.72", "r.example/team/wbe:1"))
	facts.Images = []string{"r.example/team/web:1", "nginx"}
	_, f = examine(t, facts, &standInRegistry{err: answer{404, "NAME_UNKNOWN"}})
	if f.Because != "Did you mean r.example/team/web:1?" {
		t.Errorf("an image of another pod: %q", f.Because)
	}
}

// withSecret gives the pod a pull secret for host.
func withSecret(t *testing.T, f *diagnose.Facts, host string) *diagnose.Facts {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte("svc:hunter2"))
	file, err := credential.Parse([]byte(`{"auths":{"` + host + `":{"auth":"` + auth + `"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	f.Pods[0].Secrets = []string{"regcred"}
	f.Secrets = []diagnose.PullSecret{{
		Namespace: "shop", Name: "regcred", Type: "kubernetes.io/dockerconfigjson", Logins: file, Hosts: file.Keys(),
	}}
	return f
}

func TestDoctorLoginIsRejected(t *testing.T) {
	reg := &standInRegistry{err: answer{401, ""}}
	r, f := examine(t, withSecret(t, failingFacts("r.example/x:1", loginWants), "r.example"), reg)
	if l := reg.logins[0]; l == nil || l.Login.Username != "svc" || l.Secret.Name != "regcred" {
		t.Errorf("the registry was not asked in the pod's name: %v", l)
	}
	if !strings.Contains(f.Because, "does not accept the login in the pull secret regcred") {
		t.Errorf("because %q", f.Because)
	}
	b, err := json.Marshal(r)
	if err != nil || strings.Contains(string(b), "hunter2") || strings.Contains(fmt.Sprintf("%+v", r), "hunter2") {
		t.Errorf("the result holds the password (%v)", err)
	}
}

// A login for another host is never shown to the image's registry.
func TestDoctorLoginStaysWithItsHost(t *testing.T) {
	reg := &standInRegistry{err: answer{401, ""}}
	_, f := examine(t, withSecret(t, failingFacts("r.example/x:1", loginWants), "other.example"), reg)
	if reg.logins[0] != nil {
		t.Error("a login for other.example was given to r.example")
	}
	if !strings.Contains(f.Because, "has no login for r.example") {
		t.Errorf("because %q", f.Because)
	}
}

func TestDoctorWrongPlatform(t *testing.T) {
	config := []byte(`{"architecture":"arm64","os":"linux"}`)
	manifest, err := json.Marshal(ocispec.Manifest{Config: ocispec.Descriptor{Digest: digest.FromBytes(config), Size: int64(len(config))}})
	if err != nil {
		t.Fatal(err)
	}
	facts := failingFacts("r.example/x:1", `Failed to pull image "r.example/x:1": failed to pull and unpack image "r.example/x:1": no match for platform in manifest: not found`)
	facts.Nodes[0].Arch = "amd64"
	_, f := examine(t, facts, &standInRegistry{
		image: manifest, media: ocispec.MediaTypeImageManifest, blob: config,
	})
	c := diagnose.Check{}
	for _, each := range f.Checks {
		if strings.HasPrefix(each.Text, "the image is for") {
			c = each
		}
	}
	if c.Result != diagnose.CheckNo || c.Text != "the image is for linux/arm64; the node needs linux/amd64" {
		t.Errorf("%s: %+v", f.Cause.Cause, f.Checks)
	}
}

// The node's localhost is not this machine's.
func TestDoctorAsksNoLocalhost(t *testing.T) {
	for _, host := range []string{"localhost:5000", "127.0.0.1:5000", "[::1]:5000", "169.254.169.254", "x.localhost"} {
		reg := &standInRegistry{}
		facts := failingFacts(host+"/x:1", "Failed to pull image \""+host+"/x:1\": failed to pull and unpack image \""+host+"/x:1\": failed to do request: dial tcp 127.0.0.1:5000: connect: connection refused")
		examine(t, facts, reg)
		if len(reg.asked) > 0 {
			t.Errorf("%s was asked", host)
		}
	}
}

func TestDoctorAsksFew(t *testing.T) {
	facts := failingFacts("nginx", dnsFailed)
	for i := range 100 {
		p := facts.Pods[0]
		p.Name = fmt.Sprintf("p%d", i)
		p.Containers = []diagnose.Container{p.Containers[0]}
		p.Containers[0].Image = fmt.Sprintf("r%d.example/x:1", i)
		p.Events = []diagnose.Event{p.Events[0]}
		p.Events[0].Message = strings.ReplaceAll(tagMissing, "docker.io/library/nginx:1.72", p.Containers[0].Image)
		facts.Pods = append(facts.Pods, p)
	}
	reg := index(t)
	r, err := ferry.Doctor(t.Context(), doctorWorld(), &standInCluster{facts: []*diagnose.Facts{facts}}, reg.probes(), ferry.DoctorRequest{})
	if err != nil || len(r.Findings) < 100 || len(reg.asked) != 12 {
		t.Errorf("%d findings, %d images asked for, %v", len(r.Findings), len(reg.asked), err)
	}
}

func TestDoctorCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := ferry.Doctor(ctx, doctorWorld(), &standInCluster{facts: []*diagnose.Facts{failingFacts("nginx", dnsFailed)}}, (&standInRegistry{hang: true}).probes(), ferry.DoctorRequest{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestDoctorScope(t *testing.T) {
	c := &standInCluster{facts: []*diagnose.Facts{{}}}
	look := func(req ferry.DoctorRequest) (diagnose.Scope, error) {
		_, err := ferry.Doctor(t.Context(), doctorWorld(), c, nil, req)
		return c.scope, err
	}
	if s, err := look(ferry.DoctorRequest{}); err != nil || s.Namespace != "shop" || s.Objects != nil {
		t.Errorf("%+v %v", s, err)
	}
	if s, err := look(ferry.DoctorRequest{All: true}); err != nil || s.Namespace != "" {
		t.Errorf("%+v %v", s, err)
	}
	s, err := look(ferry.DoctorRequest{Objects: []string{"deploy/a", "Deployment.apps/a", "cj/b", "po/c"}})
	want := []diagnose.Object{{Kind: "Deployment", Namespace: "shop", Name: "a"}, {Kind: "CronJob", Namespace: "shop", Name: "b"}, {Kind: "Pod", Namespace: "shop", Name: "c"}}
	if err != nil || fmt.Sprint(s.Objects) != fmt.Sprint(want) {
		t.Errorf("%+v %v", s, err)
	}
	for _, bad := range []ferry.DoctorRequest{{Objects: []string{"a"}}, {Objects: []string{"svc/a"}}, {Objects: []string{"deploy/"}}, {Objects: []string{"deploy/a/b"}}, {All: true, Objects: []string{"deploy/a"}}} {
		var usage *ferry.UsageError
		if _, err := look(bad); !errors.As(err, &usage) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// Watch shows the first result and what changes; an API server that is gone
// for a while is told of and looked for again.
func TestWatch(t *testing.T) {
	bad, fine := failingFacts("nginx", dnsFailed), &diagnose.Facts{Now: doctorNow}
	again := failingFacts("nginx", dnsFailed)
	again.Pods[0].Events[0].Count = 13
	c := &standInCluster{facts: []*diagnose.Facts{bad, again, nil, fine, bad}, err: errors.New("gone"), changes: 5}
	var shown []int
	lost := 0
	err := ferry.Watch(t.Context(), doctorWorld(), c, nil, ferry.DoctorRequest{}, ferry.WatchEvents{
		Show: func(r *ferry.DoctorResult) error { shown = append(shown, len(r.Findings)); return nil },
		Lost: func(error) { lost++ },
	})
	if !errors.Is(err, errEnough) || fmt.Sprint(shown) != "[1 0 1]" || lost != 1 {
		t.Errorf("shown %v, lost %d, %v", shown, lost, err)
	}
	// Which of two causes was seen last is no news.
	both := func(first, second time.Duration) *diagnose.Facts {
		f, other := failingFacts("nginx", dnsFailed), failingFacts("nginx:1.72", tagMissing)
		other.Pods[0].Name = "other"
		f.Pods[0].Events[0].Last, other.Pods[0].Events[0].Last = doctorNow.Add(-first), doctorNow.Add(-second)
		f.Pods = append(f.Pods, other.Pods...)
		return f
	}
	c, shown = &standInCluster{facts: []*diagnose.Facts{both(1, 2), both(2, 1), fine}, changes: 3}, nil
	err = ferry.Watch(t.Context(), doctorWorld(), c, nil, ferry.DoctorRequest{}, ferry.WatchEvents{
		Show: func(r *ferry.DoctorResult) error { shown = append(shown, len(r.Findings)); return nil },
	})
	if !errors.Is(err, errEnough) || fmt.Sprint(shown) != "[2 0]" {
		t.Errorf("shown %v, %v", shown, err)
	}
	c = &standInCluster{facts: []*diagnose.Facts{nil}, err: errors.New("no cluster")}
	err = ferry.Watch(t.Context(), doctorWorld(), c, nil, ferry.DoctorRequest{}, ferry.WatchEvents{})
	if err == nil || err.Error() != "no cluster" {
		t.Errorf("the first look failed with %v", err)
	}
}
