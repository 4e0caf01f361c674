package workload

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestMayRun(t *testing.T) {
	plain := Node{Name: "n1", Labels: map[string]string{"disk": "ssd", "gen": "7"}}
	tainted := plain
	tainted.Taints = []Taint{{"dedicated", "gpu", "NoSchedule"}}
	cordoned := plain
	cordoned.Cordoned, cordoned.Taints = true, []Taint{{"node.kubernetes.io/unschedulable", "", "NoSchedule"}}
	needs := func(key, operator string, values ...string) Spec {
		return Spec{Affinity: []Term{{Labels: []Requirement{{key, operator, values}}}}}
	}
	tolerates := func(t Toleration) Spec { return Spec{Tolerations: []Toleration{t}} }
	for name, tt := range map[string]struct {
		spec Spec
		node Node
		kind string
		want bool
	}{
		"anything goes":          {Spec{}, plain, "Deployment", true},
		"selected":               {Spec{NodeSelector: map[string]string{"disk": "ssd"}}, plain, "", true},
		"not selected":           {Spec{NodeSelector: map[string]string{"disk": "hdd"}}, plain, "", false},
		"no such label":          {Spec{NodeSelector: map[string]string{"zone": ""}}, plain, "", false},
		"by name":                {Spec{NodeName: "n1"}, cordoned, "", true},
		"by another name":        {Spec{NodeName: "n2"}, plain, "", false},
		"in":                     {needs("disk", "In", "hdd", "ssd"), plain, "", true},
		"not in":                 {needs("disk", "NotIn", "ssd"), plain, "", false},
		"not in, absent":         {needs("zone", "NotIn", "a"), plain, "", true},
		"exists":                 {needs("zone", "Exists"), plain, "", false},
		"does not exist":         {needs("zone", "DoesNotExist"), plain, "", true},
		"greater":                {needs("gen", "Gt", "6"), plain, "", true},
		"less":                   {needs("gen", "Lt", "6"), plain, "", false},
		"greater than a word":    {needs("disk", "Gt", "6"), plain, "", false},
		"unknown operator":       {needs("disk", "Like", "s"), plain, "", false},
		"no terms":               {Spec{Affinity: []Term{}}, plain, "", false},
		"an empty term":          {Spec{Affinity: []Term{{}}}, plain, "", false},
		"one of two terms":       {Spec{Affinity: []Term{{Fields: []Requirement{{"metadata.name", "In", []string{"n2"}}}}, {Fields: []Requirement{{"metadata.name", "In", []string{"n1"}}}}}}, plain, "", true},
		"tainted":                {Spec{}, tainted, "", false},
		"tolerated":              {tolerates(Toleration{"dedicated", "Equal", "gpu", "NoSchedule"}), tainted, "", true},
		"tolerated, by default":  {tolerates(Toleration{Key: "dedicated", Value: "gpu"}), tainted, "", true},
		"tolerated, any value":   {tolerates(Toleration{Key: "dedicated", Operator: "Exists"}), tainted, "", true},
		"tolerates all":          {tolerates(Toleration{Operator: "Exists"}), tainted, "", true},
		"another value":          {tolerates(Toleration{Key: "dedicated", Value: "db"}), tainted, "", false},
		"another effect":         {tolerates(Toleration{"dedicated", "Exists", "", "NoExecute"}), tainted, "", false},
		"preferred only":         {Spec{}, Node{Taints: []Taint{{"a", "b", "PreferNoSchedule"}}}, "", true},
		"cordoned":               {Spec{}, cordoned, "Deployment", false},
		"cordoned, a DaemonSet":  {Spec{}, cordoned, "DaemonSet", true},
		"tainted, a DaemonSet":   {Spec{}, tainted, "DaemonSet", false},
		"not ready, a DaemonSet": {Spec{}, Node{Taints: []Taint{{"node.kubernetes.io/not-ready", "", "NoExecute"}}}, "DaemonSet", true},
		"not ready":              {Spec{}, Node{Taints: []Taint{{"node.kubernetes.io/not-ready", "", "NoSchedule"}}}, "Deployment", false},
	} {
		if got := tt.spec.MayRun(tt.node, tt.kind); got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func sample() Workload {
	return Workload{Kind: "Deployment", Namespace: "default", Name: "web", Version: "7", Spec: Spec{Places: []Place{
		{InitContainers, "setup", "busybox", Always},
		{Containers, "nginx", "nginx", Always},
		{Containers, "side", "side:1", IfNotPresent},
		{Containers, "mine", "mine:1", Never},
		{Volumes, "models", "models:latest", Always},
	}}}
}

func all(Place) bool { return true }

func TestPatch(t *testing.T) {
	w := sample()
	changes := Changes(w.Spec.Places, IfNotPresent, all)
	b, err := w.Patch(changes)
	const want = `{"metadata":{"annotations":{"ferry/former-pull-policies":"{\"containers/nginx\":\"Always\",\"initContainers/setup\":\"Always\",\"volumes/models\":\"Always\"}"},"resourceVersion":"7"},` +
		`"spec":{"template":{"spec":{"containers":[{"imagePullPolicy":"IfNotPresent","name":"nginx"}],"initContainers":[{"imagePullPolicy":"IfNotPresent","name":"setup"}],"volumes":[{"image":{"pullPolicy":"IfNotPresent"},"name":"models"}]}}}}`
	if err != nil || string(b) != want {
		t.Errorf("got %s, %v", b, err)
	}
	if got := Changes(w.Spec.Places, IfNotPresent, func(p Place) bool { return p.Name == "side" }); len(got) != 0 {
		t.Errorf("what needs no change is changed: %v", got)
	}
	var never []string
	for _, c := range Changes(w.Spec.Places, Never, all) {
		never = append(never, c.Key())
	}
	if !slices.Equal(never, []string{"initContainers/setup", "containers/nginx", "containers/side", "volumes/models"}) {
		t.Errorf("to Never: %q", never)
	}
	w.Kind = "CronJob"
	if text, _ := w.ByHandPatch(changes[1:2]); text != `{"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"imagePullPolicy":"IfNotPresent","name":"nginx"}]}}}}}}` {
		t.Errorf("got %s", text)
	}
}

// What was there before ferry is what undo brings back, however often ferry
// changed it meanwhile.
func TestUndo(t *testing.T) {
	w := sample()
	w = applied(t, w, Changes(w.Spec.Places, IfNotPresent, all))
	w = applied(t, w, Changes(w.Spec.Places, Never, all))
	back, err := w.Back()
	if err != nil || len(back) != 4 {
		t.Fatalf("got %v, %v", back, err)
	}
	for _, c := range back {
		want := Always
		if c.Name == "side" {
			want = IfNotPresent
		}
		if c.To != want || c.Policy != Never {
			t.Errorf("%s: back from %s to %s", c.Key(), c.Policy, c.To)
		}
	}
	b, err := w.BackPatch(nil)
	if err != nil || string(b) != `{"metadata":{"annotations":{"ferry/former-pull-policies":null},"resourceVersion":"7"}}` {
		t.Errorf("got %s, %v", b, err)
	}
	for _, text := range []string{"garbage", `{"containers/nginx":"Sometimes"}`} {
		w.Annotations[Former] = text
		if _, err := w.Back(); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
	if back, err := sample().Back(); err != nil || len(back) != 0 {
		t.Errorf("without a note: %v, %v", back, err)
	}
}

// applied is w after a patch, as the API server would have it.
func applied(t *testing.T, w Workload, changes []Change) Workload {
	t.Helper()
	b, err := w.Patch(changes)
	if err != nil {
		t.Fatal(err)
	}
	var patch struct {
		Metadata struct{ Annotations map[string]string }
	}
	if err := json.Unmarshal(b, &patch); err != nil {
		t.Fatal(err)
	}
	w.Annotations = patch.Metadata.Annotations
	w.Spec.Places = slices.Clone(w.Spec.Places)
	for _, c := range changes {
		for i := range w.Spec.Places {
			if w.Spec.Places[i].Key() == c.Key() {
				w.Spec.Places[i].Policy = c.To
			}
		}
	}
	return w
}

func TestManagers(t *testing.T) {
	w := Workload{
		Owner:       "Rollout/my-web",
		Labels:      map[string]string{"app.kubernetes.io/managed-by": "Helm", "kustomize.toolkit.fluxcd.io/name": "apps", "helm.toolkit.fluxcd.io/name": "web", "argocd.argoproj.io/instance": "shop"},
		Annotations: map[string]string{"meta.helm.sh/release-name": "web", "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:default/web"},
	}
	want := []string{"Rollout/my-web", "Helm release web", "Argo CD application shop", "Flux Kustomization apps", "Flux HelmRelease web"}
	if got := w.Managers(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := (Workload{Labels: map[string]string{"app.kubernetes.io/managed-by": "helm"}}).Managers(); !slices.Equal(got, []string{"Helm"}) {
		t.Errorf("got %q", got)
	}
	if got := (Workload{Annotations: map[string]string{"argocd.argoproj.io/tracking-id": "shop:x"}}).Managers(); !slices.Equal(got, []string{"Argo CD application shop"}) {
		t.Errorf("got %q", got)
	}
	if got := (Workload{}).Managers(); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func FuzzFormer(f *testing.F) {
	f.Add(`{"containers/nginx":"Always"}`)
	f.Fuzz(func(t *testing.T, text string) {
		w := sample()
		w.Annotations = map[string]string{Former: text}
		back, err := w.Back()
		if err != nil {
			return
		}
		for _, c := range back {
			if c.To != Always && c.To != IfNotPresent && c.To != Never {
				t.Errorf("%q: back to %q", text, c.To)
			}
		}
		if _, err := w.Patch(back); err != nil {
			t.Error(err)
		}
	})
}
