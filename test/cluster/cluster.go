// Package cluster runs real containerds and a real Kubernetes for tests, on
// one machine, without the internet, virtual machines or Docker: etcd, API
// server, controller manager, scheduler, kubelets, containerd, runc.
//
// It is a module of its own: nothing of it reaches the product.
package cluster

import "fmt"

// bridge is the link that a cluster's nodes are joined by.
func (s *slot) bridge() string { return fmt.Sprintf("ferry-test%d", s.number) }
