package kube_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"ferry/internal/kube"
)

// echo answers GET with 404 and gives back what is applied, as the API server
// does of what is new.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		status(http.StatusNotFound, "NotFound", "not found")(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.Copy(w, r.Body)
}

func (s *standIn) serves(path string, kinds ...[2]string) {
	var all []obj
	for _, k := range kinds {
		all = append(all, obj{"name": k[0], "kind": k[1], "namespaced": true})
	}
	s.on(path, obj{"resources": all})
}

// What an object says is known where the API server takes it, and where its
// namespace is still to come.
func TestApplyLearns(t *testing.T) {
	for _, new := range []bool{false, true} {
		s := newStandIn(t)
		s.serves("/api/v1", [2]string{"secrets", "Secret"}, [2]string{"serviceaccounts", "ServiceAccount"}, [2]string{"pods", "Pod"})
		s.serves("/apis/batch/v1", [2]string{"jobs", "Job"})
		if !new {
			for _, path := range []string{"/api/v1/namespaces/shop/secrets/bank", "/api/v1/namespaces/shop/serviceaccounts/app", "/apis/batch/v1/namespaces/shop/jobs/j", "/api/v1/namespaces/shop/pods/p"} {
				s.handle(path, echo)
			}
		}
		a := s.open(t, kube.Options{}).Applier()
		apply := func(object string) kube.Applied {
			t.Helper()
			done, err := a.Apply(t.Context(), []byte(object), "shop", true, false)
			e, ok := errors.AsType[*kube.ChangeError](err)
			if new && (!ok || !e.Gone()) || !new && (err != nil || !done.New) {
				t.Fatalf("got %+v, %v", done, err)
			}
			if done.Namespace != "shop" {
				t.Errorf("in %q", done.Namespace)
			}
			return done
		}
		secret := apply(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"bank"},"type":"kubernetes.io/dockerconfigjson","stringData":{".dockerconfigjson":"{\"auths\":{\"r.example\":{\"username\":\"u\",\"password\":\"p\"}}}"}}`).PullSecret
		if secret == nil || secret.Problem != "" || !slices.Equal(secret.Hosts, []string{"r.example"}) {
			t.Errorf("got %+v", secret)
		}
		if gives := apply(`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"app"},"imagePullSecrets":[{"name":"bank"}]}`).Gives; !slices.Equal(gives, []string{"bank"}) {
			t.Errorf("got %q", gives)
		}
		job := apply(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j"},"spec":{"suspend":true,"template":{"spec":{"serviceAccountName":"app","nodeSelector":{"disk":"ssd"}}}}}`).Workload
		if job.Kind != "Job" || !job.Suspended || job.Spec.Account != "app" || job.Spec.NodeSelector["disk"] != "ssd" {
			t.Errorf("got %+v", job)
		}
		if pod := apply(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"imagePullSecrets":[{"name":"a"},{"name":"b"}]}}`).Workload; !slices.Equal(pod.Spec.Secrets, []string{"a", "b"}) {
			t.Errorf("got %+v", pod)
		}
	}
}

func TestApplyUntried(t *testing.T) {
	s := newStandIn(t)
	s.serves("/api/v1", [2]string{"pods", "Pod"})
	message := `admission webhook "x" does not support dry run`
	s.handle("/api/v1/namespaces/shop/pods/p", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			echo(w, r)
			return
		}
		status(http.StatusBadRequest, "BadRequest", message)(w, r)
	})
	a := s.open(t, kube.Options{}).Applier()
	for _, untried := range []bool{true, false} {
		_, err := a.Apply(t.Context(), []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}`), "shop", true, false)
		e, ok := errors.AsType[*kube.ChangeError](err)
		if !ok || e.Untried() != untried {
			t.Errorf("%s: %v", message, err)
		}
		message = ".spec.x: field not declared in schema"
	}
}

