package ferry_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/content/contenttest"
	"ferry/internal/credential"
	"ferry/internal/demo"
	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/ref"
	"ferry/internal/registry"
	"ferry/internal/workload"
)

// applyStandIn stands in for a cluster that takes every object, and has what a
// test gives it.
type applyStandIn struct {
	secrets map[string]diagnose.PullSecret
	unread  error
	hidden  error // of service accounts
	nodes   error
	gives   map[string][]string
	// states are what a workload is, look by look; the last one stays.
	states  map[string][]workload.Workload
	pods    []workload.Pod
	looks   map[string]int
	failing func(look int) error
	applied []string
	refuse  func(kind string) error
	early   bool // it refuses at the rehearsal already
	// established says how often a definition is asked for before it is in force.
	established int
	definition  string
}

type object struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Type     string
	Data     map[string][]byte
	Secrets  []struct{ Name string } `json:"imagePullSecrets"`
	Spec     struct {
		Template struct{ Spec podSpec }
		Suspend  bool
		Paused   bool
		podSpec
	}
}

type podSpec struct {
	ImagePullSecrets   []struct{ Name string }
	ServiceAccountName string
}

func (s podSpec) names() []string {
	var all []string
	for _, n := range s.ImagePullSecrets {
		all = append(all, n.Name)
	}
	return all
}

func (c *applyStandIn) Again() {}

func (c *applyStandIn) Place() diagnose.Place {
	return diagnose.Place{Namespace: "shop", Context: "test"}
}

func (c *applyStandIn) Apply(_ context.Context, b []byte, namespace string, dry, _ bool) (ferry.Applied, error) {
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		return ferry.Applied{}, err
	}
	if c.refuse != nil && dry == c.early {
		if err := c.refuse(o.Kind); err != nil {
			return ferry.Applied{Namespace: namespace}, err
		}
	}
	if !dry {
		c.applied = append(c.applied, o.Kind+"/"+o.Metadata.Name)
	}
	done := ferry.Applied{Namespace: cmp.Or(o.Metadata.Namespace, namespace), New: true}
	switch o.Kind {
	case "Secret":
		s := pullSecret(o.Metadata.Name, string(o.Data[".dockerconfigjson"]))
		done.PullSecret = &s
	case "ServiceAccount":
		for _, s := range o.Secrets {
			done.Gives = append(done.Gives, s.Name)
		}
	case "Pod":
		done.Workload = workload.Workload{Kind: "Pod", Spec: workload.Spec{Secrets: o.Spec.names(), Account: o.Spec.ServiceAccountName}}
	default:
		spec := o.Spec.Template.Spec
		done.Workload = workload.Workload{Kind: o.Kind, Suspended: o.Spec.Suspend || o.Spec.Paused, Spec: workload.Spec{Secrets: spec.names(), Account: spec.ServiceAccountName}}
	}
	return done, nil
}

func (c *applyStandIn) Established(context.Context, string) (bool, string, error) {
	c.established--
	return c.established < 0, c.definition, nil
}

func (c *applyStandIn) Workload(_ context.Context, kind, _, name string) (workload.Workload, error) {
	if c.looks == nil {
		c.looks = map[string]int{}
	}
	c.looks[name]++
	if c.failing != nil {
		if err := c.failing(c.looks[name]); err != nil {
			return workload.Workload{}, err
		}
	}
	all := c.states[name]
	if len(all) == 0 {
		return workload.Workload{Kind: kind, Observed: true}, nil
	}
	w := all[min(c.looks[name], len(all))-1]
	w.Kind = kind
	return w, nil
}

func (c *applyStandIn) Pods(context.Context, workload.Workload) ([]workload.Pod, error) {
	return c.pods, nil
}

func (c *applyStandIn) AllNodes(context.Context) ([]workload.Node, error) {
	if c.nodes != nil {
		return nil, c.nodes
	}
	return []workload.Node{{Name: "n1", OS: "linux", Arch: "amd64", Ready: true}}, nil
}

