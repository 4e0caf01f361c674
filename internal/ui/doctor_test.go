package ui_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/ui"
)

func doctorResult() *ferry.DoctorResult {
	return &ferry.DoctorResult{
		Namespace: "default", Failing: 1, Fine: 14, Pods: 15, Now: moment, Took: 3100 * time.Millisecond,
		Unseen: []diagnose.Unseen{{What: "nodes", Why: "nodes is forbidden"}},
		Findings: []diagnose.Finding{{
			Cause: diagnose.Cause{
				Cause: diagnose.DNSTimeout, Confidence: diagnose.Certain, Title: "the node's DNS server does not answer",
				Meaning:  "The node asked 192.168.64.1:53 for registry-1.docker.io and got no reply.",
				Evidence: []string{`Failed to pull image "nginx": … lookup registry-1.docker.io on 192.168.64.1:53: i/o timeout`}, Seen: 12,
				Remedies: []diagnose.Remedy{
					{Summary: "pull it here, load it into minikube", Command: "ferry fix deploy/my-web"},
					{Summary: "make the node's DNS work"},
				},
			},
			Because:   "This machine can pull the image and the node cannot.",
			Images:    []string{"docker.io/library/nginx:latest"},
			Workloads: []diagnose.Affected{{Object: diagnose.Object{Kind: "Deployment", Namespace: "default", Name: "my-web"}, Desired: 1}},
			Pods:      []diagnose.HitPod{{Object: diagnose.Object{Kind: "Pod", Namespace: "default", Name: "my-web-1"}}},
			Since:     moment.Add(-4 * time.Minute), Last: moment,
			Checks: []diagnose.Check{
				{Name: "dns", Result: diagnose.CheckOK, Text: "this machine resolves registry-1.docker.io to 192.0.2.1", Took: 21 * time.Millisecond},
			},
		}},
	}
}

func TestDoctorScreen(t *testing.T) {
	const want = `my-web  Deployment · default · 0 of 1 ready · for 4m
  ✗ nginx (docker.io/library/nginx:latest) cannot be pulled: the node's DNS server does not answer

    The node asked 192.168.64.1:53 for registry-1.docker.io and got no reply. This machine can pull
    the image and the node cannot.

    seen      Failed to pull image "nginx": … lookup registry-1.docker.io on 192.168.64.1:53: i/o
              timeout   (12× in 4m)
    checked   this machine resolves registry-1.docker.io to 192.0.2.1 (21 ms)
    certain

    → ferry fix deploy/my-web
        pull it here, load it into minikube
    → make the node's DNS work

! could not look at nodes: nodes is forbidden
1 workload fails for 1 reason · 14 workloads are fine · 3.1 s
`
	out, conversation, err := printed(ui.Printer{}, func(p *ui.Printer) error { return p.Doctor(doctorResult()) })
	if err != nil || out != want || conversation != "" {
		t.Errorf("%v\ngot\n%s\nwant\n%s\nconversation %q", err, out, want, conversation)
	}
}

func TestDoctorGroup(t *testing.T) {
	r := doctorResult()
	f := &r.Findings[0]
	for i := range 13 {
		f.Pods = append(f.Pods, f.Pods[0])
		if i < 8 {
			w := f.Workloads[0]
			w.Namespace, w.Name = []string{"a", "b"}[i%2], "w"
			f.Workloads = append(f.Workloads, w)
		}
	}
	out, _, err := printed(ui.Printer{}, func(p *ui.Printer) error { return p.Doctor(r) })
	if err != nil || !strings.HasPrefix(out, "14 pods of 9 workloads in 3 namespaces · for 4m\n") || !strings.Contains(strings.Join(strings.Fields(out), " "), "deploy/w (a), and 3 more") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Whatever a stranger wrote into the cluster does not reach the terminal as it
// is.
func TestDoctorIsSafe(t *testing.T) {
	r := doctorResult()
	r.Namespace = evil
	r.Unseen[0] = diagnose.Unseen{What: evil, Why: evil}
	f := &r.Findings[0]
	f.Title, f.Meaning, f.Because, f.Evidence, f.Images = evil, evil, evil, []string{evil}, []string{evil}
	f.Remedies = []diagnose.Remedy{{Summary: evil, Command: evil, On: evil}, {Summary: evil}}
	f.Checks[0].Text = evil
	f.Workloads[0].Object = diagnose.Object{Kind: evil, Namespace: evil, Name: evil}
	group := *f
	group.Workloads = append([]diagnose.Affected{f.Workloads[0]}, f.Workloads[0])
	node := *f
	node.Workloads, node.Nodes = nil, []string{evil}
	r.Findings = append(r.Findings, group, node)
	for _, json := range []bool{false, true} {
		out, _, err := printed(ui.Printer{JSON: json}, func(p *ui.Printer) error { return p.Doctor(r) })
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range "\x1b\r\u202e\u009b\x00" {
			if strings.ContainsRune(out, c) {
				t.Errorf("JSON %v: %q reaches the terminal: %q", json, c, out)
			}
		}
	}
}

func TestDoctorJSON(t *testing.T) {
	out, _, err := printed(ui.Printer{JSON: true}, func(p *ui.Printer) error { return p.Doctor(doctorResult()) })
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Findings []struct {
			Cause   string
			Because string
			Checks  []struct{ Name, Result string }
			Pods    []struct{ Kind, Namespace, Name string }
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	f := got.Findings[0]
	if f.Cause != "dns-timeout" || f.Checks[0].Result != "ok" || f.Pods[0].Name != "my-web-1" || f.Because == "" {
		t.Errorf("%+v", f)
	}
	// One line an answer, for whoever reads a watch.
	out, _, err = printed(ui.Printer{JSON: true}, func(p *ui.Printer) error { return p.DoctorAgain(doctorResult()) })
	if err != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("%v: %d lines", err, strings.Count(out, "\n"))
	}
}

func TestDoctorFine(t *testing.T) {
	out, _, err := printed(ui.Printer{}, func(p *ui.Printer) error {
		return p.Doctor(&ferry.DoctorResult{Fine: 3, Pods: 4, Took: time.Second, SkewSeconds: -3600})
	})
	if err != nil || !strings.Contains(out, "no image keeps anything from running: 3 workloads, 4 pods in all namespaces · 1.0 s") {
		t.Errorf("%v %q", err, out)
	}
	if !strings.Contains(out, "this machine's clock is 1h0m0s behind the API server's") {
		t.Errorf("the clocks: %q", out)
	}
}

// TestDoctorRefused: what keeps pods from being made is said, though it is no
// image.
func TestDoctorRefused(t *testing.T) {
	no := diagnose.Refusal{Object: diagnose.Object{Kind: "Deployment", Namespace: "shop", Name: "web"}, Text: "exceeded quota: \x1b[2Jpods"}
	out, _, err := printed(ui.Printer{}, func(p *ui.Printer) error {
		return p.Doctor(&ferry.DoctorResult{Refused: []diagnose.Refusal{no}})
	})
	if err != nil || !strings.Contains(out, "! Deployment shop/web: the cluster does not let its pods be made: exceeded quota: ") || strings.Contains(out, "\x1b") {
		t.Errorf("%v %q", err, out)
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 45 * time.Second: "45s", 4 * time.Minute: "4m", 119 * time.Minute: "119m", 3 * time.Hour: "3h", 50 * time.Hour: "2d",
	} {
		if got := ui.Age(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
