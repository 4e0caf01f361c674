package kube_test

import (
	"testing"

	"ferry/internal/diagnose"
	"ferry/internal/kube"
)

// TestRefusedPods: a workload that no pod leads to, since none can be made, is
// read for the sake of its events; one whose next pods are refused while those
// of before run says so itself.
func TestRefusedPods(t *testing.T) {
	s := newStandIn(t)
	s.on("/api/v1/namespaces/shop/pods", list(running("old-1")))
	s.on("/api/v1/nodes", list())
	refusal := func(set string) obj {
		return obj{
			"metadata":       obj{"name": set + ".1", "namespace": "shop"},
			"involvedObject": obj{"kind": "ReplicaSet", "namespace": "shop", "name": set, "uid": "uid-" + set},
			"reason":         "FailedCreate", "message": "Error creating: exceeded quota: none", "type": "Warning", "count": 3,
			"firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:08:05Z",
		}
	}
	s.on("/api/v1/namespaces/shop/events", list(refusal("web-1a"), refusal("old-2b")))
	for set, of := range map[string]string{"web-1a": "web", "old-2b": "old"} {
		s.on("/apis/apps/v1/namespaces/shop/replicasets/"+set, obj{
			"metadata": obj{"name": set, "namespace": "shop", "ownerReferences": []obj{{"kind": "Deployment", "name": of, "controller": true}}},
		})
	}
	deployment := func(name string, status obj) {
		s.on("/apis/apps/v1/namespaces/shop/deployments/"+name, obj{
			"metadata": obj{"name": name, "namespace": "shop"}, "spec": obj{"replicas": 2}, "status": status,
		})
	}
	deployment("web", obj{})
	deployment("old", obj{"readyReplicas": 2, "conditions": []obj{{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no room"}}})
	want := map[string]string{"web": "exceeded quota: none", "old": "no room"}
	c := s.open(t, kube.Options{})
	named := diagnose.Scope{Namespace: "shop", Objects: []diagnose.Object{{Kind: "Deployment", Namespace: "shop", Name: "old"}}}
	if all := facts(t, c, named).Refusals(); len(all) != 1 || all[0].Text != want["old"] {
		t.Errorf("of the one that was named: %+v", all)
	}
	all := facts(t, c, inShop).Refusals()
	if len(all) != len(want) {
		t.Fatalf("got %+v", all)
	}
	for _, r := range all {
		if r.Kind != "Deployment" || r.Text != want[r.Name] {
			t.Errorf("got %+v", r)
		}
	}
	// Once there is room again, nothing is refused, whatever events there are.
	deployment("old", obj{"readyReplicas": 2, "conditions": []obj{{"type": "ReplicaFailure", "status": "False"}}})
	deployment("web", obj{"readyReplicas": 2})
	if all := facts(t, c, inShop).Refusals(); len(all) != 0 {
		t.Errorf("got %+v", all)
	}
}