func (c *applyStandIn) Facts(context.Context, diagnose.Scope) (*diagnose.Facts, error) {
	return &diagnose.Facts{}, nil
}

func (c *applyStandIn) Changed(context.Context, diagnose.Scope, *diagnose.Facts) error { return nil }

func (c *applyStandIn) PullSecret(_ context.Context, namespace, name string) (diagnose.PullSecret, error) {
	if c.unread != nil {
		return diagnose.PullSecret{}, c.unread
	}
	s, ok := c.secrets[name]
	if !ok {
		return diagnose.PullSecret{Namespace: namespace, Name: name, Missing: true, Elsewhere: []string{"other"}}, nil
	}
	return s, nil
}

func (c *applyStandIn) Gives(_ context.Context, _, account string) ([]string, error) {
	return c.gives[account], c.hidden
}

// pullSecret is one of namespace shop, with a file as the kubelet reads it.
func pullSecret(name, file string) diagnose.PullSecret {
	s := diagnose.PullSecret{Namespace: "shop", Name: name, Type: "kubernetes.io/dockerconfigjson"}
	logins, err := credential.Parse([]byte(file))
	if err != nil {
		s.Problem = err.Error()
		return s
	}
	s.Logins, s.Hosts = logins, logins.Keys()
	return s
}

func deployManifest(t *testing.T, text string) ferry.DeployRequest {
	t.Helper()
	file := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return ferry.DeployRequest{Rewrite: ferry.RewriteRequest{Paths: []string{file}, Registry: "registry.bank.internal"}}
}

const barePod = `{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {%s containers: [{name: web, image: team/web:1}]}}`

