package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"
)

// registry are answers of a registry that cannot serve now.
func (a *arranger) registry() []Failure {
	limit := "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"
	return []Failure{
		{Name: "rate-limited", Causes: []string{"rate-limited"}, image: a.plain(5040, refuses(http.StatusTooManyRequests, "TOOMANYREQUESTS", limit, "Retry-After", "60")) + "/app:1"},
		{Name: "registry-5xx", Causes: []string{"registry-5xx", "registry-unavailable"}, image: a.plain(5041, refuses(http.StatusServiceUnavailable, "UNAVAILABLE", "service unavailable")) + "/app:1"},
		{Name: "registry-500", Causes: []string{"registry-5xx"}, image: a.plain(5042, says(http.StatusInternalServerError, "text/plain", "internal error")) + "/app:1"},
	}
}

// node are failures of the node itself, and of its kubelet.
func (a *arranger) node() []Failure {
	big := a.bridgeRegistry(a.withOneLayer(5043, archiveOfZeros(150<<20)))
	a.refuseUnsigned()
	return []Failure{
		{Name: "disk-full", Causes: []string{"disk-full"}, image: big + "/app:1", node: nodeDeaf},
		{Name: "sandbox-image", Causes: []string{"sandbox-image"}, image: "nginx", node: nodeBare, event: eventFailedSandbox},
		{Name: "never-pull", Causes: []string{"never-pull"}, image: "local/app:1", policy: "Never", reason: "ErrImageNeverPull"},
		{Name: "signature-policy", Causes: []string{"signature-policy"}, image: "unsigned.test/app:1", event: eventFailedCreate},
	}
}

// bridgeRegistry names a registry by its address, for a node that cannot look
// names up.
func (a *arranger) bridgeRegistry(host string) string {
	byAddress := a.c.Gateway + host[len("registry.test"):]
	a.mirror(byAddress, overHTTP(byAddress))
	return byAddress
}

// archiveOfZeros is a tar that is small when it is zipped.
func archiveOfZeros(size int) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: int64(size), Format: tar.FormatUSTAR})
	_, _ = w.Write(make([]byte, size))
	_ = w.Close()
	return b.Bytes()
}

// refuseUnsigned lets no pod in whose images come from unsigned.test: what the
// admission controllers for signatures do.
func (a *arranger) refuseUnsigned() {
	const policy = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: signed-images}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  validations:
  - expression: "object.spec.containers.all(c, !c.image.startsWith('unsigned.test/'))"
    message: "image signature verification failed: no signature is trusted for images of unsigned.test"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: signed-images}
spec: {policyName: signed-images, validationActions: [Deny]}
`
	file := a.writeFile("policy.yaml", []byte(policy))
	a.do(func() error {
		_, err := a.c.Kubectl(a.ctx, "apply", "-f", file)
		return err
	})
	// It takes the API server a moment to heed it.
	a.do(func() error {
		return wait(a.ctx, 30*time.Second, "the admission policy", func() error {
			_, err := a.c.Kubectl(a.ctx, "run", "try", "--image=unsigned.test/app:1", "--dry-run=server")
			if err == nil {
				return fmt.Errorf("the pod was let in")
			}
			return nil
		})
	})
}

// StopRuntime stops the containerd of the node without a pause image, and
// starts a pod there: the failure that comes after all others.
func (c *Cluster) StopRuntime(ctx context.Context) (Failure, error) {
	f := Failure{
		Name: "runtime-down", Causes: []string{"runtime-down"}, image: "nginx", node: nodeBare, event: eventFailedSandbox,
	}
	if err := c.Nodes[nodeBare-1].Kill(ctx, "containerd"); err != nil {
		return f, err
	}
	a := &arranger{ctx: ctx, c: c}
	a.pods([]Failure{f})
	return f, a.err
}
