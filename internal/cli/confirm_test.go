package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"ferry/internal/ferry"
	"ferry/internal/ui"
)

// TestAnswerYes: only yes is yes, and Ctrl-C ends the question though nothing
// was typed.
func TestAnswerYes(t *testing.T) {
	a := &app{printer: &ui.Printer{Err: io.Discard}}
	for want, all := range map[bool][]string{true: {"y\n", " YES\n", "y"}, false: {"", "\n", "n\n", "yesterday\n"}} {
		for _, typed := range all {
			if got := a.answerYes(t.Context(), strings.NewReader(typed)); got != want {
				t.Errorf("%q: %v", typed, got)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	silent, typed := io.Pipe()
	defer typed.Close()
	time.AfterFunc(50*time.Millisecond, cancel)
	var said bytes.Buffer
	a.printer.Err = &said
	if a.answerYes(ctx, silent) || said.String() != "\n" {
		t.Errorf("after Ctrl-C it says %q", said.String())
	}
}

// TestDeployStandsAt: whoever interrupts deploy is told how much of it was done.
func TestDeployStandsAt(t *testing.T) {
	of := func(states ...string) *ferry.DeployResult {
		r := &ferry.DeployResult{}
		for _, s := range states {
			r.Objects = append(r.Objects, ferry.DeployObject{Kind: "ConfigMap", Namespace: "shop", Name: "c", State: s})
		}
		return r
	}
	for want, r := range map[string]*ferry.DeployResult{
		"nothing was applied": of(ferry.ObjectNew, ferry.ObjectSame),
		"1 of 2 objects were applied; the same command goes on from there":                               of(ferry.ObjectApplied, ferry.ObjectNew),
		"1 of 3 objects were applied, and perhaps ConfigMap shop/c; the same command goes on from there": of(ferry.ObjectApplied, ferry.ObjectFailed, ferry.ObjectNew),
		"all 2 objects were applied, and come up by themselves; the same command waits for them again":   of(ferry.ObjectApplied, ferry.ObjectApplied),
	} {
		if got := deployStandsAt(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