// The registry is a real one with a password; the secrets are what a namespace
// may have.
func TestDeployLogins(t *testing.T) {
	closed, err := demo.StartRegistry(t.Context(), demo.Options{Username: "bank", Password: "right"})
	if err != nil {
		t.Fatal(err)
	}
	open, err := demo.StartRegistry(t.Context(), demo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = closed.Close(), open.Close() })
	store := contenttest.NewStore()
	img := store.Image(amd64, contenttest.Config{})
	for _, r := range []*demo.Registry{closed, open} {
		if err := r.Push(t.Context(), "team/web", "1", store, img); err != nil {
			t.Fatal(err)
		}
	}
	login := func(host, password string) string {
		return fmt.Sprintf(`{"auths":{%q:{"username":"bank","password":%q}}}`, host, password)
	}
	right, wrong := login(closed.Host(), "right"), login(closed.Host(), "wrong")
	const named = "imagePullSecrets: [{name: bank}],"
	for name, tt := range map[string]struct {
		registry *demo.Registry
		pod      string
		more     string // other objects
		secrets  map[string]diagnose.PullSecret
		gives    map[string][]string
		unread   error
		hidden   error
		node     bool
		state    string
		text     string
		remedy   string
	}{
		"none, and none is wanted":       {registry: open, state: ferry.LoginAnonymous, text: "asks for no login"},
		"none, and one is wanted":        {registry: closed, state: ferry.LoginRefused, text: "the pods have no pull secret, and their service account default gives them none", remedy: "create secret docker-registry regcred"},
		"the nodes log in":               {registry: closed, node: true, state: ferry.LoginUnchecked, text: "no login was tried"},
		"the account may not be read":    {registry: closed, hidden: errors.New("forbidden"), state: ferry.LoginUnchecked, text: "could not be read, so no login was tried"},
		"it may not, and it is open":     {registry: open, hidden: errors.New("forbidden"), state: ferry.LoginAnonymous, text: "asks for no login"},
		"right":                          {registry: closed, pod: named, secrets: map[string]diagnose.PullSecret{"bank": pullSecret("bank", right)}, state: ferry.LoginAccepted, text: "takes the login of secret shop/bank"},
		"by the service account":         {registry: closed, pod: "serviceAccountName: app,", gives: map[string][]string{"app": {"bank"}}, secrets: map[string]diagnose.PullSecret{"bank": pullSecret("bank", right)}, state: ferry.LoginAccepted, text: "takes the login"},
		"a wrong password":               {registry: closed, pod: named, secrets: map[string]diagnose.PullSecret{"bank": pullSecret("bank", wrong)}, state: ferry.LoginRefused, text: "refuses the login of secret shop/bank for team/web (401)", remedy: "delete secret bank"},
		"for another host":               {registry: closed, pod: named, secrets: map[string]diagnose.PullSecret{"bank": pullSecret("bank", login("quay.io", "right"))}, state: ferry.LoginRefused, text: "has no login for 127.0.0.1"},
		"for another host, and open":     {registry: open, pod: named, secrets: map[string]diagnose.PullSecret{"bank": pullSecret("bank", login("quay.io", "right"))}, state: ferry.LoginAnonymous, text: "so this does not matter"},
		"of another type":                {registry: closed, pod: named, secrets: map[string]diagnose.PullSecret{"bank": {Namespace: "shop", Name: "bank", Type: "Opaque"}}, state: ferry.LoginRefused, text: "of type Opaque"},
		"not there":                      {registry: closed, pod: named, state: ferry.LoginRefused, text: "is in other, and pods can use only secrets of their own namespace", remedy: "create secret docker-registry bank"},
		"not there, and open":            {registry: open, pod: named, state: ferry.LoginAnonymous, text: "so this does not matter"},
		"no file, even where it is open": {registry: open, pod: named, secrets: map[string]diagnose.PullSecret{"bank": pullSecret("bank", "{")}, state: ferry.LoginRefused, text: "does not even try to pull"},
		"it may not be read":             {registry: closed, pod: named, unread: errors.New("forbidden"), state: ferry.LoginUnchecked, text: "could not be read"},
		"the second one serves": {
			registry: closed, pod: "imagePullSecrets: [{name: other}, {name: bank}],",
			secrets: map[string]diagnose.PullSecret{"other": pullSecret("other", wrong), "bank": pullSecret("bank", right)},
			state:   ferry.LoginAccepted, text: "secret shop/bank",
		},
		"the one in the manifests counts": {
			registry: closed, pod: named, secrets: map[string]diagnose.PullSecret{"bank": pullSecret("bank", wrong)},
			more:  "\n---\n" + secretManifest(right),
			state: ferry.LoginAccepted, text: "secret shop/bank",
		},
		"the account in the manifests counts": {
			registry: closed, secrets: map[string]diagnose.PullSecret{"bank": pullSecret("bank", right)},
			more:  "\n---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}, imagePullSecrets: [{name: bank}]}",
			state: ferry.LoginAccepted, text: "secret shop/bank",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &applyStandIn{secrets: tt.secrets, gives: tt.gives, unread: tt.unread, hidden: tt.hidden}
			req := deployManifest(t, fmt.Sprintf(barePod, tt.pod)+tt.more)
			req.Rewrite.Registry, req.DryRun, req.NodeLogin = tt.registry.Host(), true, tt.node
			w := world(t)
			w.Repository = func(n ref.Name) (ferry.Repository, error) {
				return openAs(t, n, credential.Login{Username: "bank", Password: "right"})
			}
			r, err := ferry.Deploy(t.Context(), w, ferry.DeployEnv{Cluster: c, Secrets: c, Open: func(n ref.Name, l *diagnose.Login) (ferry.Probed, error) {
				if l == nil {
					return openAs(t, n, credential.Login{})
				}
				return openAs(t, n, l.Login)
			}}, req)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Logins) != 1 {
				t.Fatalf("got %+v", r.Logins)
			}
			got := r.Logins[0]
			if got.State != tt.state || !strings.Contains(got.Text, tt.text) || r.Refused != (tt.state == ferry.LoginRefused) {
				t.Errorf("refused: %v; %s: %s", r.Refused, got.State, got.Text)
			}
			if !strings.Contains(fmt.Sprint(got.Remedy), tt.remedy) {
				t.Errorf("to do: %v", got.Remedy)
			}
			if len(c.applied) > 0 {
				t.Errorf("applied: %v", c.applied)
			}
		})
	}
}

