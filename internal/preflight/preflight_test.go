package preflight_test

import (
	"errors"
	"strings"
	"testing"

	"ferry/internal/preflight"
)

func TestCheck(t *testing.T) {
	there := map[string]preflight.There{
		"both": {Platforms: []string{"linux/amd64", "linux/arm64/v8"}}, "one": {Platforms: []string{"linux/amd64"}},
		"gone": {Err: errors.New("not found")}, "unknown": {},
	}
	for _, c := range []struct {
		need preflight.Need
		want string
	}{
		{preflight.Need{Images: []string{"both"}, Platforms: []string{"linux/amd64", "linux/arm64"}}, ""},
		{preflight.Need{Images: []string{"one"}, Platforms: []string{"linux/amd64", "linux/arm64"}}, "it is there for linux/amd64, and nodes that may get it are linux/arm64"},
		{preflight.Need{Images: []string{"one"}}, ""},
		{preflight.Need{Images: []string{"unknown"}, Platforms: []string{"linux/amd64"}}, ""},
		{preflight.Need{Images: []string{"both", "gone"}}, "not found"},
		{preflight.Need{Images: []string{"nowhere"}}, "it was not looked for"},
	} {
		got := ""
		for _, p := range preflight.Check([]preflight.Need{c.need}, there)[0].Problems {
			got += p.Why
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.need, got, c.want)
		}
	}
}

// What could not be told is not said to be well.
func TestNotes(t *testing.T) {
	there := map[string]preflight.There{"known": {Platforms: []string{"linux/amd64"}}, "unknown": {}}
	for want, need := range map[string]preflight.Need{
		"": {Images: []string{"known"}, Platforms: []string{"linux/amd64"}},
		"unknown does not say which platforms it is for":                                                           {Images: []string{"unknown"}, Platforms: []string{"linux/amd64"}},
		"no node that is ready may take its pods, so for which platforms its images have to be there is not known": {Images: []string{"known"}},
		"nobody knows, so for which platforms its images have to be there is not known":                            {Images: []string{"known"}, Unknown: "nobody knows"},
	} {
		v := preflight.Check([]preflight.Need{need}, there)[0]
		if got := strings.Join(v.Notes, "; "); got != want || v.Images != 1 {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
