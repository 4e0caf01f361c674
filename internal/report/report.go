// Package report writes one HTML page about a bundle, for the person who has
// to answer for it. The page needs nothing but itself: no network, no other
// file, and scripts only of its own. All that stands in it comes from outside
// and is taken for hostile.
//
// It decides nothing: package ferry gathers what is shown.
package report

import (
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"fmt"
	"html/template"
	"io"

	"ferry/internal/ferry"
)

//go:embed page.html
var page string

//go:embed page.css
var style string

//go:embed page.js
var script string

// Write writes the page.
func Write(w io.Writer, r *ferry.ReportResult) error {
	t, err := template.New("report").Parse(page)
	if err != nil {
		return err
	}
	v, err := view(r)
	if err != nil {
		return err
	}
	return t.Execute(w, v)
}

// contentPolicy lets the page use its own style and script, which it names by
// their hash, and nothing else.
func contentPolicy() string {
	return fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'", hash(style), hash(script))
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
