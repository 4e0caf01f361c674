package kube

import (
	"context"
	"io"
	"net/http"
	"net/url"
)

// CreateNamespace makes a namespace whose name begins with prefix, and returns
// its name.
func (c *Client) CreateNamespace(ctx context.Context, prefix string) (string, error) {
	q := listOf("", "", "namespaces")
	body := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"generateName": prefix}}
	var made struct {
		Metadata metadata `json:"metadata"`
	}
	err := c.change(ctx, http.MethodPost, "make a namespace", q, typeJSON, body, &made)
	return made.Metadata.Name, err
}

// DeleteNamespace deletes a namespace with all that is in it.
func (c *Client) DeleteNamespace(ctx context.Context, name string) error {
	return c.change(ctx, http.MethodDelete, "delete namespace "+name, one("", "", "namespaces", name), typeJSON, nil, nil)
}

// CreateJob makes a Job that runs an image once.
func (c *Client) CreateJob(ctx context.Context, namespace, name, image string) error {
	q := listOf("batch/v1", namespace, "jobs")
	body := map[string]any{
		"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"restartPolicy": "Never",
			"containers":    []any{map[string]any{"name": name, "image": image}},
		}}},
	}
	return c.change(ctx, http.MethodPost, "make job "+namespace+"/"+name, q, typeJSON, body, nil)
}

// maxLog is the most that is read of a log, in bytes.
const maxLog = 64 << 10

// Log is what a pod printed.
func (c *Client) Log(ctx context.Context, namespace, pod string) (string, error) {
	q := one("", namespace, "pods", pod)
	q.what, q.lacks, q.path = "the log of pod "+namespace+"/"+pod, "get pods/log", q.path+"/log"
	q.query = url.Values{"limitBytes": {"65536"}}
	var text []byte
	err := c.ask(ctx, q, func(r io.Reader) error {
		var err error
		text, err = io.ReadAll(io.LimitReader(r, maxLog))
		return err
	})
	return string(text), err
}
