package near

import (
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	tags := []string{"1.25", "1.26", "1.27", "1.27-alpine", "1.7", "2.0", "latest", "stable", "v1.27"}
	for wanted, want := range map[string][]string{
		"1.72":        {"1.27", "1.7"},
		"lastest":     {"latest"},
		"1.27-alpnie": {"1.27-alpine"},
		"1.28":        {"1.27", "1.26", "1.25"},
		"V1.27":       {"v1.27", "1.27", "1.7"},
		"mainline":    nil,
		"":            nil,
	} {
		if got := Names(wanted, tags); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", wanted, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abc", 0},
		{"abc", "abd", 1},
		{"abc", "ac", 1},
		{"abc", "abxc", 1},
		{"nginx", "ngnix", 1},
		{"1.72", "1.27", 1},
		{"kitten", "sitting", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
