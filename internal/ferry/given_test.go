package ferry

import (
	"slices"
	"strings"
	"testing"
)

func TestGiven(t *testing.T) {
	all := Given{
		Kubeconfig: "my config", Context: "prod", AuthFile: "auth.json",
		CAFiles: []string{"bank.pem", "other/bank.pem"}, PlainHTTP: []string{"lab:5000"},
	}
	for _, tt := range []struct {
		given Given
		argv  string
		want  string
	}{
		{Given{}, "kubectl apply -f a.yaml", "kubectl apply -f a.yaml"},
		{Given{}, "skopeo inspect docker://lab:5000/a:1", "skopeo inspect docker://lab:5000/a:1"},
		{all, "kubectl apply -f a.yaml", "kubectl --kubeconfig 'my config' --context prod apply -f a.yaml"},
		{Given{Context: "prod"}, "kubectl debug node/n -- sh", "kubectl --context prod debug node/n -- sh"},
		{all, "skopeo inspect docker://r.bank/a:1", "skopeo inspect --authfile auth.json --cert-dir certs docker://r.bank/a:1"},
		{all, "skopeo inspect docker://lab:5000/a:1", "skopeo inspect --authfile auth.json --tls-verify=false docker://lab:5000/a:1"},
		{all, "skopeo inspect --creds u:PASSWORD docker://r.bank/a:1", "skopeo inspect --cert-dir certs --creds u:PASSWORD docker://r.bank/a:1"},
		{all, "skopeo inspect --no-creds docker://r.bank/a:1", "skopeo inspect --cert-dir certs --no-creds docker://r.bank/a:1"},
		{all, "skopeo copy docker://r.bank/a:1 oci-archive:a.tar", "skopeo copy --authfile auth.json --src-cert-dir certs docker://r.bank/a:1 oci-archive:a.tar"},
		{all, "skopeo copy oci-archive:a.tar docker://lab:5000/a:1", "skopeo copy --authfile auth.json --dest-tls-verify=false oci-archive:a.tar docker://lab:5000/a:1"},
		{all, "podman pull lab:5000/a:1", "podman pull --authfile auth.json --tls-verify=false lab:5000/a:1"},
		{Given{}, "podman pull 127.0.0.1:5000/a:1", "podman pull --tls-verify=false 127.0.0.1:5000/a:1"},
		{Given{}, "skopeo inspect docker://localhost:5000/a:1", "skopeo inspect --tls-verify=false docker://localhost:5000/a:1"},
		{Given{}, "skopeo inspect docker://[::1]:5000/a:1", "skopeo inspect --tls-verify=false 'docker://[::1]:5000/a:1'"},
		{Given{}, "skopeo inspect docker://10.0.0.1:5000/a:1", "skopeo inspect docker://10.0.0.1:5000/a:1"},
		{all, "podman pull 127.0.0.1:5000/a:1", "podman pull --authfile auth.json --cert-dir certs 127.0.0.1:5000/a:1"},
		{all, "podman save -o a.tar lab:5000/a:1", "podman save -o a.tar lab:5000/a:1"},
		{all, "ferry doctor pod/a", "ferry doctor pod/a --kubeconfig 'my config' --context prod"},
		{all, "ferry explain dns-timeout", "ferry explain dns-timeout"},
		{
			Given{Context: "prod", CAFiles: []string{"ca.pem"}, PlainHTTP: []string{"lab:5000"}},
			"ferry fix pod/a",
			"ferry fix pod/a --context prod --ca-file ca.pem --plain-http lab:5000",
		},
		{all, "minikube ssh -- sudo crictl images", "minikube ssh -- sudo crictl images"},
	} {
		argv := strings.Split(tt.argv, " ")
		if got := tt.given.line(argv...); got != tt.want {
			t.Errorf("%s: got\n%s, want\n%s", tt.argv, got, tt.want)
		}
		if !slices.Equal(argv, strings.Split(tt.argv, " ")) {
			t.Errorf("%s: it was changed to %q", tt.argv, argv)
		}
	}
	var lines []string
	for _, argv := range all.trust() {
		lines = append(lines, strings.Join(argv, " "))
	}
	if got := strings.Join(lines, "; "); got != "mkdir -p certs; cp bank.pem certs/bank.crt; cp other/bank.pem certs/bank-2.crt" {
		t.Errorf("got %s", got)
	}
	if got := (Given{}).trust(); got != nil {
		t.Errorf("got %v where nothing is to be trusted", got)
	}
}