func secretManifest(file string) string {
	b, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]string{"name": "bank"},
		"type": "kubernetes.io/dockerconfigjson", "data": map[string][]byte{".dockerconfigjson": []byte(file)},
	})
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

func openAs(t *testing.T, n ref.Name, login credential.Login) (*registry.Repository, error) {
	t.Helper()
	c, err := registry.New(registry.Options{Tries: 1, Login: func(ref.Name) (credential.Login, string, bool) {
		return login, "test", login != credential.Login{}
	}})
	if err != nil {
		return nil, err
	}
	t.Cleanup(c.Close)
	return c.Repository(n)
}

// imageStandIn stands in for a registry that has everything, and is not a
// network: it may be asked where time stands still.
type imageStandIn struct{ *contenttest.Store }

func (s imageStandIn) Fetch(context.Context, string) (ocispec.Descriptor, []byte, error) {
	desc := s.Image(amd64, contenttest.Config{})
	b, err := content.ReadAll(context.Background(), s.Store, desc, content.MaxManifest)
	return desc, b, err
}

func (imageStandIn) Referrers(context.Context, ocispec.Descriptor) ([]content.Referrer, error) {
	return nil, nil
}

func (imageStandIn) Tags(context.Context, int) ([]string, error) { return nil, nil }

// deploys deploys to a stand-in where time is made up.
func deploys(t *testing.T, c *applyStandIn, text string) (*ferry.DeployResult, []string, error) {
	t.Helper()
	req := deployManifest(t, text)
	req.Timeout = 10 * time.Minute
	var r *ferry.DeployResult
	var steps []string
	var err error
	synctest.Test(t, func(t *testing.T) {
		images := imageStandIn{contenttest.NewStore()}
		w := ferry.World{Now: time.Now, Repository: func(ref.Name) (ferry.Repository, error) { return images, nil }}
		env := ferry.DeployEnv{
			Cluster: c, Secrets: c, Step: func(s string) { steps = append(steps, s) },
			Open: func(ref.Name, *diagnose.Login) (ferry.Probed, error) { return images, nil },
		}
		r, err = ferry.Deploy(t.Context(), w, env, req)
	})
	return r, steps, err
}

func job(spec string) string {
	return `{apiVersion: batch/v1, kind: Job, metadata: {name: web}, spec: {` + spec + `template: {spec: {containers: [{name: web, image: team/web:1}]}}}}`
}

