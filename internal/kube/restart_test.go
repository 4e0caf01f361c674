package kube_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"ferry/internal/diagnose"
	"ferry/internal/kube"
	"ferry/internal/workload"
)

// Between two ends of a crash loop the API server holds for a moment that the
// container runs: the verdict may not depend on when one looks.
func TestBetweenTwoEnds(t *testing.T) {
	for _, tc := range []struct {
		name  string
		since time.Duration
		right bool
	}{
		{"a moment ago", time.Second, true},
		{"for good", time.Minute, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStandIn(t)
			s.on("/api/v1/pods", list(restartedPod(tc.since)))
			s.on("/api/v1/events", list())
			s.on("/api/v1/nodes", list())
			s.handle("/api/v1/namespaces/default/pods/web/log", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("previous") == "true" {
					fmt.Fprintln(w, "exec /app: exec format error")
				}
			})
			found := facts(t, s.open(t, kube.Options{}), diagnose.Scope{}).Findings()
			if named := len(found) == 1 && found[0].Cause.Cause == diagnose.PlatformMismatch; named != tc.right {
				t.Errorf("%+v", found)
			}
		})
	}
}

func restartedPod(since time.Duration) obj {
	now := time.Now().UTC()
	at := func(ago time.Duration) string { return now.Add(-ago).Format(time.RFC3339) }
	return obj{
		"kind":     "Pod",
		"metadata": obj{"name": "web", "namespace": "default", "uid": "1", "creationTimestamp": at(time.Hour)},
		"spec":     obj{"nodeName": "node1", "containers": []any{obj{"name": "web", "image": "registry.test/app:1"}}},
		"status": obj{"phase": "Running", "containerStatuses": []any{obj{
			"name": "web", "imageID": "sha256:1", "ready": true, "restartCount": 3,
			"state":     obj{"running": obj{"startedAt": at(since)}},
			"lastState": obj{"terminated": obj{"exitCode": 1, "reason": "Error", "startedAt": at(since + 20*time.Second), "finishedAt": at(since + 20*time.Second)}},
		}}},
	}
}

// TestDeletePodAsItWasSeen: a pod that changed since it was looked at is not
// deleted, and neither is another one of the same name.
func TestDeletePodAsItWasSeen(t *testing.T) {
	s := newStandIn(t)
	const path = "/api/v1/namespaces/shop/pods/web"
	s.on(path, obj{"metadata": obj{"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "7"}})
	c := s.open(t, kube.Options{})
	pods, err := c.Pods(t.Context(), workload.Workload{Kind: "Pod", Namespace: "shop", Name: "web"})
	if err != nil || len(pods) != 1 {
		t.Fatalf("got %+v, %v", pods, err)
	}
	var asked struct{ Preconditions map[string]string }
	s.handle(path, func(w http.ResponseWriter, r *http.Request) {
		asked.Preconditions = nil
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.Method != http.MethodDelete {
			t.Errorf("%s: %v", r.Method, err)
		}
		_, _ = w.Write([]byte("{}"))
	})
	for _, tt := range []struct {
		pod  workload.Pod
		want map[string]string
	}{
		{pods[0], map[string]string{"uid": "u1", "resourceVersion": "7"}},
		{workload.Pod{Namespace: "shop", Name: "web", UID: "u1"}, map[string]string{"uid": "u1"}}, // in whatever state
	} {
		if err := c.DeletePod(t.Context(), tt.pod); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(asked.Preconditions, tt.want) {
			t.Errorf("got %v, want %v", asked.Preconditions, tt.want)
		}
	}
}