// TestWorkloadSuspended: neither makes pods for now.
func TestWorkloadSuspended(t *testing.T) {
	s := newStandIn(t)
	c := s.open(t, kube.Options{})
	for path, spec := range map[string]string{"deployments": `{"paused":true}`, "replicasets": `{}`} {
		s.on("/apis/apps/v1/namespaces/shop/"+path+"/x", obj{"metadata": obj{"name": "x"}, "spec": json.RawMessage(spec)})
		kind := map[string]string{"deployments": "Deployment", "replicasets": "ReplicaSet"}[path]
		if w, err := c.Workload(t.Context(), kind, "shop", "x"); err != nil || w.Suspended != (kind == "Deployment") {
			t.Errorf("%s: %+v, %v", kind, w, err)
		}
	}
}

func TestWorkloadEnds(t *testing.T) {
	s := newStandIn(t)
	c := s.open(t, kube.Options{})
	for _, tt := range []struct{ kind, path, status, end, why string }{
		{"Job", "/apis/batch/v1/namespaces/shop/jobs/x", `{"conditions":[{"type":"SuccessCriteriaMet","status":"True"},{"type":"Complete","status":"True"}]}`, "Complete", ""},
		{"Job", "/apis/batch/v1/namespaces/shop/jobs/x", `{"conditions":[{"type":"Failed","status":"True","reason":"BackoffLimitExceeded","message":"too often"}]}`, "Failed", "BackoffLimitExceeded: too often"},
		{"Job", "/apis/batch/v1/namespaces/shop/jobs/x", `{"conditions":[{"type":"Failed","status":"False"}],"active":1}`, "", ""},
		{"Pod", "/api/v1/namespaces/shop/pods/x", `{"phase":"Failed","reason":"Evicted"}`, "Failed", "Evicted"},
		{"Pod", "/api/v1/namespaces/shop/pods/x", `{"phase":"Succeeded"}`, "Succeeded", ""},
		{"Pod", "/api/v1/namespaces/shop/pods/x", `{"phase":"Running"}`, "", ""},
	} {
		s.on(tt.path, obj{"metadata": obj{"name": "x"}, "status": json.RawMessage(tt.status)})
		w, err := c.Workload(t.Context(), tt.kind, "shop", "x")
		if err != nil || w.Ended != tt.end || w.Why != tt.why {
			t.Errorf("%s %s: got %q, %q, %v", tt.kind, tt.status, w.Ended, w.Why, err)
		}
	}
}

func TestEstablished(t *testing.T) {
	s := newStandIn(t)
	a := s.open(t, kube.Options{}).Applier()
	for _, tt := range []struct {
		conditions string
		in         bool
		why        string
	}{
		{`[]`, false, ""},
		{`[{"type":"NamesAccepted","status":"True"},{"type":"Established","status":"True"}]`, true, ""},
		{`[{"type":"NamesAccepted","status":"False","reason":"ListKindConflict","message":"taken"},{"type":"Established","status":"False"}]`, false, "ListKindConflict: taken"},
	} {
		s.on("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/d.x", obj{"status": obj{"conditions": json.RawMessage(tt.conditions)}})
		in, why, err := a.Established(t.Context(), "d.x")
		if err != nil || in != tt.in || why != tt.why {
			t.Errorf("%s: got %v, %q, %v", tt.conditions, in, why, err)
		}
	}
	if _, _, err := a.Established(t.Context(), "gone"); err == nil {
		t.Error("a definition that is not there is established")
	}
}

func TestPullSecretMissing(t *testing.T) {
	s := newStandIn(t)
	s.on("/api/v1/namespaces", list(obj{"metadata": obj{"name": "shop"}}, obj{"metadata": obj{"name": "infra"}}))
	s.on("/api/v1/namespaces/infra/secrets/bank", obj{"metadata": obj{"name": "bank"}})
	a := s.open(t, kube.Options{}).Applier()
	got, err := a.PullSecret(t.Context(), "shop", "bank")
	if err != nil || !got.Missing || !slices.Equal(got.Elsewhere, []string{"infra"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	s.handle("/api/v1/namespaces/shop/secrets/bank", status(http.StatusForbidden, "Forbidden", "no"))
	if _, err := a.PullSecret(t.Context(), "shop", "bank"); err == nil {
		t.Error("a secret that may not be read was read")
	}
	if gives, err := a.Gives(t.Context(), "shop", "none"); err != nil || gives != nil {
		t.Errorf("got %q, %v", gives, err)
	}
}
