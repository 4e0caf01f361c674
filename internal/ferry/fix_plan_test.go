package ferry

import (
	"strings"
	"testing"

	"ferry/internal/diagnose"
	"ferry/internal/workload"
)

// TestFixWatchByHand: kubectl rollout status refuses what makes no pods anew.
func TestFixWatchByHand(t *testing.T) {
	for want, p := range map[string]FixWorkload{
		"kubectl rollout status statefulset/web -n shop":                               {Object: diagnose.Object{Kind: "StatefulSet"}},
		"kubectl wait --for=jsonpath={.status.readyReplicas}=3 replicaset/web -n shop": {Object: diagnose.Object{Kind: "ReplicaSet"}, w: workload.Workload{ByHand: true}},
		"kubectl wait --for=jsonpath={.status.numberReady}=3 daemonset/web -n shop":    {Object: diagnose.Object{Kind: "DaemonSet"}, w: workload.Workload{ByHand: true}},
		"kubectl wait --for=condition=complete job/web -n shop":                        {Object: diagnose.Object{Kind: "Job"}},
		"kubectl wait --for=condition=ready pod/web -n shop":                           {Object: diagnose.Object{Kind: "Pod"}},
		"kubectl get pods -n shop --watch":                                             {Object: diagnose.Object{Kind: "CronJob"}},
	} {
		p.Namespace, p.Name, p.Desired = "shop", "web", 3
		if got := strings.Join(p.watchByHand(), " "); got != want {
			t.Errorf("%s: got %s", p.Kind, got)
		}
	}
}
