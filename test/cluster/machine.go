package cluster

import (
	"context"
	"os"
	"path/filepath"
)

// A Machine is what somebody sits at beside the cluster: it reaches the API
// server and the nodes, and has a resolver, a podman storage and a home of its
// own.
type Machine struct {
	*Node
	// Resolver is its DNS server; Address is where that listens, and where the test
	// can put registries that only this machine is to know.
	Resolver *Resolver
	Address  string
	// Home is its HOME, which is empty.
	Home string
}

const (
	machineNumber  = maxNodes + 1
	machineAddress = 2 // of its resolver, on the bridge
)

// Machine makes the one machine beside the cluster.
func (c *Cluster) Machine(ctx context.Context) (*Machine, error) {
	m := &Machine{Address: c.address(machineAddress)}
	err := run(ctx, "ip", "addr", "add", m.Address+"/24", "dev", c.slot.bridge())
	if err != nil {
		return nil, err
	}
	if m.Resolver, err = startResolver(m.Address); err != nil {
		return nil, err
	}
	c.closers = append(c.closers, m.Resolver.close)
	m.Node, err = c.slot.newNode(ctx, nodeSpec{
		name: "laptop", ownNetwork: true, resolvConf: "nameserver " + m.Address + "\n", hosts: "127.0.0.1 localhost laptop\n",
	})
	if err != nil {
		return nil, err
	}
	m.IP, m.Home = c.slot.nodeIP(machineNumber), filepath.Join(m.Dir, "home")
	return m, firstError(os.MkdirAll(m.Home, 0o700), c.connect(ctx, machineNumber, m.Node))
}
