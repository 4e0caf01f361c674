package kube

import (
	"context"
	"errors"
	"fmt"

	"ferry/internal/diagnose"
	wl "ferry/internal/workload"
)

// Running are the images of the containers that run in a namespace, or in all:
// one for each place in a pod that names an image. Pods that ended are not
// looked at, nor containers that were never made.
func (c *Client) Running(ctx context.Context, namespace string) ([]wl.Running, error) {
	platforms, err := c.platforms(ctx)
	if err != nil {
		return nil, err
	}
	var all []wl.Running
	pods := 0
	err = list(ctx, c, listOf("", namespace, "pods"), func(p pod) {
		pods++
		f := c.podFacts(p)
		if f.Phase == "Succeeded" || f.Phase == "Failed" {
			return
		}
		for _, at := range f.Containers {
			mounted := at.Kind == diagnose.ImageVolume && f.Phase == "Running"
			if at.ImageID == "" && !mounted {
				continue
			}
			all = append(all, wl.Running{
				Image: at.Image, ID: at.ImageID, Platform: platforms[f.Node],
				Workload: fmt.Sprintf("%s %s/%s", f.Workload.Kind, f.Workload.Namespace, f.Workload.Name),
			})
		}
	})
	if err == nil && pods == 0 {
		err = c.missing(ctx, namespace)
	}
	return all, err
}

// platforms are those of the nodes; none where they may not be read.
func (c *Client) platforms(ctx context.Context) (map[string]string, error) {
	nodes, err := c.AllNodes(ctx)
	if e, ok := errors.AsType[*Error](err); ok && e.Forbidden() {
		return nil, nil
	}
	by := map[string]string{}
	for _, n := range nodes {
		by[n.Name] = n.Platform()
	}
	return by, err
}
