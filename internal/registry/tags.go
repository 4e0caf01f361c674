package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"ferry/internal/content"
)

// maxTagPages is how many pages of tags are read; each is at most
// content.MaxManifest bytes.
const maxTagPages = 10

// Tags returns the repository's tags in the registry's order, at most limit of
// them.
func (r *Repository) Tags(ctx context.Context, limit int) ([]string, error) {
	c := call{method: http.MethodGet, path: "tags/list", query: fmt.Sprintf("n=%d", min(limit, 1000))}
	var all []string
	for range maxTagPages {
		page, next, err := r.tagPage(ctx, &c)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if !next || len(all) >= limit {
			break
		}
	}
	return all[:min(len(all), limit)], nil
}

// tagPage reads one page, and makes c the question for the next.
func (r *Repository) tagPage(ctx context.Context, c *call) (tags []string, next bool, err error) {
	resp, err := r.do(ctx, *c, http.StatusOK)
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	var page struct {
		Tags []string `json:"tags"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, content.MaxManifest)).Decode(&page); err != nil {
		return nil, false, r.wrong(*c, fmt.Errorf("read the list of tags: %w", err))
	}
	next, err = r.nextPage(resp, c)
	return page.Tags, next, err
}
