package ferry_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/content/contenttest"
	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/workload"
)

// runningStandIn says what runs.
type runningStandIn struct {
	all []workload.Running
	err error
}

func (runningStandIn) Place() diagnose.Place {
	return diagnose.Place{Context: "inside", Namespace: "shop"}
}

func (c runningStandIn) Running(context.Context, string) ([]workload.Running, error) {
	return c.all, c.err
}

// clusterOf is a gated bundle, and what runs of its image. The node names the
// index by id.
func clusterOf(t *testing.T, findings ...policy.Finding) (*gatedPack, func(string) workload.Running) {
	t.Helper()
	g := startGated(t, "version: 1\n")
	g.scanner.findings = findings
	g.passes()
	return g, func(id string) workload.Running {
		return workload.Running{Image: g.req.Places[0], ID: id, Workload: "Deployment shop/web", Platform: "linux/amd64"}
	}
}

func (g *gatedPack) scanCluster(req ferry.ScanClusterRequest, running ...workload.Running) (*ferry.ScanResult, error) {
	g.t.Helper()
	g.world.CacheDir = g.t.TempDir()
	return ferry.ScanCluster(g.t.Context(), g.world, runningStandIn{all: running}, req)
}

// TestRunningImagesAreFoundByTheirDigest: of the index, of the platform's
// manifest, of the config; in a bundle, or in the registry that the node names.
func TestRunningImagesAreFoundByTheirDigest(t *testing.T) {
	g, run := clusterOf(t, high())
	b := g.open()
	defer b.Close()
	index := b.Lock().Images[0].Digest
	var manifest, config string
	for _, m := range b.Contents().Node(index).Manifests {
		if m.Platform != nil && m.Platform.Architecture == "amd64" {
			manifest, config = m.Digest.String(), b.Contents().Node(m.Digest).Config.Digest.String()
		}
	}
	repository := strings.TrimSuffix(g.req.Places[0], ":1.0")
	for name, id := range map[string]string{
		"index": repository + "@" + index.String(), "manifest": repository + "@" + manifest, "config": config,
		"with a scheme": "docker-pullable://" + repository + "@" + index.String(),
	} {
		for _, bundles := range [][]string{{g.req.To}, nil} {
			r, err := g.scanCluster(ferry.ScanClusterRequest{ScanRequest: ferry.ScanRequest{Places: bundles}}, run(id))
			if name == "config" && bundles == nil {
				var part *ferry.UnscannedError
				if !errors.As(err, &part) || !strings.Contains(err.Error(), "say with which bundle it came") {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s from %v: %v", name, bundles, err)
			}
			if len(r.Images) != 1 || r.Images[0].Digest.String() != manifest || r.Images[0].Platform != "linux/amd64" || r.Count.All != 1 {
				t.Errorf("%s from %v: %+v", name, bundles, r.Images)
			}
			if !slices.Equal(r.Images[0].Workloads, []string{"Deployment shop/web"}) {
				t.Errorf("%s: it runs in %q", name, r.Images[0].Workloads)
			}
		}
	}
}

// TestRunningImagesThatNobodyHas: nothing is known of them, and that is said.
func TestRunningImagesThatNobodyHas(t *testing.T) {
	g, run := clusterOf(t, high())
	b := g.open()
	index := b.Lock().Images[0].Digest
	_ = b.Close()
	repository := strings.TrimSuffix(g.req.Places[0], ":1.0")
	good := run(repository + "@" + index.String())
	gone := run(strings.Replace(repository, "team/app", "team/gone", 1) + "@" + index.String())
	gone.ID = gone.ID[:len(gone.ID)-1] + "0"
	gone.Image, gone.Workload = "gone:1", "Job shop/gone"
	unsaid := workload.Running{Image: "volume:1", Workload: "Pod shop/v", Platform: "linux/amd64"}
	other := good
	other.Platform, other.Workload = "linux/riscv64", "DaemonSet shop/web"

	r, err := g.scanCluster(ferry.ScanClusterRequest{}, good, gone, unsaid)
	var part *ferry.UnscannedError
	if !errors.As(err, &part) || len(part.Images) != 2 || part.Of != 3 {
		t.Fatalf("%v", err)
	}
	if r.Count.All != 1 || len(r.Images) != 3 || !strings.Contains(err.Error(), "does not say by which digest") {
		t.Errorf("%+v\n%v", r.Images, err)
	}
	if r, err = g.scanCluster(ferry.ScanClusterRequest{ScanRequest: ferry.ScanRequest{Places: []string{g.req.To}}}, good, other); !errors.As(err, &part) || !strings.Contains(err.Error(), "riscv64") {
		t.Errorf("a platform that nobody has: %v\n%+v", err, r)
	}
	if _, err = g.scanCluster(ferry.ScanClusterRequest{}); err == nil || !strings.Contains(err.Error(), "nothing runs in shop") {
		t.Errorf("an empty cluster: %v", err)
	}
	_, err = ferry.ScanCluster(t.Context(), g.world, runningStandIn{err: errors.New("the server says no")}, ferry.ScanClusterRequest{})
	if err == nil {
		t.Error("pods that may not be listed are none")
	}
}

// TestRunningImagesFromAMirror: nodes name images as outside and have them from
// a registry inside. That is asked first, by the digest; what it lacks is asked
// for where the node says.
func TestRunningImagesFromAMirror(t *testing.T) {
	g, run := clusterOf(t, high())
	bank, s := startUpstream(t), newSample()
	bank.push(s.Store, "mirror/deep/team/app", "1.0", s.index)
	index := s.index.Digest.String()
	far := run("nowhere.test:5000/team/app@" + index) // nobody answers there
	registry := ferry.ScanClusterRequest{Registry: bank.Host() + "/mirror/deep"}

	var part *ferry.UnscannedError
	if _, err := g.scanCluster(ferry.ScanClusterRequest{}, far); !errors.As(err, &part) || !strings.Contains(part.Hint(), "--registry") {
		t.Fatalf("without the registry inside: %v", err)
	}
	for name, id := range map[string]string{
		"outside": far.ID, "of one platform": "nowhere.test:5000/team/app@" + s.amd64.Digest.String(),
		"inside": bank.Host() + "/mirror/deep/team/app@" + index,
	} {
		bank.ResetRequests()
		r, err := g.scanCluster(registry, run(id))
		if err != nil || len(r.Images) != 1 || r.Images[0].Digest != s.amd64.Digest || r.Count.All != 1 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		for _, q := range bank.Requests() {
			if !strings.HasPrefix(q.Path, "/v2/mirror/deep/team/app/") && q.Path != "/v2/" {
				t.Errorf("%s: the registry inside was asked for %s", name, q.Path)
			}
		}
	}

	// One that the registry inside has, one that its own registry has, and one
	// that nobody has: both places are said.
	other := sample{Store: contenttest.NewStore()}
	image := other.Image(amd64, contenttest.Config{Cmd: []string{"/other"}}, other.layer(9, 500))
	g.up.push(other.Store, "team/other", "1.0", image)
	outside := run(g.up.Host() + "/team/other@" + image.Digest.String())
	gone := run("nowhere.test:5000/team/gone@" + digest.FromString("gone").String())
	r, err := g.scanCluster(registry, far, outside, gone)
	if !errors.As(err, &part) || len(part.Images) != 1 || r.Count.All != 2 || strings.Contains(part.Hint(), "--registry") {
		t.Fatalf("%+v, %v", r, err)
	}
	says(t, err, bank.Host()+"/mirror/deep/team/gone", "nowhere.test:5000")

	registry.Registry = "no host"
	if _, err := g.scanCluster(registry, far); err == nil || !strings.Contains(err.Error(), "--registry") {
		t.Errorf("%v", err)
	}
}

// TestNewSinceABundle leaves what its reports have, and no more.
func TestNewSinceABundle(t *testing.T) {
	g, run := clusterOf(t, high())
	b := g.open()
	id := strings.TrimSuffix(g.req.Places[0], ":1.0") + "@" + b.Lock().Images[0].Digest.String()
	_ = b.Close()
	since := ferry.ScanClusterRequest{Since: g.req.To}
	r, err := g.scanCluster(since, run(id))
	if err != nil || r.Count.All != 0 || r.Since.Known != 1 || len(r.Since.Workloads) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	g.scanner.findings = []policy.Finding{high(), {ID: "CVE-2026-9999", Severity: policy.Critical, KnownExploited: true}}
	since.FailOn = policy.High
	r, err = g.scanCluster(since, run(id))
	if err != nil || r.Count.All != 1 || r.Count.Exploited != 1 || r.Over != 1 || !slices.Equal(r.Since.Workloads, []string{"Deployment shop/web"}) {
		t.Fatalf("%+v, %v", r, err)
	}

	// Without a gate nobody knows what was known.
	g.req.To += ".open.tar"
	g.req.Policy = ferry.PolicyRequest{}
	if _, err := g.pack(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.scanCluster(ferry.ScanClusterRequest{Since: g.req.To}, run(id)); err == nil || !strings.Contains(err.Error(), "it was not gated") {
		t.Errorf("%v", err)
	}
}

// TestScanShowsWhatAPolicyRefuses: a scan is no gate, also where one stands in
// this folder.
func TestScanShowsWhatAPolicyRefuses(t *testing.T) {
	g, run := clusterOf(t, high())
	b := g.open()
	id := strings.TrimSuffix(g.req.Places[0], ":1.0") + "@" + b.Lock().Images[0].Digest.String()
	_ = b.Close()
	g.policy("version: 1\nvulnerabilities:\n  refuse: {withFix: low}\n")
	t.Chdir(g.req.Policy.Dir)
	if r, err := g.scanCluster(ferry.ScanClusterRequest{}, run(id)); err != nil || r.Count.All != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	r, err := ferry.Scan(t.Context(), g.world, ferry.ScanRequest{Places: g.req.Places, Platforms: []string{"linux/amd64"}})
	if err != nil || r.Count.All != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
