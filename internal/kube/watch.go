package kube

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"ferry/internal/diagnose"
)

const (
	// pollEvery is how often is looked where watching is not allowed.
	pollEvery = 10 * time.Second
	// watchFor is how long one watch is kept open; the server ends it then.
	watchFor = 5 * time.Minute
	// settle is how long is waited after a change: the event that tells why
	// comes after the status that tells that.
	settle = 1500 * time.Millisecond
)

// Changed returns when something in scope changed that may change what the
// facts are, or when it cannot be told any more and it is time to look again:
// the watch was refused, ended or was lost. facts are those that were read
// last.
func (c *Client) Changed(ctx context.Context, scope diagnose.Scope, facts *diagnose.Facts) error {
	c.Again()
	known := map[string]bool{}
	for _, p := range facts.Pods {
		known[p.UID] = true
	}
	if c.watch(ctx, scope, facts.Version, known) {
		return wait(ctx, settle)
	}
	return wait(ctx, pollEvery)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// watch says whether it saw a change, or held on for as long as it should;
// false means that it got nowhere.
func (c *Client) watch(ctx context.Context, scope diagnose.Scope, version string, known map[string]bool) bool {
	if version == "" {
		return false
	}
	q := listOf("", scope.Namespace, "pods")
	q.query = url.Values{"watch": {"1"}, "resourceVersion": {version}, "allowWatchBookmarks": {"true"}, "timeoutSeconds": {"300"}}
	ctx, cancel := context.WithTimeout(ctx, watchFor+c.timeout)
	defer cancel()
	resp, err := c.send(ctx, q)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false
	}
	start := time.Now()
	if c.relevant(io.LimitReader(resp.Body, maxAnswer), known) {
		return true
	}
	return time.Since(start) > watchFor/2
}

// relevant reads a watch until a pod comes that is not simply fine, or that
// was among those which are not. The end of the stream is no change.
func (c *Client) relevant(r io.Reader, known map[string]bool) bool {
	d := json.NewDecoder(r)
	for {
		var e struct {
			Type   string `json:"type"`
			Object pod    `json:"object"`
		}
		if err := d.Decode(&e); err != nil {
			return false
		}
		switch e.Type {
		case "BOOKMARK":
		case "ERROR":
			return true // most likely too old: look anew
		default:
			if known[e.Object.Metadata.UID] || c.podFacts(e.Object).Suspect() {
				return true
			}
		}
	}
}

// Again lets a server that hung be asked again.
func (c *Client) Again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hung = nil
}
