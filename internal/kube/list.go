package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// pageSize is how many objects are asked for at once. A page of pods is then
// about 5 MB on the wire and 1 MB decoded.
const pageSize = 500

// maxPages is where a list ends in any case: 100,000 objects.
const maxPages = 200

// errTooMany says that a list was cut off.
var errTooMany = fmt.Errorf("there are more than %d; the others were not looked at", pageSize*maxPages)

// list asks page after page and calls each for every object, in the order in
// which they come. No page is kept.
func list[T any](ctx context.Context, c *Client, q call, each func(T)) error {
	_, err := listVersion(ctx, c, q, each)
	return err
}

// listVersion is list, and returns the version of the list, from which a watch
// can go on.
func listVersion[T any](ctx context.Context, c *Client, q call, each func(T)) (version string, err error) {
	token, resumed := "", false
	for range maxPages {
		var page listMeta
		page, err = listPage(ctx, c, q, token, each)
		version = cmp.Or(page.ResourceVersion, version)
		var gone *Error
		if errors.As(err, &gone) && gone.Status == http.StatusGone && gone.resume != "" && !resumed {
			// The list was compacted away meanwhile; the server offers to go on
			// with what is there now (KEP-365). That is good enough to look.
			token, resumed = gone.resume, true
			continue
		}
		if err != nil || page.Continue == "" {
			return version, err
		}
		token, resumed = page.Continue, false
	}
	return version, &Error{Call: q.what, Place: c.place, Err: errTooMany}
}

// listMeta is what a page says of itself.
type listMeta struct {
	Continue        string `json:"continue"`
	ResourceVersion string `json:"resourceVersion"`
}

func listPage[T any](ctx context.Context, c *Client, q call, token string, each func(T)) (page listMeta, err error) {
	q.query = withPage(q.query, token)
	err = c.ask(ctx, q, func(r io.Reader) error {
		page, err = decodeList(r, each)
		return err
	})
	return page, err
}

func withPage(q url.Values, token string) url.Values {
	all := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for k, v := range q {
		all[k] = v
	}
	if token != "" {
		all.Set("continue", token)
	}
	return all
}

// decodeList reads one page object by object.
func decodeList[T any](r io.Reader, each func(T)) (page listMeta, err error) {
	d := json.NewDecoder(r)
	if err := expect(d, json.Delim('{')); err != nil {
		return page, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return page, err
		}
		switch key {
		case "items":
			err = decodeItems(d, each)
		case "metadata":
			err = d.Decode(&page)
		default:
			var skipped json.RawMessage
			err = d.Decode(&skipped)
		}
		if err != nil {
			return page, err
		}
	}
	return page, expect(d, json.Delim('}'))
}

func decodeItems[T any](d *json.Decoder, each func(T)) error {
	open, err := d.Token()
	if err != nil || open == nil { // "items": null
		return err
	}
	if open != json.Delim('[') {
		return errors.New("the items are not a list")
	}
	for d.More() {
		var item T
		if err := d.Decode(&item); err != nil {
			return err
		}
		each(item)
	}
	return expect(d, json.Delim(']'))
}

func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%q stands where JSON should have %q", fmt.Sprint(got), want)
	}
	return nil
}
