package diagnose

import (
	"slices"
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
		"links":   `Failed to pull image "[registry.example/shop/cart:2.4](http://registry.example/shop/cart:2.4)": failed to resolve reference "[registry.example/shop/cart:2.4](http://registry.example/shop/cart:2.4)": [registry.example/shop/cart:2.4](http://registry.example/shop/cart:2.4): not found`,
		"journal": "11月 11 17:18:42 node1 kubelet[1]: E1111 17:18:42.000000    1 x.go:1] Pull image \"registry.example/shop/cart:2.4\" failed: " + strings.ReplaceAll(why, `\`, "") + "\n11月 11 17:18:42 node1 kubelet[1]: I1111 17:18:42.000000    1 x.go:1] pulling\n",
	} {
		if got := labelled(readText(t, text)); len(got) != 1 || got[0] != "not-found-tag registry.example/shop/cart:2.4" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// What a person reads says nothing twice, and its commands fit the text.
func TestScreens(t *testing.T) {
	for _, c := range []struct {
		text   string
		causes string
		has    string // a command or a step among the answers
		not    string // none of them
	}{
		{
			"Error response from daemon: unauthorized: authentication required - incorrect username or password",
			"bad-credentials", "podman login --authfile auth.json REGISTRY", "",
		},
		{
			"Trying to pull registry.example/shop/cart:2.4...\nError: initializing source docker://registry.example/shop/cart:2.4: reading manifest 2.4 in registry.example/shop/cart: manifest unknown\nmanifest unknown",
			"not-found-tag", "", "",
		},
		{
			"WARNING: Failed to pull image with policy \"always\": Error response from daemon: pull access denied for shop/cart, repository does not exist or may require 'docker login'\nERROR: Failed to pull image \"shop/cart:7\": Error response from daemon: pull access denied for shop/cart, repository does not exist or may require 'docker login'",
			"not-found-repo-or-denied", "docker://docker.io/shop/cart:7", "",
		},
		{
			`Failed to pull image "registry.example:5000/shop/cart:2.4": Get "http://registry.example:5000/v2/": dial tcp 192.0.2.5:5000: connect: connection refused`,
			"connect-refused", "http://registry.example:5000/v2/", "https://registry.example:5000/v2/",
		},
		{
			`dial tcp 192.0.2.5:5000: connect: no route to host while pulling registry.example:5000/shop/cart:2.4`,
			"no-route", "ip route get 192.0.2.5", "",
		},
		{
			`Container image "cart:dev" is not present with pull policy of Never`,
			"never-pull", "ferry pack docker-daemon:cart:dev", "",
		},
		{
			"Get \"https://registry-1.docker.io/v2/\": unauthorized: incorrect username or password",
			"bad-credentials", "podman login --authfile auth.json docker.io", "registry-1.docker.io",
		},
		{
			`Failed to pull image "000000000000.dkr.ecr.eu-west-1.amazonaws.com/cart:2.4": pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials`,
			"auth-required", "", "create secret",
		},
		{
			`Failed to pull image "public.ecr.aws/shop/cart:2.4": denied: Your authorization token has expired. Reauthenticate and try again.`,
			"cloud-credential", "aws ecr-public get-login-password", "aws ecr get",
		},
	} {
		r := readText(t, c.text)
		var causes, said []string
		for _, u := range r.Causes {
			causes = append(causes, string(u.Cause))
			steps := u.Remedies
			if u.Verify != nil {
				steps = append(steps, *u.Verify)
			}
			for _, s := range steps {
				line := s.Summary + " " + strings.Join(s.Argv, " ")
				if slices.Contains(said, line) {
					t.Errorf("said twice: %s: %s", line, c.text)
				}
				said = append(said, line)
			}
		}
		all := strings.Join(said, "\n")
		if got := strings.Join(causes, " "); got != c.causes || !strings.Contains(all, c.has) || c.not != "" && strings.Contains(all, c.not) {
			t.Errorf("%s: %s\n%s", got, c.text, all)
		}
	}
}
