package registry

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"golang.org/x/net/http/httpproxy"
)

// TestUnreadableProxy: requests that it was meant for are refused, and no
// others.
func TestUnreadableProxy(t *testing.T) {
	for _, c := range []struct {
		url, https, http, no string
		refused              bool
	}{
		{"https://registry.bank/v2/", "http://user:p%zz@proxy:3128", "", "", true},
		{"https://registry.bank/v2/", "http://user:p%zz@proxy:3128", "", ".bank", false},
		{"https://registry.bank/v2/", "http://user:p%25zz@proxy:3128", "", "", false},
		{"https://registry.bank/v2/", "proxy:3128", "http://user:p%zz@proxy", "", false},
		{"http://registry.bank/v2/", "proxy:3128", "user:p%zz@proxy", "", true},
		{"https://127.0.0.1:5000/v2/", "http://user:p%zz@proxy:3128", "", "", false},
		{"https://registry.bank/v2/", "", "", "", false},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		err = unreadableFor(u, &httpproxy.Config{HTTPSProxy: c.https, HTTPProxy: c.http, NoProxy: c.no})
		if errors.Is(err, errUnreadableProxy) != c.refused || !c.refused && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestUnreadableProxyOfTheEnvironment is what a client has by default.
func TestUnreadableProxyOfTheEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://user:p%zz@proxy:3128")
	t.Setenv("NO_PROXY", "")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://registry.bank/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if proxy, err := withDefaults(Options{}).Proxy(req); !errors.Is(err, errUnreadableProxy) {
		t.Errorf("%v, %v", proxy, err)
	}
}
