// Command causes writes docs/causes from the lessons of ferry explain: one
// page a lesson, and an index.
//
//	go run ./scripts/causes [DIR]
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ferry/internal/diagnose"
)

func main() {
	dir := filepath.Join("docs", "causes")
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := write(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range pages() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

const note = "<!-- Written by go run ./scripts/causes from internal/diagnose/lessons: change it there. -->\n"

// pages are the files of docs/causes with their texts.
func pages() map[string]string {
	var index strings.Builder
	index.WriteString(note + "\n# Why an image did not arrive\n\nWhat `ferry explain NAME` prints.\n\n| lesson | |\n|---|---|\n")
	all := map[string]string{}
	for _, l := range diagnose.Lessons() {
		fmt.Fprintf(&index, "| [%s](%s.md) | %s |\n", l.Name, l.Name, l.Title)
		all[l.Name+".md"] = note + "\n# " + l.Name + ": " + l.Title + "\n\n" + l.Text
	}
	all["README.md"] = index.String()
	return all
}
