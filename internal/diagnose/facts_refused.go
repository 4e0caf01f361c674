package diagnose

import "strings"

// Refusal is a workload that lacks pods since the cluster does not let them be
// made: a quota, PodSecurity, a webhook. No image is the reason.
type Refusal struct {
	Object

	Text string `json:"text"`
}

// Refusals are the newest words about each workload that lacks pods.
func (f *Facts) Refusals() []Refusal {
	var all []Refusal
	for _, w := range f.Workloads {
		if w.Refused != "" {
			all = append(all, Refusal{w.Object, w.Refused})
			continue
		}
		if w.Ready >= w.Desired {
			continue // its events are of before, or whether it lacks pods is not known
		}
		e, ok := newest(w.Events, func(e Event) bool { return e.Reason == reasonCreate })
		if ok {
			text := strings.TrimPrefix(e.Message, "(combined from similar events): ")
			all = append(all, Refusal{w.Object, strings.TrimPrefix(text, "Error creating: ")})
		}
	}
	return all
}
