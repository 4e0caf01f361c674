package registry

import (
	"errors"
	"net/http"
	"net/url"

	"golang.org/x/net/http/httpproxy"
)

// errUnreadableProxy keeps to itself what it could not read: a password may
// stand there.
var errUnreadableProxy = errors.New("HTTPS_PROXY or HTTP_PROXY is no URL: write http://PROXY:PORT; in a user or password, % is written %25, @ %40, / %2F")

// environment is http.ProxyFromEnvironment, which passes over what it cannot
// read: requests then went straight to where only the proxy has a way.
func environment(req *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(req)
	if err != nil || proxy != nil && proxy.Host != "" {
		return proxy, err
	}
	return nil, unreadableFor(req.URL, httpproxy.FromEnvironment())
}

// unreadableFor says whether u would have gone through a proxy that cannot be
// read.
func unreadableFor(u *url.URL, c *httpproxy.Config) error {
	for _, p := range []*string{&c.HTTPProxy, &c.HTTPSProxy} {
		if *p == "" || readable(*p) {
			*p = ""
		} else {
			*p = "http://unreadable"
		}
	}
	if proxy, err := c.ProxyFunc()(u); proxy == nil || err != nil {
		return err
	}
	return errUnreadableProxy
}

func readable(proxy string) bool {
	for _, s := range []string{proxy, "http://" + proxy} {
		if u, err := url.Parse(s); err == nil && u.Host != "" {
			return true
		}
	}
	return false
}
