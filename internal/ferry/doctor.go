package ferry

import (
	"context"
	"time"

	"ferry/internal/diagnose"
)

// DoctorRequest says what to look at in a cluster.
type DoctorRequest struct {
	// Objects are KIND/NAME arguments; none means all of the namespace.
	Objects []string
	// All looks at all namespaces.
	All bool
	// NoProbe opens no connection but to the API server.
	NoProbe bool
}

// DoctorResult says what keeps images from running, most harmful first.
type DoctorResult struct {
	Cluster diagnose.Place `json:"cluster"`
	// Namespace that was looked at; empty means all.
	Namespace string `json:"namespace"`
	// Findings is one for each cause.
	Findings []diagnose.Finding `json:"findings"`
	// Refused are workloads whose pods the cluster does not let be made, for
	// another reason than an image.
	Refused []diagnose.Refusal `json:"refused,omitempty"`
	// Failing and Fine count the workloads; Pods the pods that were looked at.
	Failing int `json:"failing"`
	Fine    int `json:"fine"`
	Pods    int `json:"pods"`
	// Unseen is what could not be looked at.
	Unseen []diagnose.Unseen `json:"unseen"`
	// Now is the API server's clock, and SkewSeconds how far this machine's is
	// ahead of it.
	Now         time.Time `json:"now"`
	SkewSeconds float64   `json:"skewSeconds,omitempty"`
	// Took is how long it took, in nanoseconds.
	Took time.Duration `json:"tookNanoseconds"`

	// Facts are what the findings were made of; ferry fix goes on from them.
	Facts *diagnose.Facts `json:"-"`
}

// Healthy says that no image keeps anything from running.
func (r *DoctorResult) Healthy() bool { return len(r.Findings) == 0 }

// Doctor looks at a cluster, says what keeps images from arriving or running,
// and checks from this machine what the cluster's own words cannot tell. A nil
// prober checks nothing.
func Doctor(ctx context.Context, w World, cluster Cluster, prober Prober, req DoctorRequest) (*DoctorResult, error) {
	scope, err := scopeOf(req, cluster.Place().Namespace)
	if err != nil {
		return nil, err
	}
	start := w.Now()
	r, err := look(ctx, cluster, scope)
	if err != nil {
		return nil, err
	}
	if prober != nil && !req.NoProbe {
		if err := r.probe(ctx, prober); err != nil {
			return nil, err
		}
	}
	w.Given.advised(r.Findings)
	r.Took = w.Now().Sub(start)
	return r, nil
}

func look(ctx context.Context, cluster Cluster, scope diagnose.Scope) (*DoctorResult, error) {
	facts, err := cluster.Facts(ctx, scope)
	if err != nil {
		return nil, err
	}
	return doctorResult(cluster.Place(), scope, facts), nil
}

// probe checks the findings from this machine.
func (r *DoctorResult) probe(ctx context.Context, prober Prober) error {
	d := &doctoring{facts: r.Facts}
	d.plan(r.Findings)
	if err := d.run(ctx, prober); err != nil {
		return err
	}
	for i := range r.Findings {
		r.Findings[i] = d.judge(r.Findings[i], d.of[i])
	}
	return nil
}

func scopeOf(req DoctorRequest, namespace string) (diagnose.Scope, error) {
	if req.All {
		if len(req.Objects) > 0 {
			return diagnose.Scope{}, usage("-A looks at everything: leave %s out, or -A", req.Objects[0])
		}
		return diagnose.Scope{}, nil
	}
	objects, err := ParseObjects(req.Objects, namespace)
	return diagnose.Scope{Namespace: namespace, Objects: objects}, err
}

// doctorResult is the pure part: facts to findings and counts.
func doctorResult(place diagnose.Place, scope diagnose.Scope, facts *diagnose.Facts) *DoctorResult {
	r := &DoctorResult{
		Cluster: place, Namespace: scope.Namespace, Findings: facts.Findings(), Pods: facts.Seen.Pods,
		Unseen: facts.Unseen, Now: facts.Now, SkewSeconds: facts.Skew.Seconds(), Facts: facts,
	}
	if r.Unseen == nil {
		r.Unseen = []diagnose.Unseen{}
	}
	failing := map[diagnose.Object]bool{}
	for _, f := range r.Findings {
		for _, a := range f.Workloads {
			failing[a.Object] = true
		}
	}
	r.Failing, r.Fine = len(failing), facts.Seen.Fine
	for _, no := range facts.Refusals() {
		if !failing[no.Object] {
			r.Refused = append(r.Refused, no)
		}
	}
	return r
}
