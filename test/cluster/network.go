package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// bridge is the link that joins a cluster's nodes.
func (s *slot) bridge() string { return fmt.Sprintf("ferry-test%d", s.number) }

// nodeIP and podNet number what belongs to a node, from 1.
func (s *slot) nodeIP(number int) string { return fmt.Sprintf("10.250.%d.%d", s.number, 10+number) }

func (s *slot) podNet(number int) string {
	return fmt.Sprintf("10.244.%d.0/24", s.number*(maxNodes+1)+number)
}

// makeBridge makes a network of its own for the cluster. The machine does not
// route between it and the world, and the nodes themselves drop what would go
// further (isolate).
func (c *Cluster) makeBridge(ctx context.Context) error {
	if err := c.refuseKnownNet(); err != nil {
		return err
	}
	name := c.slot.bridge()
	return inTurn(ctx, [][]string{
		{"ip", "link", "add", name, "type", "bridge"},
		{"ip", "addr", "add", c.Gateway + "/24", "dev", name},
		{"ip", "link", "set", name, "up"},
	})
}

// refuseKnownNet fails where the machine already lives in the cluster's net.
func (c *Cluster) refuseKnownNet() error {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && (n.Contains(net.ParseIP(c.Gateway)) || n.Contains(net.ParseIP("10.244.0.1"))) {
			return fmt.Errorf("start a cluster: this machine has %s, where the cluster's addresses would be", n)
		}
	}
	return nil
}

// connect joins a node, or a machine that is none, to the bridge.
func (c *Cluster) connect(ctx context.Context, number int, n *Node) error {
	host := c.slot.bridge() + "-" + strconv.Itoa(number)
	err := inTurn(ctx, [][]string{
		{"ip", "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(n.pid)},
		{"ip", "link", "set", host, "master", c.slot.bridge(), "up"},
	})
	if err != nil {
		return err
	}
	script := "set -e; ip link set lo up; ip addr add " + n.IP + "/24 dev eth0; ip link set eth0 up\n" +
		"echo 1 > /proc/sys/net/ipv4/ip_forward; ip route add default via " + c.Gateway + "\n"
	for other := 1; other <= c.options.Nodes; other++ {
		if other != number {
			script += "ip route add " + c.slot.podNet(other) + " via " + c.slot.nodeIP(other) + "\n"
		}
	}
	// Nothing leaves the machine, whatever it routes: what goes elsewhere is
	// dropped here, and looks like a network that does not answer.
	for _, chain := range []string{"OUTPUT", "FORWARD"} {
		for _, rule := range []string{"-d " + c.Gateway + "/24 -j ACCEPT", "-d " + podRange + " -j ACCEPT", "-j DROP"} {
			script += "iptables -w -A " + chain + " -o eth0 " + rule + "\n"
		}
	}
	_, err = n.Run(ctx, "/bin/sh", "-c", script)
	return err
}

// routePods gives pods addresses of the node's range, and lets this machine
// reach them.
func (c *Cluster) routePods(ctx context.Context, number int, n *Node) error {
	if err := run(ctx, "ip", "route", "replace", c.slot.podNet(number), "via", n.IP); err != nil {
		return err
	}
	text := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"ferry-test","plugins":[
 {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"/var/lib/cni/ipam","ranges":[[{"subnet":%q}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
`, c.slot.podNet(number))
	return os.WriteFile(filepath.Join(n.Dir, "cni/net.d/10-bridge.conflist"), []byte(text), 0o644)
}

// links are the slot's network interfaces that this machine sees.
func (s *slot) links() ([]string, error) {
	all, err := net.Interfaces()
	var names []string
	for _, i := range all {
		if i.Name == s.bridge() || strings.HasPrefix(i.Name, s.bridge()+"-") {
			names = append(names, i.Name)
		}
	}
	return names, err
}

// removeLinks does not wait until the kernel has taken a dead node's network
// down: that takes a while, and meanwhile the next cluster would find its name
// taken.
func (s *slot) removeLinks(ctx context.Context) error {
	names, err := s.links()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := run(ctx, "ip", "link", "del", name); err != nil && !strings.Contains(err.Error(), "Cannot find device") {
			return err
		}
	}
	return nil
}

// inTurn runs commands until one fails.
func inTurn(ctx context.Context, commands [][]string) error {
	for _, argv := range commands {
		if err := run(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}