func TestDeployWaits(t *testing.T) {
	pulled := []workload.PodPlace{{Place: workload.Place{List: workload.Containers, Name: "web"}, ImageID: "x@sha256:1"}}
	deployment := func(spec string) string {
		return `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {` + spec + `template: {spec: {containers: [{name: web, image: team/web:1}]}}}}`
	}
	lacking := []workload.PodPlace{{Place: workload.Place{List: workload.Containers, Name: "web"}}}
	for name, tt := range map[string]struct {
		text    string
		states  []workload.Workload
		pods    []workload.Pod
		step    string
		waiting bool
		outcome string
	}{
		"a Job that is done":      {text: job(""), states: []workload.Workload{{}, {Ended: workload.EndComplete}}, step: "finished Job shop/web"},
		"a Job whose pods run":    {text: job(""), pods: []workload.Pod{{Phase: "Running", Places: pulled}}, step: "its pods have started (1)"},
		"a Job that pulls still":  {text: job(""), pods: []workload.Pod{{Phase: "Pending", Places: lacking}}, waiting: true},
		"one of its pods pulls":   {text: job(""), pods: []workload.Pod{{Phase: "Running", Places: pulled}, {Phase: "Pending", Places: lacking}}, waiting: true},
		"a Job without pods":      {text: job(""), waiting: true},
		"a Job that failed":       {text: job(""), states: []workload.Workload{{Ended: workload.EndFailed, Why: "BackoffLimitExceeded"}}, waiting: true, outcome: "failed: BackoffLimitExceeded"},
		"a Job that is suspended": {text: job("suspend: true, ")},
		"paused":                  {text: deployment("paused: true, ")},
		"of no replicas":          {text: deployment(""), states: []workload.Workload{{Observed: true}}, step: "nothing to wait for at Deployment shop/web: it is to have no pods"},
		"a Pod that is ready":     {text: fmt.Sprintf(barePod, ""), pods: []workload.Pod{{Phase: "Running", Ready: true, Places: pulled}}, step: "running Pod shop/web, ready"},
		"a Pod that only runs":    {text: fmt.Sprintf(barePod, ""), pods: []workload.Pod{{Phase: "Running", Places: pulled}}, waiting: true},
		"a Pod that ended":        {text: fmt.Sprintf(barePod, ""), states: []workload.Workload{{Ended: workload.EndSucceeded}}, step: "finished Pod shop/web"},
		"a Pod that failed":       {text: fmt.Sprintf(barePod, ""), states: []workload.Workload{{Ended: workload.EndFailed, Why: "Evicted"}}, waiting: true, outcome: "failed: Evicted"},
		"a CronJob":               {text: `{apiVersion: batch/v1, kind: CronJob, metadata: {name: web}, spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: web, image: team/web:1}]}}}}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			c := &applyStandIn{states: map[string][]workload.Workload{"web": tt.states}, pods: tt.pods}
			r, steps, err := deploys(t, c, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(r.Waiting) > 0; got != tt.waiting {
				t.Errorf("waiting: %v; steps %q", r.Waiting, steps)
			}
			next := "kubectl get events -n shop --field-selector type=Warning"
			switch {
			case !tt.waiting:
				next = ""
			case strings.HasPrefix(tt.outcome, "failed"):
				next = "kubectl logs -n shop " + strings.ToLower(r.Objects[0].Kind) + "/web"
			}
			if got := strings.Join(r.Next, " "); got != next {
				t.Errorf("next: %q", got)
			}
			if tt.step != "" && !slices.ContainsFunc(steps, func(s string) bool { return strings.HasSuffix(s, tt.step) }) {
				t.Errorf("steps: %q", steps)
			}
			if tt.outcome != "" && r.Objects[0].Outcome != tt.outcome {
				t.Errorf("outcome: %q", r.Objects[0].Outcome)
			}
		})
	}
}

// answerError is an answer of an API server, or none with 0.
type answerError int

func (e answerError) Error() string   { return fmt.Sprintf("answered %d", int(e)) }
func (e answerError) StatusCode() int { return int(e) }
func (answerError) Hint() string      { return "Does it run?" }

func TestDeployHints(t *testing.T) {
	for _, tt := range []struct {
		text string
		err  error
		hint string
	}{
		{job(""), answerError(422), "A Job cannot be changed once it is there. Where it may run again: kubectl delete job web -n shop"},
		{fmt.Sprintf(barePod, ""), answerError(422), ""},
		{fmt.Sprintf(barePod, ""), answerError(403), "Does it run?"},
		{fmt.Sprintf(barePod, ""), conflictError{}, "--force-conflicts takes these fields over; who holds them may put them back. What an autoscaler sets (.spec.replicas) is left out of the manifest."},
	} {
		c := &applyStandIn{early: true, refuse: func(string) error { return tt.err }}
		r, _, err := deploys(t, c, tt.text)
		if err != nil || !r.Refused || r.Objects[0].Hint != tt.hint || len(c.applied) > 0 {
			t.Errorf("%v: got %v, %+v", tt.err, err, r.Objects[0])
		}
	}
}

// Who may not list nodes may deploy: what that leaves open is said.
func TestDeployWithoutNodes(t *testing.T) {
	c := &applyStandIn{nodes: answerError(403), states: map[string][]workload.Workload{"web": {{Ended: workload.EndSucceeded}}}}
	r, _, err := deploys(t, c, fmt.Sprintf(barePod, ""))
	if err != nil || len(r.Verdicts) != 1 || !strings.HasPrefix(strings.Join(r.Verdicts[0].Notes, ""), "this login may not list the nodes, so") {
		t.Errorf("got %v, %+v", err, r)
	}
	c = &applyStandIn{nodes: answerError(500)}
	if _, _, err := deploys(t, c, fmt.Sprintf(barePod, "")); err == nil || len(c.applied) > 0 {
		t.Errorf("got %v, and applied %v", err, c.applied)
	}
}

// An API server that starts again is waited for; one that stays away, or says
// no, ends it with what was done.
func TestDeployWithoutAPIServer(t *testing.T) {
	ready := []workload.Workload{{Observed: true, Desired: 1}, {Observed: true, Desired: 1, Updated: 1, Ready: 1}}
	const web = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {containers: [{name: web, image: team/web:1}]}}}}`
	away := func(looks int, code answerError) func(int) error {
		return func(look int) error {
			if look <= looks {
				return code
			}
			return nil
		}
	}
	c := &applyStandIn{states: map[string][]workload.Workload{"web": ready}, failing: away(200, 0)}
	if r, _, err := deploys(t, c, web); err != nil || len(r.Waiting) > 0 {
		t.Errorf("it was away for 200 s: %v", err)
	}
	for _, code := range []answerError{0, 403} {
		c := &applyStandIn{states: map[string][]workload.Workload{"web": ready}, failing: away(1000, code)}
		_, _, err := deploys(t, c, web)
		e, ok := errors.AsType[*ferry.DeployError](err)
		if !ok || !strings.Contains(e.Error(), "all 1 objects were applied") || e.Hint() != "Does it run? What was applied stays; the same command again goes on from there." {
			t.Errorf("%d: %v", code, err)
		}
		if n := c.looks["web"]; code == 403 && n != 1 || code == 0 && n < 500 {
			t.Errorf("%d: asked %d times", code, n)
		}
	}
	c = &applyStandIn{refuse: func(kind string) error {
		if kind == "Deployment" {
			return answerError(0)
		}
		return nil
	}}
	r, _, err := deploys(t, c, web+"\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}")
	e, ok := errors.AsType[*ferry.DeployError](err)
	if !ok || e.Done != 1 || e.All != 2 || r.Objects[0].State != ferry.ObjectApplied || r.Objects[1].State != ferry.ObjectFailed {
		t.Errorf("got %v, %+v", err, r.Objects)
	}
}

func TestDeployDefinition(t *testing.T) {
	const crd = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: databases.bank.example}}`
	c := &applyStandIn{established: 5}
	if _, _, err := deploys(t, c, crd); err != nil || c.established != -1 {
		t.Errorf("got %v after %d more", err, c.established)
	}
	c = &applyStandIn{established: 5, definition: "ListKindConflict: taken"}
	if _, _, err := deploys(t, c, crd); err == nil || !strings.Contains(err.Error(), "ListKindConflict: taken") {
		t.Errorf("got %v", err)
	}
	c = &applyStandIn{established: 1000}
	if _, _, err := deploys(t, c, crd); err == nil || !strings.Contains(err.Error(), "is not established after 10s") {
		t.Errorf("got %v", err)
	}
}

func TestDeployByHand(t *testing.T) {
	for _, tt := range []struct {
		given ferry.Given
		want  []string
	}{
		{ferry.Given{}, []string{
			"ferry rewrite -f web.yaml --registry registry.bank.internal --flatten --pull-policy Never --image-path .spec.image --to inside",
			"skopeo inspect docker://registry.bank.internal/team-web:1",
			"skopeo inspect --no-creds docker://registry.bank.internal/team-web:1",
			"kubectl apply --server-side -f inside/web.yaml --force-conflicts -n shop", "",
			"kubectl wait --for=condition=ready pod/web -n shop",
		}},
		{ferry.Given{Context: "prod", Kubeconfig: "k.conf", AuthFile: "auth.json", CAFiles: []string{"ca.pem"}}, []string{
			"ferry rewrite -f web.yaml --registry registry.bank.internal --flatten --pull-policy Never --image-path .spec.image --to inside",
			"mkdir -p certs", "cp ca.pem certs/ca.crt",
			"skopeo inspect --authfile auth.json --cert-dir certs docker://registry.bank.internal/team-web:1",
			"skopeo inspect --cert-dir certs --no-creds docker://registry.bank.internal/team-web:1",
			"kubectl --kubeconfig k.conf --context prod apply --server-side -f inside/web.yaml --force-conflicts -n shop", "",
			"kubectl --kubeconfig k.conf --context prod wait --for=condition=ready pod/web -n shop",
		}},
	} {
		if got := linesByHand(t, tt.given); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: got\n%s", tt.given, strings.Join(got, "\n"))
		}
	}
}

// TestDeployOfAGeneratedName: an apply needs a name.
func TestDeployOfAGeneratedName(t *testing.T) {
	_, _, err := deploys(t, &applyStandIn{}, `{apiVersion: v1, kind: ConfigMap, metadata: {generateName: settings-}}`)
	says(t, err, "the ConfigMap has generateName settings- and no name", "kubectl create")
}

// TestDeployByHandInTwoNamespaces: kubectl takes no -n for a file with an object
// of another namespace, so that the context's is set before.
func TestDeployByHandInTwoNamespaces(t *testing.T) {
	const both = `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: other}}`
	r, _, err := deploys(t, &applyStandIn{}, both)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, argv := range r.Objects[0].ByHand {
		got = append(got, strings.Join(argv, " "))
	}
	if len(got) != 2 || got[0] != "kubectl config set-context --current --namespace shop" || strings.Contains(got[1], " -n ") {
		t.Errorf("got %q", got)
	}
}

func linesByHand(t *testing.T, given ferry.Given) []string {
	t.Helper()
	c := &applyStandIn{}
	req := deployManifest(t, fmt.Sprintf(barePod, "")+"\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}")
	req.DryRun, req.Force = true, true
	req.Rewrite.Flatten, req.Rewrite.ImagePaths, req.Rewrite.PullPolicy = true, []string{".spec.image"}, "Never"
	images := imageStandIn{contenttest.NewStore()}
	w := ferry.World{Now: time.Now, Given: given, Repository: func(ref.Name) (ferry.Repository, error) { return images, nil }}
	r, err := ferry.Deploy(t.Context(), w, ferry.DeployEnv{
		Cluster: c, Secrets: c, Open: func(ref.Name, *diagnose.Login) (ferry.Probed, error) { return images, nil },
	}, req)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	asks := slices.Concat([][]string{r.ByHand.Rewrite}, r.ByHand.Trust, r.ByHand.Images)
	for _, l := range r.Logins {
		asks = append(asks, l.ByHand)
	}
	for _, argv := range asks {
		got = append(got, strings.ReplaceAll(strings.Join(argv, " "), req.Rewrite.Paths[0], "web.yaml"))
	}
	for _, o := range r.Objects {
		for _, argv := range append(o.ByHand, o.Watch) {
			got = append(got, strings.Join(argv, " "))
		}
	}
	return got
}
