package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// makeNode makes a node up to its containerd, which has the pause image.
func (c *Cluster) makeNode(ctx context.Context, number int) error {
	var o NodeOptions
	if c.options.Node != nil {
		o = c.options.Node(number, c.Gateway)
	}
	if o.Resolver == "" {
		o.Resolver = c.Gateway
	}
	name := fmt.Sprintf("node%d", number)
	n, err := c.slot.newNode(ctx, nodeSpec{
		name: name, runtime: c.options.Containerd, ownNetwork: true, disk: o.Disk, proxy: o.Proxy,
		resolvConf: "nameserver " + o.Resolver + "\n", hosts: "127.0.0.1 localhost " + name + "\n",
	})
	if err != nil {
		return err
	}
	n.IP, n.options = c.slot.nodeIP(number), o
	c.Nodes[number-1] = n
	err = firstError(c.connect(ctx, number, n), c.routePods(ctx, number, n), n.configureContainerd())
	if err != nil {
		return err
	}
	if err := n.StartContainerd(ctx); err != nil {
		return err
	}
	if o.NoPause {
		return nil
	}
	pause, err := PauseImage(ctx)
	if err != nil {
		return err
	}
	return n.Import(ctx, pause, pauseImage)
}

// startKubelet registers the node.
func (c *Cluster) startKubelet(_ context.Context, number int) error {
	n := c.Nodes[number-1]
	_, err := c.writeUser(n.Name, certificate{name: "system:node:" + n.Name, groups: []string{"system:nodes"}})
	if err != nil {
		return err
	}
	config := filepath.Join(n.Dir, "kubelet.yaml")
	text := strings.NewReplacer("$DIR", n.Dir, "$CA", c.file("ca.crt")).Replace(kubeletConfig)
	if unified(n.trees) {
		text += "cgroupRoot: /\n"
	} else {
		text += "failCgroupV1: false\ncgroupRoot: /\n"
	}
	if q := n.options.PullsPerSecond; q > 0 {
		text += fmt.Sprintf("registryPullQPS: %d\nregistryBurst: %d\n", q, q)
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	return n.Start("kubelet", c.kube("kubelet"), "--config="+config, "--kubeconfig="+c.file(n.Name+".kubeconfig"),
		"--root-dir=/var/lib/kubelet", "--cert-dir="+filepath.Join(n.Dir, "pki"), "--hostname-override="+n.Name, "--node-ip="+n.IP, "--v=2")
}

// The disks of machines of continuous integration are often nearly full: the
// kubelet is to evict nothing because of it.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://$DIR/containerd.sock
resolvConf: $DIR/etc/resolv.conf
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $CA}}
authorization: {mode: Webhook}
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
serializeImagePulls: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 100Mi}
failSwapOn: false
nodeStatusUpdateFrequency: 5s
`
