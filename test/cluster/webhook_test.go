package cluster

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// hook is an admission webhook that says no.
type hook struct {
	// rehearses lets pass what is only tried (dryRun), agrees lets all pass.
	rehearses, agrees atomic.Bool
}

// refusingHook serves a webhook over TLS, and registers it with the API server
// for a resource of apps/v1.
func (c *Cluster) refusingHook(t *testing.T, resource string) *hook {
	t.Helper()
	p, err := c.ca.sign(certificate{name: "webhook", server: true, hosts: []string{c.Gateway}})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	h := &hook{}
	host := c.Gateway + ":" + freePort(t)
	if err := c.serveAt(host, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, h); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "hook.yaml")
	write(t, file, fmt.Sprintf(`{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: refuses}, webhooks: [{
  name: refuses.bank.example, sideEffects: NoneOnDryRun, admissionReviewVersions: [v1], failurePolicy: Fail,
  clientConfig: {url: "https://%s/", caBundle: %s},
  rules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [%s]}]}]}`,
		host, base64.StdEncoding.EncodeToString(c.ca.PEM), resource))
	kubectl(t, c, "apply", "-f", file)
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Request struct {
			UID    string `json:"uid"`
			DryRun bool   `json:"dryRun"`
		} `json:"request"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
		"response": map[string]any{
			"uid": review.Request.UID, "allowed": h.agrees.Load() || h.rehearses.Load() && review.Request.DryRun,
			"status": map[string]any{"message": "our rule: no web here", "code": http.StatusForbidden},
		},
	})
}
