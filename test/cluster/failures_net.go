package cluster

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// network are failures on the way to the registry.
func (a *arranger) network() []Failure {
	a.name("registry-1.docker.io", Answer{Silent: true})
	a.name("servfail.test", Answer{Code: dnsServFail})
	a.name("unroutable.test", Answer{IP: a.c.address(88)})
	a.inNode(1, "ip route add unreachable "+a.c.address(88))
	dropped, closed := a.host(5007), a.host(5008)
	a.inNode(1, "iptables -w -I OUTPUT -p tcp --dport 5007 -j DROP")
	return []Failure{
		{Name: "dns-timeout", Causes: []string{"dns-timeout"}, image: "nginx"},
		{Name: "dns-no-such-host", Causes: []string{"dns-no-such-host"}, image: "nosuch.test/app:1"},
		{Name: "dns-server-misbehaving", Causes: []string{"dns-server-misbehaving"}, image: "servfail.test/app:1"},
		{Name: "dns-server-unreachable", Causes: []string{"dns-server-unreachable"}, image: "nginx", node: nodeDeaf},
		{Name: "connect-timeout", Causes: []string{"connect-timeout"}, image: dropped + "/app:1"},
		{Name: "connect-refused", Causes: []string{"connect-refused"}, image: closed + "/app:1"},
		{Name: "no-route", Causes: []string{"no-route"}, image: "unroutable.test/app:1"},
		{Name: "connection-reset", Causes: []string{"connection-reset"}, image: a.plain(5009, cuts(true)) + "/app:1"},
		{Name: "connection-closed", Causes: []string{"connection-reset"}, image: a.plain(5010, cuts(false)) + "/app:1"},
		{Name: "stalled-layer", Causes: []string{"canceled", "timeout"}, image: a.withLayers(5012, stalls) + "/app:1", notOn16: true},
	}
}

// address is one on the bridge's network.
func (c *Cluster) address(last int) string { return fmt.Sprintf("10.250.%d.%d", c.slot.number, last) }

// proxy are failures of an HTTP proxy that lets nobody through, and of the
// kubelet's own limit.
func (a *arranger) proxy() []Failure {
	a.serve(3128, nil, forbiddingProxy())
	return []Failure{
		{Name: "proxy", Causes: []string{"proxy", "pull-qps-exceeded"}, image: "behind.example/app:1", node: nodeProxied},
		{
			// Of two pulls within a second the kubelet lets one through.
			Name: "pull-qps-exceeded", Causes: []string{"pull-qps-exceeded", "proxy"},
			image: "second.example/app:1", second: "third.example/app:1", node: nodeProxied,
		},
	}
}

// tls are failures to agree on a secure connection, or on whether it is one.
func (a *arranger) tls() []Failure {
	good := newStore()
	right := a.certificate(certificate{name: "registry.test", hosts: []string{"registry.test"}})
	other := a.certificate(certificate{name: "other.test", hosts: []string{"other.test"}})
	old := a.certificate(certificate{name: "registry.test", hosts: []string{"registry.test"}, notAfter: time.Now().AddDate(0, 0, -1)})
	for port, config := range map[int]*tls.Config{5013: right, 5014: other, 5015: old, 5018: right} {
		a.serve(port, config, good)
	}
	a.mirror(a.host(5014), a.trusts(a.host(5014)))
	a.mirror(a.host(5015), a.trusts(a.host(5015)))
	a.mirror(a.host(5018), overHTTP(a.host(5018)))
	a.serve(5017, nil, good)
	a.alertOn(5016)
	return []Failure{
		{Name: "tls-unknown-authority", Causes: []string{"tls-unknown-authority"}, image: a.host(5013) + "/app:1"},
		{Name: "tls-hostname-mismatch", Causes: []string{"tls-hostname-mismatch"}, image: a.host(5014) + "/app:1"},
		{Name: "tls-expired", Causes: []string{"tls-expired"}, image: a.host(5015) + "/app:1"},
		{Name: "tls-handshake", Causes: []string{"tls-handshake"}, image: a.host(5016) + "/app:1"},
		{Name: "http-to-https-client", Causes: []string{"http-to-https-client"}, image: a.host(5017) + "/app:1"},
		{Name: "https-to-http-client", Causes: []string{"https-to-http-client", "non-registry-response"}, image: a.host(5018) + "/app:1"},
	}
}

// alertOn answers every hello with TLS's alert 40, handshake failure.
func (a *arranger) alertOn(port int) {
	a.do(func() error {
		l, err := net.Listen("tcp", net.JoinHostPort(a.c.Gateway, fmt.Sprint(port)))
		if err != nil {
			return err
		}
		a.c.closers = append(a.c.closers, l.Close)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 4096))
				_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, 40})
				_ = c.Close()
			}
		}()
		return nil
	})
}
