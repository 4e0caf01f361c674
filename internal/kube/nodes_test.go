package kube_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/diagnose"
	"ferry/internal/kube"
)

// What real API servers held of each failure that was arranged on real nodes,
// read as from one and put into findings: they name the cause, and are never
// certain of another one.
func TestFailuresOfRealNodes(t *testing.T) {
	const cases = "../diagnose/testdata/nodes"
	for _, runtime := range dirs(t, cases) {
		var labels struct{ Causes map[string][]string }
		read(t, filepath.Join(cases, runtime, "labels.json"), &labels)
		if len(labels.Causes) < 40 {
			t.Errorf("only %d cases of %s", len(labels.Causes), runtime)
		}
		for name, right := range labels.Causes {
			t.Run(runtime+"/"+name, func(t *testing.T) {
				t.Parallel()
				var held struct{ Items []obj }
				read(t, filepath.Join(cases, runtime, name+".json"), &held)
				named := false
				found := findingsOf(t, held.Items)
				for _, g := range found {
					ok := slices.Contains(right, string(g.Cause.Cause))
					named = named || ok
					if !ok && g.Confidence == diagnose.Certain {
						t.Errorf("certain that it is %s; right is %v", g.Cause.Cause, right)
					}
				}
				if !named {
					t.Errorf("%d findings, none of them %v", len(found), right)
				}
			})
		}
	}
}

func dirs(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func read(t *testing.T, file string, v any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// findingsOf serves objects from a stand-in and returns what is found. The log
// that a kubelet would have given stands in for all logs.
func findingsOf(t *testing.T, items []obj) []diagnose.Finding {
	t.Helper()
	s := newStandIn(t)
	lists := map[string][]any{"pods": nil, "events": nil, "nodes": nil}
	for _, o := range items {
		kind, _ := o["kind"].(string)
		lists[strings.ToLower(kind)+"s"] = append(lists[strings.ToLower(kind)+"s"], o)
		m, _ := o["metadata"].(map[string]any)
		s.handle(fmt.Sprintf("/api/v1/namespaces/%v/pods/%v/log", m["namespace"], m["name"]), func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "exec /app: exec format error")
		})
	}
	s.secretsOf(items)
	for plural, all := range lists {
		s.on("/api/v1/"+plural, list(all...))
	}
	return facts(t, s.open(t, kube.Options{}), diagnose.Scope{}).Findings()
}

// secretsOf has the pull secrets that the pods name, with a login for the
// registry of their images; only nosuch is not there.
func (s *standIn) secretsOf(items []obj) {
	for _, o := range items {
		var p struct {
			Metadata struct{ Namespace string }
			Spec     struct {
				ImagePullSecrets []struct{ Name string }
				Containers       []struct{ Image string }
			}
		}
		b, _ := json.Marshal(o)
		if json.Unmarshal(b, &p) != nil {
			continue
		}
		for _, secret := range p.Spec.ImagePullSecrets {
			host, _, _ := strings.Cut(p.Spec.Containers[0].Image, "/")
			if secret.Name != "nosuch" {
				s.on("/api/v1/namespaces/"+p.Metadata.Namespace+"/secrets/"+secret.Name, obj{
					"type": "kubernetes.io/dockerconfigjson",
					"data": obj{".dockerconfigjson": fmt.Appendf(nil, `{"auths":{%q:{"auth":"dXNlcjp3cm9uZw=="}}}`, host)},
				})
			}
		}
	}
}
