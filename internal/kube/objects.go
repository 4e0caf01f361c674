package kube

import (
	"encoding/json"
	"time"
)

// These are the few fields of the API's objects that ferry reads, under the
// names that the API gives them (k8s.io/api core/v1, apps/v1, batch/v1).

type metadata struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	ResourceVersion   string            `json:"resourceVersion"`
	CreationTimestamp time.Time         `json:"creationTimestamp"`
	DeletionTimestamp *time.Time        `json:"deletionTimestamp"`
	Labels            map[string]string `json:"labels"`
	OwnerReferences   []ownerReference  `json:"ownerReferences"`
}

type ownerReference struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
	Controller bool   `json:"controller"`
}

func (m metadata) controller() ownerReference {
	for _, o := range m.OwnerReferences {
		if o.Controller {
			return o
		}
	}
	return ownerReference{}
}

type nameOnly struct {
	Name string `json:"name"`
}

type pod struct {
	Metadata metadata  `json:"metadata"`
	Spec     podSpec   `json:"spec"`
	Status   podStatus `json:"status"`
}

type podSpec struct {
	NodeName            string      `json:"nodeName"`
	ServiceAccountName  string      `json:"serviceAccountName"`
	ImagePullSecrets    []nameOnly  `json:"imagePullSecrets"`
	Containers          []container `json:"containers"`
	InitContainers      []container `json:"initContainers"`
	EphemeralContainers []container `json:"ephemeralContainers"`
	Volumes             []volume    `json:"volumes"`
}

type container struct {
	Name            string `json:"name"`
	Image           string `json:"image"`
	ImagePullPolicy string `json:"imagePullPolicy"`
}

type volume struct {
	Name  string `json:"name"`
	Image *struct {
		Reference  string `json:"reference"`
		PullPolicy string `json:"pullPolicy"`
	} `json:"image"`
}

type podStatus struct {
	Phase                      string            `json:"phase"`
	Reason                     string            `json:"reason"`
	Message                    string            `json:"message"`
	Conditions                 []condition       `json:"conditions"`
	ContainerStatuses          []containerStatus `json:"containerStatuses"`
	InitContainerStatuses      []containerStatus `json:"initContainerStatuses"`
	EphemeralContainerStatuses []containerStatus `json:"ephemeralContainerStatuses"`
}

type containerStatus struct {
	Name         string         `json:"name"`
	Ready        bool           `json:"ready"`
	ImageID      string         `json:"imageID"`
	RestartCount int            `json:"restartCount"`
	State        containerState `json:"state"`
	LastState    containerState `json:"lastState"`
}

type containerState struct {
	Waiting *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"waiting"`
	Running *struct {
		StartedAt time.Time `json:"startedAt"`
	} `json:"running"`
	Terminated *terminated `json:"terminated"`
}

type terminated struct {
	ExitCode   int       `json:"exitCode"`
	Reason     string    `json:"reason"`
	Message    string    `json:"message"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
}

type condition struct {
	Type               string    `json:"type"`
	Status             string    `json:"status"`
	Reason             string    `json:"reason"`
	Message            string    `json:"message"`
	LastTransitionTime time.Time `json:"lastTransitionTime"`
}

type event struct {
	Metadata       metadata `json:"metadata"`
	InvolvedObject struct {
		Kind      string `json:"kind"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		UID       string `json:"uid"`
		FieldPath string `json:"fieldPath"`
	} `json:"involvedObject"`
	Reason         string    `json:"reason"`
	Message        string    `json:"message"`
	Type           string    `json:"type"`
	Count          int       `json:"count"`
	FirstTimestamp time.Time `json:"firstTimestamp"`
	LastTimestamp  time.Time `json:"lastTimestamp"`
	EventTime      time.Time `json:"eventTime"`
	Series         *struct {
		Count            int       `json:"count"`
		LastObservedTime time.Time `json:"lastObservedTime"`
	} `json:"series"`
}

// workload is any of Deployment, StatefulSet, DaemonSet, ReplicaSet, Job,
// CronJob and ReplicationController: their fields do not clash.
type workload struct {
	Metadata metadata `json:"metadata"`
	Spec     struct {
		Replicas    *int            `json:"replicas"`
		Completions *int            `json:"completions"`
		Selector    json.RawMessage `json:"selector"`
		Template    template        `json:"template"`
		JobTemplate struct {
			Spec struct {
				Template template `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
	Status struct {
		ReadyReplicas          int `json:"readyReplicas"`
		DesiredNumberScheduled int `json:"desiredNumberScheduled"`
		NumberReady            int `json:"numberReady"`
		Ready                  int `json:"ready"`
		Succeeded              int `json:"succeeded"`

		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

type template struct {
	Spec podSpec `json:"spec"`
}

type node struct {
	Metadata metadata `json:"metadata"`
	Spec     struct {
		ProviderID    string `json:"providerID"`
		Unschedulable bool   `json:"unschedulable"`
	} `json:"spec"`
	Status struct {
		Conditions []condition `json:"conditions"`
		Addresses  []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
		NodeInfo struct {
			Architecture            string `json:"architecture"`
			OperatingSystem         string `json:"operatingSystem"`
			ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
			KubeletVersion          string `json:"kubeletVersion"`
		} `json:"nodeInfo"`
		Images []struct {
			Names []string `json:"names"`
		} `json:"images"`
	} `json:"status"`
}

type secret struct {
	Metadata metadata          `json:"metadata"`
	Type     string            `json:"type"`
	Data     map[string][]byte `json:"data"`
}

type account struct {
	Metadata         metadata   `json:"metadata"`
	ImagePullSecrets []nameOnly `json:"imagePullSecrets"`
}
