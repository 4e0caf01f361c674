package diagnose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMerge(t *testing.T) {
	text := Cause{
		Cause: DNSTimeout, Confidence: Likely, Image: "nginx", Seen: 2, Evidence: []string{"i/o timeout"},
		Objects: []string{"Pod a/b"}, Detail: map[string]string{DetailHost: "registry-1.docker.io"},
	}
	again := text
	again.Objects = []string{"Pod a/c"}
	again.Detail = map[string]string{DetailHost: "other", DetailResolver: "10.0.0.1:53"}
	other := Cause{Cause: Unknown, Confidence: Possible, Image: "redis", Seen: 9}
	often := Cause{Cause: RateLimited, Confidence: Likely, Image: "redis", Seen: 9}
	checked := again.Raise(Certain, "this machine resolves it")

	got := Merge(other, text, often, checked)
	want := []Cause{
		{
			Cause: DNSTimeout, Confidence: Certain, Image: "nginx", Seen: 4, Evidence: []string{"i/o timeout"},
			Objects: []string{"Pod a/b", "Pod a/c"}, Checked: []string{"this machine resolves it"},
			Detail: map[string]string{DetailHost: "registry-1.docker.io", DetailResolver: "10.0.0.1:53"},
		}, often, other,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(text.Objects) != 1 || again.Confidence != Likely {
		t.Error("Merge or Raise changed what it was given")
	}
	if Merge() == nil {
		t.Error("no causes have to be [] in JSON, not null")
	}
}
