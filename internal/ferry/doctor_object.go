package ferry

import (
	"slices"
	"strings"

	"ferry/internal/diagnose"
)

// kindNames are the kinds that have pods, and how kubectl lets people call
// them.
func kindNames() map[string][]string {
	return map[string][]string{
		"Pod":                   {"pod", "pods", "po"},
		"Deployment":            {"deployment", "deployments", "deploy"},
		"StatefulSet":           {"statefulset", "statefulsets", "sts"},
		"DaemonSet":             {"daemonset", "daemonsets", "ds"},
		"ReplicaSet":            {"replicaset", "replicasets", "rs"},
		"Job":                   {"job", "jobs"},
		"CronJob":               {"cronjob", "cronjobs", "cj"},
		"ReplicationController": {"replicationcontroller", "replicationcontrollers", "rc"},
	}
}

// ParseObjects reads KIND/NAME arguments, as in deploy/my-web or
// deployment.apps/my-web, for objects of namespace.
func ParseObjects(args []string, namespace string) ([]diagnose.Object, error) {
	var all []diagnose.Object
	for _, arg := range args {
		o, err := parseObject(arg, namespace)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, o) {
			all = append(all, o)
		}
	}
	return all, nil
}

func parseObject(arg, namespace string) (diagnose.Object, error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok || name == "" || strings.Contains(name, "/") {
		return diagnose.Object{}, usage("%q: write KIND/NAME, as in deploy/my-web or pod/my-web-0", arg)
	}
	short, _, _ := strings.Cut(strings.ToLower(kind), ".")
	for k, names := range kindNames() {
		if slices.Contains(names, short) {
			return diagnose.Object{Kind: k, Namespace: namespace, Name: name}, nil
		}
	}
	return diagnose.Object{}, usage("%q: ferry knows pod, deploy, sts, ds, rs, job, cronjob and rc", kind)
}

// ObjectArgument writes an object as one would type it: deploy/my-web.
func ObjectArgument(o diagnose.Object) string {
	names := kindNames()[o.Kind]
	if names == nil {
		return strings.ToLower(o.Kind) + "/" + o.Name
	}
	short := names[len(names)-1]
	if o.Kind == "Pod" || o.Kind == "Job" || o.Kind == "CronJob" {
		short = names[0]
	}
	return short + "/" + o.Name
}
