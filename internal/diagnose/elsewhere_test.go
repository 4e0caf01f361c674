package diagnose

import (
	"strings"
	"testing"
)

// A text about something else is told what it is about, and nothing is made
// of the errors in it.
func TestNotAboutImages(t *testing.T) {
	for text, about := range map[string]string{
		`Failed to create pod sandbox: failed to setup network for sandbox "0b7c": plugin type="calico" failed (add): dial tcp 10.96.0.1:443: connect: connection refused`: "CNI plugin",
		"Unable to connect to the server: dial tcp 192.0.2.2:8443: i/o timeout":                                                                                            "API server",
		`Error: configmap "cart-config" not found`: "ConfigMap",
		"Waiting for deployment \"cart\" rollout to finish: 0 of 1 updated replicas are available...\nerror: deployment \"cart\" exceeded its progress deadline": "a wait that ran out",
		"could not reach the database: dial tcp 192.0.2.5:5432: connect: connection refused":                                                                     "no registry",
		"Back-off restarting failed container cart in pod cart-1_shop(0b7c)":                                                                                     "starts and ends again",
	} {
		r := readText(t, text)
		c := r.Causes[0]
		if len(r.Causes) != 1 || c.Cause != Unknown || c.Confidence != Possible || c.Title != notAboutImages || !strings.Contains(c.Meaning, about) {
			t.Errorf("%s %s %q %q: %s", c.Cause, c.Confidence, c.Title, c.Meaning, text)
		}
	}
}

// An error of a text that never speaks of images is likely at most: only the
// bare error is taken for one of a pull.
func TestSureOfBareErrorsOnly(t *testing.T) {
	bare := "x509: certificate signed by unknown authority"
	for text, want := range map[string]Confidence{
		bare: Certain,
		"2030-01-01 the nightly export of all orders to the accounting department's system did not work: " + bare: Likely,
		"Failed to pull image \"registry.example/shop/cart:2.4\": Get \"https://registry.example/v2/\": " + bare:  Certain,
	} {
		if c := Message(text, Setting{}).Causes[0]; c.Cause != TLSUnknownAuthority || c.Confidence != want {
			t.Errorf("%s %s: %s", c.Cause, c.Confidence, text)
		}
	}
}

// A pod's status is read without the pod around it, and colours do not hide
// where columns begin.
func TestOddShapes(t *testing.T) {
	const why = `failed to resolve reference \"registry.example/shop/cart:2.4\": registry.example/shop/cart:2.4: not found`
	for name, text := range map[string]string{
		"status":  `{"phase":"Pending","containerStatuses":[{"name":"cart","image":"registry.example/shop/cart:2.4","state":{"waiting":{"reason":"ErrImagePull","message":"` + why + `"}}}]}`,
		"colours": "\x1b[1mEvents:\x1b[0m\n  \x1b[33mWarning\x1b[0m  Failed  2s  kubelet  Failed to pull image \"registry.example/shop/cart:2.4\": " + strings.ReplaceAll(why, `\`, "") + "\n",
		"journal": "11月 11 17:18:42 node1 kubelet[1]: E1111 17:18:42.000000    1 x.go:1] Pull image \"registry.example/shop/cart:2.4\" failed: " + strings.ReplaceAll(why, `\`, "") + "\n11月 11 17:18:42 node1 kubelet[1]: I1111 17:18:42.000000    1 x.go:1] pulling\n",
	} {
		if got := labelled(readText(t, text)); len(got) != 1 || got[0] != "not-found-tag registry.example/shop/cart:2.4" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
