package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What doctor -A promises of a cluster of so many pods.
const (
	manyPods     = 5000
	manyFailing  = 500
	manyNodes    = 50
	mostSeconds  = 10
	mostMegabyte = 200
)

// doctor -A of 5,000 pods stays within 10 s and 200 MB. The API server is real
// and so are its objects; the nodes are objects alone, so that no pod ever
// runs, and their states are written as kubelets write them.
func TestDoctorOfThousands(t *testing.T) {
	program := ferry(t)
	c := Up(t, Options{})
	started := time.Now()
	if err := fill(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pods are there after %.0f s", manyPods, time.Since(started).Seconds())

	cmd := exec.CommandContext(t.Context(), program, "doctor", "-A", "--no-probe", "-o", "json", "--kubeconfig", c.Kubeconfig)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	started = time.Now()
	err := cmd.Run()
	took := time.Since(started)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("doctor: %v\n%s", err, stderr.String())
	}
	var d struct {
		Pods, Failing, Fine int
		Findings            []struct {
			Cause string
			Pods  []struct{ Name string }
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	megabytes := exit.SysUsage().(*syscall.Rusage).Maxrss / 1024
	t.Logf("%d pods, %d findings: %.1f s, %d MB", d.Pods, len(d.Findings), took.Seconds(), megabytes)
	hit := 0
	for _, f := range d.Findings {
		hit += len(f.Pods)
	}
	if d.Pods < manyPods || hit != manyFailing || d.Failing != manyFailing/10 || d.Fine < (manyPods-manyFailing)/10 {
		t.Errorf("it saw %d pods, %d of them failing, %d workloads failing and %d fine", d.Pods, hit, d.Failing, d.Fine)
	}
	if took > mostSeconds*time.Second {
		t.Errorf("it took %s", took)
	}
	if megabytes > mostMegabyte {
		t.Errorf("it took %d MB", megabytes)
	}
}

// fields are those of an object of the API.
type fields map[string]any

// fill makes the nodes and the pods, ten to a workload.
func fill(ctx context.Context, c *Cluster) error {
	for i := range manyNodes {
		if err := c.send(ctx, http.MethodPost, "/api/v1/nodes", fields{"metadata": fields{"name": fmt.Sprintf("many-%d", i)}}); err != nil {
			return err
		}
	}
	for i := range 10 {
		if err := c.send(ctx, http.MethodPost, "/api/v1/namespaces", fields{"metadata": fields{"name": fmt.Sprintf("many-%d", i)}}); err != nil {
			return err
		}
	}
	next, failed := make(chan int), make(chan error, manyPods)
	var workers sync.WaitGroup
	for range 24 {
		workers.Go(func() {
			for i := range next {
				if err := c.onePod(ctx, i); err != nil {
					failed <- err
				}
			}
		})
	}
	for i := range manyPods {
		next <- i
	}
	close(next)
	workers.Wait()
	close(failed)
	return <-failed
}

// onePod makes a pod of about the size that pods have, and its state.
func (c *Cluster) onePod(ctx context.Context, i int) error {
	namespace, app := fmt.Sprintf("many-%d", i/10%10), fmt.Sprintf("app-%d", i/10)
	name := fmt.Sprintf("%s-%05d", app, i)
	at := "/api/v1/namespaces/" + namespace + "/pods"
	var env []fields
	for k := range 20 {
		env = append(env, fields{"name": fmt.Sprintf("SETTING_%d", k), "value": "a value of some length, as settings have"})
	}
	pod := fields{
		"metadata": fields{
			"name": name, "labels": fields{"app": app},
			// A kind that no controller here knows, or it would delete the pod.
			"ownerReferences": []fields{{
				"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": app, "uid": app, "controller": true,
			}},
		},
		"spec": fields{
			"nodeName": fmt.Sprintf("many-%d", i%manyNodes), "automountServiceAccountToken": false,
			"tolerations": []fields{{"operator": "Exists"}},
			"containers":  []fields{{"name": "web", "image": "nginx", "env": env}},
		},
	}
	if err := c.send(ctx, http.MethodPost, at, pod); err != nil {
		return err
	}
	return c.send(ctx, http.MethodPatch, at+"/"+name+"/status", fields{"status": stateOf(i)})
}

// stateOf is the state of the pod of a number: one of ten fails, in one of
// five ways.
func stateOf(i int) fields {
	if i >= manyFailing {
		return fields{"phase": "Running", "containerStatuses": []fields{{
			"name": "web", "ready": true, "image": "nginx", "imageID": "docker.io/library/nginx@sha256:1", "restartCount": 0,
			"state": fields{"running": fields{"startedAt": "2026-01-01T00:00:00Z"}},
		}}}
	}
	why := []string{
		fmt.Sprintf("dial tcp: lookup registry-1.docker.io on 10.0.0.53:53: read udp 10.0.0.1:%d->10.0.0.53:53: i/o timeout", 30000+i),
		"dial tcp: lookup registry-1.docker.io on 10.0.0.54:53: no such host",
		fmt.Sprintf("dial tcp 10.1.2.%d:443: connect: connection refused", i%250),
		"unexpected status from HEAD request to https://registry-1.docker.io/v2/library/nginx/manifests/latest: 429 Too Many Requests",
		"docker.io/library/nginx:latest: not found",
	}[i%5]
	return fields{"phase": "Pending", "containerStatuses": []fields{{
		"name": "web", "ready": false, "image": "nginx", "imageID": "", "restartCount": 0,
		"state": fields{"waiting": fields{
			"reason":  "ImagePullBackOff",
			"message": `Back-off pulling image "nginx": ErrImagePull: failed to pull and unpack image "docker.io/library/nginx:latest": failed to resolve image: failed to do request: Head "https://registry-1.docker.io/v2/library/nginx/manifests/latest": ` + why,
		}},
	}}}
}

// send writes an object.
func (c *Cluster) send(ctx context.Context, method, path string, o fields) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server()+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, tail(string(body)))
	}
	return err
}
